from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from devtools.airflow import Airflow
from devtools.processes import REPOSITORY
from tests.dags.people import People

pytestmark = pytest.mark.live_airflow

DAG_ID = "refresh_nightly_on_demand"
PHOTOS = REPOSITORY / "demo" / "photos"


@pytest.fixture
def nightly(airflow: Airflow) -> str:
    """The example, without the night, which comes too seldom."""
    source = (REPOSITORY / "dags" / "refresh_nightly.py").read_text()
    for found, instead in (
        ('    "refresh_nightly",\n    schedule="@daily"', f'    "{DAG_ID}",\n    schedule=None'),
        ("is_paused_upon_creation=True", "is_paused_upon_creation=False"),
    ):
        assert found in source
        source = source.replace(found, instead)
    airflow.add_dag_file(f"{DAG_ID}.py", source)
    airflow.wait_for_dag(DAG_ID)
    return DAG_ID


def one_cup(_: str) -> dict[str, Any]:
    return {"objects": [{"label": "cup", "x": 10, "y": 20, "width": 30, "height": 40}]}


def test_each_night_lands_what_has_changed_and_a_model_is_trained_on_just_that(
    airflow: Airflow, nightly: str, people: People, tmp_path: Path
) -> None:
    conf = {
        "annotation_conn_id": people.conn_id,
        "run_key": f"nights of {people.conn_id} {tmp_path.name}",
        "photos": f"{PHOTOS}/c*.jpg",
        "dataset": f"{tmp_path.as_uri()}/dataset",
    }

    def night(photos: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        run_id = airflow.trigger(nightly, {**conf, "photos": f"{PHOTOS}/{photos}"})
        state = airflow.wait_for_run(nightly, run_id)
        tasks = airflow.tasks(nightly, run_id)
        logs = "\n".join(
            airflow.task_log(nightly, run_id, name) for name, task in tasks.items() if task["state"] == "failed"
        )
        assert state == "success", logs
        names = ("find_or_create_project", "changes_to_dataset", "changes_to_sql")
        project, dataset, tables = (airflow.xcom(nightly, run_id, name) for name in names)
        return project, dataset, tables

    def trained_on(landing: dict[str, Any]) -> dict[str, Any]:
        told: dict[str, Any] = airflow.xcom_of_a_run(
            "train_when_labels_change",
            "train",
            lambda value: (value["target"], value["version"]) == (landing["target"], landing["version"]),
        )
        return told

    few = len(list(PHOTOS.glob("c*.jpg")))
    all_of_them = len(list(PHOTOS.glob("*.jpg")))
    project, first, _ = night("c*.jpg")
    assert (first["full"], first["rows"]["items"], first["rows"]["labels"]) == (True, few, 0)
    assert trained_on(first)["images"] == few

    people.label(project["id"], one_cup)
    again, second, tables = night("*.jpg")
    assert again["id"] == project["id"]
    assert (second["full"], second["changed_items"], second["rows"]["labels"]) == (False, all_of_them, few)
    assert tables["rows"] == second["rows"]
    trained = trained_on(second)
    assert (trained["images"], trained["labels"]) == (all_of_them, {"cup": few})
    assert trained["labeled_until"] == second["watermark"]

    _, third, _ = night("*.jpg")
    assert (third["changed_items"], third["unchanged_items"], third["version"]) == (0, all_of_them, second["version"])
