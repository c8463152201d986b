"""Requests whose connection broke: the tool may still get them, seconds later, and act on them.

What must not be made twice is looked for before it is asked for again, for as long as proxies and servers commonly hold
a request. A request that arrives later still makes a double. Whoever makes something looks for doubles afterwards, and
so does the next run: the younger one goes, if it is as it was made.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeVar

from airflow_annotation.exceptions import AnnotationConnectionError, AnnotationRequestError

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_WAITS: Final = (1.0, 2.0, 4.0)
"""Seconds between the attempts. The client has waited out what it could already."""

_LATE_LOOKS: Final = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between the looks for a request whose connection broke, before it is sent again. The server may still get or
process it: together they cover the 30 s after which proxies and servers commonly drop a request."""

_LATEST: Final = timedelta(hours=1)
"""How much younger than the first a double may be. What is made later, somebody made on purpose."""

_GATEWAY_FAILURES: Final = frozenset({502, 504})


def send_until_taken(
    parts: list[_T], send: Callable[[list[_T]], object], find_taken: Callable[[list[_T]], list[_T]]
) -> list[_T]:
    """Send parts that must not arrive twice; after a failure that leaves it open, send what has not arrived.

    A request whose connection broke may still arrive. It is looked for, for up to 30 s, before the rest is sent again.

    :param parts: what to send
    :param send: one request with all it is given
    :param find_taken: asks the server which of the parts it has
    :return: the parts that may have arrived twice: look for doubles of them at the end
    """
    doubtful: list[_T] = []
    for wait in (*_WAITS, None):
        try:
            send(parts)
        except (AnnotationConnectionError, AnnotationRequestError) as error:
            if not error.is_transient or wait is None:
                raise
            log.warning("%s Looking what arrived, then sending the rest again.", error)
            if may_still_arrive(error):
                doubtful = doubtful or parts
            for _ in _looks(error, wait):
                taken = {id(part) for part in find_taken(parts)}
                parts = [part for part in parts if id(part) not in taken]
                if not parts:
                    break
        else:
            return doubtful
        if not parts:
            return doubtful
    raise AssertionError


def make_once(make: Callable[[], _T], find: Callable[[], _T | None]) -> _T:
    """Make one thing, or find the one that a request made whose answer was lost. Doubles are the caller's to look for.

    :param make: one request
    :param find: asks the server for what the request makes, None if there is none
    """
    for wait in (*_WAITS, None):
        try:
            return make()
        except (AnnotationConnectionError, AnnotationRequestError) as error:  # noqa: PERF203 - the loop is for asking again
            if not error.is_transient or wait is None:
                raise
            log.warning("%s Looking whether it was done, then asking again.", error)
            for _ in _looks(error, wait):
                found = find()
                if found is not None:
                    return found
    raise AssertionError


def may_still_arrive(error: AnnotationConnectionError | AnnotationRequestError) -> bool:
    """Return whether the server may act on the failed request later: nobody answered for the server itself."""
    if isinstance(error, AnnotationRequestError):
        return error.status_code in _GATEWAY_FAILURES
    return error.was_sent


def keep_first(
    found: Sequence[_T],
    what: str,
    *,
    made_at: Callable[[_T], datetime | None],
    is_as_made: Callable[[_T], bool],
    delete: Callable[[_T], object],
) -> _T | None:
    """Delete those of several equal things that a late request made, and return the first, None if there is none.

    :param found: the oldest first, which stays
    :param what: they are, for the log: ``project of the run 'a'``
    :param made_at: when the tool made one; None where it does not say
    :param is_as_made: whether one is as a request makes it: nobody has worked with it
    :param delete: deletes one
    """
    if not found:
        return None
    first = made_at(found[0])
    for other in found[1:]:
        made = made_at(other)
        if first is None or made is None or not timedelta(0) <= made - first < _LATEST:
            continue
        if is_as_made(other):
            delete(other)
            log.info("Deleted a second %s, which a request that arrived late or twice had made.", what)
        else:
            log.warning("There is a second %s, which stays since somebody has worked with it: %s", what, other)
    return found[0]


def _looks(error: AnnotationConnectionError | AnnotationRequestError, wait: float) -> Iterator[None]:
    """Yield when it is time to look for what a failed request asked for."""
    for seconds in (0.0, *_LATE_LOOKS) if may_still_arrive(error) else (wait,):
        time.sleep(seconds)
        yield
