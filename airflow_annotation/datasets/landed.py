"""What has landed, as batches of the three tables, as the tool's hook yields them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.datasets.parquet import read_rows
from airflow_annotation.datasets.stores import FolderStore
from airflow_annotation.datasets.versions import dataset_path, read_manifest
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.geometry import bbox_to_relative, points_to_relative
from airflow_annotation.labels.media import label_sizes
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import SCHEMAS, LabelTables

_ITEMS_AT_ONCE: Final = 1000
_ROWS_AT_ONCE: Final = 10_000


class LandedProject(NamedTuple):
    """What a project's landing was.

    :param project: the project's URI
    :param run_key: the annotation run
    :param label_schema: as it was in the tool, before any renaming of fields
    :param settings: what the landing was asked for
    """

    project: str
    run_key: str | None
    label_schema: LabelSchema
    settings: dict[str, Any]

    @classmethod
    def of(
        cls, project: str, run_key: str | None, label_schema: dict[str, Any], settings: dict[str, Any]
    ) -> LandedProject:
        """Return a landing whose schema is a dictionary, as it is stored: not checked again."""
        # Not strictly: JSON has text for numbers as keys.
        schema = msgspec.convert({"fields": label_schema}, LabelSchema, strict=False)
        return cls(project, run_key, schema, settings)


def read_landed_tables(target: str, *, conn_id: str | None = None) -> tuple[LandedProject, Iterator[LabelTables]]:
    """Return what a landed dataset holds, and an iterator of its rows, in batches of whole items.

    Coordinates are as they landed, see :func:`to_relative`. Streams: holds some row groups.

    :param target: the dataset's folder
    :param conn_id: the connection of the object store, where the URI does not name one
    :raises AnnotationError: there is no dataset, or it is not in Parquet
    """
    manifest = read_manifest(target, conn_id=conn_id)
    store = FolderStore(dataset_path(target, conn_id))
    batches = join_tables(*(read_rows(store, manifest, table) for table in SCHEMAS))
    return LandedProject.of(manifest.project, manifest.run_key, manifest.label_schema, manifest.settings), batches


def to_relative(landing: LandedProject, batch: LabelTables) -> LabelTables:
    """Return a batch of a landing with relative coordinates, whatever they are in the landing."""
    if landing.settings.get("coordinates") != "pixels":
        return batch
    labels = batch.labels
    width, height = label_sizes(labels, batch.items)
    for name, convert in (("bbox", bbox_to_relative), ("points", points_to_relative)):
        column = convert(labels.column(name), width, height)
        labels = labels.set_column(labels.schema.get_field_index(name), labels.schema.field(name), column)
    return batch._replace(labels=labels)


def join_tables(
    items: Iterable[pa.RecordBatch], annotations: Iterable[pa.RecordBatch], labels: Iterable[pa.RecordBatch]
) -> Iterator[LabelTables]:
    """Yield the rows of whole items together, as long as the three tables have their items in the same order.

    :param items: rows of the ``items`` table
    :param annotations: rows of the ``annotations`` table
    :param labels: rows of the ``labels`` table
    :raises AnnotationError: a table has its items in another order, or has some that are not in ``items``
    """
    others = {"annotations": _Rows(annotations), "labels": _Rows(labels)}
    for batch in items:
        for start in range(0, len(batch), _ITEMS_AT_ONCE):
            part = batch.slice(start, _ITEMS_AT_ONCE)
            own = {name: rows.take(name, part.column("item_id")) for name, rows in others.items()}
            yield LabelTables(items=part, **own)
    for name, rows in others.items():
        if (item_id := rows.next_item()) is not None:
            raise AnnotationError(f"{name} has item {item_id!r}, which is not in items, or not in the same order.")


class _Rows:
    """Rows that are taken from the front."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        # Not more at a time than are about to be taken: each look is at all that is pending.
        self._batches = (
            batch.slice(start, _ROWS_AT_ONCE) for batch in batches for start in range(0, len(batch), _ROWS_AT_ONCE)
        )
        self._pending: pa.RecordBatch | None = None

    def take(self, name: str, item_ids: pa.Array) -> pa.RecordBatch:
        """Take all rows from the front that are of these items."""
        taken = []
        while self.next_item() is not None and self._pending is not None:
            known = pc.is_in(self._pending.column("item_id"), value_set=item_ids).to_numpy(zero_copy_only=False)
            count = len(known) if known.all() else int(np.argmin(known))
            taken.append(self._pending.slice(0, count))
            self._pending = self._pending.slice(count)
            if count < len(known):
                break
        table = pa.Table.from_batches(taken, schema=SCHEMAS[name]).combine_chunks()
        return table.to_batches()[0] if len(table) else pa.RecordBatch.from_pylist([], schema=SCHEMAS[name])

    def next_item(self) -> str | None:
        """Return the item of the first row, None if there is no row left."""
        while not self._pending:
            self._pending = next(self._batches, None)
            if self._pending is None:
                return None
        item_id: str = self._pending.column("item_id")[0].as_py()
        return item_id
