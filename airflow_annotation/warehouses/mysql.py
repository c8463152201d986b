"""MySQL and MariaDB: types that lose nothing, and rows by LOAD DATA if it is allowed, otherwise by large INSERTs.

While the server takes in some rows, a thread makes the text of the next ones, column by column.

LOAD DATA LOCAL turns some errors of an INSERT into warnings: values that do not fit, and keys that exist already. So
the rows stay only if there was no warning and no row is missing. Otherwise they are rolled back, and INSERTs write them
or fail with the usual error. LOAD DATA needs ``local_infile`` in the connection's extra and in the server's settings.
INSERTs need no setting, and take the server a third longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects.mysql import mysqlconnector

from airflow_annotation.datasets.list_text import lists_to_json
from airflow_annotation.datasets.working_folders import working_folder
from airflow_annotation.warehouses.ahead import made_ahead
from airflow_annotation.warehouses.base import INSERT_ROWS, Warehouse, filled_parts, quoted_database, quoted_host
from airflow_annotation.warehouses.native_type import NativeType
from airflow_annotation.warehouses.views import ViewSql

LOCK_TIMEOUT: Final = 300
"""Maximum seconds that a landing waits for another one of the project."""

LOAD_ROWS: Final = 20_000
"""Maximum rows of one file: enough that the start of a statement costs little."""

INSERT_BYTES: Final = 1 << 20
"""Maximum bytes of the rows in an INSERT with several rows. By default, servers take 16 MiB or more."""

LOCAL_INFILE: Final = "local_infile"
"""The setting that lets the client send files. It has this name in the connection's extra, in the hook's parameters and
in the engine's options."""

_NAMES: Final = mysqlconnector.dialect().identifier_preparer
"""Quotes names for statements without parameters. The preparer for mysqlclient would double each %."""

_PORT: Final = 3306
_KEY_LENGTH: Final = 255  # a key has three such columns, and InnoDB allows it 3072 bytes

_CONFLICTS: Final = frozenset({1020, 1205, 1213})
"""Error numbers: another transaction has changed the row, has kept a lock for too long, or was part of a deadlock."""

# Values that do not fit are errors. || joins text, which the views need. A backslash escapes, which _literals needs.
_SESSION: Final = (
    "SET SESSION sql_mode = replace(concat(@@sql_mode, ',STRICT_ALL_TABLES,PIPES_AS_CONCAT'), "
    f"'NO_BACKSLASH_ESCAPES', ''), SESSION innodb_lock_wait_timeout = {LOCK_TIMEOUT}"
)


# All text has one collation, that of MySQL's JSON. With several, a UNION of two columns could be an error.
_COLLATION: Final = {"charset": "utf8mb4", "collation": "utf8mb4_bin"}
_TEXT: Final = mysql.LONGTEXT(**_COLLATION)


class JsonText(sa.types.TypeDecorator):  # type: ignore[type-arg]  # it takes no parameter in SQLAlchemy 1.4
    """JSON whose values are passed and read as text.

    MariaDB's ``JSON`` is text with a check that refuses more than 32 levels. So the type is plain text there.
    """

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Any) -> Any:
        """Return the type for the server."""
        return _TEXT if dialect.is_mariadb else NativeType("JSON")


class MySqlWarehouse(Warehouse):
    """MySQL from 8.0.21, or MariaDB from 10.6. Through mysqlclient or MySQL Connector/Python."""

    json_type = JsonText()
    key_text = mysql.VARCHAR(_KEY_LENGTH, **_COLLATION)
    types = {  # noqa: RUF012 - declared by the base
        **Warehouse.types,
        pa.string(): _TEXT,
        pa.timestamp("us", tz="UTC"): mysql.DATETIME(fsp=6),
    }
    has_indexes = True
    isolation = {"isolation_level": "REPEATABLE READ"}  # noqa: RUF012
    view_sql = ViewSql(
        number="json_extract(l.bbox, '$[{place}]')",
        setting="json_unquote(json_extract(s.settings, '$.coordinates'))",
        element="json_value(e.value, '$.{name}')",
        elements="json_table(i.media, '$[*]' columns (value json path '$')) e",
        classes="json_table(l.labels, '$[*]' columns (value longtext path '$')) c",
        integer="signed",
    )

    def __init__(self, engine: sa.Engine, prefix: str = "", schema: str | None = None) -> None:
        sa.event.listen(engine, "connect", _connect)
        # Landings of other projects insert into the same gaps of the indexes. Other levels lock these gaps.
        super().__init__(engine.execution_options(isolation_level="READ COMMITTED"), prefix, schema)

    def add_table(self, name: str, schema: pa.Schema) -> None:
        """Add a table, with the storage engine InnoDB, which has transactions."""
        super().add_table(name, schema)
        table = self.tables[name]
        for options in (table.dialect_options["mysql"], table.dialect_options["mariadb"]):
            options["engine"] = "InnoDB"

    def is_conflict(self, error: Exception) -> bool:
        """Return whether another transaction was faster."""
        reason = getattr(error, "orig", None) or error
        return bool(reason.args) and reason.args[0] in _CONFLICTS

    @classmethod
    def table_uri(cls, url: sa.URL, table: str, schema: str | None) -> str:
        """Return the asset URI of a table. A schema is a database in MySQL."""
        database = quote(schema) if schema else quoted_database(url)
        return f"mysql://{quoted_host(url) or 'localhost'}:{url.port or _PORT}/{database}/{quote(table)}"

    def cancel(self, connection: sa.Connection) -> None:
        """End the current statement of a connection, through another connection."""
        driver: Any = connection.connection.driver_connection
        own = driver.thread_id() if hasattr(driver, "thread_id") else driver.connection_id
        with self.engine.connect() as other:
            other.exec_driver_sql(f"KILL QUERY {own}")

    def write_rows(self, connection: sa.Connection, table: sa.Table, batches: Iterable[pa.RecordBatch]) -> None:
        """Load or insert rows, many with one statement. Another thread reads the batches."""
        driver: Any = connection.connection.driver_connection
        with closing(driver.cursor()) as cursor:
            writer = _Writer(driver, cursor, _NAMES.format_table(table))
            if connection.get_execution_options().get(LOCAL_INFILE) and writer.may_load():
                writer.load(batches)
            else:
                writer.insert(batches)


