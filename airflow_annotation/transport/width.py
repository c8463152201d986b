"""How many requests go to a server at the same time: as many as the connection allows, fewer if the server is slow."""

from __future__ import annotations

import math
import threading
import time
from typing import Final

SLOW: Final = 2.5
"""A piece is slow if it takes more than this many times as long, for its size, as the quickest recent piece.

The server then works on the pieces one after the other.
"""

_FORGETTING: Final = 1.01
"""Factor by which each piece raises the quickest time, so that the quickest piece is a recent one."""

OVERLOADED: Final = frozenset({429, 502, 503, 504})
"""Statuses of answers that say that the server is overloaded."""


class Width:
    """How many pieces of work go to a server at the same time. Safe in threads.

    The width starts at two and follows TCP's rule. After as many good pieces as the width, it doubles at first, and
    later grows by one. After an answer of 429, 502, 503 or 504, or a time-out, it halves. A piece that takes more than
    :data:`SLOW` times as long for its size as the quickest is not good. It makes the width one smaller, but not smaller
    than two: more pieces would only wait for each other in the server.

    :param most: maximum width
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.now = min(most, 2)
        self._good = 0
        self._quickest = math.inf
        self._is_starting = True
        self._eased_at = -math.inf
        self._lock = threading.Lock()

    def count(self, seconds: float, size: float) -> None:
        """Count a finished piece.

        :param seconds: seconds that it took
        :param size: its size, which the time grows with, such as the bytes of the answer
        """
        each = seconds / max(size, 1)
        with self._lock:
            is_slow = each > SLOW * self._quickest
            self._quickest = min(each, self._quickest * _FORGETTING)
            if is_slow:
                self._become(max(self.now - 1, min(self.now, 2)))
                return
            self._good += 1
            if self._good >= self.now and self.now < self.most:
                is_starting = self._is_starting
                self._become(min(2 * self.now if is_starting else self.now + 1, self.most))
                self._is_starting = is_starting

    def ease(self, since: float) -> None:
        """Halve the width because the server is overloaded, unless the request was sent before it was last halved.

        :param since: time when the request was sent, by the monotonic clock
        """
        with self._lock:
            if since >= self._eased_at:
                self._eased_at = time.monotonic()
                self._become(max(self.now // 2, 1))

    def _become(self, now: int) -> None:
        self.now = now
        self._good = 0
        self._is_starting = False
