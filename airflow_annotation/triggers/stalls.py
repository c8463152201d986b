"""Finds out whether nothing was labeled for too long, for the sensor, its trigger and the watcher."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

from airflow_annotation.hooks.annotation import AnnotationProgress
from airflow_annotation.triggers.deferring import in_seconds


def read_stalled_after(value: timedelta | float | None) -> float | None:
    """Return the value of the argument ``stalled_after`` in seconds.

    :raises ValueError: the value is not above 0
    """
    seconds = None if value is None else in_seconds(value)
    if seconds is not None and seconds <= 0:
        raise ValueError(f"stalled_after is a time above 0, not {value!r}.")
    return seconds


class StallWatch:
    """Finds out whether nothing has changed in a project for some time.

    It compares each progress with the last one, which costs no request. When the progress has stayed the same for that
    time, the trigger asks the tool for the last change, which includes edits: one small request each time.

    :param stalled_after: seconds without a change after which a project is stalled; None if it never is
    :param since: time from which these count, in seconds since the epoch
    :param seen: the progress at that time, None if it is not known
    """

    def __init__(self, stalled_after: float | None, since: float, seen: AnnotationProgress | None = None) -> None:
        self.since = since
        self._asked = since
        self._stalled_after = stalled_after
        self._seen = seen
        self._is_first = seen is None

    def see(self, progress: AnnotationProgress | None) -> None:
        """Compare a progress with the last one. None means that there is no project, so it is not stalled."""
        if progress is None or (progress != self._seen and not self._is_first):
            self.since = time.time()
        self._seen = progress
        self._is_first = False

    @property
    def is_due(self) -> bool:
        """Whether it is time to ask the tool for the last change."""
        return self._is_over(max(self.since, self._asked))

    def is_stalled(self, last_change: datetime | None) -> bool:
        """Return whether nothing has changed for too long.

        :param last_change: time of the last change, None if the tool cannot tell it
        """
        self._asked = time.time()
        if last_change is not None:
            self.since = max(self.since, last_change.timestamp())
        return self._is_over(self.since)

    def _is_over(self, since: float) -> bool:
        return self._stalled_after is not None and time.time() - since >= self._stalled_after


def describe_stall(since: float) -> str:
    """Return how long nothing has changed, as a clause.

    :param since: time of the last change, in seconds since the epoch
    """
    duration = timedelta(seconds=round(time.time() - since))
    began = datetime.fromtimestamp(since, timezone.utc)
    return f"Nothing was labeled for {duration}, since {began:%Y-%m-%d %H:%M:%S} UTC"
