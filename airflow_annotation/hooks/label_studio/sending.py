"""Send many things in one request, to a server that may refuse one of them."""

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
    """Send parts without those for which the server refuses the whole request. Halving the parts finds these.

    :param parts: the parts to send
    :param send: function that sends all parts it is given, or none
    :return: the refused parts, each with the server's answer
    :raises AnnotationRequestError: the server refuses for a reason other than the parts
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
