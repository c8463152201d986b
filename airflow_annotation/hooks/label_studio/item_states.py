"""The states of a project's items on a Label Studio server, without their labels.

Label Studio moves a task's ``updated_at`` when its data or its annotations change. It does not move it when somebody
saves a draft, when predictions are imported or deleted in bulk, when the overlap changes, or when annotations move to
other tasks. So a state also has the counts and the status, and its time includes the times of drafts and predictions.
Pages are requested by id, so they do not shift when somebody deletes a task.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import httpx
import msgspec
import pyarrow as pa

from airflow_annotation.hooks.answers import reading
from airflow_annotation.hooks.label_studio.client import LabelStudioClient, project_path
from airflow_annotation.hooks.label_studio.item_filters import TaskFilter
from airflow_annotation.hooks.label_studio.task_pages import (
    HAS_DRAFTS,
    Condition,
    Task,
    condition,
    find_drafted,
    list_page,
    list_pages,
    time_condition,
)
from airflow_annotation.labels.columns import time_column
from airflow_annotation.labels.json_repair import split_records
from airflow_annotation.labels.label_studio.export import item_status, latest
from airflow_annotation.labels.lenient import decode_lenient
from airflow_annotation.labels.tables import ITEM_STATES

_STATE: Final = "id,updated_at,is_labeled,total_annotations,cancelled_annotations,total_predictions"
_TASKS_ASKED: Final = 500
"""Maximum number of tasks that a request names by their ids, which go into the URL."""


class _Part(msgspec.Struct, gc=False):
    updated_at: str | None = None


class _DraftedTask(msgspec.Struct, gc=False):
    id: int
    drafts: list[_Part] = []


class _PredictedTask(msgspec.Struct, gc=False):
    id: int
    predictions: list[_Part] = []


class _TaskState(msgspec.Struct, gc=False):
    id: int
    updated_at: str | None = None
    is_labeled: bool = False
    total_annotations: int = 0
    cancelled_annotations: int = 0
    total_predictions: int = 0
    data: dict[str, Any] | None = None

    @property
    def status(self) -> str:
        return item_status(self.total_annotations, self.cancelled_annotations, unfinished=not self.is_labeled)


def list_item_states(
    client: LabelStudioClient, project_id: str, *, include_predictions: bool = False, items: TaskFilter | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield the state of every item. See :meth:`~airflow_annotation.hooks.annotation.AnnotationHook.list_item_states`.

    :param client: client of the server
    :param project_id: the project
    :param include_predictions: whether predictions are read too; if so, they are requested for all items that have any
    :param items: filter of the items to list; None lists all
    """
    project_path(project_id)
    has_drafts = list_page(client, project_id, Task, [HAS_DRAFTS], page_size=1).total > 0
    for tasks in _list_tasks(client, project_id, items):
        drafted = find_drafted(client, project_id, [task.id for task in tasks]) if has_drafts else ()
        yield _states(client, project_id, tasks, drafted, include_predictions=include_predictions)


def list_states_where(
    client: LabelStudioClient,
    project_id: str,
    conditions: Sequence[Condition],
    *,
    drafted: Collection[int],
    include_predictions: bool,
) -> Iterator[pa.RecordBatch]:
    """Yield the states of the items that fulfil conditions of the data manager.

    :param client: client of the server
    :param project_id: the project
    :param conditions: conditions, all of which an item must fulfil
    :param drafted: ids of all tasks with drafts
    :param include_predictions: whether predictions are read too
    """
    for tasks in list_pages(client, project_id, _TaskState, conditions, include=_STATE):
        yield _states(client, project_id, tasks, drafted, include_predictions=include_predictions)


def list_states_of(
    client: LabelStudioClient,
    project_id: str,
    task_ids: Sequence[int],
    *,
    drafted: Collection[int],
    include_predictions: bool,
) -> Iterator[pa.RecordBatch]:
    """Like :func:`list_states_where`, for the tasks with these ids. Deleted tasks are left out."""
    for ids in _portions(task_ids):
        tasks = list_page(client, project_id, _TaskState, selected=ids, include=_STATE).tasks
        yield _states(client, project_id, tasks, drafted, include_predictions=include_predictions)


def _list_tasks(client: LabelStudioClient, project_id: str, items: TaskFilter | None) -> Iterator[list[_TaskState]]:
    """Yield the tasks that match the filter, each once."""
    if items is None:
        yield from list_pages(client, project_id, _TaskState, include=_STATE)
        return
    include = _STATE if items.keys is None else f"{_STATE},data"
    listed: set[int] = set()  # a task may match in several ways, and comes once per submission of a person
    for conditions in items.find_ways():
        for tasks in list_pages(client, project_id, _TaskState, conditions, include=include):
            fitting = {task.id: task for task in tasks if task.id not in listed and items.fits(task.status, task.data)}
            listed.update(fitting)
            if fitting:
                yield list(fitting.values())


