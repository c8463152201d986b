"""The three tables in SQL databases, and all that differs between databases.

SQLAlchemy's dialects quote names and spell types. What they leave open is decided here: Postgres gets ``jsonb``, arrays
and COPY (:mod:`~airflow_annotation.warehouses.sql_copy`); SQLite locks before it writes; every other database gets JSON
as text, and rows by ``executemany``.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from typing import Any, Final

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import TypeEngine

from airflow_annotation.datasets.list_text import lists_to_json
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.tables import ITEM_STATES, JSON_COLUMNS, KEYS, SCHEMAS
from airflow_annotation.warehouses.sql_copy import JsonText, copy_rows

LANDINGS: Final = "landings"
"""The table beside the three that says, for each project, what is in them and since when."""

BUSY_TIMEOUT: Final = 300.0
"""Seconds that a landing waits for another one to leave a SQLite file."""

INSERT_ROWS: Final = 2000

_ADDED: Final = {LANDINGS: ("generation", "full_at", "watermark")}
"""Columns that tables of earlier releases do not have."""

_IDS_AT_ONCE: Final = 500
_STATES_AT_ONCE: Final = 10_000

log = logging.getLogger(__name__)


_TEXT: Final = sa.Text()
# Most databases cannot have text of any length in a key.
_KEY_TEXT: Final = sa.String(255).with_variant(sa.Text(), "postgresql").with_variant(sa.Text(), "sqlite")
# SQLite has no type for a time: ISO 8601 with its zone, which SQLite's own functions read and which sorts.
_TIMESTAMP: Final = sa.DateTime(timezone=True).with_variant(
    sqlite.DATETIME(  # type: ignore[no-untyped-call]  # SQLAlchemy's
        storage_format="%(year)04d-%(month)02d-%(day)02d %(hour)02d:%(minute)02d:%(second)02d.%(microsecond)06d+00:00"
    ),
    "sqlite",
)
_TYPES: Final[dict[pa.DataType, TypeEngine[Any]]] = {
    pa.string(): _TEXT,
    pa.bool_(): sa.Boolean(),
    pa.int32(): sa.Integer(),
    pa.int64(): sa.BigInteger(),
    pa.float64(): sa.Float(53),
    pa.timestamp("us", tz="UTC"): _TIMESTAMP,
    pa.list_(pa.string()): _TEXT.with_variant(postgresql.ARRAY(sa.Text()), "postgresql"),
    pa.list_(pa.float64()): _TEXT.with_variant(postgresql.ARRAY(sa.Float(53)), "postgresql"),
    pa.list_(pa.int32()): _TEXT.with_variant(postgresql.ARRAY(sa.Integer()), "postgresql"),
    pa.list_(pa.list_(pa.float64())): JsonText(),
}

_INDEXED_DIALECTS: Final = ("postgresql", "sqlite")


def sql_tables(dialect_name: str, prefix: str = "", schema: str | None = None) -> dict[str, sa.Table]:
    """Return the three tables and ``landings``, by name without the prefix.

    ``labels`` has no primary key: a part of its own, ``frame``, is null for all that is not video. It is indexed by
    project and item, as ``annotations`` is, where the database is known to have indexes.

    :param dialect_name: SQLAlchemy's name of the database, ``postgresql``
    :param prefix: put before the tables' names
    :param schema: the database's schema that they are in, which must be there; None for the connection's own
    """
    metadata = sa.MetaData(schema=schema)
    tables = {
        name: sa.Table(prefix + name, metadata, *(_column(name, field) for field in arrow_schema))
        for name, arrow_schema in SCHEMAS.items()
    }
    if dialect_name in _INDEXED_DIALECTS:
        for name in ("annotations", "labels"):
            sa.Index(f"{prefix}{name}_by_item", tables[name].c.project, tables[name].c.item_id)
    tables[LANDINGS] = sa.Table(
        prefix + LANDINGS,
        metadata,
        sa.Column("project", _KEY_TEXT, primary_key=True),
        sa.Column("run_key", _TEXT),
        sa.Column("tables_version", sa.Integer()),
        sa.Column("label_schema", JsonText()),
        sa.Column("label_schema_digest", _TEXT),
        sa.Column("settings", JsonText()),
        sa.Column("landed_at", _TIMESTAMP),
        *(sa.Column(name, sa.BigInteger()) for name in SCHEMAS),
        # Those below are added to tables of earlier releases: all may be null.
        sa.Column("generation", sa.BigInteger()),
        sa.Column("full_at", _TIMESTAMP),
        sa.Column("watermark", _TIMESTAMP),
    )
    return tables


def lock_before_writing(engine: sa.Engine) -> None:
    """Let the transactions of an engine hold their lock from the start, where they would otherwise fail later on."""
    if engine.dialect.name == "sqlite":
        _make_private_file(engine.url.database)
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)


def _make_private_file(path: str | None) -> None:
    """Make the file of a database that is not there, for its owner alone; SQLite's files beside it follow its mode."""
    if path and path != ":memory:" and not path.startswith("file:"):
        # One that cannot be made is an error of the first connection, which says so for all databases alike.
        with suppress(OSError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def create_tables(engine: sa.Engine, tables: dict[str, sa.Table]) -> None:
    """Create the tables that are missing, and the columns that those of earlier releases lack.

    It may be done any number of times, also while somebody else does it.

    :raises AnnotationError: there is a table of that name with other columns
    """
    for name, table in tables.items():
        make_once(engine, partial(table.create, checkfirst=True), partial(_has_table, engine, table))
        missing = _missing_columns(engine, table)
        if missing and set(missing) <= set(_ADDED.get(name, ())):
            _add_columns(engine, table, missing)
            missing = _missing_columns(engine, table)
        if missing:
            raise AnnotationError(
                f"The table {table.fullname} is there, but is not one of this release: it has no column "
                f"{', '.join(missing)}. Choose another table_prefix or schema, or drop it."
            )


def make_once(engine: sa.Engine, make: str | Callable[[sa.Connection], Any], is_there: Callable[[], bool]) -> None:
    """Make what is missing in a database, also while another landing does the same.

    :param engine: of the database
    :param make: a statement, or what makes it through a connection
    :param is_there: returns whether it has been made
    """
    if is_there():
        return
    try:
        with engine.begin() as connection:
            if callable(make):
                make(connection)
            else:
                connection.exec_driver_sql(make)
    except sa.exc.DBAPIError:
        if not is_there():  # or another landing was faster
            raise


def _missing_columns(engine: sa.Engine, table: sa.Table) -> list[str]:
    with engine.connect() as connection:
        columns = sa.inspect(connection).get_columns(table.name, schema=table.schema)
    present = {column["name"] for column in columns}
    return [column.name for column in table.columns if column.name not in present]


def _has_table(engine: sa.Engine, table: sa.Table) -> bool:
    with engine.connect() as connection:
        return sa.inspect(connection).has_table(table.name, schema=table.schema)


def _add_columns(engine: sa.Engine, table: sa.Table, names: list[str]) -> None:
    prepare = engine.dialect.identifier_preparer

    def is_there(name: str) -> bool:
        return name not in _missing_columns(engine, table)

    for name in names:
        type_ = table.c[name].type.compile(dialect=engine.dialect)
        statement = f"alter table {prepare.format_table(table)} add column {prepare.quote(name)} {type_}"
        make_once(engine, statement, partial(is_there, name))


def claim_project(engine: sa.Engine, landings: sa.Table, project: str) -> None:
    """Give a project its row in ``landings``, which landings of it lock, if it has none yet."""
    own = landings.c.project == project
    with engine.connect() as connection:
        if connection.execute(sa.select(landings.c.project).where(own)).first():
            return
    try:
        with engine.begin() as connection:
            connection.execute(landings.insert().values(project=project))
    except sa.exc.IntegrityError:
        log.debug("Another landing of %s was faster", project)


def has_transactions(engine: sa.Engine, landings: sa.Table) -> bool:
    """Return whether the driver can take a row back, which is seen by doing so: many drivers only seem to."""
    name = f"transaction-test-{uuid.uuid4().hex}"
    own = landings.c.project == name
    with engine.connect() as connection:
        try:
            connection.execute(landings.insert().values(project=name))
            connection.rollback()
        except (sa.exc.NotSupportedError, NotImplementedError):
            return False
        if not connection.execute(sa.select(landings.c.project).where(own)).first():
            return True
        connection.execute(landings.delete().where(own))
        return False


def write_rows(connection: sa.Connection, table: sa.Table, batches: Iterable[pa.RecordBatch]) -> None:
    """Add rows to a table, in the connection's transaction."""
    if connection.dialect.name == "postgresql":
        copy_rows(connection, table, batches)
        return
    names = table.columns.keys()
    insert = table.insert().compile(dialect=connection.dialect, column_keys=names)
    for batch in batches:
        for start in range(0, batch.num_rows, INSERT_ROWS):
            part = batch.slice(start, INSERT_ROWS)
            columns = [_bound_values(part.column(name), table.c[name].type, connection.dialect) for name in names]
            rows: list[Any] = list(zip(*columns, strict=True))
            if not insert.positional:
                rows = [dict(zip(names, row, strict=True)) for row in rows]
            connection.exec_driver_sql(str(insert), rows)


def delete_items(connection: sa.Connection, table: sa.Table, project: str, item_ids: pa.Array) -> int:
    """Delete the rows of some items, in the connection's transaction; return how many, or -1 if the driver can't say.

    :param connection: to the database
    :param table: one of the three
    :param project: the project's URI
    :param item_ids: the items, whether they have rows or not
    """
    counts = []
    for start in range(0, len(item_ids), _IDS_AT_ONCE):
        ids = item_ids.slice(start, _IDS_AT_ONCE).to_pylist()
        own = sa.and_(table.c.project == project, table.c.item_id.in_(ids))
        counts.append(connection.execute(table.delete().where(own)).rowcount)
    return -1 if any(count < 0 for count in counts) else sum(counts)


def count_rows(connection: sa.Connection, table: sa.Table, project: str) -> int:
    """Return how many rows of a project a table has."""
    query = sa.select(sa.func.count()).select_from(table).where(table.c.project == project)
    return int(connection.execute(query).scalar_one())


def read_states(engine: sa.Engine, items: sa.Table, project: str) -> Iterator[pa.RecordBatch]:
    """Yield the state of every landed item of a project, with the columns of ``ITEM_STATES``.

    :param engine: of the database
    :param items: the ``items`` table
    :param project: the project's URI
    """
    query = sa.select(*(items.c[name] for name in ITEM_STATES.names)).where(items.c.project == project)
    with engine.connect() as connection:
        result = connection.execution_options(stream_results=True).execute(query)
        for rows in result.partitions(_STATES_AT_ONCE):
            yield rows_to_batch("items", ITEM_STATES, rows)


def rows_to_batch(table: str, schema: pa.Schema, rows: Sequence[Any]) -> pa.RecordBatch:
    """Return rows as the database gives them as Arrow.

    :param table: the table that they are of
    :param schema: their columns, which are some of the table's
    :param rows: the rows
    """
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = [_read_column(table, field, values) for field, values in zip(schema, columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _read_column(table: str, field: pa.Field, values: Sequence[Any]) -> pa.Array:
    if field.name in JSON_COLUMNS[table]:
        values = [
            value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for value in values
        ]
    elif pa.types.is_list(field.type):
        values = [read_json(value) for value in values]
    elif pa.types.is_timestamp(field.type):
        values = [in_utc(value) for value in values]
    return pa.array(values, field.type)


def read_json(value: Any) -> Any:
    """Return a JSON value, which some databases give as text."""
    return json.loads(value) if isinstance(value, str) else value


def in_utc(time: datetime | None) -> datetime | None:
    """Return a time with its zone, which some databases do not give."""
    return time.replace(tzinfo=timezone.utc) if time is not None and time.tzinfo is None else time


def cancel(connection: sa.Connection) -> None:
    """Ask the database to give up what it is doing for a connection, where its driver can; safe in a signal handler."""
    driver: Any = connection.connection.driver_connection
    for method in ("cancel", "interrupt"):  # psycopg, sqlite3
        if hasattr(driver, method):
            getattr(driver, method)()


def _column(table: str, field: pa.Field) -> sa.Column[Any]:
    is_key = field.name in KEYS[table]
    if field.name in JSON_COLUMNS[table]:
        type_: TypeEngine[Any] = JsonText()
    elif is_key and field.type == pa.string():
        type_ = _KEY_TEXT
    else:
        type_ = _TYPES[field.type]
    nullable_key = any(SCHEMAS[table].field(name).nullable for name in KEYS[table])
    return sa.Column(
        field.name, type_, primary_key=is_key and not nullable_key, nullable=field.nullable, autoincrement=False
    )


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # or the driver would begin by itself, too late and without a lock
    connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}")


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _bound_values(column: pa.Array, type_: TypeEngine[Any], dialect: sa.Dialect) -> list[Any]:
    """Return a column as the driver takes it. SQLAlchemy would do the same row by row, in twice the time."""
    values = (lists_to_json(column) if pa.types.is_list(column.type) else column).to_pylist()
    convert = type_.dialect_impl(dialect).bind_processor(dialect)
    return values if convert is None else [convert(value) for value in values]
