"""Reserve data rows for people.

Labelbox gives a data row in the labeling queue to the first person who comes, and reserves a few for them. This module
reserves data rows in advance. An unused reservation ends after some time (24 hours, Labelbox says). Then the data row
goes to the first person who comes. Labelbox does not tell who has a reservation. Only free data rows get one, so a
repeated call takes no reservation away.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.annotation import AssignmentReport
from airflow_annotation.hooks.assignment import Split, check_known
from airflow_annotation.hooks.labelbox.client import LabelboxClient
from airflow_annotation.hooks.labelbox.data_rows import chunks
from airflow_annotation.hooks.labelbox.errors import TOOL
from airflow_annotation.hooks.labelbox.export_stream import export_rows
from airflow_annotation.hooks.labelbox.people import user_ids
from airflow_annotation.hooks.labelbox.tasks import repeat
from airflow_annotation.labels.labelbox.items import find_item_key
from airflow_annotation.labels.labelbox.records import DescribedRow, ProjectDetails
from airflow_annotation.media.items import key_hash

log = logging.getLogger(__name__)

_PARAMS: Final = {"attachments": True, "metadata_fields": True, "project_details": True}
_ROWS_AT_ONCE: Final = 1000
_TO_LABEL: Final = "TO_LABEL"
_RESERVE: Final = """mutation ReserveDataRows($input: BulkAssignDataRowsInput!) {
    bulkAssignDataRows(input: $input) { success }
}"""
"""The SDK's mutation since 7.7. Without statuses in its input, it reserves only free data rows and may come twice."""


class _Project(msgspec.Struct, gc=False):
    labels: list[msgspec.Raw] = []
    project_details: ProjectDetails | None = None

    @property
    def is_waiting(self) -> bool:
        return not self.labels and (self.project_details or ProjectDetails()).workflow_status == _TO_LABEL


class _Row(DescribedRow, gc=False):
    projects: dict[str, _Project] = msgspec.field(default_factory=dict)


def assign_items(
    client: LabelboxClient,
    project_id: str,
    annotators: Sequence[str],
    *,
    overlap: int = 1,
    item_keys: Iterable[str] | None = None,
    namespace: str = "",
) -> AssignmentReport:
    """Reserve a project's data rows for people. See :meth:`~airflow_annotation.hooks.ports.Queue.assign_items`.

    Data rows that have a label or are past the labeling count as finished. The others are split in the order of the
    hashes of their keys. This order looks random, and is the same in each call.

    :param client: client of the organization
    :param project_id: the project
    :param annotators: e-mail addresses of the organization's users
    :param overlap: number of people per data row, which must be 1
    :param item_keys: keys of the items; None for all that are not finished
    :param namespace: namespace of the global keys
    :raises AnnotationError: ``overlap`` is more than 1, or an annotator is no user of the organization
    """
    if overlap != 1:
        raise AnnotationError(
            f"overlap is {overlap}: Labelbox reserves a data row for one person. Upload the items with "
            f"overlap={overlap}, and Labelbox gives each to that many people; or assign them with overlap=1."
        )
    split = Split(annotators, overlap)
    users = repeat(lambda: user_ids(client))
    check_known(annotators, users, f"{TOOL} at {client.app_url}")
    report = AssignmentReport()
    wanted = None if item_keys is None else dict.fromkeys(item_keys)
    missing = {} if wanted is None else dict(wanted)
    waiting: list[tuple[int, str]] = []
    for row in export_rows(client, project_id, _Row, params=_PARAMS):
        key = find_item_key(row, namespace)
        if wanted is not None and key not in wanted:
            continue
        missing.pop(key, None)
        if (row.projects.get(project_id) or _Project()).is_waiting:
            waiting.append((key_hash(key), row.data_row.id))
        else:
            report.finished += 1
    report.fail_missing(missing, project_id)
    theirs: dict[str, list[str]] = {annotator: [] for annotator in annotators}
    for _, row_id in sorted(waiting):
        (annotator,) = split.fill([])
        theirs[annotator].append(row_id)
    for annotator, row_ids in theirs.items():
        for ids in chunks(row_ids, _ROWS_AT_ONCE):
            _reserve(client, project_id, users[annotator], ids)
            report.assigned += len(ids)
    report.annotators = dict(split.counts)
    log.info("Reserved %d data rows of project %s for %d people.", report.assigned, project_id, len(annotators))
    return report


def _reserve(client: LabelboxClient, project_id: str, user_id: str, row_ids: list[str]) -> None:
    asked = {"projectId": project_id, "userId": user_id, "dataRowIds": row_ids}
    if not client.query(_RESERVE, "bulkAssignDataRows.success", bool, input=asked):
        raise AnnotationError(f"Labelbox did not reserve {len(row_ids)} data rows of project {project_id}.")
