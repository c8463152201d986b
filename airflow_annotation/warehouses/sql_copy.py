"""Rows into Postgres by COPY: their text is made in a thread, while the server takes in what came before."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from airflow_annotation.datasets.list_text import lists_to_json, lists_to_text

COPY_ROWS: Final = 20_000
"""Rows of one COPY: enough for it to be all of the time, few enough to begin with it soon."""


class JsonText(sa.types.TypeDecorator):  # type: ignore[type-arg]  # it takes no parameter in SQLAlchemy 1.4
    """JSON, given as text: ``jsonb`` in Postgres, text elsewhere."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> TypeEngine[Any]:
        """Return the type that the database has for it."""
        return dialect.type_descriptor(postgresql.JSONB() if dialect.name == "postgresql" else sa.Text())

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> Any:
        """Return what the database's own type takes: SQLAlchemy's ``JSONB`` writes objects, not text."""
        return json.loads(value) if value is not None and dialect.name == "postgresql" else value


def copy_rows(connection: sa.Connection, table: sa.Table, batches: Iterable[pa.RecordBatch]) -> None:
    """Add rows to a table, in the connection's transaction.

    :param connection: to Postgres, through psycopg or psycopg2
    :param table: has the columns of the batches
    :param batches: the rows; they are read in another thread
    """
    prepare = connection.dialect.identifier_preparer
    names = ", ".join(prepare.quote(column.name) for column in table.columns)
    statement = f"COPY {prepare.format_table(table)} ({names}) FROM STDIN WITH (FORMAT csv)"
    cursor: Any = connection.connection.cursor()
    try:
        for content in _made_ahead(_copy_texts(table, batches)):
            if hasattr(cursor, "copy_expert"):  # psycopg2
                content.seek(0)
                cursor.copy_expert(statement, content)
            else:
                with cursor.copy(statement) as copy:
                    copy.write(content.getbuffer())
    finally:
        cursor.close()


def _made_ahead(contents: Iterator[io.BytesIO]) -> Iterator[io.BytesIO]:
    """Yield each content while the next one is being made."""
    with ThreadPoolExecutor(1, thread_name_prefix="copy-rows") as maker:
        ahead = maker.submit(next, contents, None)
        while (content := ahead.result()) is not None:
            ahead = maker.submit(next, contents, None)
            yield content


def _copy_texts(table: sa.Table, batches: Iterable[pa.RecordBatch]) -> Iterator[io.BytesIO]:
    names = table.columns.keys()
    for batch in batches:
        for start in range(0, batch.num_rows, COPY_ROWS):
            part = batch.slice(start, COPY_ROWS)
            columns = [_copy_text(part.column(name), table.c[name].type) for name in names]
            content = io.BytesIO()
            pa.csv.write_csv(
                pa.RecordBatch.from_arrays(columns, names=names),
                content,
                pa.csv.WriteOptions(include_header=False),  # strings are quoted and nulls are not: COPY's distinction
            )
            yield content


def _copy_text(column: pa.Array, type_: TypeEngine[Any]) -> pa.Array:
    """Return a column as COPY reads it."""
    if pa.types.is_list(column.type):
        is_array = not pa.types.is_list(column.type.value_type)
        column = lists_to_text(column, "{}", _array_strings) if is_array else lists_to_json(column)
    if not pa.types.is_string(column.type):
        return column
    # Postgres has one character in no text and in no jsonb: U+FFFD takes its place.
    if isinstance(type_, JsonText):
        return pc.replace_substring_regex(column, r"((?:^|[^\\])(?:\\\\)*)(?:\\u0000)+", "\\1\ufffd")
    return pc.replace_substring(column, "\0", "\ufffd")


def _array_strings(column: pa.Array) -> pa.Array:
    """Quote strings within an array literal, where a backslash takes the next character as it is."""
    for character in ("\\", '"'):
        column = pc.replace_substring(column, character, "\\" + character)
    return pc.binary_join_element_wise('"', column, '"', "")
