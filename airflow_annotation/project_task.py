"""What every operator, sensor and transfer that works on an annotation project has in common."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator, BaseOperatorLink, XCom

from airflow_annotation.hooks.annotation import AnnotationHook, AnnotationProject

if TYPE_CHECKING:
    from airflow.models.taskinstancekey import TaskInstanceKey
    from airflow.sdk import Context

PROJECT_URL_KEY = "annotation_project_url"


class AnnotationProjectLink(BaseOperatorLink):
    """Opens the task's annotation project in the labeling tool."""

    name = "Open project"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's signature
        """Return the project's URL, or an empty string while the task has not found its project."""
        return XCom.get_value(key=PROJECT_URL_KEY, ti_key=ti_key) or ""


def default_run_key(context: Context) -> str:
    """Return the key of the annotation run that belongs to a DAG run: ``<dag_id>/<run_id>``."""
    dag_run = context["dag_run"]
    return f"{dag_run.dag_id}/{dag_run.run_id}"


class AnnotationProjectTask(BaseOperator):
    """Base of the tasks that work on one annotation project.

    :param annotation_conn_id: the connection of the labeling tool; its type decides which tool it is
    :param project: the project: its id, or what ``CreateAnnotationProjectOperator`` returned. (templated)
    :param run_key: the key of the annotation run whose project it is, where ``project`` is not given; without either,
        the run that belongs to this DAG run. (templated)
    """

    template_fields: Sequence[str] = ("annotation_conn_id", "project", "run_key")
    operator_extra_links: ClassVar[tuple[BaseOperatorLink, ...]] = (AnnotationProjectLink(),)

    def __init__(
        self,
        *,
        annotation_conn_id: str = "annotation_default",
        project: str | int | dict[str, Any] | None = None,
        run_key: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.annotation_conn_id = annotation_conn_id
        self.project = project
        self.run_key = run_key

    @cached_property
    def hook(self) -> AnnotationHook:
        """The hook of the labeling tool that the connection names."""
        return AnnotationHook.for_connection(self.annotation_conn_id)

    def find_project(self, context: Context) -> AnnotationProject:
        """Return the task's project, and let the extra link open it.

        :raises AnnotationProjectNotFound: there is no such project, or none of that run
        """
        run_key = None if self.project else self.run_key or default_run_key(context)
        project = self.hook.resolve_project(self.project, run_key)
        self.remember_project(context, project)
        return project

    def remember_project(self, context: Context, project: AnnotationProject) -> None:
        """Let the extra link open this project."""
        context["ti"].xcom_push(key=PROJECT_URL_KEY, value=project.url)
