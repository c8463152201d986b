"""Find the items of a Label Studio project that have changed, in a few requests for any number of items.

The list has two kinds of tasks: those that Label Studio says were changed since a time, and those that had drafts then
or have some now. A draft does not move its task's ``updated_at``. Every other change that does not move it changes one
of the numbers that are requested afterwards: of tasks by status, of annotations and of predictions. If predictions are
deleted and imported in bulk, their number may stay the same. What the server says about each model version shows that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import httpx
import msgspec

from airflow_annotation.hooks.answers import answered_at, decode_json
from airflow_annotation.hooks.label_studio.client import LabelStudioClient, project_path
from airflow_annotation.hooks.label_studio.item_filters import OF_STATUSES
from airflow_annotation.hooks.label_studio.item_states import list_states_of, list_states_where
from airflow_annotation.hooks.label_studio.progress import get_counts
from airflow_annotation.hooks.label_studio.task_pages import (
    HAS_DRAFTS,
    TASKS_PATH,
    Task,
    TaskPage,
    list_page,
    task_query,
    time_condition,
)
from airflow_annotation.hooks.marks import Mark, read_marks, write_mark
from airflow_annotation.hooks.ports import ItemChanges

MARGIN: Final = timedelta(hours=1)
"""Time before a mark for which changes are listed again, since transactions were open then and servers' clocks differ.
Changes that have landed already are listed again, but not read."""

_DRAFTED: Final = 1000
"""Maximum number of items with drafts in a mark, which is stored beside the landed data: one page of the server."""


class _Mark(Mark):
    """What :func:`mark_changes` returns.

    :param drafted: ids of the tasks with drafts
    :param predictions: value that changes when predictions are made or deleted
    """

    drafted: list[int]
    predictions: str


def mark_changes(client: LabelStudioClient, project_id: str) -> dict[str, Any] | None:
    """Return a mark of a project, from which later changes can be found. Sends two requests.

    See :meth:`~airflow_annotation.hooks.ports.LabelsOut.mark_changes`.

    :param client: client of the server
    :param project_id: the project
    """
    path = project_path(project_id)

    def read(response: httpx.Response) -> tuple[TaskPage[Task], datetime | None]:
        return decode_json(response, TaskPage[Task]), answered_at(response)

    query = task_query(project_id, [HAS_DRAFTS], page_size=_DRAFTED)
    drafted, time = client.read_with("GET", TASKS_PATH, read, params=query)
    if time is None or drafted.total > len(drafted.tasks):
        return None
    versions = client.read("GET", f"{path}model-versions/", Any, params={"extended": "true"})
    digest = hashlib.sha256(msgspec.json.encode(versions, order="sorted")).hexdigest()
    return write_mark(_Mark(time, [task.id for task in drafted.tasks], digest))


def list_changes(
    client: LabelStudioClient,
    project_id: str,
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    *,
    include_predictions: bool = False,
) -> ItemChanges | None:
    """List the items that Label Studio says have changed, and get the numbers that show whether these are all.

    See :meth:`~airflow_annotation.hooks.ports.LabelsOut.list_changes`.

    :param client: client of the server
    :param project_id: the project
    :param before: what :func:`mark_changes` returned before the last landing listed or read anything
    :param now: what it returned just now
    :param include_predictions: whether predictions are read too
    """
    marks = read_marks(before, now, _Mark, MARGIN)
    if marks is None:
        return None
    last, present = marks
    if last.predictions != present.predictions:
        return None  # no list names the items with these changes
    changed = time_condition("updated_at", "greater", last.time - MARGIN)
    read: dict[str, Any] = {"drafted": frozenset(present.drafted), "include_predictions": include_predictions}
    states = [*list_states_where(client, project_id, [changed], **read)]
    listed = {int(item_id) for batch in states for item_id in batch.column("item_id").to_pylist()}
    others = sorted({*last.drafted, *present.drafted} - listed)
    states += list_states_of(client, project_id, others, **read)
    return ItemChanges(states, dict(_count_items(client, project_id)))


def _count_items(client: LabelStudioClient, project_id: str) -> Iterator[tuple[str, int]]:
    counts = get_counts(client, project_id)
    yield "items", counts.task_number
    yield "annotation_count", counts.total_annotations_number + counts.skipped_annotations_number
    yield "prediction_count", counts.total_predictions_number
    for status in ("labeled", "partial", "skipped"):
        conditions = OF_STATUSES[frozenset({status})]
        yield status, list_page(client, project_id, Task, conditions, page_size=1).total
