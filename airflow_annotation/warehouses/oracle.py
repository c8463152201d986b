"""Oracle: types for the tables' values. No test lands in Oracle; the tests only compile statements."""

from __future__ import annotations

import pyarrow as pa
from sqlalchemy.dialects import oracle

from airflow_annotation.warehouses.base import Warehouse


class OracleWarehouse(Warehouse):
    """Oracle, with its own types of numbers and times. Text is ``CLOB`` outside of keys, and empty text is null."""

    types = {  # noqa: RUF012 - declared by the base
        **Warehouse.types,
        pa.float64(): oracle.BINARY_DOUBLE(),
        pa.timestamp("us", tz="UTC"): oracle.TIMESTAMP(timezone=True),
    }
    isolation = {"isolation_level": "SERIALIZABLE"}  # noqa: RUF012
