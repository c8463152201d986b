"""Oracle: types that hold what the tables have. No test has landed in one: the statements compile."""

from __future__ import annotations

import pyarrow as pa
from sqlalchemy.dialects import oracle

from airflow_annotation.warehouses.base import Warehouse


class OracleWarehouse(Warehouse):
    """Oracle: its own numbers and times; text of any length is ``CLOB``, and empty text is null."""

    types = {  # noqa: RUF012 - declared by the base
        **Warehouse.types,
        pa.float64(): oracle.BINARY_DOUBLE(),
        pa.timestamp("us", tz="UTC"): oracle.TIMESTAMP(timezone=True),
    }
    isolation = {"isolation_level": "SERIALIZABLE"}  # noqa: RUF012
