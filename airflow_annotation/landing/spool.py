"""What was read of a project and is still to be landed, in Parquet files: the tool is read to its end before anything
is changed at the destination, and no transaction waits for the tool.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from airflow.sdk import ObjectStoragePath
from fsspec.implementations.local import LocalFileSystem

from airflow_annotation.datasets.landed import join_tables
from airflow_annotation.datasets.parquet import read_row_groups, write_tables
from airflow_annotation.datasets.versions import TableFile
from airflow_annotation.labels.tables import SCHEMAS, LabelTables

_SUFFIX: Final = ".parquet"


class Spool:
    """The rows of whole items that were read, in folders that hold a file of each table.

    :param folders: where :func:`write_spool` wrote; each item is in one of them
    :param files: what it wrote, where the files are on this worker's disk and may become those of a dataset
    """

    def __init__(self, folders: Sequence[ObjectStoragePath], files: Mapping[str, TableFile] | None = None) -> None:
        self._folders = folders
        self._files = files
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

    @property
    def can_move(self) -> bool:
        """Whether :meth:`move_into` can be called: the files have checksums, and are here."""
        return self._files is not None

    def move_into(self, folder: ObjectStoragePath) -> dict[str, list[TableFile]]:
        """Make the files those of a dataset's version, as they are: each row is encoded once.

        The spool cannot be read any more afterwards.

        :param folder: of the version
        :returns: the files by table, as a manifest has them
        """
        if self._files is None:
            raise ValueError("The files of this spool have no checksums.")
        (source,) = self._folders
        folder.fs.makedirs(folder.path, exist_ok=True)
        for file in self._files.values():
            here, there = (source / file.path).path, (folder / file.path).path
            if isinstance(folder.fs, LocalFileSystem):
                shutil.move(here, there)
            else:
                folder.fs.put_file(here, there)
        return {table: [file] for table, file in self._files.items()}

    def _count(self, table: str) -> int:
        rows = 0
        for folder in self._folders:
            path = _path(folder, table)
            with path.fs.open(path.path, "rb") as file, pq.ParquetFile(file) as parquet:
                rows += parquet.metadata.num_rows
        return rows


def write_spool(folder: ObjectStoragePath, batches: Iterable[LabelTables], *, movable: bool = False) -> Spool:
    """Write batches of whole items into a folder, over what another try may have written there.

    Streams: holds a row group of each table.

    :param folder: of this reading alone, on the worker or in an object store
    :param batches: the items
    :param movable: whether the files are to become those of a dataset; ``folder`` is on this worker's disk then
    """
    files = write_tables(folder, batches, hashed=movable)
    return Spool([folder], files if movable else None)


def _path(folder: ObjectStoragePath, table: str) -> ObjectStoragePath:
    return folder / f"{table}{_SUFFIX}"
