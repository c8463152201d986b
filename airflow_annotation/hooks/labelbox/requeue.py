"""Put data rows back into the labeling queue, or move them to the rework task.

A skipped data row has a label that marks the skip. Without that label, the data row is in the labeling queue again. A
data row with labels goes to the rework task, where people change them. It cannot go to one more person: the number of
labels per data row is fixed when its batch is made.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from typing import Any, Final

import httpx
import msgspec

from airflow_annotation.exceptions import AnnotationAnswerError, AnnotationError, AnnotationRequestError
from airflow_annotation.hooks.annotation import RequeueReport
from airflow_annotation.hooks.labelbox.client import LabelboxClient
from airflow_annotation.hooks.labelbox.data_rows import chunks
from airflow_annotation.hooks.labelbox.export_stream import export_rows
from airflow_annotation.hooks.labelbox.metadata import MetadataFields
from airflow_annotation.hooks.labelbox.tasks import ask_sdk, repeat, wait_for_task
from airflow_annotation.labels.labelbox.items import find_item_key, item_status
from airflow_annotation.labels.labelbox.keys import REQUEUED_BY
from airflow_annotation.labels.labelbox.records import DescribedRow, MeasuredLabel, ProjectDetails

log = logging.getLogger(__name__)

_PARAMS: Final = {
    "attachments": True,
    "metadata_fields": True,
    "project_details": True,
    "performance_details": True,
    "label_details": True,
}
_LABELS_AT_ONCE: Final = 100
_ROWS_AT_ONCE: Final = 1000
_LABELING: Final = "INITIAL_LABELING_QUEUE"
_REWORK: Final = "MANUAL_REWORK_QUEUE"
_NOTED_CHARACTERS: Final = 2000
"""Number of characters that are kept of a data row's marks, from the end. Labelbox accepts 4,096 in a field."""

_TO_LABEL: Final = "TO_LABEL"
_WAITING: Final = frozenset({_TO_LABEL, "IN_REWORK"})
_DELETE: Final = "mutation DeleteSkips($ids: [ID!]!) { deleteLabels(labelIds: $ids) { id } }"
_MOVE: Final = """mutation MoveToTask(
    $project: ID!, $queue: ID, $rows: AddRowsToTaskQueueViaDataRowIdentifiersInput!
) {
    project(where: {id: $project}) {
        createBulkAddRowsToQueueTask(data: {queueId: $queue, dataRowIdentifiers: $rows}) { taskId }
    }
}"""


class _Started(msgspec.Struct, rename="camel"):
    task_id: str


class _MovingProject(msgspec.Struct):
    created: _Started = msgspec.field(name="createBulkAddRowsToQueueTask")


class _Moving(msgspec.Struct):
    project: _MovingProject


class _Annotations(msgspec.Struct, gc=False):
    objects: list[msgspec.Raw] = []
    classifications: list[msgspec.Raw] = []
    relationships: list[msgspec.Raw] = []
    frames: dict[str, msgspec.Raw] = {}
    timestamp: dict[str, msgspec.Raw] = {}

    @property
    def is_empty(self) -> bool:
        return not (self.objects or self.classifications or self.relationships or self.frames or self.timestamp)


class _LabelDetails(msgspec.Struct, gc=False):
    content_last_updated_at: str | None = None


class _Label(MeasuredLabel, kw_only=True, gc=False):
    id: str
    label_details: _LabelDetails | None = None
    annotations: _Annotations | None = None

    @property
    def is_empty_skip(self) -> bool:
        return self.skipped and (self.annotations is None or self.annotations.is_empty)


class _Project(msgspec.Struct, gc=False):
    labels: list[_Label] = []
    project_details: ProjectDetails | None = None

    def digest(self) -> str:
        """Return a hash that changes when somebody labels the data row or changes a label."""
        labels = [
            f"{label.id} {label.label_details.content_last_updated_at if label.label_details else None}"
            for label in self.labels
            if not label.is_empty_skip
        ]
        return hashlib.sha256("\n".join(sorted(labels)).encode()).hexdigest()[:16]


class _Row(DescribedRow, gc=False):
    projects: dict[str, _Project] = msgspec.field(default_factory=dict)

    @property
    def requeued_by(self) -> Any:
        return next((field.value for field in self.metadata_fields if field.schema_name == REQUEUED_BY), None)


def requeue_items(
    client: LabelboxClient,
    project_id: str,
    item_keys: Iterable[str] | None,
    *,
    request: str,
    item_ids: Iterable[str] | None = None,
    namespace: str = "",
) -> RequeueReport:
    """Put a project's data rows back to be labeled. See :meth:`~airflow_annotation.hooks.ports.Queue.requeue_items`.

    One export of the project tells the state of each data row.

    :param client: client of the organization
    :param project_id: the project
    :param item_keys: keys of the items; None for all skipped items
    :param request: name of the request, the same in each retry; it is noted in the data rows' metadata
    :param item_ids: ids of the data rows, instead of ``item_keys``
    :param namespace: namespace of the global keys
    """
    ids = None if item_ids is None else set(item_ids)
    work = _Work(client, project_id, f"{project_id}/{request}")
    wanted = None if item_keys is None else dict.fromkeys(item_keys)
    missing = {} if wanted is None else dict(wanted)
    for row in export_rows(client, project_id, _Row, params=_PARAMS):
        place = row.projects.get(project_id) or _Project()
        if ids is not None:
            if row.data_row.id not in ids:
                continue
        elif wanted is None:
            if item_status(place.labels, place.project_details) != "skipped":
                continue
        else:
            key = find_item_key(row, namespace)
            if key not in wanted:
                continue
            missing.pop(key, None)
        work.plan(row.data_row.id, place, row.requeued_by)
    work.report.fail_missing(missing, project_id)
    work.do()
    report = work.report
    log.info("Put back %d items of project %s; %d were waiting already.", report.requeued, project_id, report.waiting)
    return report


