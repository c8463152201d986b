"""Read the progress of the labeling of a Labelbox project."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

import httpx
import msgspec
from asgiref.sync import sync_to_async

from airflow_annotation.exceptions import AnnotationProjectNotFoundError
from airflow_annotation.hooks.annotation import AnnotationProgress
from airflow_annotation.hooks.errors import project_not_found
from airflow_annotation.hooks.labelbox.client import LabelboxClient
from airflow_annotation.hooks.labelbox.errors import TOOL, missing_project
from airflow_annotation.hooks.labelbox.export_stream import export_rows
from airflow_annotation.hooks.labelbox.state_rows import StateProject

_COUNTED: Final = "labelCount workstreamStateCounts { state count }"
_COUNTS: Final = f"query ProjectProgress($projectId: ID!) {{ project(where: {{id: $projectId}}) {{ {_COUNTED} }} }}"

PROJECTS_A_REQUEST: Final = 25
"""Maximum number of projects in a request, so that the request is small for Labelbox's server too."""

_NO_STATES: Final = ("All", "NotInTaskQueue")
"""Names of counts that are not states of the workflow."""


class _StateCount(msgspec.Struct):
    state: str
    count: int


class _Counts(msgspec.Struct, rename="camel"):
    label_count: int
    workstream_state_counts: list[_StateCount]


class _Row(msgspec.Struct, gc=False):
    projects: dict[str, StateProject] = {}


def get_progress(client: LabelboxClient, project_id: str, min_annotations: int | None = None) -> AnnotationProgress:
    """Ask for the progress of the labeling in one request: the numbers of the project's overview page.

    ``completed`` counts the data rows that are done. If the workflow has a review, these are the approved ones.
    ``statuses`` has ``to_label``, ``in_review``, ``in_rework``, ``skipped`` and ``done``. It also has ``labeled``, the
    data rows that have a label, in any state of the workflow.

    :param client: client of the organization
    :param project_id: the project
    :param min_annotations: minimum number of submissions with which a data row counts as completed. Labelbox does not
        count these, so the project is exported, unless it has too few labels for a single such data row
    """
    with missing_project(client.app_url, project_id):
        counted = client.query(_COUNTS, "project", _Counts | None, projectId=project_id)
    progress = _progress(counted, client, project_id)
    return progress if min_annotations is None else _count_overlap(client, project_id, progress, min_annotations)


async def aget_progress(
    client: LabelboxClient, project_id: str, min_annotations: int | None = None
) -> AnnotationProgress:
    """Like :func:`get_progress`, for triggers."""
    with missing_project(client.app_url, project_id):
        counted = await client.aquery(_COUNTS, "project", _Counts | None, projectId=project_id)
    progress = _progress(counted, client, project_id)
    if min_annotations is None:
        return progress
    # Use a separate thread: an export takes long, and the waits on other connections must go on.
    return await sync_to_async(_count_overlap, thread_sensitive=False)(client, project_id, progress, min_annotations)


async def aget_progress_of(
    client: LabelboxClient, project_ids: Collection[str]
) -> dict[str, AnnotationProgress | AnnotationProjectNotFoundError]:
    """Ask for several projects in one request. If some do not exist, ask for the others in another request."""
    answers: dict[str, AnnotationProgress | AnnotationProjectNotFoundError] = {}
    left = list(project_ids)
    while left:
        names = {f"project{number}": project_id for number, project_id in enumerate(left)}
        parameters = ", ".join(f"${name}: ID!" for name in names)
        fields = " ".join(f"{name}: project(where: {{id: ${name}}}) {{ {_COUNTED} }}" for name in names)
        data, refused = await client.aquery_parts(
            f"query ProjectsProgress({parameters}) {{ {fields} }}", _Counts, **names
        )
        for name, error in refused.items():
            if name not in names or error.status_code != httpx.codes.NOT_FOUND:
                raise error
        for name, project_id in names.items():
            if data.get(name) is not None:
                answers[project_id] = _progress(data[name], client, project_id)
            elif name in refused or not refused:
                answers[project_id] = project_not_found(TOOL, client.app_url, project_id)
        # If one project is refused, the answer may have no data of the others.
        left = [project_id for project_id in names.values() if project_id not in answers]
    return answers


def _progress(project: _Counts | None, client: LabelboxClient, project_id: str) -> AnnotationProgress:
    if project is None:
        raise project_not_found(TOOL, client.app_url, project_id)
    counts = {state.state: int(state.count) for state in project.workstream_state_counts}
    statuses = {_snake_case(state): count for state, count in counts.items() if state not in _NO_STATES}
    statuses["to_label"] = statuses.pop("unlabeled", 0)
    return AnnotationProgress(
        total=counts.get("All", 0),
        completed=statuses.get("done", 0),
        skipped=statuses.get("skipped", 0),
        annotations=project.label_count,
        statuses=statuses,
    )


def _count_overlap(
    client: LabelboxClient, project_id: str, progress: AnnotationProgress, min_annotations: int
) -> AnnotationProgress:
    """Return a progress whose ``completed`` counts the data rows with at least this many submissions."""
    completed = 0
    if progress.annotations >= min_annotations:
        for row in export_rows(client, project_id, _Row, params={"performance_details": True}):
            labels = row.projects.get(project_id, StateProject()).labels
            completed += sum(not label.skipped for label in labels) >= min_annotations
    skipped = min(progress.skipped, progress.total - completed)
    return msgspec.structs.replace(progress, completed=completed, skipped=max(skipped, 0))


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
