"""The sensor that waits for people to label."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, cast

import msgspec
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
    conf,
)
from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_annotation.arguments import check_choice, is_templated
from airflow_annotation.exceptions import AnnotationProjectNotFoundError, AnnotationStalledError
from airflow_annotation.hooks.annotation import AnnotationProgress, AnnotationProject
from airflow_annotation.labels.goal import Goal
from airflow_annotation.parameters import SensorParameters
from airflow_annotation.project_task import AnnotationProjectTask, ProjectTaskParameters
from airflow_annotation.triggers.annotation import AnnotationTrigger
from airflow_annotation.triggers.deferring import DEFERRED_AT_LEAST, TRIGGER_GRACE, in_seconds
from airflow_annotation.triggers.goal_meter import GoalMeter
from airflow_annotation.triggers.progress import (
    CompletionRule,
    OnEmpty,
    OnMissing,
    ProgressLog,
    progress_result,
    read_min_annotations,
    read_min_completed,
)
from airflow_annotation.triggers.stalls import StallWatch, describe_stall, read_stalled_after
from airflow_annotation.triggers.waiting import event_error

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg
    from typing_extensions import Unpack

OnTimeout = Literal["fail", "proceed"]

_UNCOUNTED: Final = "labels, which the triggerer counts"

_TIMED_OUT: Final = "Timed out; proceeding, as on_timeout says"


class AnnotationSensorParameters(ProjectTaskParameters, SensorParameters, total=False):
    """Parameters that :class:`AnnotationSensor` inherits, for type checkers and editors."""


class AnnotationSensor(AnnotationProjectTask, BaseSensorOperator):
    """Wait until enough of an annotation project is labeled.

    Each poke costs one small request to the tool (``min_annotations`` costs more). With ``mode="reschedule"`` it costs
    another, since each poke is a separate process and looks up the project again. With ``deferrable``, the wait needs
    no worker: if the first poke finds the project unfinished, the triggerer waits. The wait survives restarts of the
    triggerer, and outages of the tool up to ``max_outage``.

    Returns the progress: ``total``, ``completed``, ``skipped`` and ``annotations`` (counts), ``statuses`` (items by the
    tool's workflow state), ``fraction`` (completed of total) and ``timed_out`` (whether the task proceeds without
    reaching the goal).

    ``timeout`` counts from the first poke of each try (in mode ``reschedule`` of the first try, as in all sensors).
    ``soft_fail`` and ``never_fail`` skip the task as in all sensors: in a deferrable sensor after any error, otherwise
    after the timeout or any error.

    :param min_completed: how much has to be completed. A float is a fraction of the project's items (``0.9``; ``1.0``
        is all), an int is a count of items (``1`` is one). The default is all; with a ``goal``, any number. (templated)
    :param goal: further conditions that the project must meet, a dictionary as
        :class:`~airflow_annotation.labels.goal.Goal` describes it. It has one or more of

        - ``labels``: labels of each class, ``500`` or ``{"car": 500, "van": 200}``
        - ``annotators``: items that each person has submitted, ``{"ann@example.com": 100}``
        - ``agreement``: 0..1, of the last 200 items that several people labeled
        - ``reviewed``: ``True``, so that no item waits for a review; Labelbox only
        - ``quiet_for``: a timedelta or seconds since the last change

        Asking for the last change costs another small request per poke. Only if it has moved, the sensor reads labels,
        of the items that have changed. Mode ``reschedule`` forgets what was read, so it cannot wait for goals that read
        labels
    :param count_skipped: count skipped items as completed. Without it, a single skipped item keeps
        ``min_completed=1.0`` from being reached; the log warns when only skipped items are left.
    :param completed_status: workflow state of the tool in which items count as completed, instead of the tool's own
        count of finished items. In Labelbox, ``labeled`` waits for labels and not for their review. (templated)
    :param min_annotations: number of submissions with which an item counts as completed, instead of the tool's own
        count of finished items: ``2`` waits until each item has two; skips do not count. The tools, and the table
        ``annotations``, call a submission an annotation. The project has to ask that many people for each item, in
        Label Studio with its setting ``maximum_annotations``, in Labelbox with consensus. In Label Studio, each poke
        costs another small request. In Labelbox, once the project has that many submissions, each poke costs an export
        of it, so a ``poke_interval`` of minutes is better there. (templated)
    :param on_timeout: what to do after ``timeout``: ``fail``, or ``proceed`` with the labels that there are. If no
        project turned up before the timeout, the task always fails.
    :param on_empty: what to do about a project without items: ``fail``, ``wait`` for items, ``skip`` the task, or
        ``proceed``
    :param on_missing: what to do about a project that does not exist, or is deleted during the wait: ``fail``, ``wait``
        for it, or ``skip`` the task
    :param stalled_after: time without labeling, a timedelta or seconds, after which the project is stalled. It counts
        from the start of the wait or later, and every change of an item counts as labeling. When the progress has
        stayed the same for that time, the sensor asks the tool for the last change: one small request
    :param on_stalled: what to do about a stalled project: ``fail`` with
        :class:`~airflow_annotation.exceptions.AnnotationStalledError`, ``proceed`` with the labels that there are, or a
        callback, such as an :class:`~airflow_annotation.notifications.annotation.AnnotationNotifier`. The callback gets
        the task's context, in which ``exception`` is that error, and the wait goes on. It is called again after each
        further ``stalled_after`` without a change. Mode ``reschedule`` takes no callback
    :param max_outage: while deferred, how long the tool may be out of reach before the task fails: a timedelta or
        seconds, 10 minutes by default. A task that is not deferred fails at the first poke that does not reach the
        tool, and can be retried.
    :param deferrable: wait in the triggerer, for at least 10 seconds; by default what Airflow's ``[operators]
        default_deferrable`` says
    :param project: the project: its id, or what ``CreateAnnotationProjectOperator`` returned. (templated)
    :param run_key: the key of the annotation run that has the project, if ``project`` is not given; without either, the
        run that belongs to this DAG run. (templated)
    :param annotation_conn_id: the connection of the labeling tool; its type decides which tool it is. (templated)
    :raises ValueError: an argument is invalid
    :raises AirflowSensorTimeout: too little was completed in time
    :raises AnnotationStalledError: nothing was labeled for the time in ``stalled_after``
    :raises AnnotationProjectNotFoundError: there is no such project
    :raises AnnotationError: the project is empty, or the labeling tool cannot be reached
    """

    template_fields: Sequence[str] = (
        *AnnotationProjectTask.template_fields,
        "min_completed",
        "completed_status",
        "min_annotations",
    )

    def __init__(
        self,
        *,
        min_completed: float | str | XComArg | None = None,
        goal: Mapping[str, Any] | None = None,
        count_skipped: bool = False,
        completed_status: str | None = None,
        min_annotations: int | str | XComArg | None = None,
        on_timeout: OnTimeout = "fail",
        on_empty: OnEmpty = "fail",
        on_missing: OnMissing = "fail",
        stalled_after: timedelta | float | None = None,
        on_stalled: str | Callable[[Context], Any] = "fail",
        max_outage: timedelta | float = timedelta(minutes=10),
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Unpack[AnnotationSensorParameters],
    ) -> None:
        super().__init__(**kwargs)  # type: ignore[misc] # the first base hands the sensor's on to the second
        self.min_completed: Any = min_completed
        self.goal = None if goal is None else Goal.of(goal)
        self.count_skipped = count_skipped
        self.completed_status = completed_status
        self.min_annotations: Any = min_annotations
        self.on_timeout = on_timeout
        self.on_empty = on_empty
        self.on_missing = on_missing
        self.stalled_after = read_stalled_after(stalled_after)
        self.on_stalled = on_stalled
        self.max_outage = in_seconds(max_outage)
        self.deferrable = deferrable
        if min_completed is not None and not is_templated(min_completed):
            read_min_completed(cast("float | str", min_completed))
        if self.goal is not None and self.goal.reads_labels and self.reschedule and not deferrable:
            raise ValueError(
                "goal reads labels, and mode 'reschedule' forgets at each poke what was read: pass deferrable=True."
            )
        if not is_templated(min_annotations):
            read_min_annotations(cast("int | str | None", min_annotations))
        if completed_status is not None and min_annotations is not None:
            raise ValueError("Pass either completed_status or min_annotations: both say what counts as completed.")
        if not callable(on_stalled):
            check_choice("on_stalled", on_stalled, ("fail", "proceed"))
        elif self.reschedule and not deferrable:
            raise ValueError(
                "on_stalled cannot be a callback in mode 'reschedule', which forgets that it was called: "
                "pass deferrable=True."
            )
        self._project: AnnotationProject | None = None
        self._stall: StallWatch | None = None
        self._unfinished: AnnotationProgress | None = None
        self._missing: Sequence[str] = ()
        self._meter: GoalMeter | None = None
        self._progress_log = ProgressLog(self.log)

    def execute(self, context: Context) -> dict[str, Any]:
        """Poke until the project is finished, or defer."""
        if self.deferrable:
            # The base class turns the errors of a resumed sensor into what soft_fail and never_fail ask for. The poke
            # before the wait must end in the same way as those after it.
            return self.resume_execution("poke_or_defer", None, context)  # type: ignore[no-any-return] # Airflow's
        try:
            return super().execute(context)  # type: ignore[no-any-return] # Airflow's is untyped
        except AnnotationStalledError as error:
            if self.soft_fail:
                raise AirflowSkipException(str(error)) from error
            raise
        except (AirflowSensorTimeout, AirflowSkipException) as error:
            # What is raised after a poke that came back unfinished is the base class's timeout.
            if self._unfinished is None:
                raise
            if self.on_timeout == "proceed":
                return self._proceed(self._unfinished, _TIMED_OUT)
            raise type(error)(self._timeout_message(self._unfinished)) from error

    def poke(self, context: Context) -> PokeReturnValue:
        """Check the progress once."""
        result = self._look(context)
        return PokeReturnValue(is_done=result is not None, xcom_value=result)

    def poke_or_defer(self, context: Context) -> dict[str, Any]:
        """Check the progress once, and leave the rest of the wait to the triggerer."""
        deadline = time.time() + self.timeout
        result = self._look(context)
        if result is None:
            known = (self._project.id, self._project.run_key) if self._project else (None, None)
            self._defer(context, known, deadline, self._unfinished)
        return result

    def _defer(
        self,
        context: Context,
        known: tuple[str | None, str | None],
        deadline: float,
        seen: AnnotationProgress | None,
    ) -> NoReturn:
        """Leave the wait to the triggerer.

        :param known: the project's id and run key, each None if it is not known
        :param deadline: end of the wait, in seconds since the epoch
        :param seen: the progress that has been logged
        """
        project_id, run_key = known
        now = time.time()
        raise TaskDeferred(
            trigger=AnnotationTrigger(
                annotation_conn_id=self.annotation_conn_id,
                project_id=project_id,
                run_keys=self.run_keys(context),
                run_key=run_key,
                rule=msgspec.to_builtins(self._rule()),
                deadline=deadline,
                poke_interval=self.poke_interval,
                exponential_backoff=self.exponential_backoff,
                max_wait=in_seconds(self.max_wait) if self.max_wait else None,
                max_outage=self.max_outage,
                seen=msgspec.to_builtins(seen),
                not_before=now + DEFERRED_AT_LEAST,
                stalled_after=self.stalled_after,
                stalled_since=now,
            ),
            method_name="execute_complete",
            timeout=None if self.on_timeout == "proceed" else timedelta(seconds=deadline - now) + TRIGGER_GRACE,
        )

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Continue after a wait; on Airflow 3.1 the base class supports only ``soft_fail``, not ``never_fail``."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowException as error:
            if self.never_fail:
                raise AirflowSkipException("Skipping, as never_fail says.") from error
            raise

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the trigger saw, raise the error that it met, or continue to wait after a stall."""
        if event["status"] == "error":
            raise event_error(event)
        progress = event["progress"] and msgspec.convert(event["progress"], AnnotationProgress)
        self._missing = event.get("missing", ())
        if event["status"] == "completed":
            return progress_result(progress)
        if event["status"] == "stalled":
            result = self._end_stall(context, progress, event["since"])
            if result is None:
                self._defer(context, (event["project_id"], event["run_key"]), event["deadline"], progress)
            return result
        if self.on_timeout == "proceed" and progress is not None:
            return self._proceed(progress, _TIMED_OUT)
        raise AirflowSensorTimeout(self._timeout_message(progress))

    def _look(self, context: Context) -> dict[str, Any] | None:
        self._unfinished = None
        rule = self._rule()
        self.run_keys(context)  # a project that no task has named is none to wait for
        try:
            self._project = self._project or self.find_project(context)
            found = self.hook.get_progress(self._project.id, min_annotations=rule.min_annotations)
            progress = rule.count(found)
        except AnnotationProjectNotFoundError as error:
            self._project = None
            rule.accept_missing(error)
            self.log.info("%s Waiting for it.", error)
            return None
        # In mode reschedule each poke is a process of its own, which does not know what others have said.
        pokes = context.get("task_reschedule_count", 0) + 1
        self._progress_log.update(progress, rule, tags=self.metric_tags(self._project), warns=pokes.bit_count() == 1)
        if rule.is_met(progress):
            self._missing = self._find_missing(self._project.id, progress)
            if not self._missing:
                return progress_result(progress)
        self._unfinished = progress
        return self._look_for_stall(context, self._project.id, progress)

    def _find_missing(self, project_id: str, progress: AnnotationProgress) -> Sequence[str]:
        if self.goal is None:
            return ()
        if self.deferrable and self.goal.reads_labels:
            return (_UNCOUNTED,)  # the triggerer would read all of them once more
        self._meter = self._meter or GoalMeter(self.goal)
        missing = self._meter.find_missing(self.hook, project_id, progress)
        if missing and missing != self._missing:
            self.log.info("Still missing: %s.", ", ".join(missing))
        return missing

    def _look_for_stall(self, context: Context, project_id: str, progress: AnnotationProgress) -> dict[str, Any] | None:
        if self._stall is None:
            first_poke = context["ti"].get_first_reschedule_date(context) if self.reschedule else None
            self._stall = StallWatch(self.stalled_after, first_poke.timestamp() if first_poke else time.time())
        self._stall.see(progress)
        if not self._stall.is_due or not self._stall.is_stalled(self.hook.get_last_change(project_id)):
            return None
        result = self._end_stall(context, progress, self._stall.since)
        self._stall.since = time.time()
        return result

    def _end_stall(self, context: Context, progress: AnnotationProgress, since: float) -> dict[str, Any] | None:
        """Do what ``on_stalled`` says about a stalled project; return None if the wait goes on."""
        error = AnnotationStalledError(f"{describe_stall(since)}: {self._rule().describe(progress, self._missing)}.")
        if self.on_stalled == "fail":
            self._unfinished = None  # so that it does not look like a timeout
            raise error
        if self.on_stalled == "proceed":
            return self._proceed(progress, f"{describe_stall(since)}; proceeding, as on_stalled says")
        self.log.warning("%s The wait goes on.", error)
        try:
            cast("Callable[[Context], Any]", self.on_stalled)(cast("Context", {**context, "exception": error}))
        except Exception:  # as Airflow does about the callbacks of tasks
            self.log.exception("The callback on_stalled failed.")
        return None

    def _rule(self) -> CompletionRule:
        return CompletionRule(
            min_completed=self._min_completed(),
            goal=self.goal,
            count_skipped=self.count_skipped,
            completed_status=self.completed_status,
            min_annotations=read_min_annotations(self.min_annotations),
            on_empty=self.on_empty,
            on_missing=self.on_missing,
        )

    def _min_completed(self) -> float | int | None:
        if self.min_completed is None:
            return 1.0 if self.goal is None else None
        return read_min_completed(self.min_completed)

    def _proceed(self, progress: AnnotationProgress, why: str) -> dict[str, Any]:
        self.log.warning("%s: %s.", why, self._rule().describe(progress, self._missing))
        return progress_result(progress, timed_out=True)

    def _timeout_message(self, progress: AnnotationProgress | None) -> str:
        rule = self._rule()
        seen = "there was no project" if progress is None else rule.describe(progress, self._missing)
        obstacle = progress and rule.find_obstacle(progress)
        return f"The sensor timed out after {self.timeout:.0f} s: {seen}.{f' {obstacle}' if obstacle else ''}"
