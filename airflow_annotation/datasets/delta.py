"""The three tables as Delta tables, for datasets too large to copy into each new version.

::

    target/
      manifest.json                     the version of each Delta table in the current landing
      versions/20261122T171532Z-…/      the manifest at the time of the landing
      items/ annotations/ labels/       Delta tables (https://github.com/delta-io/delta/blob/master/PROTOCOL.md)

A landing is one commit to each of the tables. A refresh is one MERGE, which rewrites only the files with rows of
changed items. The manifest names the versions of the tables that belong together, and is replaced last. So
:func:`~airflow_annotation.datasets.parquet.read_dataset` returns a whole landing. A reader of a single table, without
the manifest, sees that table's last commit.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pyarrow as pa
from airflow.sdk import BaseHook, ObjectStoragePath
from fsspec.implementations.local import LocalFileSystem

from airflow_annotation.datasets.s3_access import s3_access
from airflow_annotation.datasets.stores import DatasetStore, FolderStore
from airflow_annotation.datasets.versions import Manifest, NewVersion, Written, find_version, write_version
from airflow_annotation.exceptions import AnnotationError, LandingMovedError
from airflow_annotation.labels.tables import ALL_SCHEMAS, with_all_columns
from airflow_annotation.media.storage import make_folder

if TYPE_CHECKING:
    from deltalake import CommitProperties, DeltaTable

_KEEPS_ITS_LOG: Final = {"delta.logRetentionDuration": "interval 36500 days"}
"""Versions are removed by ``keep_versions``, not by their age."""

_IS_GONE: Final = "_is_gone"
"""Column of the merged rows: true if the row says that an item's rows are removed, false if it is a new row."""

Rows = Callable[[str], Iterable[pa.RecordBatch]]
"""Returns the rows of a table."""


