"""What landings need from a SQL database, in SQL that all databases understand.

SQLAlchemy's dialects quote names and spell types. A database with better ways of its own has a subclass in its own
module. :mod:`~airflow_annotation.warehouses.registry` finds it by the dialect's name.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, Final
from urllib.parse import quote

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from airflow_annotation.datasets.list_text import lists_to_json
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.tables import ITEM_STATES
from airflow_annotation.warehouses.landings import LANDINGS, LANDINGS_SCHEMA, TABLE_JSON, TABLE_KEYS, TABLES
from airflow_annotation.warehouses.views import VIEWS, ViewSql

INSERT_ROWS: Final = 2000

_READ_AT_ONCE: Final = 2000  # larger batches survive many of Python's garbage collections, which then take long
_UNQUOTED: Final = "/:@%+,;=~!$&'()*[]"

log = logging.getLogger(__name__)


class Warehouse:
    """A SQL database that has the three tables and ``landings``.

    ``labels`` has no primary key, since a column of its key, ``frame``, is null for everything except video. With
    :attr:`has_indexes`, all tables except ``items`` and ``landings`` have an index on project and item.

    :param engine: engine of the database; it must not pool connections
    :param prefix: prefix of the tables' names
    :param schema: existing schema of the database for the tables; None for the connection's default
    """

    json_type: ClassVar[TypeEngine[Any]] = sa.Text()
    """Type of JSON columns. Their values are passed as text."""

    key_text: ClassVar[TypeEngine[Any]] = sa.String(255)
    """Type of text in keys and indexes, whose length most databases limit."""

    types: ClassVar[Mapping[pa.DataType, TypeEngine[Any]]] = {
        pa.string(): sa.Text(),
        pa.bool_(): sa.Boolean(),
        pa.int32(): sa.Integer(),
        pa.int64(): sa.BigInteger(),
        pa.float64(): sa.Float(53),
        pa.timestamp("us", tz="UTC"): sa.DateTime(timezone=True),
    }
    """Types of all other columns. A type that is missing here, such as a list, becomes JSON."""

    has_keys: ClassVar[bool] = True
    """Whether the three tables have primary keys. ``landings`` always has one: a project has one row to lock."""

    has_indexes: ClassVar[bool] = False

    ids_at_once: ClassVar[int] = 500
    """Maximum number of ids in one statement. By default, each id is a parameter."""

    isolation: ClassVar[Mapping[str, Any]] = {}
    """SQLAlchemy's execution options for a connection that sees all tables in one state."""

    view_sql: ClassVar[ViewSql | None] = None
    """The database's own SQL in views; None if there are no views for this database."""

    def __init__(self, engine: sa.Engine, prefix: str = "", schema: str | None = None) -> None:
        self.engine = engine
        self.prefix = prefix
        self._metadata = sa.MetaData(schema=schema)
        self.tables: dict[str, sa.Table] = {}
        for name, columns in TABLES.items():
            self.add_table(name, columns)
        self.landings = self.tables[LANDINGS]

    def add_table(self, name: str, schema: pa.Schema) -> None:
        """Add a table to :attr:`tables`. :meth:`prepare` creates it in the database.

        :param name: name of the table, without the prefix
        :param schema: columns of the table
        """
        columns = (self._column(name, field, schema) for field in schema)
        table = self.tables[name] = sa.Table(self.prefix + name, self._metadata, *columns)
        if self.has_indexes and name not in ("items", LANDINGS):
            sa.Index(f"{table.name}_by_item", table.c.project, table.c.item_id)

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """The exceptions that failed operations of the database raise."""
        driver: Any = self.engine.dialect.dbapi
        return sa.exc.SQLAlchemyError, driver.Error

    def is_conflict(self, error: Exception) -> bool:  # noqa: ARG002 - subclasses use it
        """Return whether a transaction failed because another one changed the same rows. Then it can be tried again."""
        return False

    def asset_uri(self, name: str) -> str:
        """Return the asset URI of one of the tables.

        :param name: name of the table, without the prefix
        """
        table = self.tables[name]
        return self.table_uri(self.engine.url, table.name, table.schema)

    @classmethod
    def table_uri(cls, url: sa.URL, table: str, schema: str | None) -> str:
        """Return the asset URI of a table, without secrets, in the form of Airflow's provider for the database.

        :param url: URL of the database
        :param table: name of the table
        :param schema: schema of the table; None for the database's default
        """
        inner = f"{quote(schema)}/{quote(table)}" if schema else quote(table)
        port = f":{url.port}" if url.port else ""
        return f"{url.get_backend_name()}://{quoted_host(url)}{port}/{quoted_database(url).lstrip('/')}/{inner}"

    def cancel(self, connection: sa.Connection) -> None:
        """Ask the database to stop its current statement, if the driver can. Safe in a signal handler."""
        driver: Any = connection.connection.driver_connection
        for method in ("cancel", "interrupt"):
            if hasattr(driver, method):
                getattr(driver, method)()

    # Before a landing

    def prepare(self, project: str, views: Sequence[str] = ()) -> dict[str, Any] | None:
        """Create what is missing: tables, columns of this release, views, and the project's row in ``landings``.

        It is idempotent, and safe while another landing does the same. If the project has landed, it returns the
        project's row in ``landings``, with JSON as text.

        :param project: URI of the project
        :param views: names of views, see :data:`~airflow_annotation.warehouses.views.VIEWS`
        :raises AnnotationError: a table with the same name lacks required columns, the driver has no transactions, or
            there are no views for this database
        """
        selects = self._view_selects(views)
        with self.reader() as connection:  # if nothing is missing, this is the only connection
            try:
                self._look(connection)
                landings = self.read_landings(connection, project)
                is_complete = self._has_views(connection, selects)
            except self.errors:  # something is missing; any other error is raised again below
                is_complete = False
        if is_complete and landings:
            return landings[0]
        if not is_complete:
            self._make_tables()
            self._make_views(selects)
        if not self._has_transactions():
            raise AnnotationError(
                f"{self.engine.driver} has no transactions, so readers could see half a landing. Land in an object "
                "store, or in a database with transactions."
            )
        self._claim(project)
        with self.reader() as connection:
            return next(iter(self.read_landings(connection, project)), None)

    def _look(self, connection: sa.Connection) -> None:
        """Fail if a table or a column is missing. One statement checks all tables, and reads no row."""
        first, *others = self.tables.values()
        joined: sa.FromClause = first
        for table in others:
            joined = joined.join(table, table.c.project == first.c.project)
        connection.execute(sa.select(*self.tables.values()).select_from(joined).where(sa.false()))

    def _make_tables(self) -> None:
        """Create missing tables and columns."""
        for table in self.tables.values():
            self._prepare_table(table)

    def _prepare_table(self, table: sa.Table) -> None:
        self._make_once(partial(table.create, checkfirst=True), partial(self.has_table, table))
        missing = self._missing_columns(table)
        # Tables of earlier releases have all columns that cannot be null. Leave other tables as they are.
        if foreign := [name for name in missing if not table.c[name].nullable]:
            raise AnnotationError(
                f"The table {table.fullname} exists, but this package did not create it: it has no column "
                f"{', '.join(foreign)}. Choose another table_prefix or schema, or drop the table."
            )
        for name in missing:
            self._add_column(table, name)

    def _add_column(self, table: sa.Table, name: str) -> None:
        names = self.engine.dialect.identifier_preparer
        type_ = table.c[name].type.compile(dialect=self.engine.dialect)
        self._make_once(
            f"alter table {names.format_table(table)} add column {names.quote(name)} {type_}",
            lambda: name not in self._missing_columns(table),
        )

    def _view_selects(self, views: Sequence[str]) -> dict[sa.Table, str]:
        """Return the SELECT of each view, in the order in which the views are created.

        :raises AnnotationError: there are no views for this database
        """
        if self.view_sql is None:
            if views:
                raise AnnotationError(f"There are no views for {self.engine.dialect.name}: leave out views.")
            return {}
        names = self.engine.dialect.identifier_preparer
        quoted = {name: names.format_table(table) for name, table in self.tables.items()}
        metadata = sa.MetaData(schema=self.landings.schema)
        return {sa.Table(self.prefix + name, metadata): VIEWS[name](quoted, self.view_sql) for name in views}

    def _make_views(self, selects: Mapping[sa.Table, str]) -> None:
        names = self.engine.dialect.identifier_preparer
        for view, select in selects.items():
            make = partial(_replace_view, name=names.format_table(view), select=select)
            self._make_once(make, partial(self._is_view, view, select))

    def _make_once(self, make: str | Callable[[sa.Connection], Any], is_there: Callable[[], bool]) -> None:
        """Create something if it is missing. Another landing may create it at the same time.

        :param make: statement, or function that takes a connection
        :param is_there: function that returns whether it exists
        """
        if is_there():
            return
        try:
            with self.engine.begin() as connection:
                if callable(make):
                    make(connection)
                else:
                    connection.exec_driver_sql(make)
        except sa.exc.DBAPIError:
            if not is_there():  # otherwise another landing was faster
                raise

    def has_table(self, table: sa.Table) -> bool:
        """Return whether a table exists. Opens a connection of its own."""
        with self.reader() as connection:
            return sa.inspect(connection).has_table(table.name, schema=table.schema)

    def _is_view(self, view: sa.Table, select: str) -> bool:
        with self.reader() as connection:
            return self._has_views(connection, {view: select})

    def _has_views(self, connection: sa.Connection, selects: Mapping[sa.Table, str]) -> bool:
        """Return whether all views exist, with the columns of this release."""
        if not selects:
            return True
        there = sa.inspect(connection).get_view_names(schema=self.landings.schema)
        names = self.engine.dialect.identifier_preparer

        def columns(rows: str) -> list[str]:
            return list(connection.exec_driver_sql(f"select * from {rows} where 1 = 0").keys())  # noqa: S608 - quoted

        return all(
            view.name in there and columns(names.format_table(view)) == columns(f"({select}) wanted")
            for view, select in selects.items()
        )

    def _missing_columns(self, table: sa.Table) -> list[str]:
        with self.reader() as connection:
            present = self.columns(connection, table)
        return [column.name for column in table.columns if column.name not in present]

    def _has_transactions(self) -> bool:
        """Return whether the driver can roll back a row. This tries it: some drivers ignore a rollback silently."""
        name = f"transaction-test-{uuid.uuid4().hex}"
        own = self.landings.c.project == name
        with self.engine.connect() as connection:
            try:
                connection.execute(self.landings.insert().values(project=name))
                connection.rollback()
            except (sa.exc.NotSupportedError, NotImplementedError):
                return False
            if not connection.execute(sa.select(self.landings.c.project).where(own)).first():
                return True
            connection.execute(self.landings.delete().where(own))
            return False

    def _claim(self, project: str) -> None:
        """Create the project's row in ``landings``, which its landings lock, if it has none."""
        own = self.landings.c.project == project

        def is_there() -> bool:
            with self.reader() as connection:
                return connection.execute(sa.select(self.landings.c.project).where(own)).first() is not None

        self._make_once(lambda c: c.execute(self.landings.insert().values(project=project)), is_there)

    # Reading

    def columns(self, connection: sa.Connection, table: sa.Table) -> set[str]:
        """Return the names of a table's columns in the database. A table of an earlier release lacks some."""
        query: sa.Select[Any] = sa.select(sa.literal_column("*")).select_from(table).where(sa.false())
        return set(connection.execute(query).keys())

    @contextmanager
    def reader(self) -> Iterator[sa.Connection]:
        """Yield a connection with :attr:`isolation`, so that no landing changes what it sees between two queries."""
        with self.engine.connect().execution_options(**self.isolation) as connection:
            yield connection

    def read(
        self, connection: sa.Connection, name: str, schema: pa.Schema, query: sa.Select[Any]
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query as Arrow, in batches.

        :param connection: connection to the database
        :param name: name of the table, without the prefix
        :param schema: columns of the query, which are columns of the table
        :param query: query of the table
        """
        result = connection.execution_options(stream_results=True).execute(query)
        for rows in result.partitions(_READ_AT_ONCE):
            columns = zip(*rows, strict=True)
            arrays = [_read_column(name, field, values) for field, values in zip(schema, columns, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def read_landings(self, connection: sa.Connection, project: str | None = None) -> list[dict[str, Any]]:
        """Return the rows of ``landings`` of the projects that have landed, all or one.

        :param connection: connection to the database
        :param project: URI of the project; None for all
        :returns: rows as dictionaries, with JSON as text
        """
        query = sa.select(*(self.landings.c[name] for name in LANDINGS_SCHEMA.names))
        query = query.where(self.landings.c.version.is_not(None)).order_by(self.landings.c.project)
        if project is not None:
            query = query.where(self.landings.c.project == project)
        return [row for batch in self.read(connection, LANDINGS, LANDINGS_SCHEMA, query) for row in batch.to_pylist()]

    def read_states(self, project: str) -> Iterator[pa.RecordBatch]:
        """Yield the state of every landed item of a project, with the columns of ``ITEM_STATES``."""
        items = self.tables["items"]
        query = sa.select(*(items.c[name] for name in ITEM_STATES.names)).where(items.c.project == project)
        with self.reader() as connection:
            yield from self.read(connection, "items", ITEM_STATES, query)

    # Landing, in one transaction

    def lock(self, connection: sa.Connection, project: str) -> sa.RowMapping:
        """Lock the project's row in ``landings`` until the transaction ends, and return it.

        Another landing of the project waits, or fails with an error that :meth:`is_conflict` recognizes.
        """
        own = self.landings.c.project == project
        # An UPDATE locks the row in every database; a query may not.
        connection.execute(self.landings.update().where(own).values(version=self.landings.c.version))
        return connection.execute(sa.select(self.landings).where(own)).mappings().one()

    def write_rows(self, connection: sa.Connection, table: sa.Table, batches: Iterable[pa.RecordBatch]) -> None:
        """Add rows to a table, in the connection's transaction."""
        inserts: dict[tuple[str, ...], Any] = {}
        for part in filled_parts(batches, INSERT_ROWS):
            names = tuple(part.schema.names)
            if (insert := inserts.get(names)) is None:
                insert = inserts[names] = table.insert().compile(dialect=connection.dialect, column_keys=list(names))
            columns = [_bound_values(part.column(name), table.c[name].type, connection.dialect) for name in names]
            rows: list[Any] = list(zip(*columns, strict=True))
            if not insert.positional:
                rows = [dict(zip(names, row, strict=True)) for row in rows]
            connection.exec_driver_sql(str(insert), rows)

    def write_files(
        self,
        connection: sa.Connection,
        table: sa.Table,
        files: Sequence[str],  # noqa: ARG002 - subclasses use it
        batches: Iterable[pa.RecordBatch],
    ) -> None:
        """Add the rows of Parquet files to a table, in the connection's transaction.

        :param connection: connection to the database
        :param table: one of the three, or ``agreement``
        :param files: paths of the files on this machine
        :param batches: the same rows, for databases that do not read files
        """
        self.write_rows(connection, table, batches)

    def delete_rows(self, connection: sa.Connection, table: sa.Table, project: str, item_ids: pa.Array | None) -> int:
        """Delete rows of a project. Return their number, or -1 if the driver cannot tell.

        :param connection: connection to the database
        :param table: one of the three, or ``agreement``
        :param project: URI of the project
        :param item_ids: ids of the items whose rows are deleted, if there are any; None for all items
        """
        own = table.delete().where(table.c.project == project)
        deletes: Iterable[sa.Delete] = [own]
        if item_ids is not None:
            ids = (item_ids.slice(start, self.ids_at_once) for start in range(0, len(item_ids), self.ids_at_once))
            deletes = (own.where(self.is_among(table.c.item_id, some.to_pylist())) for some in ids)
        counts = [connection.execute(delete).rowcount for delete in deletes]
        return -1 if any(count < 0 for count in counts) else sum(counts)

    def is_among(self, column: sa.ColumnElement[Any], ids: list[str]) -> sa.ColumnElement[bool]:
        """Return the condition that a column is one of some ids. There are at most :attr:`ids_at_once` ids."""
        return column.in_(ids)

    def count_rows(self, connection: sa.Connection, table: sa.Table, project: str) -> int:
        """Return how many rows of a project a table has."""
        query = sa.select(sa.func.count()).select_from(table).where(table.c.project == project)
        return int(connection.execute(query).scalar_one())

    def save_landing(self, connection: sa.Connection, landing: Mapping[str, Any]) -> None:
        """Update a project's row in ``landings``. A null ``full_at`` keeps the stored one."""
        values = dict(landing)
        # Without the key, since DuckDB turns an update of a key into a deletion and an insertion.
        own = self.landings.c.project == values.pop("project")
        if values["full_at"] is None:
            del values["full_at"]
        connection.execute(self.landings.update().where(own).values(values))

    def _column(self, table: str, field: pa.Field, schema: pa.Schema) -> sa.Column[Any]:
        keys = TABLE_KEYS[table]
        is_key = field.name in keys
        if field.name in TABLE_JSON[table]:
            type_ = self.json_type
        elif field.type == pa.string() and (is_key or field.name == "item_id"):  # rows are looked up by these
            type_ = self.key_text
        else:
            type_ = self.types.get(field.type, self.json_type)
        has_key = table == LANDINGS or (self.has_keys and not any(schema.field(name).nullable for name in keys))
        return sa.Column(
            field.name, type_, primary_key=is_key and has_key, nullable=field.nullable, autoincrement=False
        )


def filled_parts(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Split batches into parts, and drop the columns that have only nulls in a part.

    Most columns are null for most types of labels, and a dropped column costs nothing.

    :param rows: maximum number of rows in a part
    """
    for batch in batches:
        for start in range(0, batch.num_rows, rows):
            part = batch.slice(start, rows)
            yield part.select([name for name in part.schema.names if part.column(name).null_count < part.num_rows])


def quoted_host(url: sa.URL) -> str:
    """Return the host of a database as it is in a URI."""
    host = url.host or ""
    return f"[{host}]" if ":" in host else host  # IPv6


def quoted_database(url: sa.URL) -> str:
    """Return the name of a database as it is in a URI."""
    return quote(url.database or "", safe=_UNQUOTED)


def _read_column(table: str, field: pa.Field, values: Sequence[Any]) -> pa.Array:
    if field.name in TABLE_JSON[table]:
        values = [
            value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for value in values
        ]
    elif pa.types.is_list(field.type):  # some databases return lists as text
        values = [json.loads(value) if isinstance(value, str) else value for value in values]
    return pa.array(values, field.type)  # a time without a zone is in UTC


def _bound_values(column: pa.Array, type_: TypeEngine[Any], dialect: sa.Dialect) -> list[Any]:
    """Return a column as values for the driver. SQLAlchemy would convert row by row, which takes twice the time."""
    values = (lists_to_json(column) if pa.types.is_list(column.type) else column).to_pylist()
    convert = type_.dialect_impl(dialect).bind_processor(dialect)
    return values if convert is None else [convert(value) for value in values]


def _replace_view(connection: sa.Connection, *, name: str, select: str) -> None:
    connection.exec_driver_sql(f"drop view if exists {name}")
    connection.exec_driver_sql(f"create view {name} as {select}")
