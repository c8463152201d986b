from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from airflow_annotation.formats.parquet import read_dataset
from demo.annotator import ANSWERS, annotate
from tests.conftest import EXAMPLE_DAGS
from tests.servers.airflow import Airflow
from tests.servers.label_studio import LabelStudio
from tests.servers.processes import REPOSITORY

pytestmark = pytest.mark.live_airflow

DAG_ID = "annotate_images"
IN_WORKER = "annotate_images_in_worker"
"""The same, but holding a worker while it waits."""
PHOTOS = REPOSITORY / "demo" / "photos"


@pytest.mark.parametrize(("dag_id", "waits_as"), [(DAG_ID, "deferred"), (IN_WORKER, "running")])
def test_a_whole_cycle_lands_what_people_drew(
    dag_id: str, waits_as: str, airflow: Airflow, label_studio: LabelStudio, tmp_path: Path
) -> None:
    answers = json.loads(ANSWERS.read_text())
    if dag_id == IN_WORKER:
        example = (EXAMPLE_DAGS / f"{DAG_ID}.py").read_text()
        waiting = example.replace("deferrable=True", "deferrable=False").replace(f'"{DAG_ID}"', f'"{IN_WORKER}"')
        airflow.add_dag_file(f"{IN_WORKER}.py", waiting)
    airflow.wait_for_dag(dag_id)
    run_id = airflow.trigger(dag_id, {"photos": str(PHOTOS / "*.jpg"), "dataset": tmp_path.as_uri()})
    waited_as = set()
    labeled: list[str] = []
    for states in airflow.watch(dag_id, run_id):
        waited_as.add(states.get("wait_for_labels"))
        if states.get("wait_for_labels") == waits_as and not labeled:
            project = airflow.xcom(dag_id, run_id, "create_project")
            labeled += annotate(label_studio.url, label_studio.api_key, project["id"])
    states = {task_id: task["state"] for task_id, task in airflow.tasks(dag_id, run_id).items()}
    logs = "\n".join(airflow.task_log(dag_id, run_id, task) for task, state in states.items() if state == "failed")
    assert set(states.values()) == {"success"}, logs
    assert sorted(labeled) == sorted(answers)
    assert ("deferred" in waited_as) == (waits_as == "deferred")

    tables = read_dataset(airflow.xcom(dag_id, run_id, "labels_to_dataset")["target"])
    status = {Path(row["item_key"]).stem: row["status"] for row in tables["items"].to_pylist()}
    assert status == {photo: "skipped" if answer == "skip" else "labeled" for photo, answer in answers.items()}
    drawn = sorted(
        (Path(row["item_key"]).stem, row["label"], *(round(100 * number, 6) for number in row["bbox"]))
        for row in tables["labels"].to_pylist()
        if row["field"] == "objects"
    )
    assert drawn == sorted(
        (photo, box["label"], *map(float, (box["x"], box["y"], box["width"], box["height"])))
        for photo, answer in answers.items()
        if answer != "skip"
        for box in answer["objects"]
    )
    with closing(sqlite3.connect(Path(airflow.home) / "annotations.db")) as database:
        for name, table in tables.items():
            query = f"SELECT count(*) FROM {name} WHERE project = ?"
            assert database.execute(query, [tables["items"]["project"][0].as_py()]).fetchone() == (table.num_rows,)


def test_the_test_button_says_whom_the_connection_reached(airflow: Airflow, label_studio: LabelStudio) -> None:
    connection = {
        "connection_id": "tried_out",
        "conn_type": "label_studio",
        "host": label_studio.url,
        "password": label_studio.api_key,
    }
    answer = airflow.client.post("/connections/test", json=connection).raise_for_status().json()
    assert answer["status"], answer
    assert "annotator@example.com" in answer["message"]
    answer = airflow.client.post("/connections/test", json=connection | {"password": "wrong"}).raise_for_status().json()
    assert not answer["status"]


def test_the_connection_form_has_fields_of_its_own(airflow: Airflow) -> None:
    forms = httpx.get(
        f"{airflow.url}/ui/connections/hook_meta", headers=dict(airflow.client.headers), timeout=30
    ).raise_for_status()
    form = next(form for form in forms.json() if form["connection_type"] == "label_studio")
    assert form["hook_name"] == "Label Studio"
    assert form["standard_fields"]["password"]["title"]
    assert form["extra_fields"]
