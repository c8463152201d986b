"""The landed tables and ``landings`` as Iceberg tables in a namespace of a catalog (https://iceberg.apache.org/spec/).

All projects share the tables, which are partitioned by ``project``. A landing makes one snapshot of each table that
changes. The snapshot removes some of the project's files, and adds new ones. Files with rows of changed items are
written again without these rows. Iceberg has no commit over several tables. So a landing writes the project's row in
``landings`` last, with the snapshots that belong together: ``items_snapshot`` and so on.

A landing that died leaves snapshots that the project's row does not name. The next landing starts from the snapshots
that the row names, and undoes the others. Snapshots of other projects, compactions and changes by people stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchTableError,
    TableAlreadyExistsError,
    ValidationException,
)
from pyiceberg.expressions import AlwaysTrue, EqualTo, Reference
from pyiceberg.expressions.literals import literal
from pyiceberg.io.pyarrow import ArrowScan, schema_to_pyarrow, write_file
from pyiceberg.partitioning import PartitionFieldValue, PartitionKey
from pyiceberg.table import FileScanTask, WriteTask
from pyiceberg.table.snapshots import ancestors_of
from pyiceberg.transforms import IdentityTransform

from airflow_annotation.exceptions import AnnotationError, LandingMovedError
from airflow_annotation.labels.tables import ALL_SCHEMAS, SCHEMAS, with_all_columns
from airflow_annotation.warehouses.landings import LANDINGS, LANDINGS_SCHEMA

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

ICEBERG_LANDINGS: Final = pa.schema(
    [*LANDINGS_SCHEMA, *(pa.field(f"{name}_snapshot", pa.int64()) for name in ALL_SCHEMAS)]
)
"""The columns of ``landings``: those of other databases, and the snapshot of each table.

A snapshot is null if no landing of the project has changed the table yet.
"""

FILE_BYTES: Final = 64 << 20
"""Bytes of Arrow data after which a data file is complete. The data of one file is in memory."""

SMALL_FILE_BYTES: Final = 1 << 20
"""Size of a data file in bytes. A project's smaller files are joined when the table changes, so that they stay few."""

_PROPERTIES: Final = {
    "commit.retry.num-retries": "20",  # landings of other projects commit in between
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.metrics.column.project": "full",  # cut values make projects of one server look the same to commits
}
_PROJECT: Final = "airflow-annotation.project"
"""Key in a snapshot's summary: the project whose landing made the snapshot."""


