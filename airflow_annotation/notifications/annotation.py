"""The notifier that tells the progress of an annotation project, through any other notifier."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec
from airflow.providers.common.compat.sdk import BaseNotifier

from airflow_annotation.hooks.annotation import AnnotationHook, AnnotationProgress, AnnotationProject
from airflow_annotation.project_task import AnnotationProjectTask, AnnotationTask, default_run_keys
from airflow_annotation.triggers.progress import CompletionRule

if TYPE_CHECKING:
    from airflow.sdk import Context

_ATTEMPTS = 1
"""Maximum number of retries of a request. A task that failed because the tool is out of reach has waited already."""


class AnnotationNote(msgspec.Struct, frozen=True, kw_only=True):
    """What templates find under ``annotation``. Its ``message`` says all of it in one line of plain text.

    :param task: ``dag_id.task_id``, or the DAG's id in a callback of a DAG
    :param state: state of the task, such as ``failed``; empty if Airflow does not say
    :param error: first line of the error of the task, or the reason that the DAG run failed; empty if there is none
    :param project: the project with ``title``, ``url``, ``id``, ``tool`` and ``run_key``; None if it is not known
    :param progress: progress of the project; None if it is not known
    :param problem: why project or progress is not known; empty if both are
    """

    task: str
    state: str = ""
    error: str = ""
    project: AnnotationProject | None = None
    progress: AnnotationProgress | None = None
    problem: str = ""

    @property
    def message(self) -> str:
        """All of it, in one line of plain text."""
        name = f"{self.task} {self.state}".strip()
        parts = [f"{name}: {self.error}" if self.error else name]
        if self.project is not None:
            done = "" if self.progress is None else f": {CompletionRule(min_completed=None).describe(self.progress)}"
            parts.append(f"Project {self.project.title!r}{done}")
        if self.problem:
            parts.append(f"The progress is not known: {self.problem}")
        text = " ".join(part if part.endswith((".", "!", "?")) else f"{part}." for part in parts)
        return text if self.project is None else f"{text} {self.project.url}"


class AnnotationNotifier(BaseNotifier):
    """Tell people about an annotation project, through any other notifier.

    It puts ``annotation``, an :class:`AnnotationNote`, into the context, and calls another notifier with it, whose
    templates can use it::

        AnnotationSensor(
            task_id="wait",
            stalled_after=timedelta(days=1),
            on_failure_callback=AnnotationNotifier(
                SmtpNotifier(
                    to="labeling@example.com",
                    subject="{{ annotation.task }} {{ annotation.state }}",
                    html_content="{{ annotation.message | e }}",
                )
            ),
        )

    Use it for all callbacks of tasks (``on_failure_callback``, ``on_success_callback``, ``on_retry_callback``,
    ``on_skipped_callback``, ``on_execute_callback``), for those of DAGs, and for ``on_stalled`` of the sensor. The
    project is that of the task. In callbacks of DAGs, and of tasks of other providers, it is that of the DAG run.

    If the tool cannot be asked, the notifier still sends the message, which then says why. ``annotation.project`` and
    ``annotation.progress`` are None then: a template must check that they are not None before it uses their fields.

    :param notifier: the other notifier, or a function that takes the context
    :param annotation_conn_id: the connection of the labeling tool; by default the task's, else ``annotation_default``.
        (templated)
    :param project: the project's id, instead of the task's project. (templated)
    :param run_key: the key of the annotation run, instead of the task's project. (templated)
    :raises ValueError: ``notifier`` cannot be called
    """

    template_fields: Sequence[str] = ("annotation_conn_id", "project", "run_key")

    def __init__(
        self,
        notifier: Callable[[Context], Any],
        *,
        annotation_conn_id: str | None = None,
        project: str | int | None = None,
        run_key: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not callable(notifier):
            raise ValueError(  # noqa: TRY004 - as all wrong arguments
                f"notifier is a notifier, such as SmtpNotifier(...), or a function, not {notifier!r}."
            )
        self.notifier = notifier
        self.annotation_conn_id = annotation_conn_id
        self.project = project
        self.run_key = run_key

    def notify(self, context: Context) -> None:
        """Send the note."""
        # A copy: notifiers render their templates in place, and this one may be called again.
        copy.copy(self.notifier)(cast("Context", {**context, "annotation": self.describe(context)}))

    def describe(self, context: Context) -> AnnotationNote:
        """Return the note to send."""
        project = progress = None
        problem = ""
        try:
            hook, project_id, run_keys = self._where(context)
            hook.attempts = _ATTEMPTS
            project = hook.resolve_project(project_id, run_keys)
            progress = hook.get_progress(project.id)
        except Exception as error:
            # No error may prevent the note: the task may have failed for the same reason.
            self.log.warning("Could not ask for the annotation project and its progress.", exc_info=True)
            problem = _first_line(error) or type(error).__name__
        said: Mapping[str, Any] = cast("Mapping[str, Any]", context)
        is_of_dag = "reason" in said or "task" not in said
        state = None if is_of_dag else getattr(said.get("ti"), "state", None)
        return AnnotationNote(
            task=said["dag"].dag_id if is_of_dag else f"{said['task'].dag_id}.{said['task'].task_id}",
            state=str(getattr(state, "value", state) or ""),
            error=_first_line(said.get("exception") or said.get("reason")),
            project=project,
            progress=progress,
            problem=problem,
        )

    def _where(self, context: Context) -> tuple[AnnotationHook, Any, list[str]]:
        """Return the hook, and the project's id or the keys of the runs whose project it is."""
        said: Mapping[str, Any] = cast("Mapping[str, Any]", context)
        task: Any = said.get("task")
        of_task = isinstance(task, AnnotationTask) and "reason" not in said
        conn_id = self.annotation_conn_id or (task.annotation_conn_id if of_task else "annotation_default")
        hook = AnnotationHook.for_connection(conn_id)
        if self.project is not None:
            return hook, self.project, []
        if self.run_key is not None:
            return hook, None, [self.run_key]
        if of_task and isinstance(task, AnnotationProjectTask):
            return hook, task.project, task.run_keys(context)
        if of_task and task.run_key:
            return hook, None, [task.run_key]
        if "ti" in said and "reason" not in said:
            return hook, None, default_run_keys(context)
        return hook, None, [f"{said['dag'].dag_id}/{said['run_id']}"]


def _first_line(error: object) -> str:
    return "" if error is None else next(iter(str(error).strip().splitlines()), "")
