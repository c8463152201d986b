"""A limit on the requests per minute to a server."""

from __future__ import annotations

import threading
import time
from typing import Final

BURST: Final = 10.0
"""Length of a burst in seconds: after a pause, the requests of this time may go out at once."""


class RequestPace:
    """Gives each request its turn. Safe in threads and coroutines.

    :param per_minute: requests per minute at most; after a pause, the requests of :data:`BURST` seconds go out at once
    """

    def __init__(self, per_minute: float) -> None:
        self.per_minute = per_minute
        self._next = 0.0
        self._lock = threading.Lock()

    def take_turn(self) -> float:
        """Take the next turn, and return the seconds until it begins."""
        with self._lock:
            now = time.monotonic()
            turn = max(self._next, now - BURST)
            self._next = turn + 60 / self.per_minute
        return max(turn - now, 0.0)
