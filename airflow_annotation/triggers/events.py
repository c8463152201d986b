"""The watcher of annotation projects. Its asset events start a DAG when labels exist, without a waiting task."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Hashable, Mapping
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from airflow.providers.common.compat.sdk import AirflowException
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_annotation.exceptions import AnnotationProjectNotFoundError
from airflow_annotation.hooks.annotation import AnnotationProgress
from airflow_annotation.labels.goal import Goal
from airflow_annotation.triggers.goal_meter import GoalMeter
from airflow_annotation.triggers.looks import Look
from airflow_annotation.triggers.poller import ProgressPoller, shared_poller
from airflow_annotation.triggers.progress import CompletionRule, read_min_completed, report_progress
from airflow_annotation.triggers.serialization import serialized
from airflow_annotation.triggers.stalls import StallWatch, read_stalled_after

if TYPE_CHECKING:
    from airflow.triggers.shared_stream import SharedStreamProducer

_LONGEST_KEY = 500
"""Maximum length of a key in Airflow's asset state, in characters; Airflow accepts 512."""


class _Watched(NamedTuple):
    project_id: str
    project: str
    run_key: str | None


class Cursor(msgspec.Struct, frozen=True):
    """The position of a watcher in the events of a project.

    :param generation: generation of the last event, 0 before the first one
    :param reached: whether the threshold was reached at the last look; then no other event is due for it
    """

    generation: int = 0
    reached: bool = False


