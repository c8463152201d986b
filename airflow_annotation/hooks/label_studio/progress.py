"""How far the labeling of a project on a Label Studio server is."""

from __future__ import annotations

from typing import Any, Final

import httpx
import msgspec

from airflow_annotation.hooks.annotation import AnnotationProgress
from airflow_annotation.hooks.label_studio.client import LabelStudioClient, project_path
from airflow_annotation.hooks.label_studio.errors import decode_answer, project_not_found

_COUNTS_PATH: Final = "/api/projects/counts/"
_TASKS_PATH: Final = "/api/tasks/"


class _ProjectCounts(msgspec.Struct):
    task_number: int
    finished_task_number: int
    total_annotations_number: int
    skipped_annotations_number: int


class _CountsPage(msgspec.Struct):
    results: list[_ProjectCounts]


class _TaskTotal(msgspec.Struct):
    total: int


def get_progress(client: LabelStudioClient, project_id: str) -> AnnotationProgress:
    """Ask how far the labeling is: one small request, and another where somebody skipped items.

    ``skipped`` counts the items that somebody skipped and that are not finished: where Label Studio is set to take a
    skip for an answer (``skip_queue`` ``IGNORE_SKIPPED``), a skipped item is finished, and counts as ``completed``.
    """
    counts = _read_counts(client.request("GET", _COUNTS_PATH, params=_counts_query(project_id)), client, project_id)
    skipped = None
    if counts.skipped_annotations_number:
        skipped = client.request("GET", _TASKS_PATH, params=_skipped_query(project_id))
    return _progress(counts, skipped)


async def aget_progress(client: LabelStudioClient, project_id: str) -> AnnotationProgress:
    """Like :func:`get_progress`, for triggers."""
    counts = _read_counts(
        await client.arequest("GET", _COUNTS_PATH, params=_counts_query(project_id)), client, project_id
    )
    skipped = None
    if counts.skipped_annotations_number:
        skipped = await client.arequest("GET", _TASKS_PATH, params=_skipped_query(project_id))
    return _progress(counts, skipped)


def _counts_query(project_id: str) -> dict[str, Any]:
    project_path(project_id)  # Checks the id: the server would read "1,2" as two.
    fields = ",".join(_ProjectCounts.__struct_fields__)
    return {"ids": project_id, "include": f"id,{fields}"}


def _read_counts(response: httpx.Response, client: LabelStudioClient, project_id: str) -> _ProjectCounts:
    results = decode_answer(response, _CountsPage).results
    if not results:
        # Unknown ids are left out of the answer instead of being an error.
        raise project_not_found(client.url, project_id)
    return results[0]


def _skipped_query(project_id: str) -> dict[str, Any]:
    # The counters count skips, of which an item can have several; and a skipped item may be finished by now.
    items = [
        {"filter": "filter:tasks:cancelled_annotations", "operator": "greater", "type": "Number", "value": 0},
        {"filter": "filter:tasks:completed_at", "operator": "empty", "type": "Datetime", "value": True},
    ]
    query = msgspec.json.encode({"filters": {"conjunction": "and", "items": items}}).decode()
    return {"project": project_id, "page_size": 1, "include": "id", "query": query}


def _progress(counts: _ProjectCounts, skipped: httpx.Response | None) -> AnnotationProgress:
    return AnnotationProgress(
        total=counts.task_number,
        completed=counts.finished_task_number,
        skipped=decode_answer(skipped, _TaskTotal).total if skipped is not None else 0,
        annotations=counts.total_annotations_number,
    )
