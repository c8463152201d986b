"""Redshift: its types, and INSERT statements with many rows.

No test lands in Redshift. The tests run its statements in Postgres, which is related, and compile them for Redshift.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from airflow_annotation.datasets.list_text import lists_to_json
from airflow_annotation.warehouses.base import INSERT_ROWS, Warehouse, filled_parts, quoted_database, quoted_host

PARAMETERS: Final = 32_000
"""Maximum number of parameters of one statement. Redshift's protocol counts them with 15 bits."""

_PORT: Final = 5439
_LONGEST: Final = 65_535
_TEXT: Final = sa.String(_LONGEST)
_PREFIX_OF_CONFLICTS: Final = "1023"
"""Redshift's number for the error that two transactions are not serializable: the other one was faster."""


class RedshiftWarehouse(Warehouse):
    """Redshift, through redshift_connector. Text has at most 65,535 bytes. Lists and JSON are text."""

    has_keys = False  # Redshift does not enforce keys
    json_type: TypeEngine[Any] = _TEXT  # type: ignore[misc]  # SUPER limits its texts to the same length
    key_text = sa.String(255)
    types = {  # noqa: RUF012 - declared by the base
        **Warehouse.types,
        pa.string(): _TEXT,
        pa.float64(): postgresql.DOUBLE_PRECISION(),
        pa.timestamp("us", tz="UTC"): postgresql.TIMESTAMP(timezone=True),
    }

    @classmethod
    def table_uri(cls, url: sa.URL, table: str, schema: str | None) -> str:
        """Return the asset URI of a table. It always contains the schema."""
        inner = f"{quote(schema or 'public')}/{quote(table)}"
        return f"redshift://{quoted_host(url) or 'localhost'}:{url.port or _PORT}/{quoted_database(url)}/{inner}"

    def is_conflict(self, error: Exception) -> bool:
        """Return whether another transaction was faster."""
        reason = str(getattr(error, "orig", None) or error)
        return _PREFIX_OF_CONFLICTS in reason and "serializable" in reason.lower()

    def write_rows(self, connection: sa.Connection, table: sa.Table, batches: Iterable[pa.RecordBatch]) -> None:
        """Insert many rows with one statement, since a statement with one row takes as long."""
        names = connection.dialect.identifier_preparer
        for part in filled_parts(batches, INSERT_ROWS):
            used = part.schema.names
            start = f"INSERT INTO {names.format_table(table)} ({', '.join(map(names.quote, used))}) VALUES "  # noqa: S608 - names are quoted
            rows = list(zip(*map(_values, part.columns), strict=True))
            row, at_once = f"({', '.join(['%s'] * len(used))})", PARAMETERS // len(used)
            for first in range(0, len(rows), at_once):
                some = rows[first : first + at_once]
                values = tuple(value for one in some for value in one)
                connection.exec_driver_sql(start + ", ".join([row] * len(some)), values)

    def _claim(self, project: str) -> None:
        """Create a project's row in ``landings`` if it has none. A lock prevents a second row, since keys do not."""
        own = self.landings.c.project == project
        with self.engine.begin() as connection:
            name = connection.dialect.identifier_preparer.format_table(self.landings)
            connection.exec_driver_sql(f"LOCK TABLE {name}")
            if not connection.execute(sa.select(self.landings.c.project).where(own)).first():
                connection.execute(self.landings.insert().values(project=project))


def _values(column: pa.Array) -> list[Any]:
    values: list[Any] = (lists_to_json(column) if pa.types.is_list(column.type) else column).to_pylist()
    return values
