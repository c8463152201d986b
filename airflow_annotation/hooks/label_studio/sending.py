"""Requests that carry many things at once, to a server that may refuse one of them or fail half way."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, TypeVar

from airflow_annotation.exceptions import AnnotationConnectionError, AnnotationRequestError

log = logging.getLogger(__name__)

_Part = TypeVar("_Part")

_WAITS: Final = (1.0, 2.0, 4.0)
"""Seconds between the attempts. The client has waited out what it could already."""


_REFUSALS: Final = frozenset({400, 413, 415, 422, 500})
"""Statuses that one bad part can give the whole request."""


def send_until_taken(
    parts: list[_Part], send: Callable[[list[_Part]], None], find_taken: Callable[[list[_Part]], list[_Part]]
) -> None:
    """Send parts that must not arrive twice; after a failure that leaves it open, send what has not arrived.

    :param parts: what to send
    :param send: one request with all it is given
    :param find_taken: asks the server which of the parts it has
    """
    for wait in (*_WAITS, None):
        try:
            send(parts)
        except (AnnotationConnectionError, AnnotationRequestError) as error:
            if not error.is_transient or wait is None:
                raise
            log.warning("%s Looking what arrived, then sending the rest again.", error)
            time.sleep(wait)
            taken = {id(part) for part in find_taken(parts)}
            parts = [part for part in parts if id(part) not in taken]
        else:
            return
        if not parts:
            return


def send_without_refused(
    parts: list[_Part], send: Callable[[list[_Part]], None]
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
