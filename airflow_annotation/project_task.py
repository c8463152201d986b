"""Base classes of every operator, sensor and transfer that works on an annotation project."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import XCom
from airflow.sdk import BaseOperatorLink, XComArg

from airflow_annotation.exceptions import AnnotationProjectNotFoundError
from airflow_annotation.hooks.annotation import AnnotationHook, AnnotationProject
from airflow_annotation.parameters import OperatorParameters, VisibleParameters

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import TaskInstanceKey
    from typing_extensions import Unpack

PROJECT_URL_KEY = "annotation_project_url"


class AnnotationProjectLink(BaseOperatorLink):
    """Opens the task's annotation project in the labeling tool."""

    name = "Open project"
    xcom_key = PROJECT_URL_KEY
    """The XCom from which Airflow's UI reads the URL. It exists already while the task runs and waits."""

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's signature
        """Return the project's URL, or an empty string while the task has not found its project."""
        return XCom.get_value(key=PROJECT_URL_KEY, ti_key=ti_key) or ""


def default_run_key(context: Context) -> str:
    """Return the key of the annotation run that belongs to a task: ``<dag_id>/<run_id>``.

    A mapped task has its own run for each map index: ``<dag_id>/<run_id>/<map_index>``.
    """
    return default_run_keys(context)[0]


def default_run_keys(context: Context) -> list[str]:
    """Return the keys under which a task looks for its project, in order. The first key that exists counts.

    A mapped task finds the project that a task with the same map index made, otherwise the project that an unmapped
    task made. So a mapped task group with a project for each index needs no arguments, and tasks that are mapped over
    one project need none. An unmapped task after a mapped creator needs ``project=create.output`` in its ``expand``.
    """
    dag_run = context["dag_run"]
    run_key = f"{dag_run.dag_id}/{dag_run.run_id}"
    map_index = context["ti"].map_index
    return [run_key] if map_index is None or map_index < 0 else [f"{run_key}/{map_index}", run_key]


class TaskParameters(OperatorParameters, total=False):
    """Parameters of :class:`AnnotationTask`, for type checkers and editors."""

    annotation_conn_id: str
    run_key: str | None
    multiple_outputs: bool


class AnnotationTask(VisibleParameters):
    """Base of the tasks that use a labeling tool for an annotation run.

    :param annotation_conn_id: the connection of the labeling tool; its type decides which tool it is. (templated)
    :param run_key: the key of the annotation run; by default, the run that belongs to this DAG run and, in a mapped
        task, to the map index. (templated)
    """

    template_fields: Sequence[str] = ("annotation_conn_id", "run_key")
    operator_extra_links: Collection[BaseOperatorLink] = (AnnotationProjectLink(),)

    def __init__(
        self,
        *,
        annotation_conn_id: str = "annotation_default",
        run_key: str | None = None,
        multiple_outputs: bool = True,
        **kwargs: Unpack[OperatorParameters],
    ) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)
        self.annotation_conn_id = annotation_conn_id
        self.run_key = run_key

    @cached_property
    def hook(self) -> AnnotationHook:
        """The hook of the labeling tool that the connection names."""
        return AnnotationHook.for_connection(self.annotation_conn_id)

    def metric_tags(self, project: AnnotationProject) -> dict[str, str | None]:
        """Return the tags of metrics about a project."""
        return {"conn_id": self.annotation_conn_id, "project_id": project.id, "run_key": project.run_key}

    def remember_project(self, context: Context, project: AnnotationProject) -> None:
        """Let the extra link open this project, and log its URL."""
        context["ti"].xcom_push(key=PROJECT_URL_KEY, value=project.url)
        self.log.info("%s project %s: %s", "Created" if project.created else "Found", project.title, project.url)


class ProjectTaskParameters(TaskParameters, total=False):
    """Parameters of :class:`AnnotationProjectTask`, for type checkers and editors."""

    project: str | int | Mapping[str, Any] | XComArg | None


class AnnotationProjectTask(AnnotationTask):
    """Base of the tasks that work on one annotation project.

    :param project: the project: its id, or what ``CreateAnnotationProjectOperator`` returned. (templated)
    :param run_key: the key of the annotation run that has the project, if ``project`` is not given; without either, the
        run that belongs to this DAG run. (templated)
    """

    template_fields: Sequence[str] = (*AnnotationTask.template_fields, "project")

    def __init__(
        self, *, project: str | int | Mapping[str, Any] | XComArg | None = None, **kwargs: Unpack[TaskParameters]
    ) -> None:
        super().__init__(**kwargs)
        self.project: Any = project
        self._names_project = project is not None

    def run_keys(self, context: Context) -> list[str]:
        """Return the keys of the runs that may have the project, in order; none if ``project`` is given.

        :raises AnnotationProjectNotFoundError: ``project`` is the output of another task, which returned nothing
        """
        if self.project:
            return []
        if self.project is None and self._names_project:  # do not take this DAG run's project instead
            raise AnnotationProjectNotFoundError(
                f"The project of task {self.task_id!r} is what another task returns, which returned none: it failed or "
                "was skipped."
            )
        return [self.run_key] if self.run_key else default_run_keys(context)

    def find_project(self, context: Context) -> AnnotationProject:
        """Return the task's project, and let the extra link open it.

        :raises AnnotationProjectNotFoundError: there is no such project, or none of that run
        """
        project = self.hook.resolve_project(self.project, self.run_keys(context))
        self.remember_project(context, project)
        return project
