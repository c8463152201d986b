"""SQL Server: types that hold what the tables have. No test has landed in one: the statements compile."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import mssql

from airflow_annotation.warehouses.base import Warehouse

_COLLATION: Final = "Latin1_General_100_BIN2"
_TEXT: Final = mssql.NVARCHAR("max", collation=_COLLATION)  # type: ignore[arg-type]  # SQLAlchemy's word for it


class SqlServerWarehouse(Warehouse):
    """SQL Server: Unicode of any length, compared by its bytes."""

    json_type = _TEXT
    key_text = mssql.NVARCHAR(255, collation=_COLLATION)
    types = {  # noqa: RUF012 - declared by the base
        **Warehouse.types,
        pa.string(): _TEXT,
        pa.timestamp("us", tz="UTC"): mssql.DATETIMEOFFSET(6),  # type: ignore[no-untyped-call]  # SQLAlchemy's
    }

    def __init__(self, engine: sa.Engine, prefix: str = "", schema: str | None = None) -> None:
        super().__init__(engine, prefix, schema)
        for table in self.tables.values():  # a clustered key has 900 bytes, another one 1,700
            table.primary_key.dialect_options["mssql"]["clustered"] = False
