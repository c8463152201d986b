"""Requests that carry many things at once, to a server that may refuse one of them or fail half way."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, TypeVar

import httpx

from airflow_annotation.exceptions import AnnotationConnectionError, AnnotationError, AnnotationRequestError

log = logging.getLogger(__name__)

_Part = TypeVar("_Part")

_WAITS: Final = (1.0, 2.0, 4.0)
"""Seconds between the attempts. The client has waited out what it could already."""

_LATE_LOOKS: Final = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between the looks for a request whose connection broke, before it is sent again. The server may still get or
process it: together they cover the 30 s after which proxies and servers commonly drop a request."""

_GATEWAY_FAILURES: Final = frozenset({502, 504})

_REFUSALS: Final = frozenset({400, 413, 415, 422, 500})
"""Statuses that one bad part can give the whole request."""


def send_until_taken(
    parts: list[_Part], send: Callable[[list[_Part]], None], find_taken: Callable[[list[_Part]], list[_Part]]
) -> list[_Part]:
    """Send parts that must not arrive twice; after a failure that leaves it open, send what has not arrived.

    A request whose connection broke may still arrive. It is looked for, for up to 30 s, before the rest is sent again.

    :param parts: what to send
    :param send: one request with all it is given
    :param find_taken: asks the server which of the parts it has
    :return: the parts that may have arrived twice: look for doubles of them at the end
    """
    doubtful: list[_Part] = []
    for wait in (*_WAITS, None):
        try:
            send(parts)
        except (AnnotationConnectionError, AnnotationRequestError) as error:
            if not error.is_transient or wait is None:
                raise
            log.warning("%s Looking what arrived, then sending the rest again.", error)
            if _may_still_arrive(error):
                doubtful = doubtful or parts
                looks: tuple[float, ...] = (0.0, *_LATE_LOOKS)
            else:
                looks = (wait,)
            parts = _wait_for(parts, find_taken, looks)
        else:
            return doubtful
        if not parts:
            return doubtful
    raise AssertionError


def _wait_for(
    parts: list[_Part], find_taken: Callable[[list[_Part]], list[_Part]], looks: tuple[float, ...]
) -> list[_Part]:
    """Look for parts until all have arrived, and return those that have not.

    :param looks: seconds to wait before each look
    """
    for wait in looks:
        time.sleep(wait)
        taken = {id(part) for part in find_taken(parts)}
        parts = [part for part in parts if id(part) not in taken]
        if not parts:
            break
    return parts


def _may_still_arrive(error: AnnotationError) -> bool:
    """Return whether the server may act on the failed request later: nobody answered for the server itself."""
    if isinstance(error, AnnotationRequestError):
        return error.status_code in _GATEWAY_FAILURES
    return not isinstance(error.__cause__, httpx.ConnectError | httpx.ConnectTimeout)


def send_without_refused(
    parts: list[_Part], send: Callable[[list[_Part]], object]
) -> list[tuple[_Part, AnnotationRequestError]]:
    """Send parts, and leave out the ones for which the server refuses the whole request: they are found by halving.

    :param parts: what to send
    :param send: sends all it is given, or nothing
    :return: the refused parts, each with the server's answer
    :raises AnnotationRequestError: the server refuses for a reason that is not in the parts
    """
    try:
        send(parts)
    except AnnotationRequestError as error:
        if error.status_code not in _REFUSALS:
            raise
        if len(parts) == 1:
            return [(parts[0], error)]
        middle = len(parts) // 2
        refused = send_without_refused(parts[:middle], send) + send_without_refused(parts[middle:], send)
        if error.is_transient and len(refused) == len(parts):
            raise
        return refused
    return []
