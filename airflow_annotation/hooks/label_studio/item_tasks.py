"""A project's tasks as items: which it has by item key, and creating each just once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

import msgspec

from airflow_annotation.exceptions import AnnotationRequestError
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.hooks.label_studio.sending import send_until_taken, send_without_refused
from airflow_annotation.hooks.label_studio.task_pages import Task, list_page, list_pages
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.task_data import find_item_key
from airflow_annotation.media.items import key_hash

log = logging.getLogger(__name__)

_INCLUDED: Final = "id,data,total_annotations,cancelled_annotations"
_DELETED_AT_ONCE: Final = 500

TaskData = dict[str, Any]


class _Task(msgspec.Struct):
    id: int
    data: TaskData
    total_annotations: int = 0
    cancelled_annotations: int = 0

    @property
    def is_touched(self) -> bool:
        return self.total_annotations + self.cancelled_annotations > 0


class _Imported(msgspec.Struct):
    task_ids: list[int]


class ItemTasks:
    """The tasks of one project.

    An item's key is in its task's data under ``item_key``; tasks that somebody else made go by their media instead.

    :param config: the project's labeling config, which says what a task's media are
    """

    def __init__(self, client: LabelStudioClient, project_id: str, *, config: LabelingConfig) -> None:
        self._client = client
        self._project_id = project_id
        self._config = config
        self._first_id = self._last_id = 0
        self._expected = 0

    def read_keys(self) -> set[int]:
        """Return the hashes of all the project's item keys."""
        keys: set[int] = set()
        for task in self._tasks_after(0):
            keys.add(self._key(task.data))
            self._first_id = self._last_id = task.id
            self._expected += 1
        return keys

    def read(self) -> Iterator[tuple[int, int, TaskData]]:
        """Yield the hash of each task's item key, its id and its data, by id."""
        for task in self._tasks_after(0):
            yield self._key(task.data), task.id, task.data

    def skip_keys(self) -> None:
        """Do without the project's item keys: note only where its tasks end."""
        newest = list_page(self._client, self._project_id, Task, ordering="-tasks:id", page_size=1)
        self._first_id = self._last_id = max((task.id for task in newest.tasks), default=0)

    def create(self, tasks: list[TaskData]) -> list[tuple[TaskData, AnnotationRequestError]]:
        """Create a task of each, in their order.

        :param tasks: the tasks' data, with ``item_key``
        :return: those that the server refused, and why
        """
        refused = send_without_refused(tasks, lambda part: send_until_taken(part, self._import, self._find_created))
        self._expected += len(tasks) - len(refused)
        return refused

    def remove_doubles(self, keys: set[int]) -> int:
        """Remove the tasks that two writers made of one item, or one request that was believed lost.

        Looks only at tasks younger than this object, and only if the project has more of them than were created here.
        What somebody has worked on stays, else the task with the lowest id: all writers remove the same ones.

        :param keys: hashes of the item keys that were to be in the project once
        :return: how many were removed
        """
        if list_page(self._client, self._project_id, Task, page_size=1).total <= self._expected:
            return 0
        kept: dict[int, _Task] = {}
        doubles: list[int] = []
        for task in self._tasks_after(self._first_id):
            key = self._key(task.data)
            other = kept.setdefault(key, task)
            if other is task or key not in keys:
                continue
            if not task.is_touched:
                doubles.append(task.id)
            elif not other.is_touched:
                doubles.append(other.id)
                kept[key] = task
        for start in range(0, len(doubles), _DELETED_AT_ONCE):
            selected = {"all": False, "included": doubles[start : start + _DELETED_AT_ONCE]}
            self._client.request(
                "POST",
                "/api/dm/actions/",
                params={"id": "delete_tasks", "project": self._project_id},
                json={"selectedItems": selected, "project": self._project_id},
                repeatable=True,
            )
        if doubles:
            log.info("Removed %d tasks of items that the project had twice.", len(doubles))
        return len(doubles)

    def _key(self, data: TaskData) -> int:
        return key_hash(find_item_key(data, self._config))

    def _import(self, tasks: list[TaskData]) -> None:
        answer = self._client.read(
            "POST",
            f"/api/projects/{self._project_id}/import",
            _Imported,
            params={"return_task_ids": "true"},
            content=msgspec.json.encode([{"data": data} for data in tasks]),
            headers={"Content-Type": "application/json"},
            repeatable=False,
        )
        self._last_id = max(self._last_id, *answer.task_ids)

    def _find_created(self, tasks: list[TaskData]) -> list[TaskData]:
        created = {self._key(task.data) for task in self._tasks_after(self._last_id)}
        return [data for data in tasks if self._key(data) in created]

    def _tasks_after(self, task_id: int) -> Iterator[_Task]:
        return chain.from_iterable(
            list_pages(self._client, self._project_id, _Task, first=task_id + 1, include=_INCLUDED)
        )
