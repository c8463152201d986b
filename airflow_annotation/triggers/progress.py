"""Decides whether the labeling of a project is finished, and describes its progress."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from typing import Any, Literal, Protocol

import msgspec
from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_annotation import metrics
from airflow_annotation.arguments import check_count
from airflow_annotation.exceptions import AnnotationError, AnnotationProjectNotFoundError
from airflow_annotation.hooks.annotation import AnnotationProgress
from airflow_annotation.labels.goal import Goal

OnEmpty = Literal["fail", "wait", "skip", "proceed"]
OnMissing = Literal["fail", "wait", "skip"]


class CompletionRule(msgspec.Struct, frozen=True, kw_only=True):
    """When a project is finished, and what to do about a project that is empty or missing.

    :param min_completed: a float, above 0 and up to 1, is a fraction of the project's items; an int is a count of them;
        None means that any number is enough
    :param count_skipped: count skipped items as completed
    :param completed_status: count the items in this workflow state of the tool as completed, instead of those that the
        tool counts as finished
    :param min_annotations: count the items with this many submissions as completed instead; the tool counts them
    :param goal: further conditions, which :class:`~airflow_annotation.triggers.goal_meter.GoalMeter` checks
    :param on_empty: what to do about a project without items: ``fail``, ``wait`` for items, ``skip`` the task, or
        ``proceed`` as if it were finished
    :param on_missing: what to do about a project that does not exist: ``fail``, ``wait`` for it, or ``skip`` the task
    """

    min_completed: float | int | None = 1.0
    count_skipped: bool = False
    completed_status: str | None = None
    min_annotations: int | None = None
    goal: Goal | None = None
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
        """Return whether enough items are completed. The goal is not checked here.

        :raises AnnotationError: the project is empty, and ``on_empty`` is ``fail``
        :raises AirflowSkipException: the project is empty, and ``on_empty`` is ``skip``
        """
        if not progress.total:
            if self.on_empty in {"wait", "proceed"}:
                return self.on_empty == "proceed"
            message = "The annotation project has no items. Upload some first, or choose another on_empty."
            raise AirflowSkipException(message) if self.on_empty == "skip" else AnnotationError(message)
        return self.done(progress) >= self.items_needed(progress)

    def done(self, progress: AnnotationProgress) -> int:
        """Return how many items count as completed."""
        return progress.completed + (progress.skipped if self.count_skipped else 0)

    def items_needed(self, progress: AnnotationProgress) -> int:
        """Return how many items have to be completed: 1 or more, or 0 if any number is enough."""
        if self.min_completed is None:
            return 0
        if isinstance(self.min_completed, int):
            return self.min_completed
        goal = max(math.ceil(self.min_completed * progress.total), 1)
        # The product is rounded: 0.07 * 100 is more than 7, and 7 of 100 are 0.07.
        return goal - 1 if goal > 1 and (goal - 1) / progress.total >= self.min_completed else goal

    def describe(self, progress: AnnotationProgress, missing: Collection[str] = ()) -> str:
        """Return how far a project is and what the goal is, as a clause: ``3 of 4 items are completed, ...``.

        :param missing: what the project lacks of a goal, as clauses
        """
        asked = "" if self.min_completed is None else f"; the goal is {self.items_needed(progress)}"
        lacking = f"; still missing: {', '.join(missing)}" if missing else ""
        skipped = f", {progress.skipped} skipped" if progress.skipped else ""
        counted = " (counted as completed)" if skipped and self.count_skipped else ""
        status = f" in state {self.completed_status!r}" if self.completed_status else ""
        if self.min_annotations is not None:
            status = f" with {self.min_annotations} or more submissions each"
        return (
            f"{progress.completed} of {progress.total} items are completed{status} ({100 * progress.fraction:.1f}%)"
            f"{skipped}{counted}{asked}{lacking}"
        )

    def find_obstacle(self, progress: AnnotationProgress) -> str | None:
        """Return why ``min_completed`` cannot be reached with the current items, and what to do. None if it can."""
        if self.min_completed is None or not progress.total or self.done(progress) >= self.items_needed(progress):
            return None
        if self.items_needed(progress) > progress.total:
            return (
                f"The goal is out of reach: min_completed is {self.min_completed}, and the project has "
                f"{progress.total} items. The wait ends when enough items are added, or with a lower min_completed."
            )
        reachable = progress.total if self.count_skipped else progress.total - progress.skipped
        if self.completed_status is None and self.items_needed(progress) > reachable:
            left = "Only skipped items are left" if progress.completed >= reachable else "Too many items are skipped"
            return (
                f"{left} ({progress.skipped}): the wait ends when somebody labels some of them after all, or with "
                "count_skipped=True."
            )
        return None

    def accept_missing(self, error: AnnotationProjectNotFoundError) -> None:
        """Return if the task waits for a project that does not exist.

        :raises AnnotationProjectNotFoundError: ``on_missing`` is ``fail``
        :raises AirflowSkipException: ``on_missing`` is ``skip``
        """
        if self.on_missing == "skip":
            raise AirflowSkipException(str(error)) from error
        if self.on_missing == "fail":
            raise error


def read_min_completed(value: float | str) -> float | int:
    """Return the threshold of an argument, which may be a template's text.

    :raises ValueError: the value is neither a fraction above 0 and up to 1.0 nor a whole number from 1
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