def get_last_change(client: LabelStudioClient, project_id: str) -> datetime | None:
    """Ask when a task of the project was last changed."""
    project_path(project_id)
    page = list_page(client, project_id, _TaskState, ordering="-tasks:updated_at", include="id,updated_at", page_size=1)
    times = time_column([task.updated_at for task in page.tasks])
    return times[0].as_py() if len(times) else None


def list_changed_items(client: LabelStudioClient, project_id: str, since: datetime) -> list[str]:
    """Return the ids of the tasks that were changed at a time or later. Sends one request per thousand of them.

    :param client: client of the server
    :param project_id: the project
    :param since: the time, by the server's clock
    """
    project_path(project_id)
    changed = time_condition("updated_at", "greater_or_equal", since)
    return [str(task.id) for page in list_pages(client, project_id, Task, [changed]) for task in page]


def list_last_labeled(client: LabelStudioClient, project_id: str, count: int, min_annotations: int = 1) -> list[str]:
    """Return the ids of the tasks with annotations that were changed last, the latest first.

    :param client: client of the server
    :param project_id: the project
    :param count: maximum number of ids
    :param min_annotations: minimum number of annotations of a task, without skips
    """
    project_path(project_id)
    labeled = condition("total_annotations", "greater", "Number", min_annotations - 1)
    page = list_page(client, project_id, Task, [labeled], ordering="-tasks:updated_at", page_size=count)
    return [str(task.id) for task in page.tasks]


def _add_drafts(
    client: LabelStudioClient, project_id: str, task_ids: Sequence[int], parts: dict[int, list[str | None]]
) -> None:
    """Add the times of drafts, from the export: lists of tasks have only the drafts of the key's own user."""
    for ids in _portions(task_ids):
        own = [("ids[]", str(id_)) for id_ in ids]
        params = [("exportType", "JSON"), ("download_all_tasks", "true"), *own]
        for task in client.read_with("GET", f"{project_path(project_id)}export", _drafted, params=params):
            parts.setdefault(task.id, []).extend(draft.updated_at for draft in task.drafts)


def _add_predictions(
    client: LabelStudioClient,
    project_id: str,
    task_ids: Sequence[int],
    parts: dict[int, list[str | None]],
    counts: dict[int, int],
) -> None:
    """Add the times of predictions, and their counts.

    Label Studio's own count can be wrong. After a project was deleted, a process of release 1.23 no longer reduces the
    count when predictions are deleted, because Django has cached that the signal has no receivers.
    """
    for ids in _portions(task_ids):
        page = list_page(client, project_id, _PredictedTask, selected=ids, fields="all", include="id,predictions")
        for task in page.tasks:
            parts.setdefault(task.id, []).extend(prediction.updated_at for prediction in task.predictions)
            counts[task.id] = len(task.predictions)


def _portions(task_ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (task_ids[start : start + _TASKS_ASKED] for start in range(0, len(task_ids), _TASKS_ASKED))


def _drafted(response: httpx.Response) -> list[_DraftedTask]:
    with reading(response):
        return [decode_lenient(record, _DraftedTask) for record in split_records(response.content)]


def _states(
    client: LabelStudioClient,
    project_id: str,
    tasks: Sequence[_TaskState],
    drafted: Collection[int],
    *,
    include_predictions: bool,
) -> pa.RecordBatch:
    parts: dict[int, list[str | None]] = {}
    _add_drafts(client, project_id, [task.id for task in tasks if task.id in drafted], parts)
    counts = {task.id: task.total_predictions for task in tasks}
    if include_predictions:
        _add_predictions(client, project_id, [id_ for id_, count in counts.items() if count], parts, counts)
    columns = {
        "item_id": [str(task.id) for task in tasks],
        "status": [task.status for task in tasks],
        "annotation_count": [task.total_annotations + task.cancelled_annotations for task in tasks],
        "prediction_count": [counts[task.id] for task in tasks],
    }
    times = time_column([_last_change(task, parts.get(task.id, ())) for task in tasks])
    arrays = [pa.array(values, ITEM_STATES.field(name).type) for name, values in columns.items()]
    return pa.RecordBatch.from_arrays([*arrays, times], schema=ITEM_STATES)


def _last_change(task: _TaskState, parts: Iterable[str | None]) -> str | None:
    return latest([task.updated_at, *parts]) if parts else task.updated_at
