"""Images that three people labeled, each a little otherwise."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from airflow_annotation.labels.tables import LabelTables
from tests.support.generated import boxes

ANNOTATORS = ("ada", "ben", "cleo")


def labeled_by_three(items: int, first: int = 0, *, per_item: int = 10) -> LabelTables:
    """Return images that three people labeled."""
    batch = boxes(items, per_item=per_item, first=first)
    chance = np.random.default_rng(first)
    annotations, labels = [], []
    count = batch.labels.num_rows
    corners = chance.random((count, 2)) * 0.8
    extent = 0.05 + chance.random((count, 2)) * 0.15
    for name in ANNOTATORS:
        moved = np.column_stack([corners, extent]) + chance.normal(0, 0.01, (count, 4))
        ids = {
            table: pa.array([f"{id_}-{name}" for id_ in getattr(batch, table)["annotation_id"].to_pylist()])
            for table in ("annotations", "labels")
        }
        annotations.append(
            replace(
                batch.annotations, annotation_id=ids["annotations"], annotator=pa.array([name] * len(batch.annotations))
            )
        )
        bbox = pa.array(np.abs(moved).tolist(), batch.labels.schema.field("bbox").type)
        labels.append(replace(batch.labels, annotation_id=ids["labels"], bbox=bbox))
    joined = [
        pa.Table.from_batches(parts).sort_by([("item_id", "ascending")]).combine_chunks().to_batches()[0]
        for parts in (annotations, labels)
    ]
    return LabelTables(batch.items, *joined)


def replace(batch: pa.RecordBatch, **columns: pa.Array) -> pa.RecordBatch:
    """Return rows with other columns."""
    for name, column in columns.items():
        index = batch.schema.get_field_index(name)
        batch = batch.set_column(index, batch.schema.field(index), column)
    return batch
