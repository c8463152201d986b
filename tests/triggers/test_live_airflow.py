"""Watchers in a real Airflow, with its scheduler and triggerer, on a live Label Studio."""

from __future__ import annotations

import time
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text

from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.labels.schema import LabelSchema
from devtools.airflow import Airflow

SCHEMA = LabelSchema.for_field("weather", "classification", ["sun", "rain"])
LABELED = {"from_name": "weather", "to_name": "image", "type": "choices", "value": {"choices": ["sun"]}}


def wait_for_runs(airflow: Airflow, dag_id: str, count: int, timeout: float = 180) -> list[str]:
    deadline = time.monotonic() + timeout
    while True:
        runs = airflow.get(f"/dags/{dag_id}/dagRuns", order_by="run_after")["dag_runs"]
        if len(runs) >= count:
            return [run["dag_run_id"] for run in runs]
        assert time.monotonic() < deadline, f"{len(runs)} runs of {dag_id} after {timeout} s"
        time.sleep(0.3)


@pytest.mark.live_airflow
def test_a_dag_runs_whenever_more_items_are_labeled_and_none_waits(airflow: Airflow, label_studio_conn_id: str) -> None:
    hook = LabelStudioHook(label_studio_conn_id)
    run_key = f"events/{uuid4()}"
    project = hook.create_project(title="Events", run_key=run_key, label_schema=SCHEMA)
    items = [{"image": f"https://example.com/{number}.jpg"} for number in range(5)]
    hook.client.request("POST", f"/api/projects/{project.id}/import", json=items)
    tasks = hook.client.request("GET", "/api/tasks/", params={"project": project.id}).json()["tasks"]

    def label(count: int) -> None:
        for _ in range(count):
            path = f"/api/tasks/{tasks.pop()['id']}/annotations/"
            hook.client.request("POST", path, json={"result": [LABELED]})

    source = Path(__file__).with_name("dag_of_events.py").read_text()
    airflow.add_dag_file("dag_of_events.py", source.replace('"events"  # the', f'"{run_key}"  # the'))
    airflow.wait_for_dag("events")
    label(2)
    (first,) = wait_for_runs(airflow, "events", 1)
    assert airflow.wait_for_run("events", first) == "success"
    label(3)
    _, second = wait_for_runs(airflow, "events", 2)
    assert airflow.wait_for_run("events", second) == "success"
    payloads = [payload for run in (first, second) for payload in airflow.xcom("events", run, "what_is_new")]
    assert [payload["event_id"] for payload in payloads] == [f"{project.uri}?every=2#{number}" for number in (1, 2)]
    assert {(payload["project_id"], payload["run_key"]) for payload in payloads} == {(project.id, run_key)}
    # What has been told is kept where a triggerer that starts again finds it.
    deadline = time.monotonic() + 60
    query = text("SELECT value FROM asset_state_store WHERE key LIKE :key")
    with create_engine(airflow.database, isolation_level="AUTOCOMMIT").connect() as database:
        while '"generation": 2' not in str(kept := database.execute(query, {"key": f"{project.uri}?%"}).fetchall()):
            assert time.monotonic() < deadline, kept
            time.sleep(0.3)
    hook.delete_project(project.id)
