from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from airflow_annotation.datasets.parquet import read_dataset
from demo.annotator import ANSWERS, photo_answer
from devtools.airflow import Airflow
from devtools.label_studio import LabelStudio
from devtools.processes import REPOSITORY
from tests.dags.people import LabelStudioPeople, People
from tests.servers.labelbox.process import LabelboxProcess

pytestmark = pytest.mark.live_airflow

DAG_ID = "annotate_images"
IN_WORKER = "annotate_images_in_worker"
"""The same, but holding a worker while it waits."""
PHOTOS = REPOSITORY / "demo" / "photos"


def test_a_whole_cycle_lands_what_people_drew_in_any_tool(airflow: Airflow, people: People, tmp_path: Path) -> None:
    check_cycle(DAG_ID, "deferred", airflow, people, tmp_path)


def test_a_cycle_may_hold_a_worker_while_it_waits(airflow: Airflow, label_studio: LabelStudio, tmp_path: Path) -> None:
    example = (REPOSITORY / "dags" / f"{DAG_ID}.py").read_text()
    waiting = example.replace("deferrable=True", "deferrable=False").replace(f'"{DAG_ID}"', f'"{IN_WORKER}"')
    airflow.add_dag_file(f"{IN_WORKER}.py", waiting)
    check_cycle(IN_WORKER, "running", airflow, LabelStudioPeople(label_studio), tmp_path)


def check_cycle(dag_id: str, waits_as: str, airflow: Airflow, people: People, folder: Path) -> None:
    """Run a DAG, label while it waits, and compare what landed with what was drawn.

    :param waits_as: state of the task that waits
    """
    answers = json.loads(ANSWERS.read_text())
    airflow.wait_for_dag(dag_id)
    conf = {
        "annotation_conn_id": people.conn_id,
        "photos": str(PHOTOS / "*.jpg"),
        "dataset": folder.as_uri(),
    }
    run_id = airflow.trigger(dag_id, conf)
    waited_as = set()
    labeled: list[str] = []
    for states in airflow.watch(dag_id, run_id):
        waited_as.add(states.get("wait_for_labels"))
        if states.get("wait_for_labels") == waits_as and not labeled:
            project = airflow.xcom(dag_id, run_id, "create_project")
            labeled += people.label(project["id"], photo_answer)
    states = {task_id: task["state"] for task_id, task in airflow.tasks(dag_id, run_id).items()}
    logs = "\n".join(airflow.task_log(dag_id, run_id, task) for task, state in states.items() if state == "failed")
    assert set(states.values()) == {"success"}, logs
    assert sorted(labeled) == sorted(answers)
    assert ("deferred" in waited_as) == (waits_as == "deferred")

    tables = read_dataset(airflow.xcom(dag_id, run_id, "labels_to_dataset")["target"])
    status = {Path(row["item_key"]).stem: row["status"] for row in tables["items"].to_pylist()}
    assert status == {photo: "skipped" if answer == "skip" else people.done for photo, answer in answers.items()}
    drawn = sorted(
        (Path(row["item_key"]).stem, row["label"], *(round(100 * number, 4) for number in row["bbox"]))
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


@pytest.mark.parametrize("tool", ["label_studio", "labelbox"])
def test_the_test_button_says_whom_the_connection_reached(
    tool: str, airflow: Airflow, label_studio: LabelStudio, labelbox_process: LabelboxProcess
) -> None:
    server = label_studio if tool == "label_studio" else labelbox_process
    connection = {
        "connection_id": "tried_out",
        "conn_type": tool,
        "host": server.url,
        "password": server.api_key,
    }
    answer = airflow.client.post("/connections/test", json=connection).raise_for_status().json()
    assert answer["status"], answer
    assert {"label_studio": "annotator@example.com", "labelbox": "owner@example.com"}[tool] in answer["message"]
    answer = airflow.client.post("/connections/test", json=connection | {"password": "wrong"}).raise_for_status().json()
    assert not answer["status"]


@pytest.mark.parametrize(("tool", "name"), [("label_studio", "Label Studio"), ("labelbox", "Labelbox")])
def test_the_connection_form_has_fields_of_its_own(tool: str, name: str, airflow: Airflow) -> None:
    forms = httpx.get(
        f"{airflow.url}/ui/connections/hook_meta", headers=dict(airflow.client.headers), timeout=30
    ).raise_for_status()
    form = next(form for form in forms.json() if form["connection_type"] == tool)
    assert form["hook_name"] == name
    assert form["standard_fields"]["password"]["title"]
    assert form["extra_fields"]
