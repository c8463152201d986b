"""Look up data rows by their global keys, and find those that a project has."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from airflow_annotation.exceptions import AnnotationAnswerError, AnnotationRequestError
from airflow_annotation.hooks.errors import unless_gone
from airflow_annotation.hooks.labelbox.client import LabelboxClient
from airflow_annotation.hooks.labelbox.export_stream import export_rows
from airflow_annotation.hooks.labelbox.tasks import polls
from airflow_annotation.labels.columns import positive_number, whole_number
from airflow_annotation.media.items import key_hash
from airflow_annotation.media.key_index import KeyIndex, KnownItem

FILTERED_ROWS: Final = 1000
"""Maximum number of data rows that one filter names. Labelbox accepts somewhat more."""

_FIND: Final = "query FindDataRows($keys: [ID!]!) { dataRowsForGlobalKeys(where: {ids: $keys}) { jobId } }"
_FOUND: Final = """query FoundDataRows($id: ID!) {
    dataRowsForGlobalKeysResult(jobId: {id: $id}) { jobStatus data { fetchedDataRows { id } } }
}"""
_PROCESSED: Final = """query AllProcessed($ids: [ID!]) {
    queryAllDataRowsHaveBeenProcessed(dataRowIds: $ids) { allDataRowsHaveBeenProcessed }
}"""
_PROCESSED_FIELD: Final = "queryAllDataRowsHaveBeenProcessed"
_DELETE: Final = "mutation DeleteDataRows($ids: [ID!]!) { deleteDataRows(where: {dataRowIds: $ids}) { id } }"
_ROW_DATA: Final = "query RowData($id: ID!) { dataRow(where: {id: $id}) { rowData } }"


class _DataRow(msgspec.Struct):
    id: str


class _FetchedRow(msgspec.Struct):
    id: str | None = None


class _FetchedRows(msgspec.Struct, rename="camel"):
    fetched_data_rows: list[_FetchedRow]


class _FoundRows(msgspec.Struct, rename="camel"):
    job_status: str
    data: _FetchedRows | None = None


class ExportedRow(msgspec.Struct):
    """A line of an export, of which only the data row's id is read."""

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


def index_rows(client: LabelboxClient, project_id: str) -> KeyIndex:
    """Return an index of a project's data rows by their global keys. Their ids are hashes of Labelbox's ids."""
    return KeyIndex(map(_known, export_rows(client, project_id, _SizedRow, filters={})))


def _known(row: _SizedRow) -> tuple[int, KnownItem]:
    media = row.media_attributes or _MediaAttributes()
    size = (whole_number(media.width, 1), whole_number(media.height, 1))
    item = KnownItem(key_hash(row.data_row.id), *size, positive_number(media.frame_rate))
    return key_hash(row.data_row.global_key or row.data_row.id), item


def find_data_rows(client: LabelboxClient, global_keys: Sequence[str]) -> dict[str, str]:
    """Return the ids of the data rows with these global keys, by key, without keys that no data row has."""
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
    """Return the ids, of those given, of the data rows that a project has."""
    found: set[str] = set()
    for ids in chunks(row_ids, FILTERED_ROWS):
        found.update(_exported_ids(client, project_id, {"data_row_ids": ids}))
    return found


def rows_in_batch(client: LabelboxClient, project_id: str, batch_id: str) -> set[str]:
    """Return the ids of the data rows of a batch."""
    return set(_exported_ids(client, project_id, {"batch_ids": [batch_id]}))


def wait_until_processed(client: LabelboxClient, row_ids: Sequence[str]) -> None:
    """Wait until Labelbox has processed the media of new data rows. They cannot be put into a batch before."""
    for _ in polls("the processing of data rows"):
        if client.query(_PROCESSED, f"{_PROCESSED_FIELD}.allDataRowsHaveBeenProcessed", bool, ids=list(row_ids)):
            return


def delete_project_rows(client: LabelboxClient, project_id: str) -> None:
    """Delete all data rows of a project, from their datasets and from all other projects."""
    for ids in chunks(_exported_ids(client, project_id, {}), FILTERED_ROWS):
        with client.using_sdk() as sdk:
            sdk.execute(_DELETE, {"ids": ids})


def find_row_url(client: LabelboxClient, data_row_id: str) -> str | None:
    """Return the URL at which Labelbox has the media of a data row; None if there is none, or if the media is text."""
    url = None
    with unless_gone():
        url = client.query(_ROW_DATA, "dataRow.rowData", str | None, id=data_row_id)
    return url if url and url.startswith(("http://", "https://")) else None


def chunks(ids: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield lists of this size; the last one may be shorter."""
    remaining = iter(ids)
    while chunk := list(itertools.islice(remaining, size)):
        yield chunk


def _exported_ids(client: LabelboxClient, project_id: str, filters: dict[str, Any]) -> Iterator[str]:
    for row in export_rows(client, project_id, ExportedRow, filters=filters):
        yield row.data_row.id
