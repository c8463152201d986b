"""Landings of Celery's workers, one of which is lost, and the page, where a secrets backend has the connections."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pyarrow as pa
import pytest
from sqlalchemy import create_engine, text

from airflow_annotation.formats.parquet import read_dataset
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import SCHEMAS
from devtools.airflow import Airflow
from devtools.label_studio import LabelStudio
from devtools.processes import ServerError
from tests.deployments.celery_workers import start_worker
from tests.deployments.conftest import Deployment
from tests.transfers.test_s3 import make_bucket

pytestmark = [pytest.mark.deployments, pytest.mark.live_airflow]

ITEMS = 400
SCHEMA = LabelSchema.for_field("weather", "classification", ["sun", "rain"])
PATIENCE = 1800.0


@pytest.fixture(scope="module")
def project(
    deployment: Deployment, label_studio: LabelStudio, label_studio_conn_id: str
) -> Iterator[AnnotationProject]:
    """A project of 400 items, of which every fifth is not labeled, and every seventh is labeled by two."""
    tool = {"conn_type": "label_studio", "host": label_studio.url, "password": label_studio.api_key}
    deployment.add_connection("tool_of_team", tool)
    hook = LabelStudioHook(label_studio_conn_id)
    project = hook.create_project(title="Shards", run_key=f"celery/{uuid4()}", label_schema=SCHEMA)
    says = {"from_name": "weather", "to_name": "image", "type": "choices"}
    results = [{"result": [{**says, "value": {"choices": [choice]}}]} for choice in ("sun", "rain")]
    tasks = [
        {
            "data": {"image": f"https://example.com/{n}.jpg"},
            "annotations": results if n % 7 == 0 else results[n % 2 :][:1] if n % 5 else [],
        }
        for n in range(ITEMS)
    ]
    hook.client.request("POST", f"/api/projects/{project.id}/import", json=tasks)
    yield project
    hook.delete_project(project.id)


def digest(rows: Iterable[Any]) -> str:
    """Return the SHA-256 of rows in any order."""
    lines = sorted(json.dumps(dict(row), sort_keys=True, default=str) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def digest_of_sql(warehouse: str, table: str, schema: pa.Schema) -> tuple[int, str]:
    columns = ", ".join(f'"{name}"' for name in schema.names)
    with create_engine(warehouse).connect() as connection:
        rows = connection.execute(text(f"SELECT {columns} FROM {table}")).mappings().all()
    return len(rows), digest(rows)


def test_two_workers_land_what_one_lands_though_one_of_them_is_lost(
    deployment: Deployment, project: AnnotationProject, s3_conn_id: str, tmp_path: Path
) -> None:
    airflow = deployment.airflow
    airflow.add_dag_file("dag_of_celery.py", Path(__file__).with_name("dag_of_celery.py").read_text())
    airflow.wait_for_dag("celery")
    bucket, sign = f"s3://{s3_conn_id}@{make_bucket(s3_conn_id)}", tmp_path / "sign"
    run_id = airflow.trigger("celery", {"project": project.id, "folder": bucket, "sign": sign.as_uri()})
    wait_for_sign(airflow, run_id, sign)
    (lost,) = [
        worker
        for worker in deployment.workers
        if any({"task_id=sharded_sql.read", "map_index=1"} <= set(path.parts) for path in worker.logs_of(run_id))
    ]
    lost.kill()
    deployment.workers.append(start_worker(airflow, "worker-3"))
    try:
        state = airflow.wait_for_run("celery", run_id, timeout=PATIENCE)
        tasks = airflow.tasks("celery", run_id)
        failed = {task_id for task_id, task in tasks.items() if task["state"] == "failed"}
        logs = [path for worker in deployment.workers for path in worker.logs_of(run_id)]
        said = [path.read_text() for path in logs if failed & {part.removeprefix("task_id=") for part in path.parts}]
        assert state == "success", "\n".join([str(failed), *said])
        assert tasks["sharded_sql.read/1"]["try_number"] == 2
        read = [task_id for task_id in tasks if ".read/" in task_id]
        assert len(read) == 16
        shares = {worker.name: len(worker.logs_of(run_id)) for worker in deployment.workers}
        assert min(shares.values()) >= 1, shares
        print(f"\n{len(tasks)} tasks; tries by worker: {shares}, {lost.name} was killed")  # noqa: T201

        for name, schema in SCHEMAS.items():
            whole, sharded = (
                digest_of_sql(deployment.warehouse, f"{prefix}_{name}", schema) for prefix in ("whole", "sharded")
            )
            assert whole[0] >= ITEMS or name != "items"
            assert sharded == whole, name
        files = {name: read_dataset(f"{bucket}/{name}") for name in ("whole", "sharded")}
        assert len(files["whole"]["items"]) == ITEMS
        for name, table in files["whole"].items():
            assert digest(files["sharded"][name].to_pylist()) == digest(table.to_pylist()), name
    finally:
        deployment.workers.remove(lost)


def wait_for_sign(airflow: Airflow, run_id: str, sign: Path) -> None:
    """Wait until a task leaves a sign.

    :raises ServerError: the run is over without it, or it takes too long
    """
    deadline = time.monotonic() + PATIENCE
    while not sign.exists():
        state = airflow.run_state("celery", run_id)
        if state == "failed" or time.monotonic() > deadline:
            raise ServerError(f"No shard was read, and the run is {state}: {airflow.tasks('celery', run_id)}")
        time.sleep(0.2)


def test_the_page_shows_the_runs_of_connections_that_a_secrets_backend_has(
    deployment: Deployment, project: AnnotationProject
) -> None:
    airflow = deployment.airflow
    assert ask(airflow, "connections").json() == {
        "connections": [{"conn_id": "not_there", "tool": None}, {"conn_id": "tool_of_team", "tool": None}]
    }
    answer = ask(airflow, "runs", conn_id="tool_of_team").json()
    (run,) = [run for run in answer["runs"] if run["project_id"] == project.id]
    assert (answer["tool"], run["total"]) == ("label_studio", ITEMS)
    sample = ask(airflow, "sample", conn_id="tool_of_team", project=project.id).json()
    assert sample["counted"] == 200
    # One that the backend does not have, and one that it has and is of no labeling tool.
    for conn_id in ("not_there", "postgres_test"):
        assert ask(airflow, "runs", conn_id=conn_id).status_code == 404, conn_id
    secrets = json.loads(deployment.secrets.read_text())
    assert secrets["tool_of_team"]["password"] not in json.dumps([answer, sample])


def test_a_key_that_the_secrets_backend_replaces_is_used_at_once(
    deployment: Deployment, project: AnnotationProject
) -> None:
    secrets = json.loads(deployment.secrets.read_text())
    replaced = {**secrets, "tool_of_team": {**secrets["tool_of_team"], "password": "0" * 40}}
    parameters = {"conn_id": "tool_of_team", "project": "999999"}  # which no answer is kept of
    try:
        deployment.secrets.write_text(json.dumps(replaced))
        refused = ask(deployment.airflow, "run", **parameters)
        assert (refused.status_code, "key" in refused.json()["detail"]) == (502, True), refused.text
    finally:
        deployment.secrets.write_text(json.dumps(secrets))
    assert "999999" in ask(deployment.airflow, "run", **parameters).json()["detail"]


def ask(airflow: Airflow, path: str, **parameters: str) -> httpx.Response:
    """Ask as the page does: again, while the tool takes its time."""
    url = f"{airflow.url}/annotation/api/{path}"
    while (answer := httpx.get(url, params=parameters, headers=airflow.login(), timeout=120)).status_code == 503:
        time.sleep(1)
    return answer
