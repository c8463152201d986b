"""What this provider notes in a task's ``meta``: the delivery that brought it, and the request that put it back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

_META: Final = "airflow_annotation"
_DELIVERY: Final = "delivery"
_REQUEUED: Final = "requeued_by"
_SKIPS: Final = "requeued_skips"


def delivery_meta(delivery: str) -> dict[str, Any]:
    """Return the ``meta`` of a task that tells its delivery."""
    return {_META: {_DELIVERY: delivery}}


def read_delivery(meta: Any) -> str | None:
    """Return the delivery that a task's ``meta`` tells, None if it tells none."""
    return _read(meta, _DELIVERY)


def requeued_meta(meta: Any, request: str, skips: Sequence[int]) -> dict[str, Any]:
    """Return a task's ``meta`` with the request that puts it back to be labeled, and the ids of the skips it clears."""
    known = meta if isinstance(meta, dict) else {}
    ours = known.get(_META)
    return {**known, _META: {**(ours if isinstance(ours, dict) else {}), _REQUEUED: request, _SKIPS: [*skips]}}


def read_requeued(meta: Any) -> str | None:
    """Return the request that put a task back last, None if none did."""
    return _read(meta, _REQUEUED)


def read_requeued_skips(meta: Any) -> Sequence[int]:
    """Return the ids of the skips that the last request clears which put a task back."""
    value = _find(meta, _SKIPS)
    return value if isinstance(value, list) else ()


def _read(meta: Any, name: str) -> str | None:
    value = _find(meta, name)
    return value if isinstance(value, str) else None


def _find(meta: Any, name: str) -> Any:
    ours = meta.get(_META) if isinstance(meta, dict) else None
    return ours.get(name) if isinstance(ours, dict) else None