def read_min_annotations(value: int | str | None) -> int | None:
    """Return the number of submissions of an argument, which may be a template's text. None stays None.

    :raises ValueError: the value is not a whole number from 1
    """
    check_count("min_annotations", value)
    return None if value is None else int(value)


def progress_result(progress: AnnotationProgress, *, timed_out: bool = False) -> dict[str, Any]:
    """Return a progress as the sensor's XCom: its fields, ``fraction``, and ``timed_out``."""
    return {**msgspec.to_builtins(progress), "fraction": progress.fraction, "timed_out": timed_out}


def report_progress(progress: AnnotationProgress, rate: float | None, tags: Mapping[str, str | None]) -> None:
    """Send a progress to Airflow's metrics.

    :param progress: the progress
    :param rate: completed items per hour, None if it is not known
    :param tags: tags of the metrics
    """
    metrics.gauge("items", progress.total, **tags)
    metrics.gauge("completed", progress.completed, **tags)
    if rate is not None:
        metrics.gauge("rate", rate, **tags)


class InfoLogger(Protocol):
    """The methods of Airflow's loggers that are used. The types of the loggers differ between tasks and triggers."""

    def info(self, event: str, *args: Any) -> Any:
        """Log a message."""

    def warning(self, event: str, *args: Any) -> Any:
        """Log a warning."""


class ProgressLog:
    """Logs the progress of one project whenever it has changed, with the goal and the rate since the first poll.

    It sends each progress to Airflow's metrics. It warns when the goal gets out of reach, once for each reason.

    :param log: logger
    :param seen: progress that another process has logged before
    """

    def __init__(self, log: InfoLogger, seen: AnnotationProgress | None = None) -> None:
        self._log = log
        self._first: tuple[float, AnnotationProgress] | None = None
        self._last = seen
        self._obstacle: str | None = None

    def update(
        self,
        progress: AnnotationProgress,
        rule: CompletionRule,
        *,
        tags: Mapping[str, str | None],
        warns: bool = True,
    ) -> None:
        """Log the progress, unless it is the same as the last one.

        :param progress: the progress, as the rule counts it
        :param rule: rule with the goal
        :param tags: tags of the metrics
        :param warns: whether to warn if the goal is out of reach
        """
        now = time.monotonic()
        if self._first is None:
            # The rate starts at this process's first poll: the time of another process's progress is not known.
            self._first = now, progress
            self._obstacle = None if self._last is None else rule.find_obstacle(self._last)
        began, first = self._first
        gained = progress.completed - first.completed
        rate = 3600 * gained / (now - began) if gained > 0 and now > began else None
        report_progress(progress, rate, tags)
        if progress == self._last:
            return
        self._last = progress
        an_hour = "" if rate is None else f"; {rate:.1f} items an hour"
        self._log.info("%s%s.", rule.describe(progress), an_hour)
        obstacle = rule.find_obstacle(progress)
        if warns and obstacle is not None and obstacle != self._obstacle:
            self._log.warning("%s", obstacle)
        self._obstacle = obstacle
