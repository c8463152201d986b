"""Builds whole columns of the three tables, for the readers of every tool.

Readers read a tool's records in portions that fit in the processor's cache. Each portion becomes columns, and the
columns are joined to tables. Columns that are equal in all rows, or come from another table, are added to whole tables
only.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.labels.arrays import FloatArray, IntArray
from airflow_annotation.labels.masks import RLE
from airflow_annotation.labels.odd_values import OddValues
from airflow_annotation.labels.tables import SCHEMAS, LabelTables

Columns = dict[str, pa.Array]

_TIME: Final = pa.timestamp("us", tz="UTC")
INT_MAX: Final = (1 << 31) - 1
_FLOAT_MAX: Final = sys.float_info.max
_NUMBERS: Final = ("bbox", "points", "rotation", "number", "time", "time_end")


# Columns


def string_column(strings: Sequence[str | None]) -> pa.Array:
    """Return a column of strings. Most columns have only one value."""
    if len(set(strings)) == 1:
        return pa.repeat(pa.scalar(strings[0], pa.string()), len(strings))
    return pa.array(strings, pa.string())


def time_column(texts: Sequence[str | None], name: str = "", odd: OddValues | None = None) -> pa.Array:
    """Return a column of times from ISO 8601 with offsets. Values that are no times become null.

    :param texts: times as text
    :param name: name of the column
    :param odd: counter of the values that are no times
    """
    column = pa.array(texts, pa.string())
    try:
        return column.cast(_TIME)
    except pa.ArrowInvalid:
        return pa.array([_read_time(text, name, odd) for text in texts], _TIME)


def _read_time(text: str | None, name: str, odd: OddValues | None) -> Any:
    try:
        return pa.scalar(text, pa.string()).cast(_TIME).cast(pa.int64()).as_py()
    except pa.ArrowInvalid:
        if odd is not None:
            odd.note(name)
        return None


def check_finite(columns: Columns) -> None:
    """Check that columns have no infinite numbers, which JSON and most destinations cannot store.

    :raises ValueError: a column has an infinite number
    """
    for name in _NUMBERS:
        if name in columns:
            numbers = columns[name]
            while pa.types.is_list(numbers.type):
                numbers = numbers.flatten()
            if not np.isfinite(numbers.drop_null().to_numpy(zero_copy_only=False)).all():
                raise ValueError(f"{name} has a number that is not finite.")


def whole_number(value: object, lowest: int = 0) -> int | None:
    """Return a number as a 32-bit integer of a column, None if it does not fit.

    :param value: any JSON value; a fraction is rounded, a boolean is no number
    :param lowest: lowest allowed number
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not lowest <= value < 1 << 31:
        return None
    return round(value) if value <= INT_MAX else None


