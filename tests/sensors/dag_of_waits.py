"""A DAG whose sensors wait for people, each in another way."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import DAG, task

from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.notifications.annotation import AnnotationNotifier
from airflow_annotation.operators.project import CreateAnnotationProjectOperator
from airflow_annotation.sensors.annotation import AnnotationSensor


def tell(context: Any) -> None:
    """Say in the task's log what a notifier would send."""
    logging.getLogger(__name__).warning("Told: %s", context["annotation"].message)


with DAG(
    "waits", schedule=None, default_args={"annotation_conn_id": "label_studio_test", "poke_interval": 1, "retries": 0}
):
    create = CreateAnnotationProjectOperator(
        task_id="create", label_field="weather", label_type="classification", classes=["sun", "rain"]
    )

    @task
    def bring(project: dict[str, Any]) -> None:
        items = [{"image": f"https://example.com/{number}.jpg"} for number in range(2)]
        LabelStudioHook("label_studio_test").client.request("POST", f"/api/projects/{project['id']}/import", json=items)

    project: Any = create.output
    bring(project) >> [
        AnnotationSensor(task_id="deferred", deferrable=True, timeout=600),
        AnnotationSensor(task_id="rescheduled", mode="reschedule", timeout=600, poke_interval=15),
        AnnotationSensor(task_id="impatient", deferrable=True, timeout=2),
        AnnotationSensor(
            task_id="stalled", deferrable=True, stalled_after=1, on_failure_callback=AnnotationNotifier(tell)
        ),
        AnnotationSensor(task_id="proceeding", deferrable=True, timeout=2, on_timeout="proceed"),
        AnnotationSensor(task_id="soft", deferrable=True, timeout=2, soft_fail=True),
        AnnotationSensor(task_id="of_gone_project", project="99999999", deferrable=True),
    ]
