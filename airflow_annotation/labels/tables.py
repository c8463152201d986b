"""The three Arrow tables: readers of labeling tools produce them, and writers of destinations take them.

``items`` has one row for each media item of a project, labeled or not. ``annotations`` has one row for each submission
of a person or a model, including empty ones. ``labels`` has one row for each label in them. ``docs/tables.md`` says
what each column means; this module defines their types.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

TABLES_VERSION: Final = 2
"""Raised when a column is added, removed, or changes its type or meaning: the next landing then reads all items."""

_TIMESTAMP: Final = pa.timestamp("us", tz="UTC")


def _required(name: str, type_: pa.DataType) -> pa.Field:
    return pa.field(name, type_, nullable=False)


ITEMS: Final = pa.schema(
    [
        _required("project", pa.string()),
        _required("tool", pa.string()),
        pa.field("run_key", pa.string()),
        _required("item_id", pa.string()),
        _required("item_key", pa.string()),
        pa.field("media_uri", pa.string()),
        _required("media_type", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("media", pa.string()),
        pa.field("frame_count", pa.int32()),
        pa.field("frame_rate", pa.float64()),
        _required("status", pa.string()),
        _required("annotation_count", pa.int32()),
        _required("prediction_count", pa.int32()),
        pa.field("agreement", pa.float64()),
        pa.field("created_at", _TIMESTAMP),
        pa.field("updated_at", _TIMESTAMP),
        pa.field("item_url", pa.string()),
        pa.field("data", pa.string()),
    ]
)

ANNOTATIONS: Final = pa.schema(
    [
        _required("project", pa.string()),
        _required("item_id", pa.string()),
        _required("item_key", pa.string()),
        _required("annotation_id", pa.string()),
        _required("origin", pa.string()),
        pa.field("annotator", pa.string()),
        pa.field("model_version", pa.string()),
        pa.field("score", pa.float64()),
        _required("status", pa.string()),
        pa.field("ground_truth", pa.bool_()),
        _required("label_count", pa.int32()),
        pa.field("lead_time", pa.float64()),
        pa.field("created_at", _TIMESTAMP),
        pa.field("updated_at", _TIMESTAMP),
    ]
)

LABELS: Final = pa.schema(
    [
        _required("project", pa.string()),
        _required("item_id", pa.string()),
        _required("item_key", pa.string()),
        _required("annotation_id", pa.string()),
        _required("origin", pa.string()),
        _required("ordinal", pa.int32()),
        _required("label_id", pa.string()),
        pa.field("parent_label_id", pa.string()),
        _required("field", pa.string()),
        pa.field("target", pa.string()),
        _required("type", pa.string()),
        pa.field("label", pa.string()),
        pa.field("labels", pa.list_(pa.string())),
        pa.field("number", pa.float64()),
        pa.field("text", pa.string()),
        pa.field("bbox", pa.list_(pa.float64())),
        pa.field("rotation", pa.float64()),
        pa.field("points", pa.list_(pa.list_(pa.float64()))),
        pa.field("point_index", pa.int32()),
        pa.field("visibility", pa.int32()),
        pa.field("mask_size", pa.list_(pa.int32())),
        pa.field("mask_counts", pa.string()),
        pa.field("track_id", pa.string()),
        pa.field("frame", pa.int32()),
        pa.field("frame_end", pa.int32()),
        pa.field("tool_frame", pa.int32()),
        pa.field("time", pa.float64()),
        pa.field("time_end", pa.float64()),
        pa.field("is_keyframe", pa.bool_()),
        pa.field("span_start", pa.int64()),
        pa.field("span_end", pa.int64()),
        pa.field("from_label_id", pa.string()),
        pa.field("to_label_id", pa.string()),
        pa.field("attributes", pa.string()),
        pa.field("label_origin", pa.string()),
        pa.field("raw", pa.string()),
    ]
)

AGREEMENT: Final = pa.schema(
    [
        _required("project", pa.string()),
        _required("item_id", pa.string()),
        _required("item_key", pa.string()),
        _required("field", pa.string()),
        _required("measure", pa.string()),
        pa.field("annotation_id", pa.string()),
        pa.field("annotator", pa.string()),
        _required("value", pa.float64()),
        pa.field("ground_truth", pa.float64()),
        _required("annotators", pa.list_(pa.string())),
    ]
)
"""Agreement of the submissions of an item in a field.

