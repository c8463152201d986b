"""A DAG of this provider's tasks that runs itself with ``dag.test()`` and prints what became of it as JSON."""

from __future__ import annotations

import json
import threading
from typing import Any

from airflow.sdk import DAG, task

from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.operators.project import CreateAnnotationProjectOperator, DeleteAnnotationProjectOperator
from airflow_annotation.sensors.annotation import AnnotationSensor

LABELED = {"from_name": "weather", "to_name": "image", "type": "choices", "value": {"choices": ["sun"]}}


def label(project_id: str) -> None:
    client = LabelStudioHook("label_studio_test").client
    tasks = client.request("GET", "/api/tasks/", params={"project": project_id}).json()["tasks"]
    for item in tasks:
        client.request("POST", f"/api/tasks/{item['id']}/annotations/", json={"result": [LABELED]})


with DAG(
    "cycle",
    schedule=None,
    default_args={"annotation_conn_id": "label_studio_test", "poke_interval": 0.2, "timeout": 60, "retries": 0},
    params={"class": "rain"},
) as dag:
    create = CreateAnnotationProjectOperator(
        task_id="create",
        label_schema={"weather": {"type": "classification", "classes": ["sun", "{{ params['class'] }}"]}},
    )

    @task
    def bring(project: dict[str, Any]) -> None:
        client = LabelStudioHook("label_studio_test").client
        items = [{"image": f"https://example.com/{number}.jpg"} for number in range(2)]
        client.request("POST", f"/api/projects/{project['id']}/import", json=items)
        threading.Timer(2, label, [project["id"]]).start()

    wait = AnnotationSensor(task_id="wait", deferrable=True)
    delete = DeleteAnnotationProjectOperator(task_id="delete").as_teardown(setups=create)
    project: Any = create.output
    bring(project) >> wait >> delete

    create_each = CreateAnnotationProjectOperator.partial(
        task_id="create_each", run_key="{{ run_id }}/of {{ ti.map_index }}"
    ).expand_kwargs(
        [
            {"label_field": "weather", "label_type": "classification", "classes": ["sun"]},
            {"label_field": "note", "label_type": "text"},
        ]
    )
    wait_each = AnnotationSensor.partial(task_id="wait_each", on_empty="proceed").expand(project=create_each.output)
    delete_each = DeleteAnnotationProjectOperator.partial(task_id="delete_each").expand(project=create_each.output)
    wait_each >> delete_each

if __name__ == "__main__":
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    from tests.sensors.stored_dag import store_and_read_back

    run = dag.test()
    stored = store_and_read_back(dag)
    with create_session() as session:
        xcoms = session.query(XComModel).filter_by(run_id=run.run_id, key="return_value").all()
        outcome = {
            "state": str(run.state),
            "tasks": {f"{ti.task_id}[{ti.map_index}]": str(ti.state) for ti in run.get_task_instances()},
            "returned": {f"{xcom.task_id}[{xcom.map_index}]": xcom.value for xcom in xcoms},
            "links": {
                f"{ti.task_id}[{ti.map_index}]": stored.get_task(ti.task_id).get_extra_links(ti, "Open project")
                for ti in run.get_task_instances()
                if "Open project" in stored.get_task(ti.task_id).extra_links
            },
        }
    print(f"OUTCOME {json.dumps(outcome)}")  # noqa: T201
