"""Airflow's metrics (StatsD, OpenTelemetry) of annotation projects. ``docs/reference/metrics.md`` lists them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Final

from airflow.providers.common.compat.sdk import Stats

_ODD: Final = re.compile(r"[^A-Za-z0-9_.-]")
"""Characters that a backend may use for itself, such as the colon of StatsD."""


def count(name: str, **tags: str | int | None) -> None:
    """Increment a counter.

    :param name: name of the metric, without the prefix ``annotation.``
    :param tags: tags of the metric; empty text and None are left out
    """
    _stats().incr(f"annotation.{name}", tags=_clean(tags))


def gauge(name: str, value: float, **tags: str | int | None) -> None:
    """Set a gauge. See :func:`count`."""
    _stats().gauge(f"annotation.{name}", value, tags=_clean(tags))


def timing(name: str, seconds: float, **tags: str | int | None) -> None:
    """Record a duration in seconds. See :func:`count`."""
    _stats().timing(f"annotation.{name}", timedelta(seconds=seconds), tags=_clean(tags))


def _clean(tags: dict[str, str | int | None]) -> dict[str, str]:
    return {name: _ODD.sub("_", str(value)) for name, value in tags.items() if value not in {None, ""}}


def _stats() -> Any:
    """Return the metrics that this process has set up.

    Newer releases of Airflow have two sets: tasks set up one, and the triggerer sets up the other.
    """
    try:
        from airflow.observability import stats as of_core
        from airflow.sdk.observability import stats as of_tasks
    except ImportError:
        return Stats
    set_up = of_tasks.initialize.__globals__ if hasattr(of_tasks, "initialize") else {}
    return of_core.Stats if set_up.get("_factory", Stats) is None else Stats
