"""SQLite: its types, and its locks. A landing locks the file when its transaction begins."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing, suppress
from typing import Any, Final

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from airflow_annotation.warehouses.base import Warehouse
from airflow_annotation.warehouses.views import ViewSql

BUSY_TIMEOUT: Final = 300.0
"""Maximum seconds that a landing waits for the lock of a SQLite file."""

_READS: Final = "annotation_reads"
"""Execution option of a connection that only reads."""

# SQLite has no type for times. ISO 8601 with the zone sorts right, and SQLite's own functions read it.
_TIMESTAMP: Final = sqlite.DATETIME(  # type: ignore[no-untyped-call]  # SQLAlchemy's
    storage_format="%(year)04d-%(month)02d-%(day)02d %(hour)02d:%(minute)02d:%(second)02d.%(microsecond)06d+00:00"
)


class SqliteWarehouse(Warehouse):
    """A SQLite file. Landings lock it before they write. Readers see the last landing.

    If the file has a write-ahead log, readers do not wait for a landing.
    """

    key_text = sa.Text()
    types = {**Warehouse.types, pa.timestamp("us", tz="UTC"): _TIMESTAMP}  # noqa: RUF012 - declared by the base
    has_indexes = True
    ids_at_once = 100_000
    isolation = {_READS: True}  # noqa: RUF012
    view_sql = ViewSql(
        number="json_extract(l.bbox, '$[{place}]')",
        setting="json_extract(s.settings, '$.coordinates')",
        element="json_extract(e.value, '$.{name}')",
        elements="json_each(i.media) e",
        classes="json_each(l.labels) c",
    )

    def __init__(self, engine: sa.Engine, prefix: str = "", schema: str | None = None) -> None:
        super().__init__(engine, prefix, schema)
        _make_private_file(engine.url.database)
        sa.event.listen(engine, "connect", _connect)
        sa.event.listen(engine, "begin", _begin)

    def _make_tables(self) -> None:
        """Create missing tables and columns. A file without ``landings`` gets a write-ahead log.

        With this log, readers and a landing do not wait for each other. The owner of the file can turn it off later.
        """
        if not self.has_table(self.landings):
            with closing(self.engine.raw_connection()) as connection, suppress(sqlite3.OperationalError):
                # Another landing may be doing the same.
                connection.cursor().execute("PRAGMA journal_mode = WAL")
        super()._make_tables()

    def is_among(self, column: sa.ColumnElement[Any], ids: list[str]) -> sa.ColumnElement[bool]:
        """Return the condition, with one parameter for all ids."""
        values = sa.func.json_each(json.dumps(ids)).table_valued("value")
        return column.in_(sa.select(values.c.value))


def _make_private_file(path: str | None) -> None:
    """Create the file of a new database, for its owner only. SQLite's files next to it get the same mode."""
    if path and path != ":memory:" and not path.startswith("file:"):
        # An existing file stays as it is. If the file cannot be created, the first connection raises the error.
        with suppress(OSError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _connect(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # otherwise the driver begins transactions, too late and without a lock
    connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}")


def _begin(connection: sa.Connection) -> None:
    reads = connection.get_execution_options().get(_READS, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
