from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from devtools.airflow import Airflow
from devtools.processes import REPOSITORY, wait_until
from tests.dags.people import People

pytestmark = pytest.mark.live_airflow

DAG_ID = "approve_landing"
PHOTOS = str(REPOSITORY / "demo" / "photos" / "c*.jpg")


@pytest.mark.parametrize(
    ("people", "answer", "landing"),
    [("label_studio", "Approve", "success"), ("labelbox", "Reject", "skipped")],
    indirect=["people"],
)
def test_labels_go_into_the_database_when_a_person_says_so(
    airflow: Airflow, people: People, answer: str, landing: str, tmp_path: Path
) -> None:
    airflow.wait_for_dag(DAG_ID)
    run_id = airflow.trigger(
        DAG_ID, {"annotation_conn_id": people.conn_id, "photos": PHOTOS, "dataset": f"{tmp_path.as_uri()}/dataset"}
    )
    question: dict[str, Any] = {}
    labeled = False
    path = f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"
    for states in airflow.watch(DAG_ID, run_id):
        if states.get("wait_for_labels") == "deferred" and not labeled:
            people.label(airflow.xcom(DAG_ID, run_id, "create_project")["id"], lambda _: {"scene": "outdoors"})
            labeled = True
        if states.get("approve") in ("deferred", "awaiting_input") and not question:
            question = airflow.get(path)
            wait_until(lambda: waiting(airflow, run_id), processes={}, what="The scheduler", timeout=300)
            airflow.client.patch(path, json={"chosen_options": [answer], "params_input": {}}).raise_for_status()
    states = {task_id: task["state"] for task_id, task in airflow.tasks(DAG_ID, run_id).items()}
    logs = "\n".join(airflow.task_log(DAG_ID, run_id, task) for task, state in states.items() if state == "failed")
    assert states.pop("labels_to_sql") == landing, logs
    assert set(states.values()) == {"success"}
    landed = airflow.xcom(DAG_ID, run_id, "labels_to_dataset")
    assert f"{landed['rows']['labels']} labels on {landed['rows']['items']} photos" in question["body"]
    assert airflow.xcom(DAG_ID, run_id, "create_project")["url"] in question["body"]


def waiting(airflow: Airflow, run_id: str) -> bool:
    """Return whether the scheduler knows that the task waits: an answer before that, faster than people's, fails it."""
    line = f"TaskInstance Finished: dag_id={DAG_ID}, task_id=approve, run_id={run_id}"
    return line in (Path(airflow.home) / "scheduler.log").read_text()
