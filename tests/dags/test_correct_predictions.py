from __future__ import annotations

import json
from pathlib import Path

import pyarrow.compute as pc
import pytest

from airflow_annotation.datasets.parquet import read_dataset
from devtools.airflow import Airflow
from devtools.processes import REPOSITORY
from tests.dags.people import LabelStudioPeople, People

pytestmark = pytest.mark.live_airflow

DAG_ID = "correct_predictions"
PHOTOS = REPOSITORY / "demo" / "photos"
EDITED, DELETED, ADDED = "astronaut", "cat", "coffee"
"""Photos whose prediction a person edits, deletes, and adds another box to; the others are accepted as they are."""


def test_predictions_go_to_people_and_come_back_corrected(airflow: Airflow, people: People, tmp_path: Path) -> None:
    airflow.wait_for_dag(DAG_ID)
    conf = {"annotation_conn_id": people.conn_id, "photos": str(PHOTOS / "*.jpg"), "dataset": tmp_path.as_uri()}
    run_id = airflow.trigger(DAG_ID, conf)
    corrected = False
    for states in airflow.watch(DAG_ID, run_id):
        if states.get("wait_for_corrections") == "deferred" and not corrected:
            project = airflow.xcom(DAG_ID, run_id, "create_project")
            people.correct(project["id"], edited=EDITED, deleted=DELETED, added=ADDED)
            corrected = True
    states = {task_id: task["state"] for task_id, task in airflow.tasks(DAG_ID, run_id).items()}
    logs = "\n".join(airflow.task_log(DAG_ID, run_id, task) for task, state in states.items() if state == "failed")
    assert set(states.values()) == {"success"}, logs

    photos = len(list(PHOTOS.glob("*.jpg")))
    assert airflow.xcom(DAG_ID, run_id, "upload_predictions")["uploaded"] == photos
    tables = read_dataset(str(tmp_path))
    assert {item["status"] for item in tables["items"].to_pylist()} == {people.done}
    labels = tables["labels"].filter(pc.field("origin") == "person").to_pylist()
    boxes = {photo: [row["label"] for row in labels if Path(row["item_key"]).stem == photo] for photo in _stems()}
    assert boxes == {photo: ["subject"] for photo in _stems()} | {
        EDITED: ["distraction"],
        DELETED: [],
        ADDED: ["subject", "subject"],
    }
    changes = airflow.xcom(DAG_ID, run_id, "count_changes")
    if isinstance(people, LabelStudioPeople):
        assert changes == {"unchanged": photos - 2, "changed": 1, "deleted": 1, "added": 1}
        scores = [json.loads(row["attributes"])["score"] for row in labels]
        assert all(0 < score < 1 for score in scores)
    else:
        assert changes == {"added": len(labels)}, "Labelbox does not export what people started from"


def _stems() -> list[str]:
    return [path.stem for path in PHOTOS.glob("*.jpg")]