class IcebergTables:
    """The Iceberg tables of a namespace.

    :param catalog: catalog of the tables
    :param namespace: namespace of the tables, with dots between its levels
    :param table_prefix: prefix of the tables' names
    :param schemas: columns of the tables that land, by name
    """

    def __init__(
        self,
        catalog: Catalog,
        namespace: str,
        table_prefix: str = "",
        schemas: Mapping[str, pa.Schema] = SCHEMAS,
    ) -> None:
        self._catalog = catalog
        self._namespace = namespace
        self._prefix = table_prefix
        self._schemas = {**schemas, LANDINGS: ICEBERG_LANDINGS}
        self.names = {name: self._full_name(name) for name in self._schemas}
        """Full names of the tables."""

    def prepare(self) -> None:
        """Create the namespace and the tables if they are missing, and add the columns of this release.

        :raises AnnotationError: a table with the same name is not partitioned by project, or lacks required columns
        """
        if not self._catalog.namespace_exists(self._namespace):
            with suppress(NamespaceAlreadyExistsError):  # another landing was faster
                self._catalog.create_namespace(self._namespace)
        for name, schema in self._schemas.items():
            try:
                table = self._load(name)
            except NoSuchTableError:
                table = self._create(name, schema)
            columns = set(table.schema().column_names)
            missing = [field for field in schema if field.name not in columns]
            parts = [(table.schema().find_column_name(part.source_id), part.transform) for part in table.spec().fields]
            if parts != [("project", IdentityTransform())] or not all(field.nullable for field in missing):
                raise AnnotationError(
                    f"The Iceberg table {self.names[name]} exists, but this package did not create it: it is not "
                    "partitioned by project, or lacks required columns. Choose another table_prefix or namespace, or "
                    "drop the table."
                )
            if missing:
                with table.update_schema() as update:
                    update.union_by_name(pa.schema(missing))

    def find_landing(self, project: str) -> dict[str, Any] | None:
        """Return a project's row in ``landings``, None if it has not landed.

        :param project: URI of the project
        """
        return next(iter(self.find_landings(project)), None)

    def find_landings(self, project: str | None = None) -> list[dict[str, Any]]:
        """Return the rows of ``landings``; an empty list if the table is missing.

        :param project: URI of one project; None for all projects
        """
        try:
            table = self._load(LANDINGS)
        except NoSuchTableError:
            return []
        return _landings(table, project)

    def holds(self, landing: Mapping[str, Any]) -> bool:
        """Return whether all rows of a landing still exist.

        They do not if a later landing died, and the snapshots of this landing have expired since.

        :param landing: row of the landing in ``landings``
        """
        return all(
            _is_current(table, landing["project"], recorded) or table.snapshot_by_id(recorded or 0) is not None
            for name in self._schemas
            if name != LANDINGS
            for table, recorded in [(self._load(name), landing[f"{name}_snapshot"])]
        )

    def read(
        self, name: str, landing: Mapping[str, Any], columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a project as they landed, in any order. Keeps the rows of one data file in memory.

        :param name: name of the table, without the prefix
        :param landing: row of the project in ``landings``
        :param columns: names of the columns to read; None for all
        """
        table = self._load(name)
        schema = ALL_SCHEMAS[name]
        chosen = pa.schema([schema.field(column) for column in columns or schema.names])
        for task in _files(table, landing["project"], landing[f"{name}_snapshot"]):
            for batch in _read(table, task, chosen.names):
                yield with_all_columns(_cast(batch, chosen), chosen)

    def replace(
        self,
        name: str,
        last: Mapping[str, Any] | None,
        project: str,
        replaced: pa.Array,
        rows: Iterable[pa.RecordBatch],
    ) -> tuple[int | None, int]:
        """Replace rows of a project in one snapshot.

        :param name: name of the table, without the prefix
        :param last: row in ``landings`` of the landing whose other rows stay; None to remove all rows of the project
        :param project: URI of the project
        :param replaced: ids of the items whose rows are removed
        :param rows: new rows
        :returns: id of the snapshot that has the project's rows now, and their number
        :raises LandingMovedError: another landing of the project was committed at the same time
        """
        table = self._load(name)
        recorded = last[f"{name}_snapshot"] if last else None
        here = {task.file.file_path: task for task in _files_at(table, project, None)}
        base = _files(table, project, recorded) if last else []
        touched = {task.file.file_path for task in base if _has_items(table, task, replaced)}
        coming = iter(rows)
        first = next(coming, None)
        is_base = last is not None and {task.file.file_path for task in base} == here.keys()
        if is_base and not touched and first is None:
            return recorded, sum(task.file.record_count for task in base)
        kept: list[FileScanTask] = []
        rewritten: list[FileScanTask] = []
        for task in base:
            path = task.file.file_path
            stays = path in here and path not in touched and task.file.file_size_in_bytes >= SMALL_FILE_BYTES
            (kept if stays else rewritten).append(task)

        def all_rows() -> Iterator[pa.RecordBatch]:
            for task in rewritten:
                for batch in _read(table, task):
                    ids = batch.column("item_id").cast(replaced.type)
                    yield batch.filter(pc.invert(pc.is_in(ids, value_set=replaced)))
            if first is not None:
                yield first
            yield from coming

        gone = here.keys() - {task.file.file_path for task in kept}
        written = _write(table, project, all_rows())
        snapshot = _commit(table, project, [here[path].file for path in sorted(gone)], written)
        return snapshot, sum(file.record_count for file in (*(task.file for task in kept), *written))

    def clear(self, name: str, project: str) -> None:
        """Remove a project's rows from a table that no longer lands, if the table exists.

        :param name: name of the table, without the prefix
        :param project: URI of the project
        :raises LandingMovedError: another landing of the project was committed at the same time
        """
        with suppress(NoSuchTableError):
            self.replace(name, None, project, pa.array([], pa.string()), ())

    def save_landing(self, row: Mapping[str, Any], check: Callable[[Mapping[str, Any] | None], None]) -> None:
        """Write a project's row in ``landings``.

        :param row: row of the landing
        :param check: function that takes the row to be replaced, None if there is none, and raises if it must stay
        :raises LandingMovedError: another landing of the project was committed at the same time
        """
        table = self._load(LANDINGS)
        project = row["project"]
        check(next(iter(_landings(table, project)), None))
        batch = pa.RecordBatch.from_pylist([dict(row)], schema=ICEBERG_LANDINGS)
        gone = [task.file for task in _files_at(table, project, None)]
        _commit(table, project, gone, _write(table, project, [batch]))

    def _load(self, name: str) -> Table:
        return self._catalog.load_table(self._full_name(name))

    def _full_name(self, name: str) -> str:
        return f"{self._namespace}.{self._prefix}{name}"

    def _create(self, name: str, schema: pa.Schema) -> Table:
        with (
            suppress(CommitFailedException, TableAlreadyExistsError),  # another landing was faster
            self._catalog.create_table_transaction(self._full_name(name), schema, properties=_PROPERTIES) as new,
            new.update_spec() as update,
        ):
            update.add_identity("project")
        return self._load(name)


def _landings(table: Table, project: str | None) -> list[dict[str, Any]]:
    tasks = _files_at(table, project, None)
    return [row for task in tasks for batch in _read(table, task) for row in batch.to_pylist()]


def _is_current(table: Table, project: str, recorded: int | None) -> bool:
    """Return whether no later landing of the project has changed the table. Others may have changed it."""
    return _newest_snapshot(table, project) in (None, recorded)


def _newest_snapshot(table: Table, project: str) -> int | None:
    """Return the newest snapshot that a landing of a project made; None if there is none, or if it has expired."""
    ancestors = ancestors_of(table.current_snapshot(), table.metadata)
    return next((one.snapshot_id for one in ancestors if one.summary and one.summary.get(_PROJECT) == project), None)


def _files(table: Table, project: str, recorded: int | None) -> list[FileScanTask]:
    """Return the files that have the rows of a landing.

    :raises LandingMovedError: a later landing died, and the snapshot has expired since
    """
    if _is_current(table, project, recorded):
        return _files_at(table, project, None)
    if recorded is None:
        return []
    if table.snapshot_by_id(recorded) is None:
        raise LandingMovedError(f"The snapshot {recorded} of {'.'.join(table.name())} was expired.")
    return _files_at(table, project, recorded)


def _files_at(table: Table, project: str | None, snapshot: int | None) -> list[FileScanTask]:
    """Return the files of one project or of all, in one snapshot or the current one."""
    rows = AlwaysTrue() if project is None else _of_project(project)
    return list(table.scan(rows, snapshot_id=snapshot).plan_files())


def _of_project(project: str) -> EqualTo:
    return EqualTo(term=Reference("project"), value=literal(project))


def _has_items(table: Table, task: FileScanTask, item_ids: pa.Array) -> bool:
    """Return whether a file has rows of some items, or rows that somebody else has marked as deleted."""
    if task.delete_files:
        return True
    if not len(item_ids):
        return False
    columns = (batch.column("item_id").cast(item_ids.type) for batch in _read(table, task, ["item_id"]))
    return any(pc.any(pc.is_in(column, value_set=item_ids)).as_py() for column in columns)


def _read(table: Table, task: FileScanTask, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a file, with the columns that the table has now."""
    schema = table.schema()
    present = [name for name in columns or schema.column_names if name in schema.column_names]
    top = [field.name for field in schema.fields if field.name in present]
    scan = ArrowScan(table.metadata, table.io, schema.select(*top), AlwaysTrue())
    yield from scan.to_record_batches([task])


def _cast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch's columns that a schema has, in the schema's order and with its types."""
    fields = [field for field in schema if field.name in batch.schema.names]
    return pa.RecordBatch.from_arrays(
        [batch.column(field.name).cast(field.type) for field in fields], schema=pa.schema(fields)
    )


def _write(table: Table, project: str, batches: Iterable[pa.RecordBatch]) -> list[DataFile]:
    """Write rows of a project as data files, which do not belong to a snapshot yet."""
    schema = table.schema()
    arrow = schema_to_pyarrow(schema, include_field_ids=False)
    key = PartitionKey([PartitionFieldValue(table.spec().fields[0], project)], table.spec(), schema)
    files: list[DataFile] = []
    written_as = uuid4()

    def write(rows: list[pa.RecordBatch]) -> None:
        task = WriteTask(written_as, len(files), schema, rows, partition_key=key)
        files.extend(write_file(table.io, table.metadata, iter([task])))

    try:
        pending: list[pa.RecordBatch] = []
        for batch in batches:
            if batch.num_rows:
                pending.append(with_all_columns(_cast(batch, arrow), arrow))
            if sum(rows.nbytes for rows in pending) >= FILE_BYTES:
                write(pending)
                pending = []
        if pending:
            write(pending)
    except BaseException:
        _remove(table, files)
        raise
    return files


def _commit(table: Table, project: str, gone: Sequence[DataFile], come: Sequence[DataFile]) -> int | None:
    """Remove and add files in one new snapshot, and return its id. Without files, return the project's newest snapshot.

    :raises LandingMovedError: the project's files have changed since the table was loaded
    """
    if not gone and not come:
        return _newest_snapshot(table, project)
    try:
        with table.transaction() as transaction, transaction.update_snapshot({_PROJECT: project}).overwrite() as new:
            new.delete_by_predicate(_of_project(project))  # the commit fails if others have changed these rows
            for file in gone:
                new.delete_data_file(file)
            for file in come:
                new.append_data_file(file)
    except (CommitFailedException, ValidationException) as error:
        _remove(table, come)
        raise LandingMovedError(
            f"Another landing has written to {'.'.join(table.name())} while this one ran: {error}"
        ) from error
    return new.snapshot_id


def _remove(table: Table, files: Iterable[DataFile]) -> None:
    """Delete files that do not belong to a snapshot."""
    for file in files:
        table.io.delete(file.file_path)
