"""A cycle by a connection with secrets of its own, and tasks that fail with the wrong ones or try to tell them."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import DAG, task

from airflow_annotation.hooks.annotation import AnnotationHook
from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.operators.project import CreateAnnotationProjectOperator, DeleteAnnotationProjectOperator
from airflow_annotation.sensors.annotation import AnnotationSensor
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator

SCHEMA: dict[str, Any] = {"weather": {"type": "classification", "classes": ["sun", "rain"]}}


@task
def tell(conn_id: str) -> None:
    """Do what no task should."""
    hook: Any = AnnotationHook.for_connection(conn_id)
    connection = hook.get_connection(conn_id)
    print("Printed:", connection.password, connection.extra)  # noqa: T201
    logging.getLogger(__name__).info("Logged: %s", connection.extra_dejson)
    raise RuntimeError(f"Raised: {connection.password}")


with DAG("secrets", schedule=None, params={"photos": "", "dataset": ""}, default_args={"retries": 0}):
    create = CreateAnnotationProjectOperator(task_id="create", annotation_conn_id="with_secrets", label_schema=SCHEMA)
    upload = UploadMediaOperator(
        task_id="upload", annotation_conn_id="with_secrets", media="{{ params.photos }}", media_access="upload"
    )
    wait = AnnotationSensor(
        task_id="wait",
        annotation_conn_id="with_secrets",
        deferrable=True,
        poke_interval=1,
        timeout=3,
        on_timeout="proceed",
    )
    land = AnnotationsToObjectStorageOperator(
        task_id="land", annotation_conn_id="with_secrets", target="{{ params.dataset }}"
    )
    delete = DeleteAnnotationProjectOperator(task_id="delete", annotation_conn_id="with_secrets")
    create >> upload >> wait >> land >> delete
    land >> tell("with_secrets")

    for conn_id in ("with_wrong_key", "with_wrong_labelbox_key"):
        CreateAnnotationProjectOperator(
            task_id=f"create_{conn_id}", annotation_conn_id=conn_id, run_key="secrets", label_schema=SCHEMA
        )
        AnnotationSensor(task_id=f"wait_{conn_id}", annotation_conn_id=conn_id, project="1", deferrable=True, timeout=5)
