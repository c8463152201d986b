"""The trigger of the annotation sensor."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from airflow_annotation.exceptions import (
    AnnotationError,
    AnnotationProjectNotFoundError,
)
from airflow_annotation.hooks.annotation import AnnotationProgress
from airflow_annotation.triggers.goal_meter import GoalMeter
from airflow_annotation.triggers.poller import ProgressPoller, shared_poller
from airflow_annotation.triggers.progress import CompletionRule, ProgressLog
from airflow_annotation.triggers.stalls import StallWatch
from airflow_annotation.triggers.waiting import WaitTrigger

_PAUSE: Final = 5.0
"""Seconds until a goal is checked again after an error."""


class AnnotationTrigger(WaitTrigger):
    """Waits until the labeling of a project is finished, or until the deadline.

    Fires once, with a dictionary whose ``status`` is

    - ``completed``, with ``progress``: the fields of :class:`~airflow_annotation.hooks.annotation.AnnotationProgress`
    - ``timed_out``, with ``progress``, which is None if there is no project, and with ``missing`` if there is a goal
    - ``stalled``, with ``progress``, ``missing``, ``project_id``, ``run_key``, ``since`` (time of the last change, in
      seconds since the epoch) and ``deadline``
    - ``error``, with what :func:`~airflow_annotation.triggers.waiting.event_error` needs

    While the tool is out of reach (no connection, 429, 5xx), it asks again, with growing pauses. All other errors fire
    at once. All waits through one connection in a triggerer share their requests: see
    :mod:`~airflow_annotation.triggers.poller`.

    :param annotation_conn_id: the connection of the labeling tool
    :param project_id: the project's id, None if there is no project yet
    :param run_keys: keys of the runs whose project it is, to find it if ``project_id`` is None or the project is gone
    :param run_key: key of the project's run, if the project is known
    :param rule: the fields of a :class:`~airflow_annotation.triggers.progress.CompletionRule`
    :param deadline: time at which the wait ends, in seconds since the epoch; restarts of the triggerer do not move it
    :param poke_interval: maximum seconds between two polls; other waits may make it shorter
    :param exponential_backoff: whether to double the interval after each poll
    :param max_wait: maximum seconds between two polls when the interval is doubled; None for no maximum
    :param max_outage: maximum seconds for which the tool may be out of reach
    :param seen: the progress that the task logged before it deferred, as its fields
    :param not_before: earliest time of the event, in seconds since the epoch: see
        :data:`~airflow_annotation.triggers.deferring.DEFERRED_AT_LEAST`
    :param stalled_after: seconds without a change after which the project counts as stalled
    :param stalled_since: time from which these count, in seconds since the epoch
    """

    def __init__(
        self,
        *,
        annotation_conn_id: str,
        project_id: str | None,
        run_keys: Sequence[str],
        rule: Mapping[str, Any],
        deadline: float,
        poke_interval: float,
        exponential_backoff: bool = False,
        max_wait: float | None = None,
        max_outage: float = 600.0,
        seen: Mapping[str, Any] | None = None,
        not_before: float = 0.0,
        stalled_after: float | None = None,
        stalled_since: float = 0.0,
        run_key: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Airflow's is untyped
        self.annotation_conn_id = annotation_conn_id
        self.project_id = project_id
        self.run_keys = list(run_keys)
        self.rule = dict(rule)
        self.deadline = deadline
        self.poke_interval = poke_interval
        self.exponential_backoff = exponential_backoff
        self.max_wait = max_wait
        self.max_outage = max_outage
        self.seen = seen and dict(seen)
        self.not_before = not_before
        self.stalled_after = stalled_after
        self.stalled_since = stalled_since
        self.run_key = run_key
        self._meter: GoalMeter | None = None
        self._missing: list[str] = []
        """What the project lacked of the goal at the last poll."""
        self._recounted: tuple[AnnotationProgress, AnnotationProgress] | None = None
        self._skips = -1
        """The poller's count of skipped items at the time of the last exact count."""

    async def _wait(self) -> dict[str, Any]:
        rule = msgspec.convert(self.rule, CompletionRule)
        seen = msgspec.convert(self.seen, AnnotationProgress | None)
        progress_log = ProgressLog(self.log, seen)
        stall = StallWatch(self.stalled_after, self.stalled_since, seen)
        interval = self.poke_interval
        within = 0.0
        async with shared_poller(self.annotation_conn_id) as poller:
            while True:
                progress = await self._ask_through_outages(poller, rule, within)
                if progress is not None:
                    tags = {"conn_id": self.annotation_conn_id, "project_id": self.project_id, "run_key": self.run_key}
                    progress_log.update(progress, rule, tags=tags)
                    if rule.is_met(progress) and not self._missing:
                        return {"status": "completed", "progress": msgspec.to_builtins(progress)}
                remaining = self.deadline - time.time()
                if remaining <= 0:
                    return {
                        "status": "timed_out",
                        "progress": progress and msgspec.to_builtins(progress),
                        **({"missing": self._missing} if rule.goal else {}),
                    }
                stall.see(progress)
                if progress is not None and await self._is_stalled(poller, stall):
                    return {
                        "status": "stalled",
                        "progress": msgspec.to_builtins(progress),
                        "project_id": self.project_id,
                        "run_key": self.run_key,
                        "since": stall.since,
                        "missing": self._missing,
                        "deadline": self.deadline,
                    }
                within = min(interval, remaining)
                if self.exponential_backoff:
                    interval = min(2 * interval, self.max_wait or math.inf)

    async def _is_stalled(self, poller: ProgressPoller, stall: StallWatch) -> bool:
        if not stall.is_due or self.project_id is None:
            return False
        try:
            return stall.is_stalled(await poller.last_change(self.project_id))
        except AnnotationError as error:
            if error.is_transient or isinstance(error, AnnotationProjectNotFoundError):
                return False  # the next poll of the progress gets it, too
            raise

    async def _ask_through_outages(
        self, poller: ProgressPoller, rule: CompletionRule, within: float
    ) -> AnnotationProgress | None:
        """Ask for the progress. While the tool is out of reach, ask again, until ``max_outage`` or the deadline."""
        give_up: float | None = None
        while True:
            try:
                progress = await self._ask(poller, rule, within)
                await self._look_for_goal(poller, rule, progress)
            except AnnotationProjectNotFoundError as error:
                rule.accept_missing(error)
                return None
            except AnnotationError as error:
                give_up = give_up or min(time.time() + self.max_outage, self.deadline)
                if not error.is_transient or time.time() + poller.backoff > give_up:
                    raise
                pause = 0.0 if poller.backoff else _PAUSE  # after its own requests, the poller pauses
                self.log.warning("%s Asking again in %.0f s.", error, poller.backoff or pause)
                await asyncio.sleep(pause)
            else:
                return progress
            within = 0.0

    async def _look_for_goal(self, poller: ProgressPoller, rule: CompletionRule, progress: AnnotationProgress) -> None:
        """Find out what the project lacks of the goal, once enough items are completed."""
        if rule.goal is None or self.project_id is None or not rule.is_met(progress):
            return
        self._meter = self._meter or GoalMeter(rule.goal)
        missing = await poller.find_missing(self._meter, self.project_id, progress)
        if missing and missing != self._missing:
            self.log.info("Still missing: %s.", ", ".join(missing))
        self._missing = missing

    async def _ask(self, poller: ProgressPoller, rule: CompletionRule, within: float) -> AnnotationProgress:
        if self.project_id is None:
            found = await poller.find_project(self.run_keys, within=within)
            self.project_id, self.run_key = found.id, found.run_key
            within = 0.0
        try:
            if rule.min_annotations is not None:  # Requests about several projects do not count submissions by item.
                return await poller.exact_progress(self.project_id, min_annotations=rule.min_annotations, within=within)
            progress = rule.count(await poller.progress(self.project_id, within=within))
            if not progress.skipped:
                return progress
            # The poller may count too many skipped items. An exact count costs a request, so there is one only when the
            # wait ends, or when the number of skipped items changes and is an obstacle.
            ends = rule.is_met(progress) or time.time() >= self.deadline
            if ends or (progress.skipped != self._skips and rule.find_obstacle(progress) is not None):
                if self._recounted is None or self._recounted[0] != progress:
                    self._recounted = progress, rule.count(await poller.exact_progress(self.project_id))
                self._skips, progress = progress.skipped, self._recounted[1]
            elif progress.skipped == self._skips and self._recounted is not None:
                progress = msgspec.structs.replace(progress, skipped=self._recounted[1].skipped)
        except AnnotationProjectNotFoundError:
            if self.run_keys:
                self.project_id = None  # The run may get another project.
            raise
        return progress
