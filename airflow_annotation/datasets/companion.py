"""The source rows of a dataset in a format other than Parquet, which the folder ``tables`` of its version keeps.

The next landing reads only the changed items from the tool, and takes the other items from here. All items keep the
order in which they were first read. So the files are the same as after a landing of all items.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.datasets.landed import join_tables
from airflow_annotation.datasets.parquet import read_rows
from airflow_annotation.datasets.stores import DatasetStore
from airflow_annotation.datasets.versions import Manifest
from airflow_annotation.labels.tables import SCHEMAS, LabelTables

COMPANION: Final = "tables"
"""Name of the folder in the folder of the version."""


def companion_of(manifest: Manifest) -> Manifest | None:
    """Return a manifest of a version's source rows, like that of a Parquet dataset; None if it has no source rows."""
    return msgspec.structs.replace(manifest, files=manifest.tables) if manifest.tables else None


def refreshed_batches(
    store: DatasetStore, version: Manifest, changed: pa.Array, vanished: pa.Array, read: Iterable[LabelTables]
) -> Iterator[LabelTables]:
    """Yield the source rows of a version, with the rows of changed items replaced, and then the rows of new items.

    :param store: the dataset's folder
    :param version: manifest of the version, which has source rows
    :param changed: ids of the items that were read
    :param vanished: ids of the items that are gone
    :param read: rows that were read; rows stay in memory only if their order differs from that of the version
    """
    companion = companion_of(version)
    assert companion is not None
    coming = _Coming(read)
    replaced = pa.concat_arrays([changed, vanished])
    for batch in join_tables(*(read_rows(store, companion, name) for name in SCHEMAS)):
        ids = batch.items.column("item_id")
        goes = pc.is_in(ids, value_set=replaced)
        if not pc.any(goes, min_count=0).as_py():
            yield batch
            continue
        kept = batch.of_items(ids.filter(pc.invert(goes)))
        yield _in_order([kept, *coming.take(ids.filter(pc.is_in(ids, value_set=changed)))], ids)
    yield from coming.rest()


class _Coming:
    """Rows that were read, which can be taken by item."""

    def __init__(self, read: Iterable[LabelTables]) -> None:
        self._read = iter(read)
        self._pending: list[LabelTables] = []

    def take(self, item_ids: pa.Array) -> list[LabelTables]:
        """Return the rows of some items; an item that vanished while it was read has none."""
        taken: list[LabelTables] = []
        missing = len(item_ids)
        waiting, self._pending = self._pending, []
        while missing and (batch := waiting.pop(0) if waiting else next(self._read, None)) is not None:
            found = pc.is_in(batch.items.column("item_id"), value_set=item_ids)
            if count := pc.sum(found).as_py():
                missing -= count
                taken.append(batch.of_items(batch.items.column("item_id").filter(found)))
                batch = batch.of_items(batch.items.column("item_id").filter(pc.invert(found)))
            if len(batch.items):
                self._pending.append(batch)
        self._pending += waiting
        return taken

    def rest(self) -> Iterator[LabelTables]:
        """Yield the rows that have not been taken."""
        yield from self._pending
        yield from self._read


def _in_order(batches: list[LabelTables], item_ids: pa.Array) -> LabelTables:
    """Return one batch with the items in the order of their ids in ``item_ids``; rows of an item keep their order."""

    def ordered(tables: Iterable[pa.RecordBatch]) -> pa.RecordBatch:
        rows = pa.concat_batches(list(tables))
        places = pc.index_in(rows.column("item_id"), value_set=item_ids)
        return rows.take(pc.sort_indices(places))  # a stable sort

    return LabelTables(*map(ordered, zip(*batches, strict=True)))
