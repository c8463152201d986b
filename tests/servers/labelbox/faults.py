"""Failures on demand: what the next requests of a kind meet instead of, or besides, their answer."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from .entities import Json

KINDS = ("graphql", "upload", "download", "mask", "rest")
"""Kinds of requests. A GraphQL request is also of the kind that its operation's name gives it, without `PyApi`."""


@dataclass
class Fault:
    """What happens to requests.

    :param kind: one of KINDS, or the name of a GraphQL operation such as `createBatchV2`
    :param times: how many requests
    :param status: the HTTP status to answer with; None leaves the answer as it is
    :param body: the JSON body of that answer
    :param retry_after: seconds, for the header of that name
    :param cut: break the connection off in the middle of the answer
    :param delay: seconds to wait before the answer
    :param after: let the request take effect first: the service did it, but its answer is lost
    """

    kind: str
    times: int = 1
    status: int | None = None
    body: Json | None = None
    retry_after: int | None = None
    cut: bool = False
    delay: float = 0.0
    after: bool = False


@dataclass
class Faults:
    pending: list[Fault] = field(default_factory=list)
    recent: deque[float] = field(default_factory=deque)

    def take(self, kinds: set[str]) -> Fault | None:
        """Return the fault that a request of these kinds meets, counted off."""
        for fault in self.pending:
            if fault.kind in kinds:
                fault.times -= 1
                if fault.times <= 0:
                    self.pending.remove(fault)
                return fault
        return None

    def seconds_over_limit(self, requests_per_minute: int | None) -> int | None:
        """Count a request, and return how long to wait if there were too many in the last minute."""
        if requests_per_minute is None:
            return None
        current = time.monotonic()
        while self.recent and self.recent[0] < current - 60:
            self.recent.popleft()
        if len(self.recent) >= requests_per_minute:
            return int(self.recent[0] + 60 - current) + 1
        self.recent.append(current)
        return None
