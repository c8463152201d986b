"""The databases that landings know more of than what all have in common."""

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
"""By the name that SQLAlchemy's dialect has."""

DIALECTS: Final[dict[str, str]] = {"redshift": "redshift+redshift_connector"}
"""By the type of a connection: SQLAlchemy's dialect, where the engine of its hook is for another driver."""

HOOK_PARAMETERS: Final[dict[str, tuple[str, ...]]] = {"mysql": (LOCAL_INFILE,)}
"""By the type of a connection: what its hook takes as parameters alone, and its extra says here."""


def open_warehouse(engine: sa.Engine, table_prefix: str = "", schema: str | None = None) -> Warehouse:
    """Return the database behind an engine, as landings use it.

    :param engine: keeps no connection
    :param table_prefix: put before the tables' names
    :param schema: the database's schema that they are in; None for the connection's own
    """
    return WAREHOUSES.get(engine.dialect.name, Warehouse)(engine, table_prefix, schema)