class AnnotationEventTrigger(BaseEventTrigger):
    """Creates an event of an asset when an annotation project reaches a threshold, or when more items are completed.

    Use it in an ``AssetWatcher``: ``Asset("labels", watchers=[AssetWatcher("done", AnnotationEventTrigger(...))])``. A
    DAG scheduled on the asset finds the event's payload in its extra, under ``payload``:

    - ``event_id``: id of the event, made of the next three; an event that is delivered again has the same id
    - ``project`` (URI), ``threshold`` (``{"every": 100}``, ``{"min_completed": 0.95}``, ``{"goal": {"labels": 500}}``
      or ``{"stalled_after": 86400.0}``) and ``generation``
    - ``project_id`` and ``run_key``, to work on the project
    - ``progress``: the fields of :class:`~airflow_annotation.hooks.annotation.AnnotationProgress`

    The generation of ``every`` is the number of completed items divided by ``every``, rounded down. If a project
    reaches several generations between two polls, only the last one creates an event. The generation of
    ``min_completed`` and of ``goal`` counts how often the project has reached the threshold. The project can reach it
    again only after it has fallen below it, for example because it has got more items.

    The generation of ``stalled_after`` is the time of the last change, in whole seconds since the epoch. So there is
    one event each time that people stop before all items are completed.

    Delivery is at least once. From Airflow 3.3 on, the asset's state records the delivered events, after Airflow has
    stored them. So an event is repeated only if the triggerer is killed in the seconds between. Before 3.3 there is no
    such state. A triggerer that restarts repeats, for each project, the last event of ``every``, and the events of the
    other thresholds if they are still reached. Since it cannot count, the generation of ``min_completed`` and of
    ``goal`` is then the number of items in the project.

    Problems (the tool is out of reach, the connection or the project is missing) are logged by the triggerer, and the
    watcher waits until they are over.

    :param annotation_conn_id: the connection of the labeling tool
    :param project: the project's id
    :param run_key: instead of ``project``, the key of the run that has the project; the run may not exist yet
    :param run_key_prefix: instead of ``project``, a prefix of runs' keys; the projects of all these runs are watched
    :param min_completed: how much has to be completed, as for
        :class:`~airflow_annotation.sensors.annotation.AnnotationSensor`: all (1.0) by default
    :param every: instead of ``min_completed``, number of further completed items after which there is an event
    :param goal: instead of ``min_completed``, conditions that the project must meet, as for the sensor. Most cost one
        more small request per poll, and those about labels read the labels of the items that have changed
    :param stalled_after: instead of ``min_completed``, time without labeling after which there is an event, a timedelta
        or seconds. It counts from the start of the watcher or later. A project with all items completed is not stalled
    :param count_skipped: count skipped items as completed
    :param completed_status: workflow state of the tool in which items count as completed, instead of the tool's own
        count of finished items
    :param poke_interval: maximum time between two polls, in seconds
    :raises ValueError: an argument is invalid. DAG parameters and templates are invalid too, since the triggerer gets
        the arguments as they are when the DAG is parsed
    """

    def __init__(
        self,
        *,
        annotation_conn_id: str = "annotation_default",
        project: str | int | None = None,
        run_key: str | None = None,
        run_key_prefix: str | None = None,
        min_completed: float | int | None = None,
        every: int | None = None,
        stalled_after: timedelta | float | None = None,
        goal: Mapping[str, Any] | None = None,
        count_skipped: bool = False,
        completed_status: str | None = None,
        poke_interval: float = 60.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Airflow's is untyped
        named = [value for value in (project, run_key, run_key_prefix) if value is not None]
        if len(named) != 1 or str(named[0]) == "":
            raise ValueError("Pass exactly one of project, run_key and run_key_prefix: what to watch.")
        if "{{" in str(named[0]):
            raise ValueError(f"{named[0]!r} is a template, and a watcher's arguments are fixed when the DAG is parsed.")
        if sum(threshold is not None for threshold in (min_completed, every, stalled_after, goal)) > 1:
            raise ValueError("Pass one of min_completed, every, stalled_after and goal.")
        if every is not None and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
            raise ValueError(f"every is a count of 1 or more items, not {every!r}.")
        if poke_interval <= 0:
            raise ValueError(f"poke_interval is a number of seconds above 0, not {poke_interval!r}.")
        stalled_after = read_stalled_after(stalled_after)
        self.annotation_conn_id = annotation_conn_id
        self.project = None if project is None else str(project)
        self.run_key = run_key
        self.run_key_prefix = run_key_prefix
        self.min_completed = None
        if every is None and stalled_after is None and goal is None:
            self.min_completed = read_min_completed(1.0 if min_completed is None else min_completed)
        self.every = every
        self.stalled_after = stalled_after
        self._goal = None if goal is None else Goal.of(goal)
        self.goal = None if self._goal is None else self._goal.describe()
        self.count_skipped = count_skipped
        self.completed_status = completed_status
        self.poke_interval = poke_interval
        self._rule = CompletionRule(
            min_completed=None if self._goal is not None else self.min_completed or 1.0,
            count_skipped=count_skipped,
            completed_status=completed_status,
            on_empty="wait",
        )
        self._cursors: dict[str, Cursor] = {}
        self._stalls: dict[str, StallWatch] = {}
        self._meters: dict[str, GoalMeter] = {}
        self._warned: set[str] = set()
        self._has_state = True
        self._last_problem = ""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments from which this trigger can be made again."""
        return serialized(self)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch, in Airflow before 3.3: an event counts as delivered when it is yielded."""
        async for event in self.filter_shared_stream(self.look()):
            yield event

    # From Airflow 3.3 on, Airflow tells a trigger that reads a "shared stream" when it has stored the trigger's events.
    # Each of our triggers has its own stream; they share only the poller.

    def shared_stream_key(self) -> Hashable:
        """Return a key that distinguishes this watcher from others."""
        return json.dumps(self.serialize(), sort_keys=True)

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """Return the object that yields looks, and that Airflow tells which events it has stored."""
        from airflow_annotation.triggers.delivery import LookProducer

        return LookProducer(cls(**kwargs).look)

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Look]) -> AsyncIterator[TriggerEvent]:
        """Turn looks into events."""
        async for look in shared_stream:
            cursor = self._cursors.get(look.project)
            if cursor is None:
                cursor = self._cursors[look.project] = await self._read_cursor(look.project)
            moved = self._judge(cursor, look)
            if moved == cursor:
                continue
            self._cursors[look.project] = moved
            if moved.generation == cursor.generation:
                await self._keep_cursor(look.project, moved)
                continue
            look.confirm = partial(self._keep_cursor, look.project, moved)
            yield TriggerEvent(self._payload(look, moved.generation))  # type: ignore[no-untyped-call] # Airflow's

    async def look(self) -> AsyncIterator[Look]:
        """Poll the projects forever, and yield a look at each project that has changed."""
        seen: dict[str, Look] = {}
        found: list[_Watched] = []
        within = 0.0
        async with shared_poller(self.annotation_conn_id) as poller:
            while True:
                results: list[Look | BaseException]
                try:
                    if self.run_key_prefix is not None or not found:
                        found = await self._find(poller, within)
                        within = within if self.project is not None else 0.0
                    looks = [self._look_at(poller, watched, within) for watched in found]
                    results = await asyncio.gather(*looks, return_exceptions=True)
                except AirflowException as error:
                    results = [error]
                for look in results:
                    if isinstance(look, AnnotationProjectNotFoundError):
                        found = []  # The run may get another project.
                    if isinstance(look, BaseException):
                        self._report(look)
                    elif seen.get(look.project) != look:
                        seen[look.project] = msgspec.structs.replace(look)  # a copy, since the event sets confirm
                        self._warn(look)
                        yield look
                if not any(isinstance(look, BaseException) for look in results):
                    self._last_problem = ""
                within = self.poke_interval

    async def _find(self, poller: ProgressPoller, within: float) -> list[_Watched]:
        if self.project is not None:
            return [_Watched(self.project, await poller.project_uri(self.project), None)]
        if self.run_key is not None:
            runs = [await poller.find_project([self.run_key], within=within)]
        else:
            runs = await poller.list_runs(self.run_key_prefix or "", within=within)
        return [_Watched(run.id, run.uri, run.run_key or self.run_key) for run in runs]

    async def _look_at(self, poller: ProgressPoller, watched: _Watched, within: float) -> Look:
        progress = await poller.progress(watched.project_id, within=within)
        if progress.skipped and (self.count_skipped or self._obstacle(progress)):
            progress = await poller.exact_progress(watched.project_id)
        progress = self._rule.count(progress)
        tags = {"conn_id": self.annotation_conn_id, "project_id": watched.project_id, "run_key": watched.run_key}
        report_progress(progress, None, tags)
        return Look(
            **watched._asdict(),
            progress=progress,
            stalled_since=await self._find_stall(poller, watched.project_id, progress),
            reached=await self._has_reached_goal(poller, watched.project_id, progress),
        )

    async def _has_reached_goal(self, poller: ProgressPoller, project_id: str, progress: AnnotationProgress) -> bool:
        if self._goal is None or not self._rule.is_met(progress):
            return False
        meter = self._meters.setdefault(project_id, GoalMeter(self._goal))
        return not await poller.find_missing(meter, project_id, progress)

    async def _find_stall(self, poller: ProgressPoller, project_id: str, progress: AnnotationProgress) -> float | None:
        """Return the time of the last change, in seconds since the epoch, if it is too long ago."""
        if self.stalled_after is None:
            return None
        stall = self._stalls.setdefault(project_id, StallWatch(self.stalled_after, time.time()))
        stall.see(progress)
        if self._rule.is_met(progress) or not progress.total or not stall.is_due:
            return None
        last_change = await poller.last_change(project_id)
        if not stall.is_stalled(last_change):
            return None
        return stall.since if last_change is None else last_change.timestamp()

    def _obstacle(self, progress: AnnotationProgress) -> str | None:
        return self._rule.find_obstacle(progress) if self.min_completed is not None else None

    def _warn(self, look: Look) -> None:
        """Warn once for each project whose goal is out of reach."""
        obstacle = self._obstacle(look.progress)
        if obstacle is not None and look.project not in self._warned:
            self.log.warning("%s: %s", look.project, obstacle)
            self._warned.add(look.project)

    def _judge(self, cursor: Cursor, look: Look) -> Cursor:
        """Return the cursor after a look. If its generation has moved, an event is due."""
        progress = look.progress
        if self.stalled_after is not None:
            return cursor if look.stalled_since is None else Cursor(generation=int(look.stalled_since))
        if self.every is not None:
            return Cursor(generation=max(cursor.generation, self._rule.done(progress) // self.every))
        reached = self._rule.is_met(progress) if self._goal is None else look.reached
        if not reached or cursor.reached:
            return Cursor(cursor.generation, reached)
        return Cursor(cursor.generation + 1 if self._state() is not None else progress.total, reached)

    def _payload(self, look: Look, generation: int) -> dict[str, Any]:
        return {
            "event_id": f"{look.project}?{self._condition}#{generation}",
            "project": look.project,
            "project_id": look.project_id,
            "run_key": look.run_key,
            "threshold": dict([self._threshold]),
            "generation": generation,
            "progress": msgspec.to_builtins(look.progress),
        }

    @property
    def _threshold(self) -> tuple[str, Any]:
        if self.every is not None:
            return "every", self.every
        if self.stalled_after is not None:
            return "stalled_after", self.stalled_after
        return ("min_completed", self.min_completed) if self.goal is None else ("goal", self.goal)

    @property
    def _condition(self) -> str:
        name, value = self._threshold
        value = value if self.goal is None else json.dumps(self.goal, sort_keys=True, separators=(",", ":"))
        status = f"&completed_status={self.completed_status}" if self.completed_status else ""
        return f"{name}={value}{'&count_skipped' if self.count_skipped else ''}{status}"

    async def _read_cursor(self, project: str) -> Cursor:
        kept = await self._use_state("get", project)
        return msgspec.convert(kept, Cursor) if kept else Cursor()

    async def _keep_cursor(self, project: str, cursor: Cursor) -> None:
        await self._use_state("set", project, msgspec.to_builtins(cursor))

    def _state(self) -> Any:
        """Return the state of the watched asset, or None if Airflow has none."""
        return getattr(self, "asset_state_store", None) if self._has_state else None

    async def _use_state(self, action: str, project: str, *value: Any) -> Any:
        store = self._state()
        if store is None:
            return None
        key = f"{project}?{self._condition}"[-_LONGEST_KEY:]
        try:
            if hasattr(store, f"a{action}"):
                return await getattr(store, f"a{action}")(key, *value)
            return await asyncio.to_thread(getattr(store, action), key, *value)  # Airflow 3.3.0 and 3.3.1
        except ValueError as error:
            self._has_state = False
            self.log.warning("Several assets have this watcher, so its events are recorded for none of them: %s", error)
            return None

    def _report(self, problem: BaseException) -> None:
        """Log a problem, unless it is the same as the last one.

        :raises BaseException: the problem is neither of the tool nor of the connection, but an error in the code
        """
        if not isinstance(problem, AirflowException):
            raise problem
        if str(problem) != self._last_problem:
            self._last_problem = str(problem)
            self.log.warning("%s The watcher goes on waiting.", problem)