class _Writer:
    """Writes rows into a table as text, in statements or files.

    :param driver: connection of the driver
    :param cursor: cursor of the same connection
    :param table: quoted name of the table
    """

    def __init__(self, driver: Any, cursor: Any, table: str) -> None:
        self._cursor = cursor
        self._table = table
        # Connector/Python's cursor searches the whole statement for a second one.
        self._execute = getattr(driver, "cmd_query", cursor.execute)

    def may_load(self) -> bool:
        """Return whether the server accepts files from clients."""
        return bool(self._query("SELECT @@local_infile")[0])

    def insert(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Insert rows."""
        for statement in made_ahead(_inserts(self._table, batches)):
            self._execute(statement)

    def load(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Load rows as files. Insert the rows of a file that does not load unchanged and completely."""
        with working_folder() as folder:
            file = folder / "rows"
            for rows, text in made_ahead((part, _lines(part)) for part in filled_parts(batches, LOAD_ROWS)):
                file.write_bytes(text)
                self._execute(b"SAVEPOINT rows_before")
                self._execute(_load(self._table, file, rows.schema.names))
                if self._query("SELECT @@warning_count, row_count()") != (0, rows.num_rows):
                    self._execute(b"ROLLBACK TO SAVEPOINT rows_before")
                    self.insert([rows])

    def _query(self, sql: str) -> tuple[Any, ...]:
        self._cursor.execute(sql)
        return tuple(self._cursor.fetchone())


def _connect(connection: Any, _: Any) -> None:
    if hasattr(connection, "set_character_set"):
        connection.set_character_set("utf8mb4")
    else:
        connection.set_charset_collation("utf8mb4")
    cursor = connection.cursor()
    cursor.execute(_SESSION)
    cursor.close()


def _inserts(table: str, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    """Yield the statements that insert rows.

    :param table: quoted name of the table
    """
    for part in filled_parts(batches, INSERT_ROWS):
        start = f"INSERT INTO {table} ({_columns(part.schema.names)}) VALUES ".encode()  # noqa: S608 - names are quoted
        for values in _values(part):
            yield start + values


def _load(table: str, file: Path, names: list[str]) -> bytes:
    """Return the statement that loads a file of :func:`_lines`.

    :param table: quoted name of the table
    :param file: path of the file on this machine
    :param names: names of the columns in the file
    """
    path = str(file).replace("\\", "\\\\").replace("'", "''")
    return (
        f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE {table} CHARACTER SET utf8mb4 FIELDS TERMINATED BY ',' "
        f"OPTIONALLY ENCLOSED BY '\\'' ESCAPED BY '\\\\' LINES TERMINATED BY '\\n' ({_columns(names)})"
    ).encode()


def _columns(names: list[str]) -> str:
    return ", ".join(map(_NAMES.quote, names))


def _values(batch: pa.RecordBatch) -> Iterator[bytes]:
    """Yield some rows at a time as the text after ``VALUES``: at most :data:`INSERT_BYTES`, or one row with more."""
    rows = _row_texts(batch)
    ends = np.cumsum(pc.binary_length(rows).to_numpy() + 3)  # between two rows are three bytes
    start = 0
    while start < len(rows):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + INSERT_BYTES, side="right")))
        yield b"(" + _joined(rows.slice(start, stop - start), "),(") + b")"
        start = stop


def _lines(batch: pa.RecordBatch) -> bytes:
    """Return the content of a file for LOAD DATA."""
    return _joined(_row_texts(batch), "\n") + b"\n"


def _row_texts(batch: pa.RecordBatch) -> pa.Array:
    """Return each row as SQL, without parentheses."""
    return pc.binary_join_element_wise(*(pc.fill_null(_literals(column), "NULL") for column in batch.columns), ",")


def _joined(texts: pa.Array, between: str) -> bytes:
    joined = pc.binary_join(pa.ListArray.from_arrays([0, len(texts)], texts), between)[0]
    return memoryview(joined.as_buffer()).tobytes()


def _literals(column: pa.Array) -> pa.Array:
    """Return a column's values as SQL. Nulls stay null."""
    if pa.types.is_list(column.type):
        column = lists_to_json(column)
    elif pa.types.is_floating(column.type):  # MySQL has only finite numbers
        column = pc.if_else(pc.is_finite(column), column, None)
    elif pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us")).cast(pa.string())
    elif pa.types.is_boolean(column.type):  # LOAD DATA does not know true and false
        column = column.cast(pa.int8())
    if not pa.types.is_string(column.type):
        return column.cast(pa.string())
    for character, escaped in (("\\", "\\\\"), ("'", "''"), ("\0", "\\0")):
        column = pc.replace_substring(column, character, escaped)
    return pc.binary_join_element_wise("'", column, "'", "")
