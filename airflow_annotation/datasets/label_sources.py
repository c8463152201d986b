"""Read submissions from whatever a task gets as its labels: a landed dataset, a query, tables or rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.datasets.landed import LandedProject, read_landed_tables
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.submissions import Row, Submission, read_rows, read_submissions
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.media.tables import arrow_rows, checked_names, frame_rows

if TYPE_CHECKING:
    import sqlalchemy as sa

Connect = Callable[[], AbstractContextManager["sa.Connection"]]
"""A function that connects to a database."""

_SQL_ROWS_AT_ONCE: Final = 1000


def find_dataset(labels: Any) -> str | None:
    """Return the target if labels are a landed dataset; None if they are something else.

    :param labels: a URI, an absolute path, or what ``AnnotationsToObjectStorageOperator`` returned
    """
    from airflow.sdk import ObjectStoragePath

    if isinstance(labels, Mapping) and isinstance(labels.get("target"), str):
        return str(labels["target"])
    if isinstance(labels, (str, ObjectStoragePath)):
        return str(labels)
    return None


def read_landed(target: str, *, conn_id: str | None = None) -> tuple[LandedProject, Iterator[Submission]]:
    """Return the landing of a dataset, and an iterator of what people submitted, including empty submissions.

    Skipped items, drafts and landed predictions are left out. Streams the rows, and holds some row groups in memory.

    :param target: folder of the dataset
    :param conn_id: connection of the object store, if the URI names none
    :raises AnnotationError: there is no dataset
    """
    landing, batches = read_landed_tables(target, conn_id=conn_id)
    return landing, itertools.chain.from_iterable(map(_submitted, batches))


def read_given(labels: Any) -> Iterator[Submission]:
    """Yield the submissions in a DataFrame, an Arrow table, or an iterable of dictionaries or Arrow batches.

    :param labels: rows of the ``labels`` table; columns may be missing. Rows in memory may have any order; an iterator
        must yield each item's rows together
    :raises AnnotationError: the labels are none of these
    :raises LabelRowError: a row is invalid
    """
    if isinstance(labels, pa.RecordBatch):
        labels = pa.table(labels)
    if isinstance(labels, pa.Table):
        labels = arrow_rows(labels.sort_by("item_key") if "item_key" in labels.column_names else labels)
    elif type(labels).__module__.partition(".")[0] == "pandas":
        labels = frame_rows(labels.sort_values("item_key", kind="stable") if "item_key" in labels else labels)
    elif isinstance(labels, (list, tuple)):
        labels = sorted(labels, key=lambda row: str(row.get("item_key", ""))) if _are_rows(labels) else labels
    elif not isinstance(labels, Iterable) or isinstance(labels, (str, bytes, Mapping)):
        raise AnnotationError(
            f"labels is of type {type(labels).__name__}: pass a landed dataset, a DataFrame, an Arrow table, rows as "
            "dictionaries, or a callable that returns one of these."
        )
    return read_submissions(read_rows(itertools.chain.from_iterable(_rows_of(part) for part in labels)))


def read_query(connect: Connect, sql: str, parameters: Any = None) -> Iterator[Row]:
    """Yield the rows that a query returns. Streams them if the driver does.

    :param connect: connects to the database
    :param sql: the query
    :param parameters: parameters of the query, in the driver's own style. If they are None, a % in the query is just
        a %
    :raises AnnotationError: the database refuses the query, the statement returns no rows, or two columns have the
        same name
    """
    from sqlalchemy.exc import SQLAlchemyError  # takes long to import

    if isinstance(parameters, list):  # templates and JSON have lists only
        parameters = tuple(parameters)
    with connect() as connection:
        options: dict[str, Any] = {"stream_results": True, "max_row_buffer": _SQL_ROWS_AT_ONCE}
        options["no_parameters"] = parameters is None  # otherwise a literal % would be read as a parameter
        try:
            result = connection.execution_options(**options).exec_driver_sql(sql, parameters)
            names = list(result.keys())
        except SQLAlchemyError as error:
            raise AnnotationError(f"The query of sql does not run: {getattr(error, 'orig', None) or error}") from error
        checked_names(names, "The query of sql returns")
        yield from map(dict, result.mappings())


def _are_rows(labels: Iterable[Any]) -> bool:
    return all(isinstance(row, Mapping) for row in labels)


def _rows_of(part: Any) -> Iterable[Mapping[str, Any]]:
    if isinstance(part, Mapping):
        return (part,)
    if isinstance(part, (pa.RecordBatch, pa.Table)):
        return arrow_rows(part)
    raise AnnotationError(f"labels holds a {type(part).__name__}: its rows must be dictionaries or Arrow batches.")


def _submitted(batch: LabelTables) -> Iterator[Submission]:
    submitted = pc.and_(pc.equal(batch.annotations.column("status"), "submitted"), _by_people(batch.annotations))
    annotations = batch.annotations.filter(submitted)
    labels: dict[str, list[Row]] = {}
    for row in arrow_rows(batch.labels.filter(_by_people(batch.labels))):
        labels.setdefault(row["annotation_id"], []).append(row)
    for row in arrow_rows(annotations):
        yield Submission(item_key=row["item_key"], labels=labels.get(row["annotation_id"], []), score=row["score"])


def _by_people(rows: pa.RecordBatch) -> pa.Array:
    return pc.equal(rows.column("origin"), "person")
