"""From whatever a task is given as its labels to submissions: a landed dataset, a query, tables, rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any, Final

import pyarrow as pa

from airflow_annotation.datasets.parquet import read_row_groups
from airflow_annotation.datasets.versions import Manifest, dataset_path, read_manifest
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.submissions import Row, Submission, read_rows, read_submissions

if TYPE_CHECKING:
    import sqlalchemy as sa

_SQL_ROWS_AT_ONCE: Final = 1000


def find_dataset(labels: Any) -> str | None:
    """Return the target of the landed dataset that labels name; None if they are something else.

    :param labels: a URI, an absolute path, or what ``AnnotationsToObjectStorageOperator`` returned
    """
    from airflow.sdk import ObjectStoragePath

    if isinstance(labels, Mapping) and isinstance(labels.get("target"), str):
        return str(labels["target"])
    if isinstance(labels, (str, ObjectStoragePath)):
        return str(labels)
    return None


def read_landed(target: str, *, conn_id: str | None = None) -> tuple[Manifest, Iterator[Submission]]:
    """Return what a landed dataset holds, and an iterator of what people submitted, empty submissions too.

    Skipped items, drafts and predictions that landed along are left out. Streams: holds some row groups.

    :param target: the dataset's folder
    :param conn_id: the connection of the object store, where the URI does not name one
    :raises AnnotationError: there is no dataset
    """
    manifest = read_manifest(target, conn_id=conn_id)
    return manifest, _read_landed(target, conn_id, manifest)


def read_given(labels: Any) -> Iterator[Submission]:
    """Yield the submissions in a DataFrame, an Arrow table, or an iterable of dictionaries or Arrow batches.

    :param labels: rows of the ``labels`` table, with as many of its columns as are there. Those in memory come in any
        order; an iterator has to yield each item's rows together
    :raises AnnotationError: it is none of these
    :raises LabelRowError: a row is not as it should be
    """
    if isinstance(labels, pa.RecordBatch):
        labels = pa.table(labels)
    if isinstance(labels, pa.Table):
        labels = _arrow_rows(labels.sort_by("item_key") if "item_key" in labels.column_names else labels)
    elif type(labels).__module__.partition(".")[0] == "pandas":
        labels = _frame_rows(labels.sort_values("item_key", kind="stable") if "item_key" in labels else labels)
    elif isinstance(labels, (list, tuple)):
        labels = sorted(labels, key=lambda row: str(row.get("item_key", ""))) if _are_rows(labels) else labels
    elif not isinstance(labels, Iterable) or isinstance(labels, (str, bytes, Mapping)):
        raise AnnotationError(
            f"labels is of type {type(labels).__name__}: pass a landed dataset, a DataFrame, an Arrow table, rows as "
            "dictionaries, or a callable that returns one of these."
        )
    return read_submissions(read_rows(itertools.chain.from_iterable(_rows_of(part) for part in labels)))


def read_sql(engine: sa.Engine, sql: str, parameters: Any = None) -> Iterator[Submission]:
    """Yield the submissions that a query returns, each item's rows together. Streams where the driver does.

    :param engine: of the database
    :param sql: returns columns of the ``labels`` table; lists and JSON may be text
    :param parameters: of the query, in the driver's own style
    """
    with engine.connect() as connection:
        options = {"stream_results": True, "max_row_buffer": _SQL_ROWS_AT_ONCE}
        result = connection.execution_options(**options).exec_driver_sql(sql, parameters)
        yield from read_submissions(read_rows(dict(row) for row in result.mappings()))


def _are_rows(labels: Iterable[Any]) -> bool:
    return all(isinstance(row, Mapping) for row in labels)


def _rows_of(part: Any) -> Iterable[Mapping[str, Any]]:
    if isinstance(part, Mapping):
        return (part,)
    if isinstance(part, (pa.RecordBatch, pa.Table)):
        return _arrow_rows(part)
    raise AnnotationError(f"labels holds a {type(part).__name__}: its rows must be dictionaries or Arrow batches.")


def _arrow_rows(table: pa.Table | pa.RecordBatch) -> Iterator[Row]:
    for start in range(0, len(table), _SQL_ROWS_AT_ONCE):
        yield from table.slice(start, _SQL_ROWS_AT_ONCE).to_pylist()


def _frame_rows(frame: Any) -> Iterator[Row]:
    for start in range(0, len(frame), _SQL_ROWS_AT_ONCE):
        rows = frame.iloc[start : start + _SQL_ROWS_AT_ONCE].astype(object)
        yield from rows.where(rows.notna(), None).to_dict("records")


# A landed dataset


def _read_landed(target: str, conn_id: str | None, manifest: Manifest) -> Iterator[Submission]:
    """Join the annotations to their labels: a landing has both in the order of its items."""
    folder = dataset_path(target, conn_id)

    def read(table: str) -> Iterator[tuple[str, list[Row]]]:
        for file in manifest.files[table]:
            path = folder / file.path
            with path.fs.open(path.path) as opened:
                for item_id, rows in itertools.groupby(_landed_rows(opened), key=lambda row: row["item_id"]):
                    yield str(item_id), list(rows)

    labeled = read("labels")
    next_id, next_labels = next(labeled, (None, []))
    for item_id, submitted in read("annotations"):
        labels: list[Row] = []
        if item_id == next_id:
            labels = next_labels
            next_id, next_labels = next(labeled, (None, []))
        for annotation in submitted:
            if annotation["status"] != "submitted" or annotation["origin"] != "person":
                continue
            own = [
                row
                for row in labels
                if (row["annotation_id"], row["origin"]) == (annotation["annotation_id"], annotation["origin"])
            ]
            yield Submission(item_key=annotation["item_key"], labels=own, score=annotation.get("score"))
    if next_id is not None:
        raise AnnotationError(f"The labels of item {next_id} in {target!r} are not in the order of its annotations.")


def _landed_rows(file: IO[bytes]) -> Iterator[Row]:
    for batch in read_row_groups(file):
        yield from _arrow_rows(batch)
