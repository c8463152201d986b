"""What this provider notes in a task's ``meta``: the delivery that brought it, and the requests that put it back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

_META: Final = "airflow_annotation"
_DELIVERY: Final = "delivery"
_REQUEUED: Final = "requeued"
_REQUESTS: Final = 10
"""Number of requests that are noted: the last ones."""


def delivery_meta(delivery: str) -> dict[str, Any]:
    """Return the ``meta`` of a new task, with its delivery."""
    return {_META: {_DELIVERY: delivery}}


def read_delivery(meta: Any) -> str | None:
    """Return the delivery in a task's ``meta``, or None."""
    value = _find(meta, _DELIVERY)
    return value if isinstance(value, str) else None


def requeued_meta(meta: Any, request: str, skips: Sequence[int]) -> dict[str, Any]:
    """Return a task's ``meta`` with a note of the request that puts it back, and of the skips that the request clears.

    :param meta: the task's ``meta``
    :param request: name of the request
    :param skips: ids of the skips
    """
    known = meta if isinstance(meta, dict) else {}
    ours = known.get(_META)
    noted = [*_requests(meta), {"by": request, "skips": [*skips]}][-_REQUESTS:]
    return {**known, _META: {**(ours if isinstance(ours, dict) else {}), _REQUEUED: noted}}


def read_requeued(meta: Any, request: str) -> Sequence[int] | None:
    """Return the ids of the skips that a request clears, from its note in a task's ``meta``; None without a note."""
    return next((noted.get("skips") or () for noted in _requests(meta) if noted.get("by") == request), None)


def _requests(meta: Any) -> list[dict[str, Any]]:
    value = _find(meta, _REQUEUED)
    return [noted for noted in value if isinstance(noted, dict)] if isinstance(value, list) else []


def _find(meta: Any, name: str) -> Any:
    ours = meta.get(_META) if isinstance(meta, dict) else None
    return ours.get(name) if isinstance(ours, dict) else None
