"""SQL Server: types that hold what the tables have. No test has landed in one: the statements compile."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
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

    def add_table(self, name: str, schema: pa.Schema) -> None:
        """Have one more table; its key may have 1,700 bytes, and a clustered one 900."""
        super().add_table(name, schema)
        self.tables[name].primary_key.dialect_options["mssql"]["clustered"] = False
