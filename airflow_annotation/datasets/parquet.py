"""The three tables as a versioned Parquet dataset in a folder of any object store.

::

    target/
      manifest.json                                   the current version, its files and their checksums
      versions/20261122T171532Z-5f0c2e8a/items.parquet
                                         annotations.parquet
                                         labels.parquet

:mod:`~airflow_annotation.datasets.versions` makes and removes versions. Any Parquet reader can read the files that the
manifest names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Literal, overload

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from airflow.sdk import ObjectStoragePath

from airflow_annotation.datasets.stores import DatasetStore, FolderStore
from airflow_annotation.datasets.table_files import HashingFile, TableFile
from airflow_annotation.datasets.versions import (
    DELTA,
    PARQUET,
    Manifest,
    NewVersion,
    Written,
    dataset_path,
    read_manifest,
    write_version,
)
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.tables import ALL_SCHEMAS, SCHEMAS, LabelTables, with_all_columns
from airflow_annotation.media.storage import make_folder, open_to_write

if TYPE_CHECKING:
    import pandas as pd

ROW_GROUP_BYTES: Final = 64 * 2**20
ROW_GROUP_ROWS: Final = 120 * 1024
"""A row group is written when it has this many bytes or rows, to limit memory for rows with masks and for small rows.

DuckDB's row groups have the same number of rows, so DuckDB can take them unchanged.
"""


@overload
def read_dataset(
    target: str, version: str | None = None, *, conn_id: str | None = None, as_pandas: Literal[False] = False
) -> dict[str, pa.Table]: ...


@overload
def read_dataset(
    target: str, version: str | None = None, *, conn_id: str | None = None, as_pandas: Literal[True]
) -> dict[str, pd.DataFrame]: ...


def read_dataset(
    target: str, version: str | None = None, *, conn_id: str | None = None, as_pandas: bool = False
) -> dict[str, pa.Table] | dict[str, pd.DataFrame]:
    """Read the ``items``, ``annotations`` and ``labels`` of a version, and check that they are whole.

    If a version has ``agreement``, this is returned too.

    Holds everything in memory. For readers that scan, :func:`~airflow_annotation.datasets.versions.read_manifest` names
    the files.

    :param target: the folder, as for :func:`~airflow_annotation.datasets.versions.dataset_path`
    :param version: one of the versions that are kept, by default the current one
    :param conn_id: the connection of the object store, if the URI names none
    :param as_pandas: return pandas data frames instead of Arrow tables
    :raises AnnotationError: there is no dataset, it does not keep the version, or a file is not the one that was landed
    """
    manifest = read_manifest(target, conn_id=conn_id, version=version, dataset_format=(PARQUET, DELTA))
    folder = dataset_path(target, conn_id)

    def rows(table: str) -> Iterator[pa.RecordBatch]:
        if manifest.delta_versions:
            return read_rows(FolderStore(folder), manifest, table)
        batches = (batch for file in manifest.files[table] for batch in _read_file(folder, file).to_batches())
        return (with_all_columns(batch, ALL_SCHEMAS[table]) for batch in batches)

    tables = {name: pa.Table.from_batches(rows(name), ALL_SCHEMAS[name]) for name in manifest.rows}
    return {name: table.to_pandas() for name, table in tables.items()} if as_pandas else tables


def refresh_dataset(
    store: DatasetStore, new: NewVersion, replaced: pa.Array, read: Callable[[str], Iterable[pa.RecordBatch]]
) -> Manifest:
    """Write a version with the rows of the one that it follows, without those of some items, and with new rows.

    Rows that stay are copied one row group at a time, from the store to the store.

    :param store: the dataset's folder
    :param new: the version
    :param replaced: ids of the items whose rows are removed
    :param read: returns the new rows of a table
    :raises LandingMovedError: another version is current now
    """

    def rows(table: str) -> Iterator[pa.RecordBatch]:
        if new.follows is not None:
            for batch in read_rows(store, new.follows, table):
                yield batch.filter(pc.invert(pc.is_in(batch.column("item_id"), value_set=replaced)))
        yield from read(table)

    def write(folder: ObjectStoragePath) -> Written:
        make_folder(folder.fs, folder.path)
        files = {}
        for name in new.tables:
            with TableWriter(folder, name, ALL_SCHEMAS[name]) as writer:
                for batch in rows(name):
                    writer.write(batch)
                files[name] = [writer.finish()]
        return Written(files)

    return write_version(store, new, write)


def write_tables(
    folder: ObjectStoragePath,
    batches: Iterable[LabelTables],
    *,
    hashed: bool = True,
    beside: Mapping[str, Callable[[LabelTables], pa.RecordBatch]] | None = None,
) -> dict[str, TableFile]:
    """Write batches as one Parquet file for each table, in a folder of their own; return the files by table.

    :param folder: folder of the files
    :param batches: rows of the three tables
    :param hashed: whether to compute the checksums; False for files that no manifest will name, whose ``sha256`` is
        then empty
    :param beside: further tables by a name of ``ALL_SCHEMAS``: functions that take a batch and return their rows
    """
    beside = beside or {}
    with TablesWriter(folder, (*SCHEMAS, *beside), hashed=hashed) as writer:
        for batch in batches:
            writer.write(batch)
            for name, make in beside.items():
                writer.write_table(name, make(batch))
        return writer.finish()


def read_rows(
    store: DatasetStore, manifest: Manifest, table: str, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield a version's rows: of Parquet files one row group at a time, of Delta tables in no particular order.

    :param store: the dataset's folder
    :param manifest: manifest of the version
    :param table: name of the table
    :param columns: names of the columns to read, None for all
    :raises AnnotationError: a file is damaged
    """
    if manifest.delta_versions:
        from airflow_annotation.datasets.delta import DeltaTables

        yield from DeltaTables(store).read(table, manifest.delta_versions[table], columns)
        return
    for file in manifest.files[table]:
        with store.open(file.path) as opened, _damages(f"{store.uri}/{file.path}"):
            for batch in read_row_groups(opened, columns):
                yield batch if columns else with_all_columns(batch, ALL_SCHEMAS[table])


