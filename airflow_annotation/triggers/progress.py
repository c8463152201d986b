"""When the labeling of a project counts as finished, and how its progress reads: for the sensor and its trigger."""

from __future__ import annotations

import time
from typing import Any, Literal, Protocol

import msgspec
from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_annotation.exceptions import AnnotationError, AnnotationProjectNotFound
from airflow_annotation.hooks.annotation import AnnotationProgress

OnEmpty = Literal["fail", "wait", "skip", "proceed"]
OnMissing = Literal["fail", "wait", "skip"]


class CompletionRule(msgspec.Struct, frozen=True, kw_only=True):
    """When a project is finished, and what to do about one that cannot be.

    :param min_completed: a float, above 0 and up to 1, is a fraction of the project's items; an int is a count of them
    :param count_skipped: count skipped items as completed
    :param completed_status: count the items in this workflow state of the tool as completed, in place of those that the
        tool counts as finished
    :param on_empty: what to do about a project without items: ``fail``, ``wait`` for items, ``skip`` the task, or
        ``proceed`` as if it were finished
    :param on_missing: what to do about a project that does not exist: ``fail``, ``wait`` for it, or ``skip`` the task
    """

    min_completed: float | int = 1.0
    count_skipped: bool = False
    completed_status: str | None = None
    on_empty: OnEmpty = "fail"
    on_missing: OnMissing = "fail"

    def count(self, progress: AnnotationProgress) -> AnnotationProgress:
        """Return a progress with ``completed`` as the rule counts it.

        :raises AnnotationError: the tool has no such workflow state
        """
        if self.completed_status is None:
            return progress
        if self.completed_status not in progress.statuses:
            raise AnnotationError(
                f"The tool has no workflow state {self.completed_status!r} for completed_status. "
                f"It has {', '.join(progress.statuses) or 'none'}."
            )
        return msgspec.structs.replace(progress, completed=progress.statuses[self.completed_status])

    def is_met(self, progress: AnnotationProgress) -> bool:
        """Return whether the project is finished.

        :raises AnnotationError: it is empty, which is not wanted
        :raises AirflowSkipException: it is empty, and the task is to be skipped then
        """
        if not progress.total and self.on_empty != "wait":
            if self.on_empty == "proceed":
                return True
            message = "The annotation project has no items. Upload some first, or choose another on_empty."
            raise AirflowSkipException(message) if self.on_empty == "skip" else AnnotationError(message)
        completed = progress.completed + (progress.skipped if self.count_skipped else 0)
        if isinstance(self.min_completed, int):
            return completed >= self.min_completed
        return bool(progress.total) and completed / progress.total >= self.min_completed

    def accept_missing(self, error: AnnotationProjectNotFound) -> None:
        """Return if a project that does not exist is to be waited for.

        :raises AnnotationProjectNotFound: it is not
        :raises AirflowSkipException: the task is to be skipped
        """
        if self.on_missing == "skip":
            raise AirflowSkipException(str(error)) from error
        if self.on_missing == "fail":
            raise error


def read_min_completed(value: float | str) -> float | int:
    """Return the threshold that an argument gives, a template's text included.

    :raises ValueError: it is neither a fraction above 0 and up to 1.0 nor a whole number from 1
    """
    number: object = value
    if isinstance(value, str):
        try:
            number = float(value) if "." in value or "e" in value.lower() else int(value)
        except ValueError:
            number = None
    if isinstance(number, float) and 0 < number <= 1:
        return number
    if isinstance(number, int) and not isinstance(number, bool) and number >= 1:
        return number
    raise ValueError(
        f"min_completed is a fraction above 0 and up to 1.0 (a float), or a count of 1 or more (an int), not {value!r}."
    )


def progress_result(progress: AnnotationProgress, *, timed_out: bool = False) -> dict[str, Any]:
    """Return a progress as the sensor's XCom: its fields, ``fraction``, and ``timed_out``."""
    return {**msgspec.to_builtins(progress), "fraction": progress.fraction, "timed_out": timed_out}


class InfoLogger(Protocol):
    """What is needed of Airflow's loggers, whose types differ between tasks and triggers."""

    def info(self, event: str, *args: Any) -> Any:
        """Log a message."""


class ProgressLog:
    """Logs the progress of one project, and the rate since the first look, whenever it has changed.

    :param log: where to
    """

    def __init__(self, log: InfoLogger) -> None:
        self._log = log
        self._first: tuple[float, AnnotationProgress] | None = None
        self._last: AnnotationProgress | None = None

    def update(self, progress: AnnotationProgress) -> None:
        """Log the progress, unless it is what it was."""
        if progress == self._last:
            return
        self._last = progress
        now = time.monotonic()
        began, first = self._first = self._first or (now, progress)
        gained = progress.completed - first.completed
        self._log.info(
            "%d of %d items are completed (%.1f%%), %d skipped%s",
            progress.completed,
            progress.total,
            100 * progress.fraction,
            progress.skipped,
            f"; {3600 * gained / (now - began):.1f} items an hour" if gained > 0 and now > began else "",
        )
