"""Snowflake: ``VARIANT`` for JSON and lists. Rows go as Parquet files into a stage, which COPY INTO reads."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Final
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from airflow_annotation.datasets.list_text import lists_to_json
from airflow_annotation.datasets.working_folders import working_folder
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.warehouses.base import Warehouse
from airflow_annotation.warehouses.native_type import NativeType

FILE_ROWS: Final = 250_000
"""Number of rows at which a file is complete. It then has some tens of megabytes."""

_STAGE: Final = "airflow_annotation_landing"  # temporary: no other session sees it
_LOCK_TIMEOUT: Final = 625


class VariantType(NativeType):
    """``VARIANT`` whose values are passed and read as JSON text."""

    cache_ok = True

    def __init__(self) -> None:
        super().__init__("VARIANT")

    def bind_expression(self, bindparam: Any) -> Any:
        """Return the expression that parses the text. Snowflake would otherwise store the text itself."""
        return sa.func.parse_json(bindparam)


class SnowflakeWarehouse(Warehouse):
    """Snowflake. It does not enforce keys, so the three tables have none."""

    has_keys: ClassVar[bool] = False
    json_type = VariantType()
    key_text = NativeType("VARCHAR")
    types = {  # noqa: RUF012 - declared by the base
        pa.string(): NativeType("VARCHAR"),
        pa.bool_(): NativeType("BOOLEAN"),
        pa.int32(): NativeType("INTEGER"),
        pa.int64(): NativeType("BIGINT"),
        pa.float64(): NativeType("DOUBLE"),
        pa.timestamp("us", tz="UTC"): NativeType("TIMESTAMP_TZ"),
    }

    ids_at_once: ClassVar[int] = 10_000

    def is_conflict(self, error: Exception) -> bool:
        """Return whether another transaction kept its lock for too long."""
        reason = getattr(error, "orig", None) or error
        return getattr(reason, "errno", None) == _LOCK_TIMEOUT

    @classmethod
    def table_uri(cls, url: sa.URL, table: str, schema: str | None) -> str:
        """Return the asset URI of a table: account, database, schema and table."""
        database, _, own = (url.database or "").partition("/")
        inner = "/".join(quote(part, safe="") for part in (database, schema or own or "PUBLIC", table))
        return f"snowflake://{url.host}/{inner}"

    def prepare(self, project: str, views: Sequence[str] = ()) -> dict[str, Any] | None:
        """Create what is missing. See :meth:`Warehouse.prepare`.

        :raises AnnotationError: also if a table's name has a percent sign, which the driver doubles in some statements
        """
        if "%" in self.landings.fullname:
            raise AnnotationError("Tables in Snowflake can't have a % in their name: choose another table_prefix.")
        return super().prepare(project, views)

    def lock(self, connection: sa.Connection, project: str) -> sa.RowMapping:
        """Lock the project's row in ``landings``, and create the stage, which ends with the session."""
        # The transaction begins with the first change of a row. A CREATE after that would commit it.
        connection.exec_driver_sql(f"CREATE TEMPORARY STAGE IF NOT EXISTS {self._stage(connection)}")
        return super().lock(connection, project)

    def write_rows(self, connection: sa.Connection, table: sa.Table, batches: Iterable[pa.RecordBatch]) -> None:
        """Put rows into the stage as Parquet, and copy them into a table."""
        place = f"{self._stage(connection)}/{uuid.uuid4().hex}"
        cursor: Any = connection.connection.cursor()
        has_rows = False
        try:
            with working_folder() as folder:
                for number, rows in enumerate(_by_file(batches)):
                    has_rows = True
                    file = folder / f"{number}.parquet"
                    pq.write_table(_as_text(rows), file)
                    cursor.execute(f"PUT 'file://{file}' @{place} AUTO_COMPRESS = FALSE")
                    file.unlink()
            if has_rows:
                cursor.execute(self._copy(connection.dialect, table, place))
        finally:
            cursor.close()

    def _copy(self, dialect: sa.Dialect, table: sa.Table, place: str) -> str:
        names = dialect.identifier_preparer
        columns = ", ".join(names.quote(column.name) for column in table.columns)
        values = ", ".join(_from_parquet(column) for column in table.columns)
        return (
            f"COPY INTO {names.format_table(table)} ({columns}) FROM (SELECT {values} FROM @{place}/) "  # noqa: S608 - names are quoted
            "FILE_FORMAT = (TYPE = PARQUET)"
        )

    def _stage(self, connection: sa.Connection) -> str:
        """Return the full name of the stage, which is in the schema of the tables."""
        names = connection.dialect.identifier_preparer
        return names.format_table(sa.Table(_STAGE, sa.MetaData(), schema=self.landings.schema))

    def _claim(self, project: str) -> None:
        """Create a project's row in ``landings`` if it has none. MERGE prevents a second row, since keys do not."""
        with self.engine.begin() as connection:
            name = connection.dialect.identifier_preparer.format_table(self.landings)
            merge = f"""MERGE INTO {name} AS landed USING (SELECT %(project)s AS project) AS own
                ON landed.project = own.project WHEN NOT MATCHED THEN INSERT (project) VALUES (own.project)"""  # noqa: S608
            connection.exec_driver_sql(merge, {"project": project})


def _by_file(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yield the rows of one file after the other."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        for start in range(0, batch.num_rows, FILE_ROWS):
            waiting.append(batch.slice(start, FILE_ROWS))
            if sum(rows.num_rows for rows in waiting) >= FILE_ROWS:
                yield pa.Table.from_batches(waiting)
                waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)


def _as_text(rows: pa.Table) -> pa.Table:
    """Return rows with lists as JSON text and times as text with their zone: readers of Parquet differ in both."""

    def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
        if pa.types.is_list(column.type):
            return pa.chunked_array([lists_to_json(chunk) for chunk in column.chunks], pa.string())
        if pa.types.is_timestamp(column.type):
            return column.cast(pa.string())
        return column

    return pa.table({name: as_text(column) for name, column in zip(rows.column_names, rows.columns, strict=True)})


def _from_parquet(column: sa.Column[Any]) -> str:
    value = f'$1:"{column.name}"'
    if isinstance(column.type, VariantType):
        return f"parse_json({value}::VARCHAR)"
    spelling = column.type.get_col_spec()  # type: ignore[attr-defined]  # all are native
    return f"{value}::VARCHAR::{spelling}" if spelling.startswith("TIMESTAMP") else f"{value}::{spelling}"
