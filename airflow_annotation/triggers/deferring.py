"""How long tasks wait in the triggerer."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

TRIGGER_GRACE: Final = timedelta(minutes=5)
"""How long after the timeout Airflow's scheduler ends the wait, should no triggerer be there to end it in time."""

DEFERRED_AT_LEAST: Final = 10.0
"""Seconds for which a wait in the triggerer lasts at least.

Airflow notices up to ``[workers] min_heartbeat_interval`` (5) seconds late that the process of a deferred task has
ended. If the task runs again by then, the scheduler takes it for killed and fails it.
"""


def in_seconds(duration: timedelta | float) -> float:
    """Return a duration in seconds, which a number is already."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration
