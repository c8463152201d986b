"""A DAG of this provider's tasks that runs itself with ``dag.test()`` and prints what became of it."""

from __future__ import annotations

import threading
import time
from typing import Any

from airflow.sdk import DAG, task

from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.operators.project import CreateAnnotationProjectOperator, DeleteAnnotationProjectOperator
from airflow_annotation.sensors.annotation import AnnotationSensor

LABELED = {"from_name": "weather", "to_name": "image", "type": "choices", "value": {"choices": ["sun"]}}


def label(project_id: str) -> None:
    """Label all items of the project once the sensor has looked at it, and waits in the triggerer."""
    while not is_deferred("wait"):
        time.sleep(0.1)
    client = LabelStudioHook("label_studio_test").client
    tasks = client.request("GET", "/api/tasks/", params={"project": project_id}).json()["tasks"]
    for item in tasks:
        client.request("POST", f"/api/tasks/{item['id']}/annotations/", json={"result": [LABELED]})


def is_deferred(task_id: str) -> bool:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    with create_session() as session:
        # Its state is another one again by now: ``dag.test()`` runs triggers itself.
        return session.query(TaskInstance).filter_by(task_id=task_id, next_method="execute_complete").count() > 0


with DAG(
    "cycle",
    schedule=None,
    default_args={"annotation_conn_id": "label_studio_test", "poke_interval": 0.2, "timeout": 600, "retries": 0},
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
        threading.Thread(target=label, args=[project["id"]], daemon=True).start()

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
