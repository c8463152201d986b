"""DuckDB and MotherDuck: their lists and JSON, and rows out of the Parquet files that a landing has, or by Arrow.

A process that has a file of DuckDB open keeps other processes out: a landing waits until it can open the file, and has
it open for as long as it writes. The threads of a process, and all who use MotherDuck, share a database: of two
landings of one project, the later one waits there too.
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
"""Seconds that a landing waits for another one, of the file or of the project."""

_RETRY_AFTER: Final = 0.1
_PATTERN: Final = "*?[{"
"""Characters by which the path of a file is a pattern for many."""

# A thread that connects while another one opens the same file finds a database without Python's functions.
_connecting: Final = threading.Lock()

_preparing: Final = threading.Lock()

# DuckDB may still refuse a deletion in the moment in which the transaction before it ends: threads take turns, in each
# file by its real path.
_turns: Final[defaultdict[str, threading.Lock]] = defaultdict(threading.Lock)

T = TypeVar("T")


class DuckDBWarehouse(Warehouse):
    """A DuckDB file, or a database of MotherDuck."""

    has_keys = False  # they make DuckDB slow to insert
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
        # The dialect wraps connections of its own making alone; all that the connection says is in the URL.
        engine = sa.create_engine(engine.url, poolclass=sa.pool.NullPool, hide_parameters=True, future=True)
        sa.event.listen(engine, "do_connect", _connect)
        sa.event.listen(engine, "checkin", _end_turn)
        super().__init__(engine, prefix, schema)

    def is_conflict(self, error: Exception) -> bool:
        """Return whether another transaction was faster."""
        return "conflict" in str(error).lower() and "TransactionContext Error" in str(error)

    def prepare(self, project: str, views: Sequence[str] = ()) -> dict[str, Any] | None:
        """Create what is missing. See :meth:`Warehouse.prepare`.

        Where two make the same, DuckDB fails for the one while what the other makes cannot be seen yet.
        """

        def is_made_elsewhere(error: Exception) -> bool:  # by who else uses MotherDuck
            return self.is_conflict(error) or "Duplicate key" in str(error)

        prepare = partial(super().prepare, project, views)
        # While one connection has the file open, the others that follow do not have to open it again.
        with _preparing, self.engine.connect():
            return _until_free(prepare, is_made_elsewhere)

    def read(
        self,
        connection: sa.Connection,
        name: str,  # noqa: ARG002 - the types say it
        schema: pa.Schema,
        query: sa.Select[Any],
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query as Arrow, which DuckDB makes of them."""
        if not connection.in_transaction():
            connection.begin()
        compiled = query.compile(dialect=connection.dialect)
        parameters = [compiled.params[name] for name in compiled.positiontup or ()]
        driver: Any = connection.connection.driver_connection
        for batch in driver.sql(str(compiled), params=parameters).to_arrow_reader():
            columns = [column.cast(field.type) for field, column in zip(schema, batch.columns, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    def lock(self, connection: sa.Connection, project: str) -> sa.RowMapping:
        """Hold the project's row in ``landings``; wait where DuckDB would fail at once.

        The thread's turn in the file ends when the connection is closed, whatever becomes of the landing.

        :raises AnnotationError: another thread has its turn for longer than :data:`BUSY_TIMEOUT`
        """

        def attempt() -> sa.RowMapping:
            try:
                return super(DuckDBWarehouse, self).lock(connection, project)
            except sa.exc.DBAPIError:
                connection.exec_driver_sql("ROLLBACK")  # which nothing but the lock was in
                connection.exec_driver_sql("BEGIN TRANSACTION")
                raise

        turn = _turns[os.path.realpath(self.engine.url.database or "")]
        if not turn.acquire(timeout=BUSY_TIMEOUT):
            raise AnnotationError(
                f"Another landing of this process in {self.engine.url.database} has not ended for {BUSY_TIMEOUT:g} "
                "seconds: try again when it has."
            )
        connection.info["turn"] = turn
        connection.exec_driver_sql("ROLLBACK")  # what was seen when it began may be old by now
        connection.exec_driver_sql("BEGIN TRANSACTION")
        return _until_free(attempt, self.is_conflict)

    def write_files(
        self,
        connection: sa.Connection,
        table: sa.Table,
        files: Sequence[str],
        batches: Iterable[pa.RecordBatch],
    ) -> None:
        """Insert the rows of Parquet files, which DuckDB reads in less time than Arrow takes to read them for it."""
        driver: Any = connection.connection.driver_connection
        ((may_read,),) = driver.execute("SELECT current_setting('enable_external_access')").fetchall()
        if not may_read or any(character in file for file in files for character in _PATTERN):
            super().write_files(connection, table, files, batches)
        elif files:
            statement = self._insert(connection, table, "read_parquet(?, hive_partitioning = false)")
            self._execute_with(connection, statement, [list(files)])

    def write_rows(self, connection: sa.Connection, table: sa.Table, batches: Iterable[pa.RecordBatch]) -> None:
        """Insert rows as Arrow has them; DuckDB reads their batches while it inserts."""
        statement = self._insert(connection, table, "landed_rows")
        remaining = iter(batches)
        first = next(remaining, None)
        if first is not None:
            rows = pa.RecordBatchReader.from_batches(first.schema, itertools.chain([first], remaining))
            self._execute_with(connection, statement, landed_rows=rows)

    def delete_rows(self, connection: sa.Connection, table: sa.Table, project: str, item_ids: pa.Array | None) -> int:
        """Delete the rows of a project, or of some of its items, whose ids are joined as Arrow has them."""
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
        """Execute a statement that names Arrow tables, and return how many rows it has changed."""
        driver: Any = connection.connection.driver_connection
        for name, table in tables.items():
            driver.register(name, table)
        try:
            return int(driver.execute(statement, parameters or []).fetchone()[0])
        finally:
            for name in tables:
                with suppress(*self.errors):  # the database is gone, or the error above says it
                    driver.unregister(name)


def _connect(_dialect: sa.Dialect, _record: Any, _arguments: list[Any], options: dict[str, Any]) -> Any:
    """Connect as the hook does, as soon as no other process has the file."""
    import duckdb
    from duckdb_engine import ConnectionWrapper

    def connect() -> Any:
        with _connecting:
            return duckdb.connect(options["database"], config=options.get("url_config", {}))

    return ConnectionWrapper(_until_free(connect, lambda error: "Could not set lock" in str(error)))


def _end_turn(_connection: Any, record: Any) -> None:
    """Let the next landing go on, once a connection is closed."""
    if turn := record.info.pop("turn", None):
        turn.release()


def _until_free(attempt: Callable[[], T], is_busy: Callable[[Exception], bool]) -> T:
    """Try until something is free; the last error after :data:`BUSY_TIMEOUT`."""
    give_up = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            return attempt()
        except Exception as error:
            if not is_busy(error) or time.monotonic() > give_up:
                raise
        time.sleep(_RETRY_AFTER)
