"""The three tables as a versioned Parquet dataset in a folder of any object store.

::

    target/
      manifest.json                                   which version is current, its files and their checksums
      versions/20261122T171532Z-5f0c2e8a/items.parquet
                                         annotations.parquet
                                         labels.parquet

How versions come and go is :mod:`~airflow_annotation.formats.versions`' business. Any Parquet reader can read the files
that the manifest names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from airflow.sdk import ObjectStoragePath

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats.versions import (
    HashingFile,
    Manifest,
    TableFile,
    dataset_path,
    read_manifest,
    write_version,
)
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import SCHEMAS, LabelTables

ROW_GROUP_BYTES: Final = 16 * 2**20
ROW_GROUP_ROWS: Final = 128 * 1024
"""A row group is written when either is reached: bounds memory where rows carry masks, and where they are tiny."""


def read_dataset(target: str, *, conn_id: str | None = None) -> dict[str, pa.Table]:
    """Read the ``items``, ``annotations`` and ``labels`` of the current version, and check that they are whole.

    Holds everything in memory; :func:`read_manifest` names the files, for readers that scan.

    :param target: the folder, as for :func:`dataset_path`
    :param conn_id: the connection of the object store, where the URI does not name one
    :raises AnnotationError: there is no dataset, or a file is not the one that was landed
    """
    manifest = read_manifest(target, conn_id=conn_id)
    folder = dataset_path(target, conn_id)
    return {
        name: pa.concat_tables([_read_file(folder, file) for file in manifest.files[name]]).cast(schema)
        for name, schema in SCHEMAS.items()
    }


def write_dataset(
    target: ObjectStoragePath,
    batches: Iterable[LabelTables],
    *,
    project: str,
    run_key: str | None,
    label_schema: LabelSchema,
    settings: dict[str, Any],
    keep_versions: int = 2,
    replace_project: bool = False,
) -> Manifest:
    """Write the tables as a version of the dataset, see :func:`write_version`.

    Streams: holds one row group of each table.

    :param batches: the whole project
    """
    return write_version(
        target,
        lambda folder: {name: [file] for name, file in write_tables(folder, batches).items()},
        project=project,
        run_key=run_key,
        label_schema=label_schema,
        settings=settings,
        keep_versions=keep_versions,
        replace_project=replace_project,
    )


def write_tables(folder: ObjectStoragePath, batches: Iterable[LabelTables]) -> dict[str, TableFile]:
    """Write batches as one Parquet file a table, in a folder of their own; return the files by table."""
    folder.fs.makedirs(folder.path, exist_ok=True)
    with ExitStack() as opened:
        writers = {name: opened.enter_context(TableWriter(folder, name, schema)) for name, schema in SCHEMAS.items()}
        for batch in batches:
            for name, writer in writers.items():
                writer.write(getattr(batch, name))
        return {name: writer.finish() for name, writer in writers.items()}


def read_row_groups(source: Path | IO[bytes]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a Parquet file, local or open, as much at a time as was written at a time."""
    with pq.ParquetFile(source) as file:
        for index in range(file.num_row_groups):
            yield from file.read_row_group(index).combine_chunks().to_batches()


class TableWriter:
    """Writes one table's file, a row group at a time.

    :param folder: the folder of the file
    :param name: of the table
    :param schema: of the table
    """

    def __init__(self, folder: ObjectStoragePath, name: str, schema: pa.Schema) -> None:
        self._name = f"{name}.parquet"
        self._schema = schema
        self._file = HashingFile(folder.fs.open((folder / self._name).path, "wb"))
        self._writer = pq.ParquetWriter(self._file, schema, compression="zstd")
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = self._pending_bytes = 0
        self._rows = 0

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, *_: object) -> None:
        with closing(self._file):
            self._writer.close()  # or it would try when it is collected, in the middle of something else

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        self._pending_bytes += batch.nbytes
        if self._pending_rows >= ROW_GROUP_ROWS or self._pending_bytes >= ROW_GROUP_BYTES:
            self._write_row_group()

    def finish(self) -> TableFile:
        """Write what is left, and describe the file."""
        self._write_row_group()
        self._writer.close()
        self._file.close()
        return TableFile(path=self._name, rows=self._rows, size=self._file.size, sha256=self._file.sha256.hexdigest())

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
