"""Postgres: its types, and rows that are written by COPY.

While the server takes in some rows, a thread makes the text of the next ones.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any, Final
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from airflow_annotation.datasets.list_text import lists_to_json, lists_to_text
from airflow_annotation.labels.tables import ITEM_STATES
from airflow_annotation.warehouses.ahead import made_ahead
from airflow_annotation.warehouses.base import Warehouse, filled_parts, quoted_database, quoted_host
from airflow_annotation.warehouses.views import ViewSql

COPY_ROWS: Final = 20_000
"""Maximum rows of one COPY: enough that its start costs little, few enough that the first one starts soon."""

STATES_AT_ONCE: Final = 2000

_PORT: Final = 5432


class JsonbText(sa.types.TypeDecorator):  # type: ignore[type-arg]  # it takes no parameter in SQLAlchemy 1.4
    """``jsonb`` whose values are passed as text."""

    impl = postgresql.JSONB
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> Any:  # noqa: ARG002 - SQLAlchemy's
        """Return the object that JSON text describes: SQLAlchemy's ``JSONB`` takes objects, not text."""
        return None if value is None else json.loads(value)


class PostgresWarehouse(Warehouse):
    """Postgres, through psycopg or psycopg2. JSON is ``jsonb``, and lists are arrays, except lists of lists."""

    json_type = JsonbText()
    key_text = sa.Text()
    types = {  # noqa: RUF012 - declared by the base
        **Warehouse.types,
        pa.list_(pa.string()): postgresql.ARRAY(sa.Text()),
        pa.list_(pa.float64()): postgresql.ARRAY(sa.Float(53)),
        pa.list_(pa.int32()): postgresql.ARRAY(sa.Integer()),
    }
    has_indexes = True
    ids_at_once = 100_000
    isolation = {"isolation_level": "REPEATABLE READ"}  # noqa: RUF012
    view_sql = ViewSql(
        number="l.bbox[{number}]",
        setting="s.settings ->> 'coordinates'",
        element="(e.value ->> '{name}')",
        elements="jsonb_array_elements(i.media) as e (value)",
        classes="unnest(l.labels) as c (value)",
    )

    @classmethod
    def table_uri(cls, url: sa.URL, table: str, schema: str | None) -> str:
        """Return the asset URI of a table. It always contains the schema."""
        host = url.host or ""
        # A host that starts with a slash is the folder of a Unix socket.
        place = "localhost" if not host or host.startswith("/") else quoted_host(url)
        inner = f"{quote(schema or 'public')}/{quote(table)}"
        return f"postgres://{place}:{url.port or _PORT}/{quoted_database(url)}/{inner}"

    def is_among(self, column: sa.ColumnElement[Any], ids: list[str]) -> sa.ColumnElement[bool]:
        """Return the condition, with one parameter for all ids."""
        return column == sa.any_(sa.literal(ids, postgresql.ARRAY(sa.Text())))

    def read_states(self, project: str) -> Iterator[pa.RecordBatch]:
        """Yield the state of every landed item. Uses the driver's cursor: SQLAlchemy's rows take twice as long."""
        names = self.engine.dialect.identifier_preparer
        table = names.format_table(self.tables["items"])
        columns = ", ".join(_state_column(field, names.quote(field.name)) for field in ITEM_STATES)
        query = f"SELECT {columns} FROM {table} WHERE project = %s"  # noqa: S608 - names are quoted
        with self.reader() as connection, closing(self._cursor(connection, "states")) as cursor:
            cursor.execute(query, (project,))
            while rows := cursor.fetchmany(STATES_AT_ONCE):
                values_of = ([row[place] for row in rows] for place in range(len(ITEM_STATES)))
                arrays = [
                    pa.array(values, _state_type(field)).cast(field.type)
                    for field, values in zip(ITEM_STATES, values_of, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=ITEM_STATES)

    def write_rows(self, connection: sa.Connection, table: sa.Table, batches: Iterable[pa.RecordBatch]) -> None:
        """Copy rows into a table. Another thread reads the batches."""
        names = connection.dialect.identifier_preparer
        # The preparer doubles each % for statements with parameters, and COPY has none.
        name = names.format_table(table).replace("%%", "%")
        with closing(self._cursor(connection)) as cursor:
            for used, content in made_ahead(_copy_texts(table, batches)):
                statement = f"COPY {name} ({', '.join(map(names.quote, used))}) FROM STDIN WITH (FORMAT csv)"
                if hasattr(cursor, "copy_expert"):  # psycopg2
                    content.seek(0)
                    cursor.copy_expert(statement, content)
                else:
                    with cursor.copy(statement) as copy:
                        copy.write(content.getbuffer())

    @staticmethod
    def _cursor(connection: sa.Connection, *name: str) -> Any:
        """Return a cursor of psycopg or psycopg2. A cursor with a name keeps its rows in the server."""
        return connection.connection.cursor(*name)


def _state_column(field: pa.Field, name: str) -> str:
    """Return a column of states in SQL. Times become microseconds, so that no row needs a datetime of Python."""
    return f"(extract(epoch FROM {name}) * 1000000)::bigint" if pa.types.is_timestamp(field.type) else name


def _state_type(field: pa.Field) -> pa.DataType:
    return pa.int64() if pa.types.is_timestamp(field.type) else field.type


def _copy_texts(table: sa.Table, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[list[str], io.BytesIO]]:
    """Yield the columns' names and the text of some rows at a time, one COPY each."""
    for part in filled_parts(batches, COPY_ROWS):
        names = part.schema.names
        columns = [_copy_text(part.column(name), table.c[name].type) for name in names]
        content = io.BytesIO()
        pa.csv.write_csv(
            pa.RecordBatch.from_arrays(columns, names=names),
            content,
            pa.csv.WriteOptions(include_header=False),  # quotes strings and not nulls, as COPY needs it
        )
        yield names, content


def _copy_text(column: pa.Array, type_: TypeEngine[Any]) -> pa.Array:
    """Return a column as COPY reads it."""
    if pa.types.is_list(column.type):
        is_array = not pa.types.is_list(column.type.value_type)
        column = lists_to_text(column, "{}", _array_strings) if is_array else lists_to_json(column)
    if not pa.types.is_string(column.type):
        return column
    # Neither text nor jsonb of Postgres can hold U+0000. U+FFFD replaces it.
    if isinstance(type_, JsonbText):
        return pc.replace_substring_regex(column, r"((?:^|[^\\])(?:\\\\)*)(?:\\u0000)+", "\\1\ufffd")
    return pc.replace_substring(column, "\0", "\ufffd")


def _array_strings(column: pa.Array) -> pa.Array:
    """Quote strings for an array literal, in which a backslash escapes the next character."""
    for character in ("\\", '"'):
        column = pc.replace_substring(column, character, "\\" + character)
    return pc.binary_join_element_wise('"', column, '"', "")
