"""What must stay in connections: looked for in all that a live Airflow keeps and tells."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect, text

from devtools.airflow import Airflow
from devtools.label_studio import LabelStudio
from devtools.processes import REPOSITORY
from tests.servers.labelbox.process import LabelboxProcess

FAILING = {
    "tell",
    *(f"{verb}_{conn_id}" for verb in ("create", "wait") for conn_id in ("with_wrong_key", "with_wrong_labelbox_key")),
}

TOLD = ("Printed: ", "Logged: ", "Raised: ")
"""How the task begins that tells the secrets."""


@pytest.fixture
def hidden(airflow: Airflow, label_studio: LabelStudio, labelbox_process: LabelboxProcess) -> Iterator[dict[str, str]]:
    """The secrets of connections that are made through Airflow's API, by what they are."""
    hidden = {
        "API key": label_studio.personal_access_token,
        "header": f"header-{secrets.token_hex(16)}",
        "wrong key": secrets.token_hex(20),
        "wrong Labelbox key": secrets.token_hex(20),
    }
    tool = {"conn_type": "label_studio", "host": label_studio.url}
    connections: dict[str, dict[str, Any]] = {
        "with_secrets": {
            **tool,
            "password": hidden["API key"],
            "extra": json.dumps({"headers": {"X-Proxy-Authorization": hidden["header"]}}),
        },
        "with_wrong_key": {**tool, "password": hidden["wrong key"]},
        "with_wrong_labelbox_key": {**labelbox_process.connection, "password": hidden["wrong Labelbox key"]},
    }
    for conn_id, connection in connections.items():
        airflow.client.post("/connections", json={"connection_id": conn_id, **connection}).raise_for_status()
    yield hidden
    for conn_id in connections:
        airflow.client.delete(f"/connections/{conn_id}").raise_for_status()


@pytest.mark.live_airflow
def test_no_secret_leaves_its_connection_whether_tasks_succeed_or_fail(
    airflow: Airflow, hidden: dict[str, str], tmp_path: Path
) -> None:
    airflow.add_dag_file("dag_of_secrets.py", Path(__file__).with_name("dag_of_secrets.py").read_text())
    airflow.wait_for_dag("secrets")
    conf = {"photos": str(REPOSITORY / "demo" / "photos" / "c*.jpg"), "dataset": f"{tmp_path.as_uri()}/dataset"}
    run_id = airflow.trigger("secrets", conf)
    airflow.wait_for_run("secrets", run_id)
    tasks = airflow.tasks("secrets", run_id)
    logs = {task_id: airflow.task_log("secrets", run_id, task_id) for task_id in tasks}
    assert {task_id for task_id, task in tasks.items() if task["state"] != "success"} == FAILING, logs
    for task_id in FAILING - {"tell"}:
        assert "refuses the connection's API key" in logs[task_id], logs[task_id]
    for beginning in TOLD:  # else the search below would find nothing of anything
        assert any(beginning in line and "***" in line for line in logs["tell"].splitlines()), logs["tell"]

    told: dict[str, str] = dict(answers(airflow, run_id, list(tasks)))
    told |= {f"log of {task_id}": log for task_id, log in logs.items()}
    for path in [path for folder in (Path(airflow.home), tmp_path) for path in folder.rglob("*") if path.is_file()]:
        told[str(path)] = path.read_bytes().decode("latin-1")
    told |= {f"table {name}": rows for name, rows in tables(airflow.database)}
    # What a task itself says is masked in its log, and not where the executor repeats it.
    scheduler = str(Path(airflow.home) / "scheduler.log")
    told[scheduler] = "\n".join(line for line in told[scheduler].splitlines() if not any(map(line.count, TOLD)))
    found = {(what, where) for what, secret in hidden.items() for where, text in told.items() if inner(secret) in text}
    assert not found
    assert any(where.startswith(airflow.home) and "secrets" in where for where in told)
    assert "with_secrets" in told["table connection"]


def inner(secret: str) -> str:
    """Return the middle of a secret, of which masking may have left the ends."""
    return secret[len(secret) // 4 : -len(secret) // 4]


def tables(database: str) -> Iterator[tuple[str, str]]:
    """Yield all rows of a database as text, by table."""
    with create_engine(database).connect() as connection:
        for name in inspect(connection).get_table_names():
            yield name, str(connection.execute(text(f'SELECT * FROM "{name}"')).fetchall())


def answers(airflow: Airflow, run_id: str, task_ids: list[str]) -> Iterator[tuple[str, str]]:
    """Yield what Airflow's API answers to its page, by path."""
    run = f"/dags/secrets/dagRuns/{run_id}"
    paths = ["/connections", "/eventLogs?limit=1000&order_by=-when", "/dags/secrets/details", f"{run}/taskInstances"]
    paths += [f"/connections/{conn_id}" for conn_id in ("with_secrets", "with_wrong_key", "with_wrong_labelbox_key")]
    for task_id in task_ids:
        instance = f"{run}/taskInstances/{task_id}"
        paths += [instance, f"{instance}/tries", f"{instance}/links"]
        entries = f"{instance}/xcomEntries"
        paths += [f"{entries}/{entry['key']}" for entry in airflow.get(entries)["xcom_entries"]]
    for path in paths:
        yield path, airflow.client.get(path).raise_for_status().text
    for conn_id in ("with_secrets", "with_wrong_key", "with_wrong_labelbox_key"):
        connection = airflow.get(f"/connections/{conn_id}")
        body = {key: value for key, value in connection.items() if key not in {"team_name"}}
        yield f"test of {conn_id}", airflow.client.post("/connections/test", json=body).text