class DeltaTables:
    """The Delta tables of a dataset.

    :param store: the dataset's folder
    :raises AnnotationError: the extra ``delta`` is not installed, or the store cannot hold Delta tables
    """

    def __init__(self, store: DatasetStore) -> None:
        if not isinstance(store, FolderStore):
            raise AnnotationError(
                f"{store.uri} cannot hold Delta tables this way: land them with AnnotationsToObjectStorageOperator."
            )
        if importlib.util.find_spec("deltalake") is None:
            raise AnnotationError("Delta tables need pip install 'airflow-provider-annotation[delta]'.")
        self._root = _location(store.path)
        self._options = _storage_options(store.path)

    def overwrite(self, names: Sequence[str], read: Rows) -> dict[str, int]:
        """Replace all rows, and return the version of each table. A table that no longer lands becomes empty.

        :param names: names of the tables that land
        :param read: returns the new rows of a table
        :raises LandingMovedError: somebody else writes to the tables
        """
        from deltalake import write_deltalake
        from deltalake.exceptions import CommitFailedError

        versions = {}
        for name, schema in ALL_SCHEMAS.items():
            before = self._find(name)
            if before is None and name not in names:
                continue
            start = -1 if before is None else before.version()
            try:
                write_deltalake(
                    self._uri(name) if before is None else before,
                    pa.RecordBatchReader.from_batches(schema, read(name) if name in names else ()),
                    mode="overwrite",
                    schema_mode="overwrite",
                    configuration=_KEEPS_ITS_LOG,
                    storage_options=self._options,
                    commit_properties=self._alone,
                )
            except CommitFailedError as error:
                raise LandingMovedError(f"Another landing writes to {self._uri(name)}.") from error
            end = self._open(name).version()
            self._check_alone(name, start, end)
            if name in names:
                versions[name] = end
        return versions

    def merge(self, versions: dict[str, int], replaced: pa.Array, read: Rows) -> dict[str, int]:
        """Replace the rows of some items, in one commit for each table, and return the version of each table.

        :param versions: versions of the last landing; later commits of a crashed landing are undone first
        :param replaced: ids of the items whose rows are removed
        :param read: returns the new rows of a table
        :raises LandingMovedError: somebody else writes to the tables
        """
        from deltalake.exceptions import CommitFailedError

        merged = {}
        for name, version in versions.items():
            schema = ALL_SCHEMAS[name]
            table = self._open(name)
            try:
                if not _holds(table, version):
                    table.restore(version, commit_properties=self._alone)
                start = table.version()
                merger = table.merge(
                    _merge_source(schema, replaced, read(name)),
                    predicate=f"target.item_id = source.item_id AND source.{_IS_GONE}",
                    source_alias="source",
                    target_alias="target",
                    commit_properties=self._alone,
                )
                merger = merger.when_matched_delete().when_not_matched_insert(
                    {column: f'source."{column}"' for column in schema.names}, predicate=f"NOT source.{_IS_GONE}"
                )
                merger.execute()
            except CommitFailedError as error:
                raise LandingMovedError(f"Another landing writes to {self._uri(name)}.") from error
            merged[name] = table.version()
            self._check_alone(name, start, merged[name])
        return merged

    def read(self, table: str, version: int, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a table's version, in no particular order.

        :param table: name of the table
        :param version: version of the table
        :param columns: names of the columns to read, None for all
        """
        schema = ALL_SCHEMAS[table]
        chosen = pa.schema([schema.field(name) for name in columns or schema.names])
        opened = self._open(table, version).to_pyarrow_dataset()
        present = pa.schema([field for field in chosen if field.name in opened.schema.names])
        for batch in opened.to_batches(columns=present.names):
            for part in pa.Table.from_batches([batch]).cast(present).combine_chunks().to_batches():
                yield with_all_columns(part, chosen)

    def count(self, table: str, version: int) -> int:
        """Return the number of rows of a table's version."""
        rows: int = self._open(table, version).count()
        return rows

    def remove_versions(self, kept: Sequence[dict[str, int]]) -> None:
        """Remove the files that no kept landing needs.

        While this runs, nothing that needs another version may write to the tables.

        :param kept: versions of the tables, one dictionary for each landing to keep
        """
        for name in ALL_SCHEMAS:
            table = self._find(name)
            if table is None:
                continue
            table.vacuum(
                retention_hours=0,
                dry_run=False,
                enforce_retention_duration=False,
                keep_versions=sorted({versions[name] for versions in kept if name in versions}),
            )

    def _uri(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _open(self, name: str, version: int | None = None) -> DeltaTable:
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        try:
            return DeltaTable(self._uri(name), version=version, storage_options=self._options)
        except TableNotFoundError as error:
            raise FileNotFoundError(f"There is no Delta table {self._uri(name)}.") from error

    @property
    def _alone(self) -> CommitProperties:
        """A commit that fails if somebody else has committed before it."""
        from deltalake import CommitProperties

        return CommitProperties(max_commit_retries=0)

    def _check_alone(self, name: str, start: int, end: int) -> None:
        # If there is nothing to change, there is no commit.
        if end > start + 1:
            raise LandingMovedError(f"Another landing has written to {self._uri(name)} while this one ran.")

    def _find(self, name: str) -> DeltaTable | None:
        try:
            return self._open(name)
        except FileNotFoundError:
            return None


def land_delta(store: DatasetStore, new: NewVersion, replaced: pa.Array, read: Rows) -> Manifest:
    """Write a version of a dataset of Delta tables.

    :param store: the dataset's folder
    :param new: the version; if it follows none, all rows are replaced
    :param replaced: ids of the items whose rows are removed
    :param read: returns the rows of a table: all rows of the project, or those of the items in ``replaced``
    :raises LandingMovedError: somebody else writes to the tables
    """
    tables = DeltaTables(store)

    def write(folder: ObjectStoragePath) -> Written:
        make_folder(folder.fs, folder.path)
        if new.follows is None:
            versions = tables.overwrite(new.tables, read)
        else:
            versions = tables.merge(new.follows.delta_versions, replaced, read)
        return Written({}, versions, {name: tables.count(name, version) for name, version in versions.items()})

    manifest = write_version(store, new, write)
    kept = [find_version(store, version) for version in manifest.versions]
    tables.remove_versions([old.delta_versions for old in kept if old and old.delta_versions])
    return manifest


def _holds(table: DeltaTable, version: int) -> bool:
    """Return whether a table still has the rows of a version; since then, only unused files may have been removed."""
    since = table.version() - version
    return since >= 0 and all(entry["operation"].startswith("VACUUM") for entry in table.history(since or 1)[:since])


def _merge_source(schema: pa.Schema, replaced: pa.Array, batches: Iterable[pa.RecordBatch]) -> pa.RecordBatchReader:
    """Return a row for each item whose rows are removed, and then the new rows."""
    merged = pa.schema([*(field.with_nullable(True) for field in schema), pa.field(_IS_GONE, pa.bool_())])

    def rows() -> Iterator[pa.RecordBatch]:
        count = len(replaced)
        gone = [replaced if field.name == "item_id" else pa.nulls(count, field.type) for field in schema]
        yield pa.RecordBatch.from_arrays([*gone, pa.repeat(pa.scalar(True), count)], schema=merged)
        for batch in batches:
            coming = pa.repeat(pa.scalar(False), batch.num_rows)
            yield pa.RecordBatch.from_arrays([*batch.columns, coming], schema=merged)

    return pa.RecordBatchReader.from_batches(merged, rows())


def _location(path: ObjectStoragePath) -> str:
    """Return the address of a folder for Delta's own storage layer."""
    if isinstance(path.fs, LocalFileSystem):
        return path.path.rstrip("/")
    parts = urlsplit(str(path))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")


def _storage_options(path: ObjectStoragePath) -> dict[str, str]:
    """Return the options that Delta's own storage layer needs from the Airflow connection.

    For other stores there are none: Delta then reads the environment.

    Options: https://docs.rs/object_store/latest/object_store/
    """
    scheme = urlsplit(str(path)).scheme
    conn_id = getattr(path, "conn_id", None) or path.storage_options.get("conn_id")  # the first from Airflow 3.2 on
    if scheme in ("s3", "s3a"):
        access = s3_access(conn_id)
        allowed = {"AWS_ALLOW_HTTP": "true"} if access.get("AWS_ENDPOINT_URL", "").startswith("http://") else {}
        return access | allowed
    if scheme in ("gs", "gcs") and conn_id:
        return _gcs_options(conn_id)
    if scheme in ("abfs", "abfss", "az", "adl"):
        return azure_options(path.fs)
    return {}


def _gcs_options(conn_id: str) -> dict[str, str]:
    extra = BaseHook.get_connection(conn_id).extra_dejson
    options = {
        "GOOGLE_SERVICE_ACCOUNT_PATH": extra.get("key_path"),
        "GOOGLE_SERVICE_ACCOUNT_KEY": extra.get("keyfile_dict"),
    }
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in options.items() if value}


def azure_options(filesystem: Any) -> dict[str, str]:
    """Return the options of Delta's own storage layer, from a file system of ``adlfs`` that read the connection."""
    given = dict(part.split("=", 1) for part in (filesystem.connection_string or "").split(";") if "=" in part)
    options = {
        "AZURE_STORAGE_ACCOUNT_NAME": filesystem.account_name or given.get("AccountName"),
        "AZURE_STORAGE_ACCOUNT_KEY": filesystem.account_key or given.get("AccountKey"),
        "AZURE_STORAGE_SAS_TOKEN": filesystem.sas_token or given.get("SharedAccessSignature"),
        "AZURE_STORAGE_ENDPOINT": given.get("BlobEndpoint"),
        "AZURE_STORAGE_CLIENT_ID": filesystem.client_id,
        "AZURE_STORAGE_CLIENT_SECRET": filesystem.client_secret,
        "AZURE_STORAGE_TENANT_ID": filesystem.tenant_id,
    }
    return {name: value for name, value in options.items() if value}
