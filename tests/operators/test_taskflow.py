from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_annotation.hooks.annotation import AnnotationHook
from devtools.label_studio import LabelStudio
from tests.support.dag_outcome import find_outcome

DAG_FILE = Path(__file__).with_name("dag_of_taskflow.py")


@pytest.fixture(scope="session")
def outcome(label_studio: LabelStudio, label_studio_conn_id: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What became of ``dag_of_taskflow``."""
    return find_outcome(DAG_FILE, tmp_path_factory.mktemp("airflow"))


@pytest.mark.live_airflow
def test_tasks_take_what_others_return_whole_and_by_key(outcome: Any) -> None:
    returned = outcome["returned"]
    failed = {task for task, state in outcome["tasks"].items() if state not in {"success", "skipped"}}
    assert failed == {"cycle.label[1]", "cycle.wait[1]"}, outcome["log"][-10_000:]
    landed = {"items": 5, "annotations": 5, "labels": 3}
    assert returned["tell[-1]"] == [returned["create[-1]"]["uri"], 3, 1.0, landed, {"images": 5, "objects": 3}]


@pytest.mark.live_airflow
def test_a_mapped_group_has_a_project_for_each_index(outcome: Any) -> None:
    returned = outcome["returned"]
    projects = {returned[f"{task}[{index}]"]["id"] for task in ("cycle.create", "cycle.upload") for index in (0, 1)}
    assert len(projects) == 2
    assert returned["cycle.wait[0]"]["total"] == returned["cycle.label[0]"] == 1


@pytest.mark.live_airflow
def test_teardowns_delete_the_projects_also_of_labeling_that_failed(outcome: Any, label_studio_conn_id: str) -> None:
    returned = outcome["returned"]
    assert [returned[f"{task}"] for task in ("delete[-1]", "cycle.delete[0]", "cycle.delete[1]")] == [True] * 3
    assert list(AnnotationHook.for_connection(label_studio_conn_id).list_runs(prefix="taskflow/")) == []
    assert outcome["state"] == "failed"  # which a teardown that succeeds does not hide


@pytest.mark.live_airflow
def test_the_project_of_a_task_that_made_none_is_not_the_dag_runs(outcome: Any) -> None:
    assert outcome["tasks"]["create_none[-1]"] == "skipped"
    assert outcome["returned"]["delete_none[-1]"] is False
    assert outcome["returned"]["delete[-1]"] is True
