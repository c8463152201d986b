"""Read landed datasets as batches of the three tables, like those of the tool's hook."""

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
    """The landing of a project.

    :param project: URI of the project
    :param run_key: annotation run
    :param label_schema: label schema in the tool, before any renaming of fields
    :param settings: settings of the landing
    """

    project: str
    run_key: str | None
    label_schema: LabelSchema
    settings: dict[str, Any]

    @classmethod
    def of(
        cls, project: str, run_key: str | None, label_schema: dict[str, Any], settings: dict[str, Any]
    ) -> LandedProject:
        """Return a landing from its stored schema, a dictionary, which is not checked again."""
        # Not strict, because JSON stores keys that are numbers as text.
        schema = msgspec.convert({"fields": label_schema}, LabelSchema, strict=False)
        return cls(project, run_key, schema, settings)


def read_landed_tables(target: str, *, conn_id: str | None = None) -> tuple[LandedProject, Iterator[LabelTables]]:
    """Return the landing of a dataset, and an iterator of its rows, in batches of whole items.

    Coordinates are those that landed, see :func:`to_relative`. Streams the rows, and holds some row groups in memory.

    :param target: folder of the dataset
    :param conn_id: connection of the object store, if the URI names none
    :raises AnnotationError: there is no dataset, or it is not in Parquet
    """
    manifest = read_manifest(target, conn_id=conn_id)
    store = FolderStore(dataset_path(target, conn_id))
    batches = join_tables(*(read_rows(store, manifest, table) for table in SCHEMAS))
    return LandedProject.of(manifest.project, manifest.run_key, manifest.label_schema, manifest.settings), batches


def to_relative(landing: LandedProject, batch: LabelTables) -> LabelTables:
    """Return a batch of a landing with relative coordinates, whatever coordinates the landing has."""
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
    """Yield batches of whole items from three tables, which must have their items in the same order.

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
    """A stream of rows to take from its start."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        # Small batches, because each call of take() looks at all pending rows.
        self._batches = (
            batch.slice(start, _ROWS_AT_ONCE) for batch in batches for start in range(0, len(batch), _ROWS_AT_ONCE)
        )
        self._pending: pa.RecordBatch | None = None

    def take(self, name: str, item_ids: pa.Array) -> pa.RecordBatch:
        """Take rows from the start as long as they belong to these items."""
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
