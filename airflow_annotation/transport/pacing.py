"""A limit on how many requests a minute go to a server."""

from __future__ import annotations

import threading
import time
from typing import Final

BURST: Final = 10.0
"""Seconds whose share of requests may go out at once after a quiet while."""


class RequestPace:
    """Gives each request its turn. Safe in threads and coroutines.

    :param per_minute: how many requests go out a minute at most, but for one burst of :data:`BURST` seconds' worth
    """

    def __init__(self, per_minute: float) -> None:
        self.per_minute = per_minute
        self._next = 0.0
        self._lock = threading.Lock()

    def take_turn(self) -> float:
        """Take the next turn, and return in how many seconds it is."""
        with self._lock:
            now = time.monotonic()
            turn = max(self._next, now - BURST)
            self._next = turn + 60 / self.per_minute
        return max(turn - now, 0.0)
