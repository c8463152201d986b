"""Read the progress of the labeling of a project on a Label Studio server."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import msgspec

from airflow_annotation.exceptions import AnnotationProjectNotFoundError
from airflow_annotation.hooks.annotation import AnnotationProgress
from airflow_annotation.hooks.errors import project_not_found
from airflow_annotation.hooks.label_studio.client import LabelStudioClient, project_path
from airflow_annotation.hooks.label_studio.errors import TOOL
from airflow_annotation.hooks.label_studio.task_pages import TASKS_PATH, condition, task_query

_COUNTS_PATH: Final = "/api/projects/counts/"

PROJECTS_A_REQUEST: Final = 100
"""Maximum number of projects in a request: the length of the server's longest page."""


class ProjectCounts(msgspec.Struct):
    """Label Studio's counts of a project. ``total_annotations_number`` does not include skips.

    Only :func:`get_counts` requests the number of predictions.
    """

    id: int
    task_number: int
    finished_task_number: int
    total_annotations_number: int
    skipped_annotations_number: int
    total_predictions_number: int = 0


class _CountsPage(msgspec.Struct):
    results: list[ProjectCounts]


class _TaskTotal(msgspec.Struct):
    total: int


def get_progress(client: LabelStudioClient, project_id: str, min_annotations: int | None = None) -> AnnotationProgress:
    """Ask for the progress of the labeling in one small request, and in another one if somebody skipped items.

    ``skipped`` counts the items that somebody skipped and that are not finished. If Label Studio is set to count a skip
    as an answer (``skip_queue`` ``IGNORE_SKIPPED``), a skipped item is finished, and counts as ``completed``.

    :param client: client of the server
    :param project_id: the project
    :param min_annotations: minimum number of submissions with which an item counts as completed. It needs another small
        request if there may be such items
    """
    page = client.read("GET", _COUNTS_PATH, _CountsPage, params=_counts_query(project_id))
    counts = _one_of(page, client, project_id)
    queries = _queries_beside(counts, project_id, min_annotations)
    found = {name: client.read("GET", TASKS_PATH, _TaskTotal, params=query).total for name, query in queries.items()}
    return _progress(counts, min_annotations, **found)


def get_counts(client: LabelStudioClient, project_id: str) -> ProjectCounts:
    """Ask for all counts of a project, in one request."""
    query = _counts_query(project_id) | {"include": ",".join(ProjectCounts.__struct_fields__)}
    return _one_of(client.read("GET", _COUNTS_PATH, _CountsPage, params=query), client, project_id)


async def aget_progress(
    client: LabelStudioClient, project_id: str, min_annotations: int | None = None
) -> AnnotationProgress:
    """Like :func:`get_progress`, for triggers."""
    page = await client.aread("GET", _COUNTS_PATH, _CountsPage, params=_counts_query(project_id))
    counts = _one_of(page, client, project_id)
    found = {}
    for name, query in _queries_beside(counts, project_id, min_annotations).items():
        found[name] = (await client.aread("GET", TASKS_PATH, _TaskTotal, params=query)).total
    return _progress(counts, min_annotations, **found)


async def aget_progress_of(
    client: LabelStudioClient, project_ids: Collection[str]
) -> dict[str, AnnotationProgress | AnnotationProjectNotFoundError]:
    """Ask for up to :data:`PROJECTS_A_REQUEST` projects in one request.

    ``skipped`` is the number of skips. It may be more than the number of skipped items, because an item may be skipped
    several times, and be finished later.
    """
    answers: dict[str, AnnotationProgress | AnnotationProjectNotFoundError] = {}
    asked = []
    for project_id in project_ids:
        try:
            project_path(project_id)
            asked.append(project_id)
        except AnnotationProjectNotFoundError as error:  # noqa: PERF203 - few of them
            answers[project_id] = error
    if not asked:
        return answers
    page = await client.aread("GET", _COUNTS_PATH, _CountsPage, params=_counts_query(*asked))
    counted = {counts.id: counts for counts in page.results}
    for project_id in asked:
        counts = counted.get(int(project_id))
        answers[project_id] = (
            project_not_found(TOOL, client.url, project_id)
            if counts is None
            else _progress(counts, skipped=counts.skipped_annotations_number)
        )
    return answers


def _counts_query(*project_ids: str) -> dict[str, Any]:
    for project_id in project_ids:
        project_path(project_id)  # Checks the id: the server would read "1,2" as two.
    fields = ",".join(name for name in ProjectCounts.__struct_fields__ if name != "total_predictions_number")
    return {"ids": ",".join(project_ids), "include": fields, "page_size": len(project_ids)}


def _one_of(page: _CountsPage, client: LabelStudioClient, project_id: str) -> ProjectCounts:
    if not page.results:
        # Unknown ids are left out of the answer instead of being an error.
        raise project_not_found(TOOL, client.url, project_id)
    return page.results[0]


def _queries_beside(counts: ProjectCounts, project_id: str, min_annotations: int | None) -> dict[str, dict[str, str]]:
    """Return the queries for what the counters do not tell, by the parameter of :func:`_progress`."""
    queries: dict[str, dict[str, str]] = {}
    if counts.skipped_annotations_number:
        # The counters count skips. An item can have several, and may be finished by now.
        unfinished = (
            condition("completed_at", "empty", "Datetime", True)
            if min_annotations is None
            else condition("total_annotations", "less", "Number", min_annotations)
        )
        skipped = condition("cancelled_annotations", "greater", "Number", 0)
        queries["skipped"] = task_query(project_id, [skipped, unfinished], page_size=1)
    if min_annotations is not None and counts.total_annotations_number >= min_annotations:
        # A task's total does not include skips.
        enough = condition("total_annotations", "greater_or_equal", "Number", min_annotations)
        queries["overlapping"] = task_query(project_id, [enough], page_size=1)
    return queries


def _progress(
    counts: ProjectCounts, min_annotations: int | None = None, *, skipped: int = 0, overlapping: int = 0
) -> AnnotationProgress:
    return AnnotationProgress(
        total=counts.task_number,
        completed=counts.finished_task_number if min_annotations is None else overlapping,
        skipped=skipped,
        annotations=counts.total_annotations_number,
    )
