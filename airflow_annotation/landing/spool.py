"""What was read of a project and is still to be landed, in Parquet files: the tool is read to its end before anything
is changed at the destination, and no transaction waits for the tool.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from airflow.sdk import ObjectStoragePath

from airflow_annotation.datasets.landed import join_tables
from airflow_annotation.datasets.parquet import read_row_groups, write_tables
from airflow_annotation.labels.tables import SCHEMAS, LabelTables

_SUFFIX: Final = ".parquet"


class Spool:
    """The rows of whole items that were read, in folders that hold a file of each table.

    :param folders: where :func:`write_spool` wrote; each item is in one of them
    """

    def __init__(self, folders: Sequence[ObjectStoragePath]) -> None:
        self._folders = folders
        self.rows = {name: self._count(name) for name in SCHEMAS}
        """Rows by table."""

    def read(self, table: str) -> Iterator[pa.RecordBatch]:
        """Yield a table's rows, those of an item one after the other, with the items in the same order in each table.

        :param table: ``items``, ``annotations`` or ``labels``
        """
        for folder in self._folders:
            path = _path(folder, table)
            with path.fs.open(path.path, "rb") as file:
                yield from read_row_groups(file)

    def batches(self) -> Iterator[LabelTables]:
        """Yield the rows of all tables as batches of whole items."""
        return join_tables(*(self.read(table) for table in SCHEMAS))

    def item_ids(self) -> pa.Array:
        """Return the ids of the items that were read."""
        ids = [batch.column("item_id") for batch in self.read("items")]
        return pa.concat_arrays(ids) if ids else pa.array([], pa.string())

    def _count(self, table: str) -> int:
        rows = 0
        for folder in self._folders:
            path = _path(folder, table)
            with path.fs.open(path.path, "rb") as file, pq.ParquetFile(file) as parquet:
                rows += parquet.metadata.num_rows
        return rows


def write_spool(folder: ObjectStoragePath, batches: Iterable[LabelTables]) -> Spool:
    """Write batches of whole items into a folder, over what another try may have written there.

    Streams: holds a row group of each table.

    :param folder: of this reading alone, on the worker or in an object store
    :param batches: the items
    """
    write_tables(folder, batches)
    return Spool([folder])


def _path(folder: ObjectStoragePath, table: str) -> ObjectStoragePath:
    return folder / f"{table}{_SUFFIX}"
