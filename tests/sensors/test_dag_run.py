"""Tasks of this provider in DAG runs: Airflow's own machinery maps, templates, defers, resumes and links them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_annotation.operators.project import CreateAnnotationProjectOperator, DeleteAnnotationProjectOperator
from airflow_annotation.sensors.annotation import AnnotationSensor
from devtools.label_studio import LabelStudio
from tests.support.dag_outcome import find_outcome
from tests.support.stored_dag import store_and_read_back

DAG_FILE = Path(__file__).with_name("dag_of_cycle.py")


@pytest.fixture(scope="session")
def outcome(label_studio: LabelStudio, label_studio_conn_id: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What became of ``dag_of_cycle``, run by ``dag.test()`` in an Airflow home of its own."""
    return find_outcome(DAG_FILE, tmp_path_factory.mktemp("airflow"))


@pytest.mark.live_airflow
def test_a_deferrable_sensor_waits_and_all_tasks_succeed(outcome: Any) -> None:
    assert outcome["state"] == "success", outcome["log"][-10_000:]
    assert set(outcome["tasks"].values()) == {"success"}
    assert "Pausing task as DEFERRED" in outcome["log"]
    waited = outcome["returned"]["wait[-1]"]
    assert (waited["total"], waited["completed"], waited["timed_out"]) == (2, 2, False)


@pytest.mark.live_airflow
def test_mapped_tasks_have_a_project_each(outcome: Any) -> None:
    first, second = (outcome["returned"][f"create_each[{index}]"] for index in (0, 1))
    assert first["id"] != second["id"]
    assert (first["run_key"][-5:], second["run_key"][-5:]) == ("/of 0", "/of 1")
    assert outcome["returned"]["wait_each[1]"]["total"] == 0
    assert outcome["returned"]["delete_each[0]"] is outcome["returned"]["delete_each[1]"] is True


@pytest.mark.live_airflow
def test_the_teardown_deletes_the_project_of_the_run(outcome: Any) -> None:
    assert outcome["returned"]["create[-1]"]["run_key"].startswith("cycle/manual__")
    assert outcome["returned"]["delete[-1]"] is True


@pytest.mark.live_airflow
def test_the_link_opens_each_tasks_own_project(outcome: Any) -> None:
    for waiting, made in (("wait[-1]", "create[-1]"), ("wait_each[0]", "create_each[0]")):
        assert outcome["links"][waiting] == outcome["links"][made] == outcome["returned"][made]["url"]
    assert not any(task.startswith("delete") for task in outcome["links"])


def test_a_dag_with_every_argument_can_be_stored_and_read_back() -> None:
    schema = {"objects": {"type": "detections", "classes": ["car"]}}
    with DAG("every", schedule=None) as dag:
        create = CreateAnnotationProjectOperator(
            task_id="create",
            title="{{ dag.dag_id }}",
            label_schema=schema,
            description="Cars",
            project_settings={"maximum_annotations": 2},
            if_exists="update",
            run_key="{{ run_id }}",
            annotation_conn_id="tool",
        )
        wait = AnnotationSensor(
            task_id="wait",
            project=create.output,
            min_completed=0.9,
            count_skipped=True,
            on_timeout="proceed",
            on_empty="wait",
            on_missing="skip",
            max_outage=60,
            deferrable=True,
            mode="reschedule",
            exponential_backoff=True,
            max_wait=60,
            soft_fail=True,
            pool="annotators",
        )
        each = AnnotationSensor.partial(task_id="each", min_completed=1).expand(project=["1", "2"])
        delete = DeleteAnnotationProjectOperator(task_id="delete", project=create.output).as_teardown(setups=create)
        [wait, each] >> delete
    stored = store_and_read_back(dag)
    assert stored.get_task("create").label_schema == schema
    assert stored.get_task("create").upstream_task_ids == set()
    assert stored.get_task("wait").min_completed == 0.9
    assert stored.get_task("wait").reschedule is True
    assert stored.get_task("wait").upstream_task_ids == {"create"}
    assert stored.get_task("delete").is_teardown
    for task_id in ("create", "wait", "each"):
        assert stored.get_task(task_id).extra_links == ["Open project"]
