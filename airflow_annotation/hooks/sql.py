"""Connections of SQL databases, for landings and for queries."""

from __future__ import annotations

from importlib.metadata import metadata
from typing import TYPE_CHECKING, Any

from airflow.exceptions import AirflowNotFoundException  # type: ignore[attr-defined]  # Airflow 3.1 has it only here
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowException

from airflow_annotation.exceptions import AnnotationError

if TYPE_CHECKING:
    import sqlalchemy as sa
    from airflow.providers.common.sql.hooks.sql import DbApiHook
    from airflow.sdk import Connection

_DISTRIBUTION = "airflow-provider-annotation"
_TRUE = ("true", "1")


def find_sql_hook(conn_id: str) -> DbApiHook:
    """Return the hook of a SQL database's connection.

    :raises AnnotationError: there is no such connection, no installed provider serves its type, or it is not a SQL
        database; the message says what to do
    """
    from airflow.providers.common.sql.hooks.sql import DbApiHook

    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        raise AnnotationError(
            f"There is no connection {conn_id!r}. Make one, for example a SQLite file: "
            f"airflow connections add {conn_id} --conn-type sqlite --conn-host /path/to/annotations.db"
        ) from error
    try:
        hook = connection.get_hook(hook_params=_hook_parameters(connection))  # type: ignore[no-untyped-call]  # Airflow's
    except (AirflowException, ImportError) as error:
        package = f"apache-airflow-providers-{connection.conn_type}"
        if connection.conn_type in (metadata(_DISTRIBUTION).get_all("Provides-Extra") or ()):
            package = f"{_DISTRIBUTION}[{connection.conn_type}]"
        raise AnnotationError(
            f"No installed provider serves connection {conn_id!r}, of type {connection.conn_type!r}: "
            f"pip install '{package}'."
        ) from error
    if not isinstance(hook, DbApiHook):
        raise AnnotationError(
            f"Connection {conn_id!r} is not of a SQL database: its type gives {type(hook).__name__}, not a DbApiHook."
        )
    return hook


def make_engine(conn_id: str) -> sa.Engine:
    """Return an engine for the connections of a SQL database's hook.

    :raises AnnotationError: as :func:`find_sql_hook` does
    """
    import sqlalchemy as sa

    from airflow_annotation.warehouses.registry import DIALECTS

    hook = find_sql_hook(conn_id)
    connection = BaseHook.get_connection(conn_id)
    options: dict[str, Any] = {
        "creator": hook.get_conn,  # so that the connection's extras apply here too
        "poolclass": sa.pool.NullPool,
        "hide_parameters": True,  # rows do not belong in error messages
        "future": True,  # SQLAlchemy 1.4, which Airflow 3.1 has, then works like 2
        "execution_options": _hook_parameters(connection),  # warehouses ask for them
    }
    if drivername := DIALECTS.get(str(connection.conn_type)):
        url = sa.URL.create(drivername, host=connection.host, port=connection.port, database=connection.schema)
        try:
            return sa.create_engine(url, **options)
        except sa.exc.NoSuchModuleError as error:
            raise AnnotationError(
                f"SQLAlchemy does not know the database of connection {conn_id!r}: "
                f"pip install '{_DISTRIBUTION}[{connection.conn_type}]'."
            ) from error
    engine: sa.Engine = hook.get_sqlalchemy_engine(engine_kwargs=options)
    return engine


def _hook_parameters(connection: Connection) -> dict[str, bool]:
    """Return the hook's parameters from a connection's extra. Values of a URI's extras are text."""
    from airflow_annotation.warehouses.registry import HOOK_PARAMETERS

    extra = connection.extra_dejson
    names = HOOK_PARAMETERS.get(str(connection.conn_type), ())
    return {name: str(extra[name]).lower() in _TRUE for name in names if name in extra}
