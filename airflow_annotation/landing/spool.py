"""Rows of a project that were read and have not landed yet, in Parquet files.

The project is read completely before anything changes at the destination, so no transaction waits for the tool.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import pyarrow as pa
from airflow.sdk import ObjectStoragePath

from airflow_annotation.datasets.landed import join_tables
from airflow_annotation.datasets.parquet import read_row_groups
from airflow_annotation.datasets.table_files import TableFile
from airflow_annotation.datasets.versions import Written
from airflow_annotation.labels.tables import ALL_SCHEMAS, SCHEMAS, LabelTables
from airflow_annotation.media.copying import copy_files
from airflow_annotation.media.storage import local_path, open_to_read


class Spool:
    """The rows of whole items that were read, in parts.

    :param parts: folder of each part, and its files by table; each item is in one part
    """

    def __init__(self, parts: Sequence[tuple[ObjectStoragePath, Mapping[str, TableFile]]]) -> None:
        self.parts = parts
        self.rows = {name: sum(files[name].rows for _, files in parts) for name in ALL_SCHEMAS if name in parts[0][1]}
        """Number of rows by table, for all tables that land."""

    def read(self, table: str) -> Iterator[pa.RecordBatch]:
        """Yield a table's rows, those of an item one after the other. The items have the same order in each table.

        :param table: ``items``, ``annotations``, ``labels``, or another that lands with them
        """
        for folder, files in self.parts:
            path = folder / files[table].path
            with open_to_read(path.fs, path.path) as file:
                yield from read_row_groups(file)

    def local_files(self, table: str) -> list[str] | None:
        """Return the paths of a table's files, in the order of :meth:`read`; None if they are not on this machine."""
        paths = [local_path(str(folder / files[table].path)) for folder, files in self.parts]
        return None if None in paths else [str(path) for path in paths]

    def batches(self) -> Iterator[LabelTables]:
        """Yield the rows of the three tables as batches of whole items."""
        return join_tables(*(self.read(table) for table in SCHEMAS))

    def copy_into(self, folder: ObjectStoragePath) -> Written:
        """Copy the files into a version of a dataset, so that each row is encoded once. They must have checksums.

        :param folder: folder of the version
        """
        copies: dict[str, str] = {}
        written: dict[str, list[TableFile]] = {name: [] for name in self.rows}
        for number, (part, files) in enumerate(self.parts):
            for name, file in files.items():
                path = file.path if len(self.parts) == 1 else f"{name}-{number:05}.parquet"
                copies[(part / file.path).path] = (folder / path).path
                written[name].append(msgspec.structs.replace(file, path=path))
        copy_files(self.parts[0][0].fs, folder.fs, copies)
        return Written(written)
