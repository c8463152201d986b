"""How many requests go to a server side by side: as many as the connection allows, fewer while the server is slow."""

from __future__ import annotations

import math
import threading
import time
from typing import Final

SLOW: Final = 2.5
"""How many times the quickest recent piece's time another one takes, for its size, where the server works in turns."""

_FORGETTING: Final = 1.01
"""What the quickest time is multiplied with for each other one, so that it is a recent one."""

OVERLOADED: Final = frozenset({429, 502, 503, 504})
"""Statuses of answers by which a server says that it has too much to do."""


class Width:
    """How many pieces of work go to a server at once. Safe in threads.

    It begins with two, and keeps TCP's rule: one more after as many good pieces as are under way, at first twice as
    many; half as many after an answer of 429, 502, 503 or 504, or a time-out. A piece that takes :data:`SLOW` times as
    long for its size as the quickest is no good one, and takes one away, down to two: more of them would only wait for
    each other in the server.

    :param most: how many at most
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
        """Count a piece that is done.

        :param seconds: that it took
        :param size: that the time grows with, such as the bytes of the answer
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
        """Note that the server is overloaded. What was sent before it was noted last is no news.

        :param since: when the request was sent, by the monotonic clock
        """
        with self._lock:
            if since >= self._eased_at:
                self._eased_at = time.monotonic()
                self._become(max(self.now // 2, 1))

    def _become(self, now: int) -> None:
        self.now = now
        self._good = 0
        self._is_starting = False
