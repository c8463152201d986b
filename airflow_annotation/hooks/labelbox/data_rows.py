"""Data rows by their global keys, and those that a project has."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from airflow_annotation.exceptions import AnnotationAnswerError, AnnotationRequestError
from airflow_annotation.hooks.labelbox.client import LabelboxClient
from airflow_annotation.hooks.labelbox.export_stream import export_rows
from airflow_annotation.hooks.labelbox.tasks import polls
from airflow_annotation.labels.columns import positive_number, whole_number
from airflow_annotation.media.items import key_hash
from airflow_annotation.media.key_index import KeyIndex

FILTERED_ROWS: Final = 1000
"""Data rows that one filter names at most; Labelbox takes some more."""

_FIND: Final = "query FindDataRows($keys: [ID!]!) { dataRowsForGlobalKeys(where: {ids: $keys}) { jobId } }"
_FOUND: Final = """query FoundDataRows($id: ID!) {
    dataRowsForGlobalKeysResult(jobId: {id: $id}) { jobStatus data { fetchedDataRows { id } } }
}"""
_PROCESSED: Final = """query AllProcessed($ids: [ID!]) {
    queryAllDataRowsHaveBeenProcessed(dataRowIds: $ids) { allDataRowsHaveBeenProcessed }
}"""
_PROCESSED_FIELD: Final = "queryAllDataRowsHaveBeenProcessed"
_DELETE: Final = "mutation DeleteDataRows($ids: [ID!]!) { deleteDataRows(where: {dataRowIds: $ids}) { id } }"


class _DataRow(msgspec.Struct):
    id: str


class _FetchedRow(msgspec.Struct):
    id: str | None = None


class _FetchedRows(msgspec.Struct, rename="camel"):
    fetched_data_rows: list[_FetchedRow]


class _FoundRows(msgspec.Struct, rename="camel"):
    job_status: str
    data: _FetchedRows | None = None


class _ExportedRow(msgspec.Struct):
    data_row: _DataRow


class _SizedDataRow(msgspec.Struct):
    id: str
    global_key: str | None = None


class _MediaAttributes(msgspec.Struct):
    width: Any = None
    height: Any = None
    frame_rate: Any = None


class _SizedRow(msgspec.Struct):
    data_row: _SizedDataRow
    media_attributes: _MediaAttributes | None = None


class ProjectRow(NamedTuple):
    """A data row of a project: the hash of its id, and what is known of its media: size in pixels, frames a second."""

    id_hash: int
    width: int | None
    height: int | None
    frame_rate: float | None


class ProjectRows:
    """A project's data rows by their global keys.

    :param client: of the organisation
    :param project_id: the project
    """

    def __init__(self, client: LabelboxClient, project_id: str) -> None:
        rows = map(_facts, export_rows(client, project_id, _SizedRow, filters={}))
        self._index = KeyIndex(rows, "u8", "i4", "i4", "f8")

    def find(self, global_key: str) -> ProjectRow | None:
        """Return the data row with this global key, None if the project has none."""
        found = self._index.find(global_key)
        if found is None:
            return None
        id_hash, width, height, frame_rate = found
        return ProjectRow(id_hash, width or None, height or None, frame_rate or None)


def _facts(row: _SizedRow) -> tuple[int | float, ...]:
    media = row.media_attributes or _MediaAttributes()
    return (
        key_hash(row.data_row.global_key or row.data_row.id),
        key_hash(row.data_row.id),
        whole_number(media.width, 1) or 0,
        whole_number(media.height, 1) or 0,
        positive_number(media.frame_rate) or 0.0,
    )


def find_data_rows(client: LabelboxClient, global_keys: Sequence[str]) -> dict[str, str]:
    """Return the ids of the data rows that have these global keys, by the key; those that there are."""
    if not global_keys:
        return {}
    job = client.query(_FIND, "dataRowsForGlobalKeys.jobId", str, keys=list(global_keys))
    for _ in polls("the look-up of global keys"):
        found = client.query(_FOUND, "dataRowsForGlobalKeysResult", _FoundRows, id=job)
        if found.job_status == "FAILED":
            break
        if found.job_status == "COMPLETE":
            ids = [row.id for row in found.data.fetched_data_rows] if found.data else []
            if len(ids) != len(global_keys):
                raise AnnotationAnswerError(f"Labelbox answered {len(global_keys)} global keys with {len(ids)} ids.")
            return {key: row_id for key, row_id in zip(global_keys, ids, strict=True) if row_id}
    raise AnnotationRequestError("Labelbox failed at the look-up of global keys.", status_code=500)


def rows_in_project(client: LabelboxClient, project_id: str, row_ids: Iterable[str]) -> set[str]:
    """Return which of some data rows a project has."""
    found: set[str] = set()
    for ids in chunks(row_ids, FILTERED_ROWS):
        found.update(_exported_ids(client, project_id, {"data_row_ids": ids}))
    return found


def rows_in_batch(client: LabelboxClient, project_id: str, batch_id: str) -> set[str]:
    """Return the data rows of a batch."""
    return set(_exported_ids(client, project_id, {"batch_ids": [batch_id]}))


def wait_until_processed(client: LabelboxClient, row_ids: Sequence[str]) -> None:
    """Wait until Labelbox has looked at the media of new data rows, which cannot be batched before."""
    for _ in polls("the processing of data rows"):
        if client.query(_PROCESSED, f"{_PROCESSED_FIELD}.allDataRowsHaveBeenProcessed", bool, ids=list(row_ids)):
            return


def delete_project_rows(client: LabelboxClient, project_id: str) -> None:
    """Delete all data rows of a project, from their datasets and from all other projects."""
    for ids in chunks(_exported_ids(client, project_id, {}), FILTERED_ROWS):
        with client.using_sdk() as sdk:
            sdk.execute(_DELETE, {"ids": ids})


def chunks(ids: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield lists of this many, the last one shorter."""
    remaining = iter(ids)
    while chunk := list(itertools.islice(remaining, size)):
        yield chunk


def _exported_ids(client: LabelboxClient, project_id: str, filters: dict[str, Any]) -> Iterator[str]:
    for row in export_rows(client, project_id, _ExportedRow, filters=filters):
        yield row.data_row.id
