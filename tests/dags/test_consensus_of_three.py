from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path, PurePosixPath
from typing import Any

import httpx
import pytest

from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.hooks.label_studio import LabelStudioHook
from devtools.airflow import Airflow
from devtools.label_studio import LabelStudio
from devtools.processes import REPOSITORY
from tests.support.second_person import second_person

pytestmark = pytest.mark.live_airflow

DAG_ID = "consensus_of_three"
PHOTOS = REPOSITORY / "demo" / "photos"
OPINIONS = {
    "c": ["outdoors", "outdoors", "outdoors"],
    "p": ["indoors", "outdoors", "indoors"],
    "m": ["indoors", "outdoors", "unclear"],
}
"""What each of three people says of the photos whose names begin so."""


def test_the_consensus_of_three_people_lands_and_their_disagreements_are_listed(
    airflow: Airflow, label_studio: LabelStudio, label_studio_conn_id: str, tmp_path: Path
) -> None:
    airflow.wait_for_dag(DAG_ID)
    photos = {path.name: OPINIONS[path.name[0]] for path in PHOTOS.glob("[cmp]*.jpg")}
    assert {opinions[2] for opinions in photos.values()} == {"outdoors", "indoors", "unclear"}
    conf = {
        "annotation_conn_id": label_studio_conn_id,
        "photos": f"{PHOTOS}/[cmp]*.jpg",
        "dataset": tmp_path.as_uri(),
    }
    run_id = airflow.trigger(DAG_ID, conf)
    labeled = False
    for states in airflow.watch(DAG_ID, run_id):
        if states.get("wait_for_three") == "deferred" and not labeled:
            label(label_studio, label_studio_conn_id, airflow.xcom(DAG_ID, run_id, "create_project")["id"], photos)
            labeled = True
    states = {task_id: task["state"] for task_id, task in airflow.tasks(DAG_ID, run_id).items()}
    logs = "\n".join(airflow.task_log(DAG_ID, run_id, task) for task, state in states.items() if state == "failed")
    assert set(states.values()) == {"success"}, logs

    tables = read_dataset(airflow.xcom(DAG_ID, run_id, "consensus_to_dataset")["target"])
    agreed = {PurePosixPath(row["item_key"]).name: row["label"] for row in tables["labels"].to_pylist()}
    assert agreed == {name: opinions[0] for name, opinions in photos.items() if not name.startswith("m")}
    disagreed = {name for name in photos if name.startswith("m")}
    assert {PurePosixPath(key).name for key in airflow.xcom(DAG_ID, run_id, "list_disagreements")} == disagreed
    settle = airflow.xcom(DAG_ID, run_id, "disagreements_to_dataset")
    assert settle["rows"] == {"items": len(disagreed), "annotations": 3 * len(disagreed), "labels": 3 * len(disagreed)}


def label(server: LabelStudio, conn_id: str, project_id: str, photos: dict[str, list[str]]) -> None:
    """Let three people say what they think of each photo."""
    hook = LabelStudioHook(conn_id)
    owner = httpx.Client(base_url=server.url, headers={"Authorization": f"Token {server.api_key}"}, timeout=30)
    with ExitStack() as stack:
        people = [stack.enter_context(closing(one)) for one in (owner, second_person(hook), second_person(hook))]
        tasks: list[dict[str, Any]] = owner.get("/api/tasks", params={"project": project_id}).json()["tasks"]
        for task in tasks:
            for person, opinion in zip(people, photos[PurePosixPath(task["data"]["item_key"]).name], strict=True):
                scene = {"from_name": "scene", "to_name": "image", "type": "choices", "value": {"choices": [opinion]}}
                person.post(f"/api/tasks/{task['id']}/annotations/", json={"result": [scene]}).raise_for_status()
