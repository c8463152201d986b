"""SQL Server: types for the tables' values. No test lands in SQL Server; the tests only compile statements."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
from sqlalchemy.dialects import mssql

from airflow_annotation.warehouses.base import Warehouse

_COLLATION: Final = "Latin1_General_100_BIN2"
_TEXT: Final = mssql.NVARCHAR("max", collation=_COLLATION)  # type: ignore[arg-type]  # SQLAlchemy's word for it


class SqlServerWarehouse(Warehouse):
    """SQL Server. Text is Unicode, compared by code points; outside of keys, it has any length."""

    json_type = _TEXT
    key_text = mssql.NVARCHAR(255, collation=_COLLATION)
    types = {  # noqa: RUF012 - declared by the base
        **Warehouse.types,
        pa.string(): _TEXT,
        pa.timestamp("us", tz="UTC"): mssql.DATETIMEOFFSET(6),  # type: ignore[no-untyped-call]  # SQLAlchemy's
    }

    def add_table(self, name: str, schema: pa.Schema) -> None:
        """Add a table. Its key is not clustered, since a clustered key has at most 900 bytes, and another 1,700."""
        super().add_table(name, schema)
        self.tables[name].primary_key.dialect_options["mssql"]["clustered"] = False
