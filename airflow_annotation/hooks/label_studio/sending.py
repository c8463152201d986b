"""Requests that carry many things at once, to a server that may refuse one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from airflow_annotation.exceptions import AnnotationRequestError

_Part = TypeVar("_Part")

_REFUSALS: Final = frozenset({400, 413, 415, 422, 500})
"""Statuses that one bad part can give the whole request."""


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
