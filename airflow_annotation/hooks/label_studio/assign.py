"""Split tasks among people.

Label Studio's open edition has no assignments: every member of a project may label every task. So a task's data name
its people, and each person gets a tab of the data manager that shows only their tasks. *Label Tasks As Displayed* in
that tab gives out only these tasks. Label Studio does not stop people from labeling the tasks of others.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import httpx
import msgspec

from airflow_annotation.exceptions import AnnotationRequestError
from airflow_annotation.hooks.annotation import AssignmentReport
from airflow_annotation.hooks.assignment import Split, check_known
from airflow_annotation.hooks.label_studio.client import LabelStudioClient, project_path
from airflow_annotation.hooks.label_studio.errors import TOOL
from airflow_annotation.hooks.label_studio.projects import get_label_config
from airflow_annotation.hooks.label_studio.requeue import deleted_from_project
from airflow_annotation.hooks.label_studio.task_pages import TASKS_PATH, Condition, Task, condition, list_pages
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.task_data import find_item_key
from airflow_annotation.media.items import key_hash

log = logging.getLogger(__name__)

ASSIGNED_TO: Final = "assigned_to"
"""Key in a task's data for the people who have the task: ``<ann@example.com> <ben@example.com>``."""

_INCLUDED: Final = "id,data,overlap,is_labeled,total_annotations"
_NAMED: Final = re.compile(r"<([^<>]+)>")
_VIEWS: Final = "/api/dm/views/"
_ALL: Final = "All items"


class _Task(msgspec.Struct, gc=False):
    id: int
    data: dict[str, Any]
    overlap: int = 1
    is_labeled: bool = False
    total_annotations: int = 0

    @property
    def people(self) -> list[str]:
        return _NAMED.findall(str(self.data.get(ASSIGNED_TO, "")))

    def is_finished(self, overlap: int) -> bool:
        return self.is_labeled and self.total_annotations >= overlap


class _User(msgspec.Struct):
    email: str | None = None


class _View(msgspec.Struct):
    id: int
    data: dict[str, Any] | None = None


def assign_items(
    client: LabelStudioClient,
    project_id: str,
    annotators: Sequence[str],
    *,
    overlap: int = 1,
    item_keys: Iterable[str] | None = None,
) -> AssignmentReport:
    """Split a project's tasks among people. See :meth:`~airflow_annotation.hooks.ports.Queue.assign_items`.

    Tasks that are open for fewer than ``overlap`` people are opened for that many. Each person gets a tab with their
    address as its title. A project without tabs first gets a tab with all items.

    :param client: client of the server
    :param project_id: the project
    :param annotators: e-mail addresses of the server's users
    :param overlap: number of people per task
    :param item_keys: the items; None for all unfinished items
    """
    project_path(project_id)
    split = Split(annotators, overlap)
    known = {user.email for user in client.read("GET", "/api/users/", list[_User])}
    check_known(annotators, {email for email in known if email}, f"{TOOL} at {client.url}")
    report = AssignmentReport()
    wanted = None if item_keys is None else {key_hash(key): key for key in item_keys}
    missing = {} if wanted is None else dict(wanted)
    short = 0
    config = LabelingConfig(get_label_config(client, project_id) or "<View/>")

    def is_short(task: _Task) -> bool:
        return split.is_short(task.people) or task.overlap < overlap

    for task in _tasks(client, project_id):
        hashed = key_hash(find_item_key(task.data, config))
        missing.pop(hashed, None)
        is_finished = task.is_finished(overlap)
        if not is_finished:
            split.keep(task.people)
        if wanted is not None and hashed not in wanted:
            continue
        if is_finished:
            report.finished += 1
        elif is_short(task):
            short += 1
        else:
            report.kept += 1
    report.fail_missing(missing.values(), project_id)
    _ensure_tabs(client, project_id, annotators)
    # List the tasks a second time, to hold no more than one page of them.
    for task in _tasks(client, project_id) if short else ():
        if task.is_finished(overlap) or not is_short(task):
            continue
        if wanted is not None and key_hash(find_item_key(task.data, config)) not in wanted:
            continue
        had = split.counts.copy()
        if _give(client, task, split.fill(task.people), overlap):
            report.assigned += 1
        else:
            split.counts = had
            report.fail(find_item_key(task.data, config), deleted_from_project(task.id, project_id))
    report.annotators = dict(split.counts)
    log.info("Assigned %d items of project %s; %d had their people already.", report.assigned, project_id, report.kept)
    return report


def _tasks(client: LabelStudioClient, project_id: str) -> Iterator[_Task]:
    return itertools.chain.from_iterable(list_pages(client, project_id, _Task, include=_INCLUDED))


def _give(client: LabelStudioClient, task: _Task, people: Sequence[str], overlap: int) -> bool:
    """Give a task to people. Return False if somebody deleted it."""
    changes: dict[str, Any] = {"data": {**task.data, ASSIGNED_TO: " ".join(f"<{one}>" for one in people)}}
    if task.overlap < overlap:
        changes |= {"overlap": overlap, "is_labeled": False}
    try:
        client.read("PATCH", f"{TASKS_PATH}{task.id}/", Task, json=changes, repeatable=True)
    except AnnotationRequestError as error:
        if error.status_code != httpx.codes.NOT_FOUND:
            raise
        return False
    return True


def _ensure_tabs(client: LabelStudioClient, project_id: str, annotators: Sequence[str]) -> None:
    views = client.read("GET", _VIEWS, list[_View], params={"project": project_id})
    if not views:
        # Without this tab, people who look after all items would have no tab that shows them.
        _make_tab(client, project_id, _ALL, [])
    titles = {(view.data or {}).get("title") for view in views}
    for annotator in annotators:
        if annotator not in titles:
            theirs = condition(f"data.{ASSIGNED_TO}", "contains", "String", f"<{annotator}>")
            _make_tab(client, project_id, annotator, [theirs])


def _make_tab(client: LabelStudioClient, project_id: str, title: str, items: list[Condition]) -> None:
    data = {"title": title, "type": "list", "target": "tasks", "filters": {"conjunction": "and", "items": items}}
    client.read("POST", _VIEWS, _View, json={"project": int(project_id), "data": data}, repeatable=False)
