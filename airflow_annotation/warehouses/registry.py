"""The databases that have a subclass of :class:`~airflow_annotation.warehouses.base.Warehouse`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from airflow_annotation.warehouses.base import Warehouse
from airflow_annotation.warehouses.duckdb import DuckDBWarehouse
from airflow_annotation.warehouses.mysql import LOCAL_INFILE, MySqlWarehouse
from airflow_annotation.warehouses.oracle import OracleWarehouse
from airflow_annotation.warehouses.postgres import PostgresWarehouse
from airflow_annotation.warehouses.redshift import RedshiftWarehouse
from airflow_annotation.warehouses.snowflake import SnowflakeWarehouse
from airflow_annotation.warehouses.sql_server import SqlServerWarehouse
from airflow_annotation.warehouses.sqlite import SqliteWarehouse

if TYPE_CHECKING:
    import sqlalchemy as sa

WAREHOUSES: Final[dict[str, type[Warehouse]]] = {
    "duckdb": DuckDBWarehouse,
    "mariadb": MySqlWarehouse,
    "mssql": SqlServerWarehouse,
    "mysql": MySqlWarehouse,
    "oracle": OracleWarehouse,
    "postgresql": PostgresWarehouse,
    "redshift": RedshiftWarehouse,
    "snowflake": SnowflakeWarehouse,
    "sqlite": SqliteWarehouse,
}
"""The subclasses by the name of SQLAlchemy's dialect."""

DIALECTS: Final[dict[str, str]] = {"redshift": "redshift+redshift_connector"}
"""SQLAlchemy's dialects by connection type, for connections whose hook makes engines for another driver."""

HOOK_PARAMETERS: Final[dict[str, tuple[str, ...]]] = {"mysql": (LOCAL_INFILE,)}
"""Names of parameters by connection type. The hook takes them only as arguments; here, the connection's extra can set
them."""


def open_warehouse(engine: sa.Engine, table_prefix: str = "", schema: str | None = None) -> Warehouse:
    """Return the database of an engine, as landings use it.

    :param engine: engine of the database, which must not pool connections
    :param table_prefix: prefix of the tables' names
    :param schema: existing schema of the database for the tables; None for the connection's default
    """
    return WAREHOUSES.get(engine.dialect.name, Warehouse)(engine, table_prefix, schema)
