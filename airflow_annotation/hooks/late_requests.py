"""Handle requests whose connection broke. The tool may still receive them seconds later and act on them.

Before the code repeats such a request, it looks for the thing that the first request makes. It looks for as long as
proxies and servers commonly hold a request. A request that arrives even later makes a double. So the code that made
something looks for doubles afterwards, and the next run does so again. It deletes the younger one of two, if that is
unchanged since it was made.
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
"""Seconds between the attempts. The client's own retries come before these."""

_LATE_LOOKS: Final = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between the checks whether a request whose connection broke has arrived, before it is sent again. The server
may still receive or process it. Together they cover the 30 s after which proxies and servers usually drop a request."""

_LATEST: Final = timedelta(hours=1)
"""Maximum time between the first one and a double. Anything made later was made on purpose."""

_GATEWAY_FAILURES: Final = frozenset({502, 504})


def send_until_taken(
    parts: list[_T], send: Callable[[list[_T]], object], find_taken: Callable[[list[_T]], list[_T]]
) -> list[_T]:
    """Send parts that must not arrive twice. After a passing failure, send only the parts that have not arrived.

    A request whose connection broke may still arrive. So the function looks for its parts, for up to 30 s, before it
    sends the rest again.

    :param parts: the parts to send
    :param send: function that sends all parts it is given, in one request
    :param find_taken: function that asks the server which of the parts it has
    :return: the parts that may have arrived twice; the caller looks for doubles of them at the end
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
    """Make one thing, or find the one that an earlier try made if its answer was lost.

    The caller looks for doubles afterwards.

    :param make: function that sends one request
    :param find: function that asks the server for what the request makes, and returns None if there is none
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
    """Return whether the server may still act on the failed request, because the server itself did not answer."""
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
    """Keep the first of several equal things, and delete the others that late requests made.

    :param found: the things, the oldest first; the oldest stays
    :param what: name of the things for the log: ``project of the run 'a'``
    :param made_at: function that returns when the tool made a thing, or None if the tool does not say
    :param is_as_made: function that returns whether a thing is unchanged since it was made: nobody has worked with it
    :param delete: function that deletes a thing
    :return: the first, or None if there is none
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
    """Yield before each check whether a failed request has arrived, after a pause."""
    for seconds in (0.0, *_LATE_LOOKS) if may_still_arrive(error) else (wait,):
        time.sleep(seconds)
        yield
