from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pyarrow.compute as pc
import pytest

from airflow_annotation.formats.parquet import read_dataset
from tests.servers.airflow import Airflow
from tests.servers.label_studio import LabelStudio
from tests.servers.processes import REPOSITORY

pytestmark = pytest.mark.live_airflow

DAG_ID = "correct_predictions"
PHOTOS = REPOSITORY / "demo" / "photos"
EDITED, DELETED, ADDED = "astronaut", "cat", "coffee"
"""Photos whose prediction a person edits, deletes, and adds another box to; the others are accepted as they are."""


def correct(label_studio: LabelStudio, project_id: str) -> None:
    """Play the person who is shown the predictions and corrects some of them."""
    headers = {"Authorization": f"Token {label_studio.api_key}"}
    with httpx.Client(base_url=label_studio.url, headers=headers, timeout=30) as client:
        while (task := client.get(f"/api/projects/{project_id}/next")).status_code != httpx.codes.NOT_FOUND:
            (prediction,) = task.raise_for_status().json()["predictions"]
            result: list[dict[str, Any]] = prediction["result"]
            photo = Path(task.json()["data"]["item_key"]).stem
            if photo == EDITED:
                result[0]["value"]["rectanglelabels"] = ["distraction"]
            elif photo == DELETED:
                result.clear()
            elif photo == ADDED:
                result.append({**result[0], "id": "added"})
            answer = {"result": result, "parent_prediction": prediction["id"], "lead_time": 2.5}
            client.post(f"/api/tasks/{task.json()['id']}/annotations/", json=answer).raise_for_status()


def test_predictions_go_to_people_and_come_back_corrected(
    airflow: Airflow, label_studio: LabelStudio, tmp_path: Path
) -> None:
    airflow.wait_for_dag(DAG_ID)
    run_id = airflow.trigger(DAG_ID, {"photos": str(PHOTOS / "*.jpg"), "dataset": tmp_path.as_uri()})
    corrected = False
    for states in airflow.watch(DAG_ID, run_id):
        if states.get("wait_for_corrections") == "deferred" and not corrected:
            correct(label_studio, airflow.xcom(DAG_ID, run_id, "create_project")["id"])
            corrected = True
    states = {task_id: task["state"] for task_id, task in airflow.tasks(DAG_ID, run_id).items()}
    logs = "\n".join(airflow.task_log(DAG_ID, run_id, task) for task, state in states.items() if state == "failed")
    assert set(states.values()) == {"success"}, logs

    photos = len(list(PHOTOS.glob("*.jpg")))
    assert airflow.xcom(DAG_ID, run_id, "upload_predictions")["uploaded"] == photos
    assert airflow.xcom(DAG_ID, run_id, "count_changes") == {
        "unchanged": photos - 2,
        "changed": 1,
        "deleted": 1,
        "added": 1,
    }
    tables = read_dataset(str(tmp_path))
    assert {item["status"] for item in tables["items"].to_pylist()} == {"labeled"}
    people = tables["labels"].filter(pc.field("origin") == "person").to_pylist()
    boxes = {photo: [row["label"] for row in people if Path(row["item_key"]).stem == photo] for photo in _stems()}
    assert boxes == {photo: ["subject"] for photo in _stems()} | {
        EDITED: ["distraction"],
        DELETED: [],
        ADDED: ["subject", "subject"],
    }
    scores = [json.loads(row["attributes"])["score"] for row in people]
    assert all(0 < score < 1 for score in scores)


def _stems() -> list[str]:
    return [path.stem for path in PHOTOS.glob("*.jpg")]
