"""A task's context without a scheduler around it."""

from __future__ import annotations

from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any, cast

from airflow.sdk import Context
from airflow.sdk.execution_time.context import OutletEventAccessors


def task_context(*, run_id: str = "manual__1", map_index: int = -1) -> Context:
    """Return as much of a task's context as operators of this provider look at; XComs are in ``ti.xcoms``."""
    xcoms: dict[str, Any] = {}
    ti = SimpleNamespace(map_index=map_index, xcoms=xcoms, xcom_push=lambda key, value: xcoms.update({key: value}))
    run_after = datetime(2026, 3, 9, 4, 5, tzinfo=timezone.utc)
    dag_run = SimpleNamespace(dag_id="cycle", run_id=run_id, run_after=run_after)
    return cast("Context", {"ti": ti, "dag_run": dag_run, "outlet_events": OutletEventAccessors()})
