"""Find the tasks of some items in a project of any size, by looking up these only, or by listing all tasks once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.hooks.label_studio.item_tasks import ItemTasks
from airflow_annotation.hooks.label_studio.task_pages import PAGE_TASKS, Task, condition, list_page
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.task_data import find_item_key
from airflow_annotation.media.items import key_hash
from airflow_annotation.media.key_index import KeyIndex, KnownItem

_KEYS_BYTES: Final = 3_000
"""Bytes of keys in a request. They go into the URL, of which some proxies and servers accept only 4,096 bytes."""

_PAGES_EACH: Final = 4
"""Number of pages that the server lists in the time of one look-up, at most: a look-up goes through all tasks."""

TaskData = dict[str, Any]
NoteTask = Callable[[int, TaskData], KnownItem]


class _Task(msgspec.Struct):
    id: int
    data: TaskData


class ItemLookup:
    """The tasks of a project, by their items' keys.

    Some keys are looked up at a time, as long as that takes less time than listing all tasks. All tasks are listed,
    once, if the project is small, if there are many keys, if a key is too long for a URL, or if a key is not found. In
    the data of tasks that other programs made, a key may be in a place where no filter finds it.

    :param client: client of the server
    :param project_id: the project
    :param config: its labeling config
    :param note: function that returns what is known of a task; it is called in the order of the ids
    """

    def __init__(self, client: LabelStudioClient, project_id: str, config: LabelingConfig, note: NoteTask) -> None:
        self._client = client
        self._project_id = project_id
        self._config = config
        self._note = note
        shown = [media.data_key for media in config.main_objects]
        self._fields = list(dict.fromkeys(["item_key", "media_uri", *shown]))
        self.total = list_page(client, project_id, Task, page_size=1).total
        """Number of tasks in the project."""
        self._requests_left = self.total // PAGE_TASKS // _PAGES_EACH
        self._found: dict[int, KnownItem] = {}
        self._all: KeyIndex | None = None

    @property
    def has_all(self) -> bool:
        """Whether all tasks have been listed."""
        return self._all is not None

    def prepare(self, item_keys: Sequence[str]) -> None:
        """Find these items. Forget those found before, unless all tasks have been listed."""
        if self._all is not None:
            return
        self._found = {}
        requests = [*_chunks(item_keys)]
        self._requests_left -= len(requests) * len(self._fields)
        fit = all(_url_bytes(key) <= _KEYS_BYTES for key in item_keys)
        looked_up = requests if fit and self._requests_left >= 0 else []
        tasks = {task.id: task.data for keys in looked_up for task in self._look_up(keys)}
        first: dict[int, int] = {}
        for task_id in sorted(tasks):
            first.setdefault(key_hash(find_item_key(tasks[task_id], self._config)), task_id)
        if all(key_hash(key) in first for key in item_keys):
            self._found = {key: self._note(task_id, tasks[task_id]) for key, task_id in first.items()}
        else:
            self._all = KeyIndex(self._read_all())

    def find(self, item_key: str) -> KnownItem | None:
        """Return the item with this key, which must be a prepared one; None if the project does not have it."""
        return self._found.get(key_hash(item_key)) if self._all is None else self._all.find(item_key)

    def _look_up(self, item_keys: list[str]) -> Iterator[_Task]:
        """Yield the tasks that have one of these keys in a field that may hold a task's key."""
        for field in self._fields:
            conditions = [condition(f"data.{field}", "in_list", "String", item_keys)]
            yield from list_page(self._client, self._project_id, _Task, conditions, include="id,data").tasks

    def _read_all(self) -> Iterator[tuple[int, KnownItem]]:
        for hash_, task_id, data in ItemTasks(self._client, self._project_id, config=self._config).read():
            yield hash_, self._note(task_id, data)


def _chunks(item_keys: Iterable[str]) -> Iterator[list[str]]:
    """Yield lists of keys, each of which fits into one request."""
    chunk: list[str] = []
    used = 0
    for key in item_keys:
        size = _url_bytes(key)
        if chunk and used + size > _KEYS_BYTES:
            yield chunk
            chunk, used = [], 0
        chunk.append(key)
        used += size
    if chunk:
        yield chunk


def _url_bytes(item_key: str) -> int:
    return len(quote(msgspec.json.encode(item_key) + b",", safe=""))
