"""The page where a user may use the connection, and not read every DAG."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from airflow_annotation.hooks.annotation import AnnotationProject
from devtools.airflow import DATABASE_VARIABLE, PASSWORD, USERNAME, Airflow, airflow_settings
from devtools.label_studio import LabelStudio
from devtools.processes import REPOSITORY, answers, free_port, spawn, stop_groups, wait_until
from tests.plugins.limited_auth_manager import HIDDEN_DAG, LimitedAuthManager

pytestmark = pytest.mark.live_airflow
OPERATOR = "operator"
"""Name and password of a user who may use all connections."""


@pytest.fixture(scope="module")
def limited(airflow: Airflow, label_studio: LabelStudio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """Another API server of the session's Airflow, whose auth manager hides a DAG."""
    airflow.wait_for_dag(HIDDEN_DAG)
    home, port = tmp_path_factory.mktemp("limited"), free_port()
    (home / "passwords.json").write_text(json.dumps({USERNAME: PASSWORD, OPERATOR: OPERATOR}))
    connection = {"conn_type": "label_studio", "host": label_studio.url, "password": label_studio.api_key}
    environment = airflow_settings(home, Path(airflow.home) / "dags", port) | {
        DATABASE_VARIABLE: airflow.database,
        "AIRFLOW__CORE__AUTH_MANAGER": f"{LimitedAuthManager.__module__}.{LimitedAuthManager.__qualname__}",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USERNAME}:admin,{OPERATOR}:op",
        "AIRFLOW_CONN_LABEL_STUDIO_TEST": json.dumps(connection),
        "PYTHONPATH": str(REPOSITORY),
    }
    log = home / "api-server.log"
    command = [sys.executable, "-m", "airflow", "api-server", "--host", "127.0.0.1", "--port", str(port)]
    process = spawn(command, env=environment, log=log)
    try:
        server = replace(airflow, url=f"http://127.0.0.1:{port}", home=str(home))
        health = f"{server.url}/api/v2/monitor/health"
        wait_until(lambda: answers(health), processes={log: process}, what="Airflow's API server", timeout=300)
        yield server
    finally:
        stop_groups(process.pid)


@pytest.fixture(scope="module")
def projects(page_hook: Any, run: AnnotationProject) -> Iterator[dict[str, AnnotationProject]]:
    """A project of each kind of run key, by the kind."""
    keys = {
        "hidden": f"{HIDDEN_DAG}/{uuid4().hex[:8]}",
        "mapped": f"{HIDDEN_DAG}/{uuid4().hex[:8]}/3",
        "deleted": f"deleted_dag/manual__{uuid4().hex[:8]}",
        "seen": f"annotate_images/{uuid4().hex[:8]}",
        "chosen": f"street_scenes/{uuid4().hex[:8]}",
        "plain": uuid4().hex,
    }
    schema = page_hook.get_label_schema(run.id)
    made = {
        kind: page_hook.create_project(title=f"Secret {kind}", run_key=key, label_schema=schema)
        for kind, key in keys.items()
    }
    yield made
    for project in made.values():
        page_hook.delete_project(project.id)


def ask(server: Airflow, path: str, user: str, **parameters: str) -> httpx.Response:
    query = httpx.QueryParams(conn_id="label_studio_test", **parameters)
    return httpx.get(f"{server.url}/annotation/api/{path}?{query}", headers=server.login(user, user), timeout=120)


def test_runs_of_dags_that_a_user_may_not_read_are_not_listed(
    limited: Airflow, projects: dict[str, AnnotationProject]
) -> None:
    listed = {}
    for user in (USERNAME, OPERATOR):
        runs = ask(limited, "runs", user).raise_for_status().json()["runs"]
        found = {row["project_id"] for row in runs}
        listed[user] = {kind for kind, project in projects.items() if project.id in found}
    assert listed[USERNAME] == set(projects)
    assert listed[OPERATOR] == {"seen", "chosen", "plain"}


@pytest.mark.parametrize("path", ["run", "sample", "agreement", "image", "text"])
def test_nothing_of_such_a_run_is_told(limited: Airflow, projects: dict[str, AnnotationProject], path: str) -> None:
    for kind, project in projects.items():
        # An admin asks first: what is read once for all who ask is still told to those only who may see it.
        for user in (USERNAME, OPERATOR):
            answer = ask(limited, path, user, project=project.id, item="1")
            is_hidden = user == OPERATOR and kind in {"hidden", "mapped", "deleted"}
            assert (answer.status_code == 403) == is_hidden, (kind, user, answer.text)
            if is_hidden:
                assert answer.json() == {"detail": "Forbidden"}