There is a row for each item, field and measure, and another row for each submission, with its ``annotation_id`` and
``annotator``. ``value`` is 0..1, the mean over pairs of submissions: over all pairs of the item, or over the pairs that
include the submission. ``ground_truth`` is the submission's own agreement with the submission that is marked as ground
truth, if there is one; if there are several, the mean. ``annotators`` are the compared annotators.
"""

NOT_SUBMITTED: Final = ("skipped", "draft")
"""Values of ``annotations.status`` for rows that nobody has submitted."""

SCHEMAS: Final[dict[str, pa.Schema]] = {"items": ITEMS, "annotations": ANNOTATIONS, "labels": LABELS}

AGREEMENT_TABLE: Final = "agreement"

ALL_SCHEMAS: Final[dict[str, pa.Schema]] = {**SCHEMAS, AGREEMENT_TABLE: AGREEMENT}
"""All tables that a landing can have: the three, and the optional ones."""

KEYS: Final[dict[str, tuple[str, ...]]] = {
    "items": ("project", "item_id"),
    "annotations": ("project", "annotation_id", "origin"),
    "labels": ("project", "annotation_id", "origin", "ordinal", "frame"),
    AGREEMENT_TABLE: ("project", "item_id", "field", "measure", "annotation_id"),
}
"""The unique key of each table. ``frame`` is null for everything except video, ``annotation_id`` for a whole item."""

ITEM_STATES: Final = pa.schema(
    [ITEMS.field(name) for name in ("item_id", "status", "annotation_count", "prediction_count", "updated_at")]
)
"""The columns that are compared to find changed items: columns of ``items``, with the same values."""

JSON_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "items": ("media", "data"),
    "annotations": (),
    "labels": ("attributes", "raw"),
    AGREEMENT_TABLE: (),
}
"""String columns that hold a JSON document, for destinations with a JSON type."""


def with_all_columns(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return rows with the columns of this release, null in the columns that an earlier release did not land.

    :param batch: rows of one of the tables
    :param schema: the wanted columns, in their order
    :raises ValueError: a column is missing that cannot be null, or has another type
    """
    if batch.schema.equals(schema):
        return batch
    present = set(batch.schema.names)
    columns = [
        batch.column(field.name) if field.name in present else pa.nulls(len(batch), field.type) for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def batch_of_rows(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Return rows of cells, in the order of the columns, as a batch."""
    columns = zip(*rows, strict=True) if rows else ((),) * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


class LabelTables(NamedTuple):
    """A batch of whole items: their rows in all three tables, in the order of the items."""

    items: pa.RecordBatch
    annotations: pa.RecordBatch
    labels: pa.RecordBatch

    def of_items(self, item_ids: pa.Array) -> LabelTables:
        """Return the rows of some items."""
        return LabelTables(*(rows.filter(pc.is_in(rows.column("item_id"), value_set=item_ids)) for rows in self))


def empty_tables() -> LabelTables:
    """Return a batch without rows."""
    return LabelTables(*(pa.RecordBatch.from_pylist([], schema=schema) for schema in SCHEMAS.values()))


def collect_tables(batches: Iterable[LabelTables]) -> dict[str, pa.Table]:
    """Collect batches into one Arrow table each, all in memory: for small projects, tests and notebooks."""
    collected = list(batches)
    return {
        name: pa.Table.from_batches([getattr(batch, name) for batch in collected], schema=schema)
        for name, schema in SCHEMAS.items()
    }
