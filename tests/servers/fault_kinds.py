"""The kinds of fault that chaos lets a labeling tool's answers have: the one list of them."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Mapping
from random import Random
from typing import Final

from tests.servers.faults import Fault

_LOGIN: Final = b"<!DOCTYPE html><html><body><form action='/login'>Sign in to go on</form></body></html>"
_HTML: Final = {"Content-Type": "text/html"}
_JSON: Final = {"Content-Type": "application/json"}
_ALERT: Final = b"\x15\x03\x03\x00\x02\x02\x28"
"""TLS: the handshake failed."""


def _garbled(answer: bytes) -> bytes:
    return answer[: len(answer) // 2] + b'\x00\xff{"' + answer[len(answer) // 3 :]


def _half_gzip(answer: bytes) -> bytes:
    packed = gzip.compress(answer)
    return packed[: max(len(packed) // 2, 12)]


FAULT_KINDS: Final[Mapping[str, Callable[[Random], Fault]]] = {
    # The connection
    "closed before": lambda _: Fault(cut="before"),
    "reset before": lambda _: Fault(cut="reset"),
    "reset after": lambda _: Fault(cut="reset", deliver=1),
    "cut body": lambda _: Fault(cut="body"),
    "not HTTP": lambda _: Fault(raw=_ALERT, deliver=0),
    "slow body": lambda random: Fault(trickle=random.uniform(0.2, 1.0)),
    "time-out before": lambda _: Fault(delay=3.5, cut="before"),
    "time-out after": lambda _: Fault(cut="before", deliver=1, after=_until_given_up),
    # The server, or one in front of it, refuses
    "429 with Retry-After": lambda _: Fault(status=429, headers={"Retry-After": "1"}),
    "429": lambda _: Fault(status=429),
    "500 before": lambda _: Fault(status=500, body=b"{}", headers=_JSON),
    "500 after": lambda _: Fault(status=500, body=b"{}", headers=_JSON, deliver=1),
    "502": lambda random: Fault(status=502, body=_LOGIN, headers=_HTML, deliver=random.randint(0, 1)),
    "503": lambda _: Fault(status=503, headers={"Retry-After": "1"}),
    "504": lambda random: Fault(status=504, body=_LOGIN, headers=_HTML, deliver=random.randint(0, 1)),
    "redirect": lambda _: Fault(status=302, headers={"Location": "/user/login/"}),
    # The answer is another one
    "login page": lambda _: Fault(status=200, body=_LOGIN, headers=_HTML),
    "null": lambda _: Fault(garble=lambda _: b"null"),
    "garbled": lambda _: Fault(garble=_garbled),
    "half gzip": lambda _: Fault(garble=_half_gzip, headers={"Content-Encoding": "gzip"}),
    "short length": lambda _: Fault(promise=-3),
    "long length": lambda _: Fault(promise=1000),
    # The request arrives more than once, or when nobody waits for it any more
    "twice": lambda _: Fault(deliver=2),
    "late": lambda random: Fault(cut="before", late=random.uniform(0.5, 3.0)),
}
"""Makes a fault of each kind. All last less than the 3 seconds after which chaos lets clients give up, but for the
time-outs."""

RESENT_KINDS: Final = frozenset({"twice", "late"})
"""Those after which the tool may have more than was asked for."""


def _until_given_up() -> None:
    time.sleep(3.5)