class _Work:
    """The changes of a project's data rows.

    People may finish a data row before the try that put it back has ended, or before the next try begins. So its
    metadata first get a note that this request puts the data row back, with a hash of its labels. At the end, the note
    says that the data row was put back. The latest notes of earlier requests stay.

    :param client: client of the organization
    :param project_id: the project
    :param mark: line in the metadata of data rows that this request has put back
    """

    def __init__(self, client: LabelboxClient, project_id: str, mark: str) -> None:
        self.report = RequeueReport()
        self._client = client
        self._project_id = project_id
        self._mark = mark.replace("\n", " ")
        self._skips: list[str] = []
        self._moves: dict[str, list[str]] = {_LABELING: [], _REWORK: []}
        self._begun: dict[str, str] = {}
        self._marked: dict[str, str] = {}

    def plan(self, row_id: str, place: _Project, marked_by: Any) -> None:
        marks = marked_by.split("\n") if isinstance(marked_by, str) else []
        if self._mark in marks:
            self.report.requeued += 1
            return
        begun = f"{self._mark} begun {place.digest()}"
        was_begun = next((mark for mark in marks if mark.startswith(f"{self._mark} begun ")), None)
        others = [mark for mark in marks if mark != was_begun]
        marked = _last_lines([*others, self._mark])
        if was_begun not in (None, begun):
            self._marked[row_id] = marked  # people have labeled it since
            return
        skips = [label.id for label in place.labels if label.is_empty_skip]
        status = place.project_details.workflow_status if place.project_details else None
        has_labels = len(place.labels) > len(skips)
        is_waiting = status in _WAITING if has_labels else status == _TO_LABEL
        if was_begun is None:
            if is_waiting and not skips:
                self.report.waiting += 1
                return
            self._begun[row_id] = _last_lines([*others, begun])
        self._skips += skips
        if not is_waiting:
            self._moves[_REWORK if has_labels else _LABELING].append(row_id)
        self._marked[row_id] = marked

    def do(self) -> None:
        fields = MetadataFields(self._client)
        if self._begun:
            fields.write(REQUEUED_BY, self._begun)
        for label_ids in chunks(self._skips, _LABELS_AT_ONCE):
            self._delete(label_ids)
            self.report.skips_cleared += len(label_ids)
        for queue_type, row_ids in self._moves.items():
            if row_ids:
                self._move(row_ids, queue_type)
        if self._marked:
            fields.write(REQUEUED_BY, self._marked)
        self.report.requeued += len(self._marked)

    def _delete(self, label_ids: Sequence[str]) -> None:
        try:
            self._client.query(_DELETE, "deleteLabels", list[Any], ids=list(label_ids))
        except AnnotationRequestError as error:
            if error.status_code != httpx.codes.NOT_FOUND:
                raise
            # An answer was lost, or somebody deleted a label. Then Labelbox deletes none of them, so go one by one.
            if len(label_ids) > 1:
                for label_id in label_ids:
                    self._delete([label_id])

    def _move(self, row_ids: Sequence[str], queue_type: str) -> None:
        queue_id = self._queue_id(queue_type)
        for ids in chunks(row_ids, _ROWS_AT_ONCE):
            rows = {"ids": ids, "idType": "ID"}
            variables = {"project": self._project_id, "queue": queue_id, "rows": rows}

            def move(variables: dict[str, Any] = variables, count: int = len(ids)) -> None:
                task_id = self._start(variables)
                wait_for_task(self._client, task_id, f"the move of {count} data rows in project {self._project_id}")

            repeat(move)

    def _queue_id(self, queue_type: str) -> str:
        found = ask_sdk(self._client, lambda sdk: list(sdk.get_project(self._project_id).task_queues()))
        queues = {str(one.queue_type): str(one.uid) for one in found}
        if queue_type not in queues:
            raise AnnotationError(
                f"The workflow of project {self._project_id} has no task of the type {queue_type}, to which its data "
                f"rows would go. It has {', '.join(queues) or 'none'}."
            )
        return queues[queue_type]

    def _start(self, variables: dict[str, Any]) -> str:
        # The SDK knows the address for this mutation, which it calls experimental.
        with self._client.using_sdk() as sdk:
            answer = sdk.execute(_MOVE, variables, experimental=True)
        try:
            return msgspec.convert(answer, _Moving).project.created.task_id
        except msgspec.ValidationError as error:
            raise AnnotationAnswerError(f"Labelbox's answer to the move of data rows is unreadable: {error}") from error


def _last_lines(lines: Sequence[str]) -> str:
    return "\n".join(lines)[-_NOTED_CHARACTERS:]
