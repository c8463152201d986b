"""Labels on their way into a labeling tool: rows of the ``labels`` table, one submission after the other.

What lands from a tool can go into another, and so can what a model or a database says, with fewer columns: only
``item_key`` and ``field`` are needed, and the columns that hold the label itself.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any, Final

import msgspec
import pyarrow as pa

from airflow_annotation.labels.errors import LabelRowError
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import JSON_COLUMNS, LABELS
from airflow_annotation.labels.types import LABEL_TYPES, OF_FIELD

Row = dict[str, Any]

SCORE: Final = "score"
"""Column for how sure a model is of a label, 0..1, beside those of the ``labels`` table. It lands in ``attributes``."""

_ROWS_AT_ONCE: Final = 1000
_ROW_SCHEMA: Final = LABELS.append(pa.field(SCORE, pa.float64()))
_SUBMISSION: Final = ("project", "annotation_id", "origin")


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """What one person or model says of one item.

    :param item_key: the item
    :param labels: rows of the ``labels`` table, as dictionaries; columns may be missing. Empty where nothing is there
    :param score: how sure a model is of all of it, None if it does not say
    """

    item_key: str
    labels: list[Row]
    score: float | None = None


def read_rows(rows: Iterable[Mapping[str, Any]]) -> Iterator[pa.RecordBatch]:
    """Yield rows as typed columns: those that they have of the ``labels`` table, and ``score``; no others.

    Lists and JSON may be text, as databases without types for them return them; arrays of numpy are lists.

    :param rows: dictionaries by column
    :raises LabelRowError: a value is not of its column's type
    """
    remaining = iter(rows)
    while chunk := list(itertools.islice(remaining, _ROWS_AT_ONCE)):
        names = set(itertools.chain.from_iterable(chunk))
        fields = [field.with_nullable(True) for field in _ROW_SCHEMA if field.name in names]
        columns = [_read_column(field, [row.get(field.name) for row in chunk]) for field in fields]
        yield pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def read_submissions(batches: Iterable[pa.RecordBatch]) -> Iterator[Submission]:
    """Yield what rows say, a submission at a time.

    An item's rows that agree in ``project``, ``annotation_id`` and ``origin``, as far as they have these, are one
    submission, in the order of their ``ordinal``. A row with no ``field`` says that nothing is there.

    :param batches: columns of the ``labels`` table, and ``score``, with the rows of an item one after the other
    :raises LabelRowError: a row has no ``item_key``
    """
    for item_key, item in itertools.groupby(_rows(batches), key=lambda row: row.get("item_key")):
        if item_key is None:
            raise LabelRowError("A row of the labels has no item_key, so that nobody knows which item it is about.")
        submissions: defaultdict[tuple[Any, ...], list[Row]] = defaultdict(list)
        for row in item:
            submissions[tuple(row.get(name) for name in _SUBMISSION)].append(row)
        for rows in submissions.values():
            labels = sorted(
                (row for row in rows if row.get("field") is not None), key=lambda row: row.get("ordinal") or 0
            )
            scores = [row[SCORE] for row in labels if row.get(SCORE) is not None]
            yield Submission(item_key=item_key, labels=labels, score=fmean(scores) if scores else None)


def complete_labels(
    submission: Submission,
    schema: LabelSchema,
    *,
    coordinates: str = "relative",
    width: int | None = None,
    height: int | None = None,
) -> list[Row]:
    """Return a submission's rows with all that a tool needs.

    A missing ``type`` is the one of the field, and a missing ``label_id`` is made up, the same each time. Where a label
    came from (``label_origin``) is left out: in the tool that it goes to, it comes from this upload.

    :param submission: the rows
    :param schema: what the project asks for
    :param coordinates: ``relative``, or ``pixels`` where ``bbox`` and ``points`` are in pixels of the media
    :param width: of the media, in pixels
    :param height: of the media, in pixels
    :raises LabelRowError: a row lacks what its type needs, its field is not in the schema, or its media's size is not
        known and its coordinates are in pixels
    """
    rows = []
    for number, given in enumerate(submission.labels):
        where = f"Label {given.get('label_id') or number} of field {given['field']!r}"
        row = {**given, "type": given.get("type") or _type_of(given["field"], schema, where), "label_origin": None}
        if row.get("label_id") is None:
            row["label_id"] = hashlib.blake2b(f"{submission.item_key}\n{number}".encode(), digest_size=5).hexdigest()
        _check(row, where, width, height)
        if coordinates == "pixels":
            _make_relative(row, where, width, height)
        if row.get(SCORE) is not None:
            row["attributes"] = json.dumps({**json.loads(row.get("attributes") or "{}"), SCORE: row[SCORE]})
        rows.append(row)
    return rows


def _rows(batches: Iterable[pa.RecordBatch]) -> Iterator[Row]:
    for batch in batches:
        # Most columns are empty in most sources, and each value of the others becomes a Python object.
        names = [name for name, column in zip(batch.schema.names, batch, strict=True) if column.null_count < len(batch)]
        for start in range(0, len(batch), _ROWS_AT_ONCE):
            yield from batch.slice(start, _ROWS_AT_ONCE).select(names).to_pylist()


def _read_column(field: pa.Field, values: Sequence[Any]) -> pa.Array:
    read: Callable[[Any], Any] = _plain
    if pa.types.is_list(field.type):
        read = _read_list
    elif field.name in JSON_COLUMNS["labels"]:
        read = _read_document
    elif pa.types.is_string(field.type):
        read = _read_string
    elif pa.types.is_boolean(field.type):
        read = bool  # databases without a type for it have 0 and 1
    try:
        return pa.array([None if value is None else read(value) for value in values], field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError) as error:
        raise LabelRowError(f"Column {field.name!r} of the labels is not {field.type}: {error}.") from error


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value


def _read_list(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else _plain(value)


def _read_document(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _read_string(value: Any) -> str:
    return value if isinstance(value, str) else str(_plain(value))


def _check(row: Row, where: str, width: int | None, height: int | None) -> None:
    """Check that a row has what its type needs, in the form that it needs.

    :raises LabelRowError: it does not
    """
    needs = LABEL_TYPES[row["type"]].needs if row["type"] in LABEL_TYPES else ()
    missing = [name for name in needs if row.get(name) is None and not (name == "label" and row.get("labels"))]
    if missing:
        raise LabelRowError(f"{where} is of type {row['type']} and has no {missing[0]}.")
    if row.get("bbox") is not None and not _has_numbers(row["bbox"], 4):
        raise LabelRowError(f"{where} has the bbox {row['bbox']}: it takes x, y, width and height.")
    if not all(_has_numbers(point, 2) for point in row.get("points") or ()):
        raise LabelRowError(f"{where} has a point that is not x and y.")
    if row.get("mask_size") and width and height and row["mask_size"] != [height, width]:
        mask_height, mask_width = row["mask_size"]
        raise LabelRowError(
            f"{where}: its mask has the size {mask_width} x {mask_height}, its media {width} x {height}."
        )
    try:
        attributes = json.loads(row.get("attributes") or "{}")
    except json.JSONDecodeError as error:
        raise LabelRowError(f"{where} has attributes that are not JSON: {error}.") from error
    if not isinstance(attributes, dict):
        raise LabelRowError(f"{where} has attributes that are not a JSON object.")


def _has_numbers(numbers: Sequence[float | None] | None, count: int) -> bool:
    return numbers is not None and len(numbers) == count and None not in numbers


def _make_relative(row: Row, where: str, width: int | None, height: int | None) -> None:
    if not row.get("bbox") and not row.get("points"):
        return
    if not width or not height:
        raise LabelRowError(f"{where} is in pixels, and nobody knows the width and height of its media.")
    if row.get("bbox"):
        row["bbox"] = [length / side for length, side in zip(row["bbox"], (width, height) * 2, strict=True)]
    if row.get("points"):
        row["points"] = [[x / width, y / height] for x, y in row["points"]]


def _type_of(field: str, schema: LabelSchema, where: str) -> str:
    if field not in schema.fields:
        raise LabelRowError(
            f"{where}: the project has no such field. Its fields: {', '.join(schema.fields) or 'none'}."
        )
    type_ = schema.fields[field].type
    if type_ not in OF_FIELD:
        raise LabelRowError(f"{where} has no type, and the field does not tell it.")
    return OF_FIELD[type_].name