def read_row_groups(source: Path | IO[bytes], columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a Parquet file, one row group at a time.

    :param source: path of a local file, or an open file
    :param columns: names of the columns to read, None for all
    """
    with pq.ParquetFile(source, page_checksum_verification=True) as file:
        for index in range(file.num_row_groups):
            yield from file.read_row_group(index, columns).combine_chunks().to_batches()


@contextmanager
def _damages(path: str) -> Iterator[None]:
    """Raise an error that names a damaged file, and what to do. Errors of disks and stores are raised unchanged."""
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
            raise
        raise AnnotationError(
            f"{path} is damaged: {error}. Land with full_refresh=True, which reads all items from the tool again, or "
            "restore the file."
        ) from error


class TablesWriter:
    """Writes the files of tables.

    :param folder: folder of the files
    :param names: names of the tables: the three, and others of ``ALL_SCHEMAS``
    :param hashed: whether to compute the checksums
    """

    def __init__(
        self, folder: ObjectStoragePath, names: Iterable[str] = tuple(SCHEMAS), *, hashed: bool = True
    ) -> None:
        make_folder(folder.fs, folder.path)
        with ExitStack() as opened:
            self._writers = {
                name: opened.enter_context(TableWriter(folder, name, ALL_SCHEMAS[name], hashed=hashed))
                for name in names
            }
            self._opened = opened.pop_all()

    def __enter__(self) -> TablesWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def write(self, batch: LabelTables) -> None:
        """Add rows of the three tables."""
        for name in SCHEMAS:
            self.write_table(name, getattr(batch, name))

    def write_table(self, name: str, rows: pa.RecordBatch) -> None:
        """Add rows of one table."""
        self._writers[name].write(rows)

    def finish(self) -> dict[str, TableFile]:
        """Write the pending rows, and return the descriptions of the files by table."""
        return {name: writer.finish() for name, writer in self._writers.items()}


class TableWriter:
    """Writes one table's file, one row group at a time.

    :param folder: folder of the file
    :param name: name of the table
    :param schema: schema of the table
    :param hashed: whether to compute the checksum
    """

    def __init__(self, folder: ObjectStoragePath, name: str, schema: pa.Schema, *, hashed: bool = True) -> None:
        self._name = f"{name}.parquet"
        self._schema = schema
        self._file = HashingFile(open_to_write(folder.fs, (folder / self._name).path), hashed=hashed)
        self._writer = pq.ParquetWriter(self._file, schema, compression="zstd", write_page_checksum=True)
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = self._pending_bytes = 0
        self._rows = 0

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, *_: object) -> None:
        with closing(self._file):
            self._writer.close()  # otherwise it would try to write when it is garbage-collected, at any time

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        while batch.num_rows:
            part = batch.slice(0, ROW_GROUP_ROWS - self._pending_rows)
            batch = batch.slice(part.num_rows)
            self._pending.append(part)
            self._pending_rows += part.num_rows
            self._pending_bytes += part.nbytes
            if self._pending_rows >= ROW_GROUP_ROWS or self._pending_bytes >= ROW_GROUP_BYTES:
                self._write_row_group()

    def finish(self) -> TableFile:
        """Write the pending rows, and return the description of the file."""
        self._write_row_group()
        self._writer.close()
        self._file.close()
        return self._file.describe(self._name, self._rows)

    def _write_row_group(self) -> None:
        if self._pending_rows:
            table = pa.Table.from_batches(self._pending, schema=self._schema)
            self._writer.write_table(table, row_group_size=self._pending_rows)
            self._rows += self._pending_rows
        self._pending = []
        self._pending_rows = self._pending_bytes = 0


def _read_file(folder: ObjectStoragePath, file: TableFile) -> pa.Table:
    path = folder / file.path
    content = path.fs.cat_file(path.path)
    if len(content) != file.size or hashlib.sha256(content).hexdigest() != file.sha256:
        raise AnnotationError(f"{path} is not the file that was landed: its checksum is not the manifest's.")
    return pq.read_table(pa.BufferReader(content))
