"""Sensors in a real Airflow, with its scheduler and triggerer, on a live Label Studio."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_annotation.hooks.label_studio import LabelStudioHook
from devtools.airflow import Airflow
from devtools.label_studio import LabelStudio

LABELED = {"from_name": "weather", "to_name": "image", "type": "choices", "value": {"choices": ["sun"]}}
DECIDED = {
    "impatient": "failed",
    "stalled": "failed",
    "proceeding": "success",
    "soft": "skipped",
    "of_gone_project": "failed",
}


@pytest.mark.live_airflow
def test_sensors_wait_without_a_worker_and_end_as_they_are_asked_to(
    airflow: Airflow, label_studio: LabelStudio, label_studio_conn_id: str
) -> None:
    airflow.add_dag_file("dag_of_waits.py", Path(__file__).with_name("dag_of_waits.py").read_text())
    client = LabelStudioHook(label_studio_conn_id).client
    airflow.wait_for_dag("waits")
    run_id = airflow.trigger("waits")
    seen: dict[str, set[str | None]] = {}
    labeled = False
    for states in airflow.watch("waits", run_id):
        for task_id, state in states.items():
            seen.setdefault(task_id, set()).add(state)
        waiting = states.get("deferred") == "deferred" and {"up_for_reschedule"} <= seen["rescheduled"]
        if not labeled and waiting and all(states[task_id] == state for task_id, state in DECIDED.items()):
            project = airflow.xcom("waits", run_id, "create")
            links = airflow.get(f"/dags/waits/dagRuns/{run_id}/taskInstances/deferred/links")
            assert links["extra_links"] == {"Open project": project["url"]}
            tasks = client.request("GET", "/api/tasks/", params={"project": project["id"]}).json()["tasks"]
            for task in tasks:
                client.request("POST", f"/api/tasks/{task['id']}/annotations/", json={"result": [LABELED]})
            labeled = True
    log = {task_id: airflow.task_log("waits", run_id, task_id) for task_id in seen}
    states = {task_id: task["state"] for task_id, task in airflow.tasks("waits", run_id).items()}
    expected = DECIDED | {"deferred": "success", "rescheduled": "success"}
    if odd := [task_id for task_id in expected if states[task_id] != expected[task_id]]:
        pytest.fail("\n".join(f"{task_id} is {states[task_id]}:\n{log[task_id]}" for task_id in odd))
    for task_id in ("deferred", "rescheduled"):
        assert airflow.xcom("waits", run_id, task_id)["completed"] == 2
    assert airflow.xcom("waits", run_id, "proceeding")["timed_out"] is True
    assert "AirflowSensorTimeout: The sensor timed out after 2 s: 0 of 2 items" in log["impatient"]
    assert "Told: waits.stalled failed: Nothing was labeled for 0:00:" in log["stalled"]
    assert f"0 of 2 items are completed (0.0%). {project['url']}" in log["stalled"]
    assert "AnnotationProjectNotFoundError" in log["of_gone_project"]
    assert "2 of 2 items are completed" in log["deferred"]
    assert label_studio.api_key not in "".join(log.values())
    client.request("DELETE", f"/api/projects/{airflow.xcom('waits', run_id, 'create')['id']}")
