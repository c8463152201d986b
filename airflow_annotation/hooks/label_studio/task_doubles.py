"""Remove tasks that a project has twice because a request arrived late or was delivered twice."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from airflow_annotation.hooks.label_studio.actions import act_on_tasks
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.hooks.label_studio.task_pages import find_drafted, list_selected

log = logging.getLogger(__name__)

_DELETED_AT_ONCE: Final = 500
_INCLUDED: Final = "id,data,annotations,predictions,model_version,result,comment_count"


class _Prediction(msgspec.Struct):
    model_version: str | None = None
    result: Any = None


class _Task(msgspec.Struct):
    id: int
    data: dict[str, Any] = {}
    annotations: list[Any] = []
    predictions: list[_Prediction] = []
    comment_count: int | None = 0

    def has_data_of(self, other: _Task, data_keys: Sequence[str]) -> bool:
        """Return whether both have the same data. References to a file may differ: it may have several names."""
        references = {"media_uri", *data_keys} if "media_uri" in (self.data | other.data) else set()
        mine, theirs = (
            {name: value for name, value in data.items() if name not in references} for data in (self.data, other.data)
        )
        return mine == theirs

    def predicted(self) -> set[bytes]:
        return {msgspec.json.encode(prediction, order="sorted") for prediction in self.predictions}


def remove_task_doubles(
    client: LabelStudioClient, project_id: str, groups: Iterable[list[int]], *, data_keys: Sequence[str]
) -> int:
    """Remove all but one task of each group.

    The oldest task that somebody has worked with stays, or the oldest task if there is none. A second task stays if
    people worked with it too, if its data differ, or if it has predictions that the first does not have. The log then
    says so.

    :param client: client of the server
    :param project_id: the project
    :param groups: ids of tasks, in groups of one item or of one delivery
    :param data_keys: keys of a task's data from which the labeling config shows media
    :return: number of removed tasks
    """
    doubles: list[int] = []
    left = 0
    several = [sorted(group) for group in groups if len(group) > 1]
    ids = list(chain.from_iterable(several))
    pages = list_selected(client, project_id, _Task, ids, include=_INCLUDED)
    tasks = {task.id: task for task in chain.from_iterable(pages)}
    drafted = find_drafted(client, project_id, ids)

    def has_work(task: _Task) -> bool:
        return bool(task.annotations or task.comment_count or task.id in drafted)

    for group in several:
        found = [tasks[id_] for id_ in group if id_ in tasks]
        # The one to keep comes first: the oldest that somebody worked with, else the oldest.
        found.sort(key=lambda task: (not has_work(task), task.id))
        for task in found[1:]:
            is_alike = task.has_data_of(found[0], data_keys) and task.predicted() <= found[0].predicted()
            if is_alike and not has_work(task):
                doubles.append(task.id)
            else:
                left += 1
    delete_tasks(client, project_id, doubles)
    if left:
        log.warning("%d tasks are there twice and stay, since people worked with both or they differ.", left)
    return len(doubles)


def delete_tasks(client: LabelStudioClient, project_id: str, task_ids: Sequence[int]) -> None:
    """Delete tasks that the project has twice."""
    for start in range(0, len(task_ids), _DELETED_AT_ONCE):
        deleted = task_ids[start : start + _DELETED_AT_ONCE]
        act_on_tasks(client, project_id, "delete_tasks", deleted, repeatable=True)
    if task_ids:
        log.info("Removed %d tasks of items that the project had twice.", len(task_ids))
