"""A DAG of this provider's tasks that runs itself with ``dag.test()`` and prints what became of it."""

from __future__ import annotations

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
    from tests.support.dag_outcome import print_outcome

    print_outcome(dag)
