"""DuckDB and MotherDuck: their types of lists and JSON, and rows from a landing's Parquet files or from Arrow.

While a process has a DuckDB file open, no other process can open it. So a landing waits until it can open the file, and
keeps it open while it writes. The threads of a process share a database, and so do all users of a database in
MotherDuck. There, the later of two landings of one project waits too.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

import pyarrow as pa
import sqlalchemy as sa

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.warehouses.base import Warehouse
from airflow_annotation.warehouses.native_type import NativeType
from airflow_annotation.warehouses.views import ViewSql

BUSY_TIMEOUT: Final = 300.0
"""Maximum seconds that a landing waits for another one in the file, or of the project."""

_RETRY_AFTER: Final = 0.1
_PATTERN: Final = "*?[{"
"""Characters that make a path a pattern for several files."""

# If a thread connects while another one opens the same file, its database lacks Python's functions.
_connecting: Final = threading.Lock()

_preparing: Final = threading.Lock()

# DuckDB may refuse a deletion at the moment when the transaction before it ends. So threads take turns in each file,
# by its real path.
_turns: Final[defaultdict[str, threading.Lock]] = defaultdict(threading.Lock)

T = TypeVar("T")


class DuckDBWarehouse(Warehouse):
    """A DuckDB file, or a database of MotherDuck."""

    has_keys = False  # keys make inserts into DuckDB slow
    json_type = NativeType("JSON")
    key_text = sa.Text()
    types = {  # noqa: RUF012 - declared by the base
        **Warehouse.types,
        pa.float64(): NativeType("DOUBLE"),
        pa.list_(pa.string()): NativeType("VARCHAR[]"),
        pa.list_(pa.float64()): NativeType("DOUBLE[]"),
        pa.list_(pa.int32()): NativeType("INTEGER[]"),
        pa.list_(pa.list_(pa.float64())): NativeType("DOUBLE[][]"),
    }
    view_sql = ViewSql(
        number="l.bbox[{number}]",
        setting="(s.settings ->> '$.coordinates')",
        element="(e.value ->> '$.{name}')",
        elements="""(select unnest(from_json(i.media, '["JSON"]')) as value) e""",
        classes="(select unnest(l.labels) as value) c",
    )

    def __init__(self, engine: sa.Engine, prefix: str = "", schema: str | None = None) -> None:
        # The dialect wraps only connections that it opens itself. The URL has all settings of Airflow's connection.
        engine = sa.create_engine(engine.url, poolclass=sa.pool.NullPool, hide_parameters=True, future=True)
        sa.event.listen(engine, "do_connect", _connect)
        sa.event.listen(engine, "checkin", _end_turn)
        super().__init__(engine, prefix, schema)

    def is_conflict(self, error: Exception) -> bool:
        """Return whether another transaction was faster."""
        return "conflict" in str(error).lower() and "TransactionContext Error" in str(error)

    def prepare(self, project: str, views: Sequence[str] = ()) -> dict[str, Any] | None:
        """Create what is missing. See :meth:`Warehouse.prepare`.

        If two landings create the same thing, DuckDB fails for one while it cannot see yet what the other creates. Then
        this tries again.
        """

        def is_made_elsewhere(error: Exception) -> bool:  # by another user of MotherDuck
            return self.is_conflict(error) or "Duplicate key" in str(error)

        prepare = partial(super().prepare, project, views)
        # Keep one connection open, so that the connections that follow do not open the file again.
        with _preparing, self.engine.connect():
            return _until_free(prepare, is_made_elsewhere)

    def read(
        self,
        connection: sa.Connection,
        name: str,  # noqa: ARG002 - the schema has the types
        schema: pa.Schema,
        query: sa.Select[Any],
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query as Arrow, which DuckDB makes itself."""
        if not connection.in_transaction():
            connection.begin()
        compiled = query.compile(dialect=connection.dialect)
        parameters = [compiled.params[name] for name in compiled.positiontup or ()]
        driver: Any = connection.connection.driver_connection
        for batch in driver.sql(str(compiled), params=parameters).to_arrow_reader():
            columns = [column.cast(field.type) for field, column in zip(schema, batch.columns, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    def lock(self, connection: sa.Connection, project: str) -> sa.RowMapping:
        """Lock the project's row in ``landings``. Wait if it is locked, since DuckDB itself would fail at once.

        The thread's turn in the file ends when the connection is closed, even if the landing fails.

        :raises AnnotationError: the turn of another thread lasts longer than :data:`BUSY_TIMEOUT`
        """

        def attempt() -> sa.RowMapping:
            try:
                return super(DuckDBWarehouse, self).lock(connection, project)
            except sa.exc.DBAPIError:
                connection.exec_driver_sql("ROLLBACK")  # of a transaction that did nothing else
                connection.exec_driver_sql("BEGIN TRANSACTION")
                raise

        turn = _turns[os.path.realpath(self.engine.url.database or "")]
        if not turn.acquire(timeout=BUSY_TIMEOUT):
            raise AnnotationError(
                f"Another landing of this process in {self.engine.url.database} has not ended for {BUSY_TIMEOUT:g} "
                "seconds: try again when it has."
            )
        connection.info["turn"] = turn
        connection.exec_driver_sql("ROLLBACK")  # this transaction began before the wait, and may see old rows
        connection.exec_driver_sql("BEGIN TRANSACTION")
        return _until_free(attempt, self.is_conflict)

    def write_files(
        self,
        connection: sa.Connection,
        table: sa.Table,
        files: Sequence[str],
        batches: Iterable[pa.RecordBatch],
    ) -> None:
        """Insert the rows of Parquet files. DuckDB reads them faster itself than through Arrow."""
        driver: Any = connection.connection.driver_connection
        ((may_read,),) = driver.execute("SELECT current_setting('enable_external_access')").fetchall()
        if not may_read or any(character in file for file in files for character in _PATTERN):
            super().write_files(connection, table, files, batches)
        elif files:
            statement = self._insert(connection, table, "read_parquet(?, hive_partitioning = false)")
            self._execute_with(connection, statement, [list(files)])

    def write_rows(self, connection: sa.Connection, table: sa.Table, batches: Iterable[pa.RecordBatch]) -> None:
        """Insert rows from Arrow. DuckDB reads the batches while it inserts."""
        statement = self._insert(connection, table, "landed_rows")
        remaining = iter(batches)
        first = next(remaining, None)
        if first is not None:
            rows = pa.RecordBatchReader.from_batches(first.schema, itertools.chain([first], remaining))
            self._execute_with(connection, statement, landed_rows=rows)

    def delete_rows(self, connection: sa.Connection, table: sa.Table, project: str, item_ids: pa.Array | None) -> int:
        """Delete the rows of a project, or of some of its items. DuckDB reads the items' ids from Arrow."""
        name = connection.dialect.identifier_preparer.format_table(table)
        statement = f"DELETE FROM {name} WHERE project = ?"  # noqa: S608 - the name is quoted
        if item_ids is not None:
            statement += " AND item_id IN (SELECT item_id FROM deleted_items)"
        ids = pa.table({"item_id": [] if item_ids is None else item_ids}, pa.schema([("item_id", pa.string())]))
        return self._execute_with(connection, statement, [project], deleted_items=ids)

    def _insert(self, connection: sa.Connection, table: sa.Table, source: str) -> str:
        names = connection.dialect.identifier_preparer
        columns = ", ".join(names.quote(column.name) for column in table.columns)
        return f"INSERT INTO {names.format_table(table)} ({columns}) SELECT {columns} FROM {source}"  # noqa: S608 - names are quoted

    def _execute_with(
        self,
        connection: sa.Connection,
        statement: str,
        parameters: list[Any] | None = None,
        **tables: pa.Table | pa.RecordBatchReader,
    ) -> int:
        """Execute a statement that reads Arrow tables by name, and return the number of rows that it changed."""
        driver: Any = connection.connection.driver_connection
        for name, table in tables.items():
            driver.register(name, table)
        try:
            return int(driver.execute(statement, parameters or []).fetchone()[0])
        finally:
            for name in tables:
                with suppress(*self.errors):  # if the database is lost, the statement has failed already
                    driver.unregister(name)


def _connect(_dialect: sa.Dialect, _record: Any, _arguments: list[Any], options: dict[str, Any]) -> Any:
    """Connect as the hook does, as soon as no other process has the file open."""
    import duckdb
    from duckdb_engine import ConnectionWrapper

    def connect() -> Any:
        with _connecting:
            return duckdb.connect(options["database"], config=options.get("url_config", {}))

    return ConnectionWrapper(_until_free(connect, lambda error: "Could not set lock" in str(error)))


def _end_turn(_connection: Any, record: Any) -> None:
    """End a landing's turn when its connection is closed."""
    if turn := record.info.pop("turn", None):
        turn.release()


def _until_free(attempt: Callable[[], T], is_busy: Callable[[Exception], bool]) -> T:
    """Try again until nothing is busy. After :data:`BUSY_TIMEOUT`, raise the last error."""
    give_up = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            return attempt()
        except Exception as error:
            if not is_busy(error) or time.monotonic() > give_up:
                raise
        time.sleep(_RETRY_AFTER)
