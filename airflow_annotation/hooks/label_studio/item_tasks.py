"""A project's tasks as items: find them by item key, and create each only once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Final
from uuid import uuid4

import msgspec

from airflow_annotation.exceptions import AnnotationRequestError
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.hooks.label_studio.sending import send_without_refused
from airflow_annotation.hooks.label_studio.task_doubles import remove_task_doubles
from airflow_annotation.hooks.label_studio.task_meta import delivery_meta, read_delivery
from airflow_annotation.hooks.label_studio.task_pages import Task, list_page, list_pages
from airflow_annotation.hooks.late_requests import send_until_taken
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.task_data import find_item_key
from airflow_annotation.media.items import key_hash

_INCLUDED: Final = "id,data,meta"

TaskData = dict[str, Any]


class _Task(msgspec.Struct):
    id: int
    data: TaskData
    meta: Any = None

    @property
    def delivery(self) -> str | None:
        return read_delivery(self.meta)


class _NewTask(msgspec.Struct):
    data: TaskData
    delivery: str


class _Imported(msgspec.Struct):
    task_ids: list[int]


class ItemTasks:
    """The tasks of one project.

    An item's key is in its task's data under ``item_key``. For tasks that others made, the URI of their media is the
    key. The task's ``meta`` has the id of its delivery: if two tasks have the same one, a request brought the same task
    twice. For items that a project has only once, the delivery is the hash of the key.

    :param client: client of the server
    :param project_id: the project
    :param config: the project's labeling config, which tells which data of a task are media
    """

    def __init__(self, client: LabelStudioClient, project_id: str, *, config: LabelingConfig) -> None:
        self._client = client
        self._project_id = project_id
        self._config = config
        self._first_id = self._last_id = 0
        self._expected = 0
        self._have_keys_once = True

    def read_keys(self) -> set[int]:
        """Return the hashes of all the project's item keys. Remove doubles that a late request made earlier."""
        keys: set[int] = set()
        doubled: set[int] = set()
        for task in self._tasks_after(0):
            key = self._key(task.data)
            if key in keys and task.delivery == _delivery_of(key):
                doubled.add(key)
            keys.add(key)
            self._first_id = self._last_id = task.id
            self._expected += 1
        if doubled:
            self._expected -= self._remove_earlier(doubled)
        return keys

    def read(self) -> Iterator[tuple[int, int, TaskData]]:
        """Yield the hash of each task's item key, its id and its data, by id."""
        for task in self._tasks_after(0):
            yield self._key(task.data), task.id, task.data

    def skip_keys(self) -> None:
        """Do not read the project's item keys, since items may be added again. Only note its last task."""
        self._have_keys_once = False
        newest = list_page(self._client, self._project_id, Task, ordering="-tasks:id", page_size=1)
        self._first_id = self._last_id = max((task.id for task in newest.tasks), default=0)
        self._expected = newest.total

    def create(self, tasks: list[TaskData]) -> list[tuple[TaskData, AnnotationRequestError]]:
        """Create tasks, in the order of their data.

        :param tasks: data of the tasks, with ``item_key``
        :return: data of the tasks that the server refused, each with its answer
        """
        new = [_NewTask(data, _delivery_of(self._key(data)) if self._have_keys_once else uuid4().hex) for data in tasks]
        refused = send_without_refused(new, lambda part: send_until_taken(part, self._import, self._find_created))
        self._expected += len(tasks) - len(refused)
        return [(task.data, error) for task, error in refused]

    def remove_doubles(self, keys: set[int]) -> int:
        """Remove doubles: tasks of one item that two writers made, or a request that seemed lost.

        Looks only at tasks made after :meth:`read_keys` or :meth:`skip_keys`, and only if the project has more of them
        than were created here.
        Tasks that somebody has worked on, and tasks that differ, stay. Of the others, the task with the lowest id
        stays, so that all writers remove the same ones.

        :param keys: hashes of the item keys that should be in the project once
        :return: number of removed tasks
        """
        if list_page(self._client, self._project_id, Task, page_size=1).total <= self._expected:
            return 0
        groups: dict[int | str, list[int]] = {}
        for task in self._tasks_after(self._first_id):
            # Tasks of another writer may have no delivery.
            once = self._key(task.data) if self._have_keys_once else task.delivery
            if once is not None and (isinstance(once, str) or once in keys):
                groups.setdefault(once, []).append(task.id)
        return self._remove(groups.values())

    def _remove_earlier(self, keys: set[int]) -> int:
        groups: dict[int, list[int]] = {key: [] for key in keys}
        for task in self._tasks_after(0):
            key = self._key(task.data)
            if key in groups and task.delivery == _delivery_of(key):
                groups[key].append(task.id)
        return self._remove(groups.values())

    def _remove(self, groups: Iterable[list[int]]) -> int:
        data_keys = [media.data_key for media in self._config.objects.values()]
        return remove_task_doubles(self._client, self._project_id, groups, data_keys=data_keys)

    def _key(self, data: TaskData) -> int:
        return key_hash(find_item_key(data, self._config))

    def _import(self, tasks: list[_NewTask]) -> None:
        answer = self._client.read(
            "POST",
            f"/api/projects/{self._project_id}/import",
            _Imported,
            params={"return_task_ids": "true"},
            content=msgspec.json.encode([{"data": task.data, "meta": delivery_meta(task.delivery)} for task in tasks]),
            headers={"Content-Type": "application/json"},
            repeatable=False,
        )
        self._last_id = max(self._last_id, *answer.task_ids)

    def _find_created(self, tasks: list[_NewTask]) -> list[_NewTask]:
        created = {task.delivery for task in self._tasks_after(self._last_id)}
        return [task for task in tasks if task.delivery in created]

    def _tasks_after(self, task_id: int) -> Iterator[_Task]:
        return chain.from_iterable(
            list_pages(self._client, self._project_id, _Task, first=task_id + 1, include=_INCLUDED)
        )


def _delivery_of(key: int) -> str:
    """Return the delivery of an item that a project has once."""
    return f"{key:016x}"