def positive_number(value: object) -> float | None:
    """Return a number above 0 as a double of a column, None if the value is not such a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= _FLOAT_MAX:
        return None
    return float(value)


def bbox_column(numbers: FloatArray) -> pa.Array:
    """Return a column of boxes from their numbers, four for each box."""
    return pa.ListArray.from_arrays(np.arange(0, len(numbers) + 1, 4, dtype=np.int32), numbers)


def points_column(numbers: FloatArray, lengths: Sequence[int]) -> pa.Array:
    """Return a column of paths.

    :param numbers: x and y of all points in order
    :param lengths: number of points of each path
    """
    points = pa.ListArray.from_arrays(np.arange(0, len(numbers) + 1, 2, dtype=np.int32), numbers)
    return pa.ListArray.from_arrays(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32), points)


def mask_columns(masks: Sequence[RLE]) -> Columns:
    """Return the columns ``mask_size`` and ``mask_counts``."""
    return {
        "mask_size": pa.array([mask.size for mask in masks], pa.list_(pa.int32())),
        "mask_counts": pa.array([mask.counts for mask in masks], pa.string()),
    }


def class_columns(classes: Sequence[list[str] | None]) -> Columns:
    """Return the column ``label``, the first class of each row, and the column ``labels`` if a row has several."""
    columns = {"label": pa.array([names[0] if names else None for names in classes], pa.string())}
    if max(map(len, filter(None, classes)), default=1) > 1:
        several = [names if names and len(names) > 1 else None for names in classes]
        columns["labels"] = pa.array(several, pa.list_(pa.string()))
    return columns


def concat_columns(parts: Sequence[Columns]) -> Columns:
    """Concatenate columns. If a part does not have a column, its rows are null there."""
    if len(parts) == 1:
        return dict(parts[0])
    types = {name: column.type for part in parts for name, column in part.items()}
    lengths = [len(next(iter(part.values()))) for part in parts]
    return {
        name: pa.concat_arrays(
            [
                part[name] if name in part else pa.nulls(length, type_)
                for part, length in zip(parts, lengths, strict=True)
            ]
        )
        for name, type_ in types.items()
    }


# Tables


class Portion(NamedTuple):
    """The columns of some items, without those that are equal in all rows or come from another table.

    :param annotation_items: row number of each annotation's item in the portion
    :param label_annotations: row number of each label's annotation in the portion, ascending
    """

    items: Columns
    annotations: Columns
    annotation_items: IntArray
    labels: Columns
    label_annotations: IntArray


def join_portions(portions: Sequence[Portion], constants: Mapping[str, str | None]) -> LabelTables:
    """Join portions to tables.

    A label without an ``ordinal`` gets its number within its annotation. A label without a ``label_id`` gets an id from
    the ``annotation_id`` and the ``ordinal``.

    :param portions: one or more portions
    :param constants: columns of ``items`` that are equal in all rows, including ``project``
    """
    items = concat_columns([portion.items for portion in portions])
    annotations = concat_columns([portion.annotations for portion in portions])
    labels = concat_columns([portion.labels for portion in portions])
    annotation_items = _concat_places(
        [(portion.annotation_items, len(portion.items["item_id"])) for portion in portions]
    )
    label_annotations = _concat_places(
        [(portion.label_annotations, len(portion.annotation_items)) for portion in portions]
    )

    items |= {name: _constant(value, len(items["item_id"])) for name, value in constants.items()}
    label_counts = np.bincount(label_annotations, minlength=len(annotation_items))
    annotations["label_count"] = pa.array(label_counts, pa.int32())
    annotations["project"] = _constant(constants["project"], len(annotation_items))
    annotations |= _taken(items, ("item_id", "item_key"), annotation_items)
    labels["project"] = _constant(constants["project"], len(label_annotations))
    labels |= _taken(annotations, ("item_id", "item_key", "annotation_id", "origin"), label_annotations)
    firsts = np.cumsum(label_counts) - label_counts
    numbers = pa.array(np.arange(len(label_annotations)) - np.repeat(firsts, label_counts), pa.int32())
    labels["ordinal"] = pc.coalesce(labels["ordinal"], numbers) if "ordinal" in labels else numbers
    if labels["label_id"].null_count:
        named = pc.binary_join_element_wise(labels["annotation_id"], labels["ordinal"].cast(pa.string()), ".")
        labels["label_id"] = pc.coalesce(labels["label_id"], named)
    return LabelTables(_batch("items", items), _batch("annotations", annotations), _batch("labels", labels))


def _concat_places(portions: Sequence[tuple[IntArray, int]]) -> IntArray:
    """Turn row numbers within portions, each with the portion's length, into row numbers of the whole table."""
    firsts = np.cumsum([0, *(length for _, length in portions)])
    return np.concatenate([places + first for (places, _), first in zip(portions, firsts, strict=False)])


def _taken(columns: Columns, names: Sequence[str], rows: IntArray) -> Columns:
    indices = pa.array(rows)
    return {name: columns[name].take(indices) for name in names}


def _constant(value: str | None, length: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, pa.string()), length)


def _batch(table: str, columns: Columns) -> pa.RecordBatch:
    schema = SCHEMAS[table]
    length = len(next(iter(columns.values())))
    arrays = [columns[field.name] if field.name in columns else pa.nulls(length, field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
