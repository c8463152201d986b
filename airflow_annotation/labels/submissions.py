"""Reads labels for an upload to a labeling tool: rows of the ``labels`` table, submission by submission.

Landed labels of one tool can go into another tool. So can the labels of a model or a database, with fewer columns: only
``item_key``, ``field``, and the columns of the label itself are required.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any, Final

import msgspec
import pyarrow as pa

from airflow_annotation.labels.cells import plain_text, plain_value
from airflow_annotation.labels.errors import LabelRowError, UnwritableLabelError
from airflow_annotation.labels.tables import JSON_COLUMNS, LABELS

Row = dict[str, Any]

SCORE: Final = "score"
"""Column for a model's score of a label, 0..1, in addition to those of the ``labels`` table. It lands in
``attributes``. Labelbox calls it confidence."""

PROBLEM: Final = "problem"
"""Column with the reason why a row could not be read. With this reason, the upload of the row's item fails."""

_ROWS_AT_ONCE: Final = 1000
_TOLERANCE: Final = 1e-6
_ROW_SCHEMA: Final = LABELS.append(pa.field(SCORE, pa.float64()))
_SUBMISSION: Final = ("project", "annotation_id", "origin")


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """The labels of one person or model for one item.

    :param item_key: key of the item
    :param labels: rows of the ``labels`` table, as dictionaries; columns may be missing. Empty if the item has no label
    :param score: score of a model for the whole submission, None if there is none
    :param problem: reason why a row could not be read; None if all rows could
    """

    item_key: str
    labels: list[Row]
    score: float | None = None
    problem: str | None = None


def read_rows(rows: Iterable[Mapping[str, Any]]) -> Iterator[pa.RecordBatch]:
    """Yield rows as typed columns: only their columns of the ``labels`` table, and ``score``.

    Lists and JSON may be text, as from databases without types for them. Numpy arrays become lists, decimals become
    numbers, and NaN counts as missing. If a value does not fit its column's type, the row becomes a row with its
    ``item_key`` and a ``problem``.

    :param rows: rows as dictionaries by column
    """
    remaining = iter(rows)
    while chunk := list(itertools.islice(remaining, _ROWS_AT_ONCE)):
        yield _read_chunk(chunk)


def attributes_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's attributes."""
    return msgspec.json.decode(row.get("attributes") or "{}", type=dict[str, Any])


def row_name(row: Mapping[str, Any]) -> str:
    """Return the name of a row in errors."""
    return f"Label {row.get('label_id')!r} of field {row.get('field')!r}"


def check_inside(numbers: Sequence[float], row: Mapping[str, Any], *, may_reach_out: bool = False) -> None:
    """Check that a box or a point is inside its media.

    :param numbers: relative x and y, and for a box also width and height
    :param row: row of the numbers
    :param may_reach_out: whether it may be partly or fully outside; then only check that these are numbers
    :raises UnwritableLabelError: it is outside, or has invalid numbers
    """
    reach = [numbers[0] + numbers[2], numbers[1] + numbers[3]] if len(numbers) == 4 else []
    inside = may_reach_out or all(-_TOLERANCE <= number <= 1 + _TOLERANCE for number in (*numbers, *reach))
    if not inside or not all(map(math.isfinite, numbers)):
        raise UnwritableLabelError(
            f"{row_name(row)} has coordinates outside its media: {list(numbers)}. They are fractions of the width "
            "and height, from 0 to 1."
        )


def read_submissions(batches: Iterable[pa.RecordBatch]) -> Iterator[Submission]:
    """Read rows, and yield their submissions.

    An item's rows with equal ``project``, ``annotation_id`` and ``origin`` (if they have these columns) are one
    submission, in the order of their ``ordinal``. A row without a ``field`` means that the item has no label.

    :param batches: columns of the ``labels`` table, and ``score``; the rows of an item must be together
    :raises LabelRowError: a row has no ``item_key``
    """
    for item_key, item in itertools.groupby(_rows(batches), key=lambda row: row.get("item_key")):
        if item_key is None:
            raise LabelRowError("A row of the labels has no item_key, which says what item it is about.")
        submissions: defaultdict[tuple[Any, ...], list[Row]] = defaultdict(list)
        for row in item:
            submissions[tuple(row.get(name) for name in _SUBMISSION)].append(row)
        for rows in submissions.values():
            problem = next((row[PROBLEM] for row in rows if row.get(PROBLEM) is not None), None)
            labels = sorted(
                (row for row in rows if row.get("field") is not None), key=lambda row: row.get("ordinal") or 0
            )
            scores = [row[SCORE] for row in labels if row.get(SCORE) is not None]
            yield Submission(item_key=item_key, labels=labels, score=fmean(scores) if scores else None, problem=problem)


def _rows(batches: Iterable[pa.RecordBatch]) -> Iterator[Row]:
    for batch in batches:
        # Drop empty columns, which are many in most sources, since each value becomes a Python object.
        names = [name for name, column in zip(batch.schema.names, batch, strict=True) if column.null_count < len(batch)]
        for start in range(0, len(batch), _ROWS_AT_ONCE):
            yield from batch.slice(start, _ROWS_AT_ONCE).select(names).to_pylist()


def _read_chunk(rows: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
    """Return rows as typed columns. If rows cannot be read, add the column of problems."""
    try:
        return _read_batch(rows)
    except LabelRowError:
        problems = [_problem_of(row) for row in rows]
    readable = [
        row if problem is None else {"item_key": row.get("item_key")}
        for row, problem in zip(rows, problems, strict=True)
    ]
    return _read_batch(readable).append_column(PROBLEM, pa.array(problems, pa.string()))


def _problem_of(row: Mapping[str, Any]) -> str | None:
    try:
        _read_batch([row])
    except LabelRowError as error:
        return str(error)
    return None


def _read_batch(rows: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
    """Return rows as typed columns.

    :raises LabelRowError: a value does not fit its column's type
    """
    names = set(itertools.chain.from_iterable(rows))
    fields = [field.with_nullable(True) for field in _ROW_SCHEMA if field.name in names]
    columns = [_read_column(field, [row.get(field.name) for row in rows]) for field in fields]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def _read_column(field: pa.Field, values: Sequence[Any]) -> pa.Array:
    read: Callable[[Any], Any] = plain_value
    if pa.types.is_list(field.type):
        read = _read_list
    elif field.name in JSON_COLUMNS["labels"]:
        read = _read_document
    elif pa.types.is_string(field.type):
        read = plain_text
    elif pa.types.is_boolean(field.type):
        read = _read_boolean
    elif pa.types.is_integer(field.type):
        read = _read_whole_number
    try:
        return pa.array([None if value is None else read(value) for value in values], field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError, TypeError, OverflowError) as error:
        raise LabelRowError(f"Column {field.name!r} of the labels is not {field.type}: {error}.") from error


def _read_list(value: Any) -> Any:
    return plain_value(json.loads(value) if isinstance(value, str) else value)


def _read_document(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    value = plain_value(value)
    return None if value is None else json.dumps(value, default=str)


def _read_boolean(value: Any) -> bool | None:
    """Return a boolean. Databases without this type have 0 and 1."""
    value = plain_value(value)
    if value is not None and value not in (0, 1):
        raise ValueError(f"{value!r} is not true or false")
    return None if value is None else bool(value)


def _read_whole_number(value: Any) -> int | None:
    """Return a whole number. Data frames have 640.0 for 640 in a column with missing values."""
    value = plain_value(value)
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f"{value!r} is not a whole number")
    return int(value) if isinstance(value, float) else value
