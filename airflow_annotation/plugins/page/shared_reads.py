"""Reads that all who ask at about the same time share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

FRESH: Final = 15.0
"""Seconds that an answer is given to others too."""
PATIENCE: Final = 20.0
"""Seconds that one request waits. The read goes on: whoever asks again may find it done."""


class StillReadingError(Exception):
    """The labeling tool has not answered yet."""


class SharedReads(Generic[T]):
    """Reads each thing once for all who ask for it within some seconds. For one event loop.

    Those who wait for a read that fails all get its error, and who asks after that reads again.

    :param fresh: seconds for which an answer is kept
    """

    def __init__(self, fresh: float = FRESH) -> None:
        self._fresh = fresh
        self._reads: dict[Hashable, asyncio.Task[T]] = {}
        self._ended: dict[Hashable, float] = {}

    async def get(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Return what ``read`` returns or has returned lately.

        :param key: names what is read
        :param read: reads it
        :raises StillReadingError: it takes longer than :data:`PATIENCE`
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
        """Return what has been read lately, None where nothing was."""
        self._forget()
        return self._reads[key].result() if key in self._ended else None

    def _note_end(self, key: Hashable, task: asyncio.Task[T]) -> None:
        if task.cancelled() or task.exception() is not None:  # which is looked at: whoever asked may be gone
            del self._reads[key]
        else:
            self._ended[key] = time.monotonic()

    def _forget(self) -> None:
        oldest = time.monotonic() - self._fresh
        for key in [key for key, ended in self._ended.items() if ended < oldest]:
            del self._ended[key], self._reads[key]
