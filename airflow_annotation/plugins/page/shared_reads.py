"""Reads that several requests share if they come at about the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

FRESH: Final = 15.0
"""Seconds for which a result also answers other requests."""
PATIENCE: Final = 20.0
"""Maximum seconds that one request waits. The read goes on, so the next request may find it done."""


class StillReadingError(Exception):
    """The labeling tool has not answered yet."""


class SharedReads(Generic[T]):
    """Reads a thing once for all requests within some seconds. For one event loop.

    If a read fails, all requests that wait for it get its error. The next request reads again.

    :param fresh: seconds for which a result is kept
    """

    def __init__(self, fresh: float = FRESH) -> None:
        self._fresh = fresh
        self._reads: dict[Hashable, asyncio.Task[T]] = {}
        self._ended: dict[Hashable, float] = {}

    async def get(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Return the result of ``read``, or a recent one for the same key.

        :param key: key of what is read
        :param read: function that reads it
        :raises StillReadingError: the read takes longer than :data:`PATIENCE`
        """
        self._forget()
        if key not in self._reads:
            task = self._reads[key] = asyncio.ensure_future(read())
            task.add_done_callback(lambda done: self._note_end(key, done))
        try:
            return await asyncio.wait_for(asyncio.shield(self._reads[key]), PATIENCE)
        except asyncio.TimeoutError as error:
            raise StillReadingError from error

    def known(self, key: Hashable) -> T | None:
        """Return a recent result, None if there is none.

        :param key: key of what was read
        """
        self._forget()
        return self._reads[key].result() if key in self._ended else None

    def _note_end(self, key: Hashable, task: asyncio.Task[T]) -> None:
        # This also retrieves the exception, or asyncio would log it if no request waits any more.
        if task.cancelled() or task.exception() is not None:
            del self._reads[key]
        else:
            self._ended[key] = time.monotonic()

    def _forget(self) -> None:
        oldest = time.monotonic() - self._fresh
        for key in [key for key, ended in self._ended.items() if ended < oldest]:
            del self._ended[key], self._reads[key]
