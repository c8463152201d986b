"""Put tasks back into the labeling queue.

Label Studio gives a task to people until it has as many submissions as its ``overlap`` says. It never gives it again to
a person who has submitted or skipped it. So a finished task is opened for one more submission, and a skip is removed.
Requests send the overlap as a total, not as an increment, so a request that arrives twice has the same effect as one.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator
from typing import Any, Final

import httpx
import msgspec

from airflow_annotation.exceptions import AnnotationRequestError
from airflow_annotation.hooks.annotation import RequeueReport
from airflow_annotation.hooks.errors import unless_gone
from airflow_annotation.hooks.label_studio.actions import delete
from airflow_annotation.hooks.label_studio.client import LabelStudioClient, project_path
from airflow_annotation.hooks.label_studio.item_tasks import ItemTasks
from airflow_annotation.hooks.label_studio.projects import get_label_config
from airflow_annotation.hooks.label_studio.task_meta import read_requeued, requeued_meta
from airflow_annotation.hooks.label_studio.task_pages import (
    TASKS_PATH,
    TASKS_SELECTED,
    Task,
    condition,
    list_pages,
    list_selected,
)
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.media.items import key_hash

log = logging.getLogger(__name__)

_INCLUDED: Final = "id,meta,overlap,is_labeled,annotations,was_cancelled,result"
_SKIPPED: Final = (
    condition("cancelled_annotations", "greater", "Number", 0),
    condition("total_annotations", "equal", "Number", 0),
)


class _Annotation(msgspec.Struct, gc=False):
    id: int
    was_cancelled: bool = False
    result: Any = None


class _Draft(msgspec.Struct):
    id: int


class _Task(msgspec.Struct, gc=False):
    id: int
    meta: Any = None
    overlap: int = 1
    is_labeled: bool = False
    annotations: list[_Annotation] = []


def requeue_items(
    client: LabelStudioClient,
    project_id: str,
    item_keys: Iterable[str] | None,
    *,
    request: str,
    item_ids: Iterable[str] | None = None,
) -> RequeueReport:
    """Put a project's tasks back to be labeled. See :meth:`~airflow_annotation.hooks.ports.Queue.requeue_items`.

    A skip without labels is deleted. One with labels becomes a draft of the connection's user.

    :param client: client of the server
    :param project_id: the project
    :param item_keys: keys of the items; None for all skipped items
    :param request: name of the request, the same in each retry
    :param item_ids: ids of the tasks, instead of ``item_keys``
    """
    project_path(project_id)
    report = RequeueReport()
    if item_ids is not None:
        pages = list_selected(client, project_id, _Task, map(int, item_ids), include=_INCLUDED)
    elif item_keys is None:
        pages = list_pages(
            client, project_id, _Task, _SKIPPED, fields="all", include=_INCLUDED, page_size=TASKS_SELECTED
        )
    else:
        ids = _find(client, project_id, item_keys, report)
        pages = list_selected(client, project_id, _Task, ids, include=_INCLUDED)
    for task in itertools.chain.from_iterable(pages):
        try:
            _requeue(client, task, request, report)
        except AnnotationRequestError as error:  # noqa: PERF203 - each is a request
            if error.status_code != httpx.codes.NOT_FOUND:
                raise
            report.fail(str(task.id), deleted_from_project(task.id, project_id))
    log.info("Put back %d items of project %s; %d were waiting already.", report.requeued, project_id, report.waiting)
    return report


def deleted_from_project(task_id: int, project_id: str) -> str:
    """Return the error message for an item that somebody deleted after it was listed."""
    return f"Task {task_id} of project {project_id} was deleted by somebody."


def _find(client: LabelStudioClient, project_id: str, item_keys: Iterable[str], report: RequeueReport) -> Iterator[int]:
    """Yield the ids of the items' tasks. Hold only the keys in memory, however many tasks the project has."""
    wanted = {key_hash(key): key for key in item_keys}
    missing = dict(wanted)
    config = LabelingConfig(get_label_config(client, project_id) or "<View/>")
    for hashed, task_id, _ in ItemTasks(client, project_id, config=config).read() if wanted else ():
        if hashed in wanted:
            missing.pop(hashed, None)
            yield task_id
    report.fail_missing(missing.values(), project_id)


def _requeue(client: LabelStudioClient, task: _Task, request: str, report: RequeueReport) -> None:
    skips = [one for one in task.annotations if one.was_cancelled]
    noted = read_requeued(task.meta, request)
    if noted is not None:
        _clear_all(client, [skip for skip in skips if skip.id in noted], report)
        return
    submitted = len(task.annotations) - len(skips)
    if not task.is_labeled and not skips and submitted < task.overlap:
        report.waiting += 1
        return
    changes: dict[str, Any] = {"meta": requeued_meta(task.meta, request, [skip.id for skip in skips])}
    # Label Studio gives out a task by its number of submissions, and finishes it by the number of their people.
    if task.is_labeled or submitted >= task.overlap:
        changes |= {"overlap": max(task.overlap, submitted + 1), "is_labeled": False}
    # Write the note before a skip is cleared: people may finish the task before the next try. Without the note, that
    # try would put it back again.
    client.read("PATCH", f"{TASKS_PATH}{task.id}/", Task, json=changes, repeatable=True)
    _clear_all(client, skips, report)


def _clear_all(client: LabelStudioClient, skips: Iterable[_Annotation], report: RequeueReport) -> None:
    for skip in skips:
        _clear(client, skip)
        report.skips_cleared += 1
    report.requeued += 1


def _clear(client: LabelStudioClient, skip: _Annotation) -> None:
    path = f"/api/annotations/{skip.id}/"
    with unless_gone():  # the answer to an earlier request was lost, or the person has removed the skip
        if skip.result:
            client.read("POST", f"{path}convert-to-draft", _Draft, repeatable=True)
        else:
            delete(client, path)
