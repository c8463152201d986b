"""Read landed Iceberg tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, overload

import pyarrow as pa

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.tables import AGREEMENT_TABLE, ALL_SCHEMAS, SCHEMAS
from airflow_annotation.landing.landings_row import read_json

if TYPE_CHECKING:
    import pandas as pd

    from airflow_annotation.warehouses.iceberg import IcebergTables


@overload
def read_iceberg(
    iceberg_conn_id: str,
    namespace: str,
    *,
    table_prefix: str = "",
    project: str | None = None,
    as_pandas: Literal[False] = False,
) -> dict[str, pa.Table]: ...


@overload
def read_iceberg(
    iceberg_conn_id: str,
    namespace: str,
    *,
    table_prefix: str = "",
    project: str | None = None,
    as_pandas: Literal[True],
) -> dict[str, pd.DataFrame]: ...


def read_iceberg(
    iceberg_conn_id: str,
    namespace: str,
    *,
    table_prefix: str = "",
    project: str | None = None,
    as_pandas: bool = False,
) -> dict[str, pa.Table] | dict[str, pd.DataFrame]:
    """Return the ``items``, ``annotations`` and ``labels`` of a project in Iceberg, all of the same landing.

    If a landing has ``agreement``, this is returned too.

    Holds everything in memory.

    :param iceberg_conn_id: connection of the catalog
    :param namespace: namespace of the tables
    :param table_prefix: prefix of their names
    :param project: URI of the project, if the tables have several
    :param as_pandas: whether to return pandas data frames instead of Arrow tables
    :raises AnnotationError: there is no such landing, there are several and ``project`` does not say which, or its
        snapshots have expired after a later landing died
    """
    opened = open_iceberg(iceberg_conn_id, namespace, table_prefix)
    landings = opened.find_landings()
    found = [row for row in landings if project in (None, row["project"])]
    if len(found) != 1:
        names = ", ".join(row["project"] for row in landings) or "none"
        raise AnnotationError(f"Say in project which landing of {namespace} to read. It has: {names}.")
    landed = (*SCHEMAS, *((AGREEMENT_TABLE,) if read_json(found[0]["settings"]).get("agreement") else ()))
    tables = {name: pa.Table.from_batches(opened.read(name, found[0]), ALL_SCHEMAS[name]) for name in landed}
    return {name: table.to_pandas() for name, table in tables.items()} if as_pandas else tables


def open_iceberg(
    iceberg_conn_id: str, namespace: str, table_prefix: str = "", schemas: Mapping[str, pa.Schema] = SCHEMAS
) -> IcebergTables:
    """Return the tables in a namespace, which need not exist yet.

    :param iceberg_conn_id: connection of the catalog
    :param namespace: namespace of the tables
    :param table_prefix: prefix of their names
    :param schemas: columns of the tables that land, by name
    :raises AnnotationError: the extra ``iceberg`` is not installed, or the connection is not that of a catalog
    """
    try:
        from airflow.providers.apache.iceberg.hooks.iceberg import IcebergHook

        from airflow_annotation.warehouses.iceberg import IcebergTables
    except ImportError as error:
        raise AnnotationError("Iceberg tables need pip install 'airflow-provider-annotation[iceberg]'.") from error
    try:
        catalog = IcebergHook(iceberg_conn_id).catalog
    except ValueError as error:
        raise AnnotationError(f"Connection {iceberg_conn_id!r} is not that of an Iceberg catalog: {error}") from error
    return IcebergTables(catalog, namespace, table_prefix, schemas)
