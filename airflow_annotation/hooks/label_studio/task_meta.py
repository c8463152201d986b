"""What this provider notes in a task's ``meta``: the delivery that brought it, and the request that put it back."""

from __future__ import annotations

from typing import Any, Final

_META: Final = "airflow_annotation"
_DELIVERY: Final = "delivery"
_REQUEUED: Final = "requeued_by"


def delivery_meta(delivery: str) -> dict[str, Any]:
    """Return the ``meta`` of a task that tells its delivery."""
    return {_META: {_DELIVERY: delivery}}


def read_delivery(meta: Any) -> str | None:
    """Return the delivery that a task's ``meta`` tells, None if it tells none."""
    return _read(meta, _DELIVERY)


def requeued_meta(meta: Any, request: str) -> dict[str, Any]:
    """Return a task's ``meta`` with the request that has put it back to be labeled."""
    known = meta if isinstance(meta, dict) else {}
    ours = known.get(_META)
    return {**known, _META: {**(ours if isinstance(ours, dict) else {}), _REQUEUED: request}}


def read_requeued(meta: Any) -> str | None:
    """Return the request that put a task back last, None if none did."""
    return _read(meta, _REQUEUED)


def _read(meta: Any, name: str) -> str | None:
    ours = meta.get(_META) if isinstance(meta, dict) else None
    value = ours.get(name) if isinstance(ours, dict) else None
    return value if isinstance(value, str) else None
