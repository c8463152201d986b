"""What this provider notes in a task's ``meta``: the delivery that brought it, and the requests that put it back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

_META: Final = "airflow_annotation"
_DELIVERY: Final = "delivery"
_REQUEUED: Final = "requeued"
_REQUESTS: Final = 10
"""Requests that are noted: the last ones."""


def delivery_meta(delivery: str) -> dict[str, Any]:
    """Return the ``meta`` of a task that tells its delivery."""
    return {_META: {_DELIVERY: delivery}}


def read_delivery(meta: Any) -> str | None:
    """Return the delivery that a task's ``meta`` tells, None if it tells none."""
    value = _find(meta, _DELIVERY)
    return value if isinstance(value, str) else None


def requeued_meta(meta: Any, request: str, skips: Sequence[int]) -> dict[str, Any]:
    """Return a task's ``meta`` with the request that puts it back to be labeled, and the ids of the skips it clears."""
    known = meta if isinstance(meta, dict) else {}
    ours = known.get(_META)
    noted = [*_requests(meta), {"by": request, "skips": [*skips]}][-_REQUESTS:]
    return {**known, _META: {**(ours if isinstance(ours, dict) else {}), _REQUEUED: noted}}


def read_requeued(meta: Any, request: str) -> Sequence[int] | None:
    """Return the ids of the skips that a request clears which has put a task back, None if it has not."""
    return next((noted.get("skips") or () for noted in _requests(meta) if noted.get("by") == request), None)


def _requests(meta: Any) -> list[dict[str, Any]]:
    value = _find(meta, _REQUEUED)
    return [noted for noted in value if isinstance(noted, dict)] if isinstance(value, list) else []


def _find(meta: Any, name: str) -> Any:
    ours = meta.get(_META) if isinstance(meta, dict) else None
    return ours.get(name) if isinstance(ours, dict) else None
