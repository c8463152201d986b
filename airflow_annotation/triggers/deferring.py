"""How long tasks wait in the triggerer."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

TRIGGER_GRACE: Final = timedelta(minutes=5)
"""Time after the timeout at which Airflow's scheduler ends the wait, if no triggerer has ended it."""

DEFERRED_AT_LEAST: Final = 10.0
"""Minimum duration of a wait in the triggerer, in seconds.

Airflow notices up to ``[workers] min_heartbeat_interval`` (5) seconds late that the process of a deferred task has
ended. If the task runs again before that, the scheduler believes that it was killed, and fails it.
"""


def in_seconds(duration: timedelta | float) -> float:
    """Return a duration in seconds. A number is already in seconds."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration
