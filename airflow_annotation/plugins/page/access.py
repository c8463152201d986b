"""Who may see what: connections of labeling tools, and the DAG runs of annotation runs.

Airflow mounts the apps of plugins without access checks. The checks here ask the same auth manager as Airflow's own
routes.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import ConnectionDetails
from airflow.api_fastapi.core_api.security import GetUserDep, get_user
from airflow.configuration import conf
from airflow.exceptions import AirflowNotFoundException  # type: ignore[attr-defined]  # it is there
from airflow.models import Connection, DagModel, DagRun
from airflow.secrets.environment_variables import EnvironmentVariablesBackend
from airflow.utils.session import create_session
from airflow.utils.types import DagRunType
from fastapi import Depends, HTTPException, Query
from sqlalchemy import select

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.annotation import AnnotationHook
from airflow_annotation.hooks.connection_fields import connection_types

log = logging.getLogger(__name__)

COOKIE_LOGINS: Final = "request" in inspect.signature(get_user).parameters
"""Whether this Airflow accepts its login cookie. Older releases need a header, which links and frames do not send."""

_VARIABLE_PREFIX: Final = "AIRFLOW_CONN_"


class SeenConnection(msgspec.Struct, frozen=True):
    """A connection that a user may see.

    :param conn_id: id of the connection
    :param tool: type of the connection; None if only the secrets backend knows it
    """

    conn_id: str
    tool: str | None = None


class SeenDagRun(msgspec.Struct, frozen=True):
    """A DAG run that a user may see."""

    dag_id: str
    run_id: str
    state: str


def is_permitted(conn_id: str, user: Any) -> bool:
    """Return whether a user may read a connection."""
    details = ConnectionDetails(conn_id=conn_id, team_name=Connection.get_team_name(conn_id))
    return get_auth_manager().is_authorized_connection(method="GET", details=details, user=user)


def list_connections(user: GetUserDep) -> list[SeenConnection]:
    """Return the connections of labeling tools that a user may read.

    Secrets backends do not list their connections. The configuration ``[annotation] connections`` names these.
    """
    found = {conn_id.strip(): None for conn_id in conf.get("annotation", "connections", fallback="").split(",")}
    found.pop("", None)
    with create_session() as session:
        rows = session.execute(
            select(Connection.conn_id, Connection.conn_type).where(Connection.conn_type.in_(connection_types()))
        )
        stored = [(str(conn_id), str(conn_type)) for conn_id, conn_type in rows]
    known: dict[str, str | None] = {**found, **dict(_environment_connections()), **dict(stored)}
    return [SeenConnection(conn_id, tool) for conn_id, tool in sorted(known.items()) if is_permitted(conn_id, user)]


def permitted_connection(conn_id: Annotated[str, Query(max_length=250)], user: GetUserDep) -> Connection:
    """Return the connection that a request names.

    :raises HTTPException: the user may not read it (403), or there is no such connection of a labeling tool (404)
    """
    if not is_permitted(conn_id, user):
        raise HTTPException(403, "Forbidden")
    try:
        connection = Connection.get_connection_from_secrets(conn_id)
    except AirflowNotFoundException as error:
        raise HTTPException(404, f"There is no connection {conn_id!r}.") from error
    if connection.conn_type not in connection_types():
        raise HTTPException(404, f"Connection {conn_id!r} is not of a labeling tool.")
    return connection


PermittedConnection = Annotated[Connection, Depends(permitted_connection)]


def hook_of(connection: Connection) -> AnnotationHook:
    """Return the hook of a connection. It repeats a failed request only once, since a person waits for the page.

    :raises AnnotationError: the connection is not of a labeling tool
    """
    hook = connection.get_hook()  # type: ignore[no-untyped-call]
    if not isinstance(hook, AnnotationHook):
        raise AnnotationError(f"Connection {connection.conn_id!r} is not of a labeling tool.")
    # Hooks read connections as tasks do. The API server of Airflow 3.1 cannot read them like that.
    hook.connection = connection
    hook.attempts = 1
    return hook


def see_runs(run_keys: Collection[str], user: Any) -> dict[str, SeenDagRun | None]:
    """Return the DAG runs of the annotation runs that a user may see, by run key; None if a run has no DAG run.

    Runs of a DAG are for users who may read that DAG. Other runs are for all who may use the connection.

    :param run_keys: ``<dag_id>/<run_id>``, with ``/<map index>`` for mapped tasks, or any names that DAG authors chose
    """
    parts = {run_key: run_key.split("/") for run_key in run_keys}
    readable, hidden = _sort_dags({names[0]: _is_generated(names) for names in parts.values()}, user)
    seen = {run_key: names for run_key, names in parts.items() if names[0] not in hidden}
    wanted = {run_key: (names[0], names[1]) for run_key, names in seen.items() if len(names) in {2, 3}}
    pairs = {pair for pair in wanted.values() if pair[0] in readable}
    states = _find_states(pairs) if pairs else {}
    return {
        run_key: SeenDagRun(*pair, states[pair]) if (pair := wanted.get(run_key)) in states else None
        for run_key in seen
    }


def _is_generated(names: Sequence[str]) -> bool:
    """Return whether a run key contains a run id that Airflow made. Then its first part is certainly a DAG."""
    return len(names) > 1 and names[1].startswith(tuple(f"{kind.value}__" for kind in DagRunType))


def _sort_dags(dag_ids: Mapping[str, bool], user: Any) -> tuple[set[str], set[str]]:
    """Return the DAGs that a user may read, and those that the user may not read.

    :param dag_ids: possible ids of DAGs; true for those that are certainly DAGs, even if Airflow no longer knows them
    """
    with create_session() as session:
        known = set(session.scalars(select(DagModel.dag_id).where(DagModel.dag_id.in_(dag_ids))))
    dags = known | {dag_id for dag_id, is_dag in dag_ids.items() if is_dag}
    teams: dict[str | None, set[str]] = defaultdict(set)
    # Airflow 3.1 has no teams, and its functions take none.
    has_teams = conf.getboolean("core", "multi_team", fallback=False)
    for dag_id in dags:
        teams[DagModel.get_team_name(dag_id) if has_teams else None].add(dag_id)
    readable: set[str] = set()
    for team, of_team in teams.items():
        named = {"team_name": team} if team else {}
        readable |= get_auth_manager().filter_authorized_dag_ids(dag_ids=of_team, user=user, method="GET", **named)
    return readable, dags - readable


def _find_states(pairs: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
    query = select(DagRun.dag_id, DagRun.run_id, DagRun.state).where(
        DagRun.dag_id.in_({dag_id for dag_id, _ in pairs}), DagRun.run_id.in_({run_id for _, run_id in pairs})
    )
    with create_session() as session:
        found = {(str(dag_id), str(run_id)): str(state) for dag_id, run_id, state in session.execute(query)}
    return {pair: found[pair] for pair in pairs if pair in found}


def _environment_connections() -> Iterator[tuple[str, str]]:
    for name in os.environ:
        if not name.startswith(_VARIABLE_PREFIX):
            continue
        conn_id = name.removeprefix(_VARIABLE_PREFIX).lower()
        try:
            connection = EnvironmentVariablesBackend().get_connection(conn_id)
        except Exception:
            # Do not log the error: its text may contain a secret.
            log.warning("The environment variable %s describes no connection.", name)
            continue
        if connection is not None and connection.conn_type in connection_types():
            yield conn_id, connection.conn_type
