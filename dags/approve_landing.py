"""Let people label photos, and ask a person in Airflow if the labels may go into the database that others query.

The labels first land in a dataset, where the person can look at them. The question says what is in the dataset. After a
"Reject", the database does not change.

Needs the connections ``annotation_default`` to Label Studio or Labelbox and ``annotations_db`` to a database.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG

from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.operators.project import CreateAnnotationProjectOperator
from airflow_annotation.sensors.annotation import AnnotationSensor
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator

QUESTION = """
{% set landed = ti.xcom_pull(task_ids="labels_to_dataset") %}
{{ landed["rows"]["labels"] }} labels on {{ landed["rows"]["items"] }} photos are in `{{ landed["path"] }}`.
People drew them in [this project]({{ ti.xcom_pull(task_ids="create_project")["url"] }}).
"""

with DAG(
    "approve_landing",
    schedule=None,
    default_args={"annotation_conn_id": "{{ params.annotation_conn_id }}"},
    params={
        "annotation_conn_id": "annotation_default",
        "photos": str(Path(__file__).parents[1] / "demo" / "photos" / "*.jpg"),
        "dataset": "file:///tmp/approve_landing",
    },
    tags=["annotation"],
):
    create = CreateAnnotationProjectOperator(
        task_id="create_project",
        label_schema={"scene": {"type": "classification", "classes": ["indoors", "outdoors"]}},
    )
    upload = UploadMediaOperator(task_id="upload_photos", media="{{ params.photos }}")
    wait = AnnotationSensor(
        task_id="wait_for_labels",
        count_skipped=True,
        deferrable=True,
        poke_interval=5,
        timeout=timedelta(days=7).total_seconds(),
    )
    dataset = AnnotationsToObjectStorageOperator(
        task_id="labels_to_dataset", target="{{ params.dataset }}/{{ run_id }}"
    )
    approve = ApprovalOperator(
        task_id="approve",
        subject="May these labels go into the database?",
        body=QUESTION,
    )
    tables = AnnotationsToSqlOperator(task_id="labels_to_sql", sql_conn_id="annotations_db", table_prefix="approved_")

    create >> upload >> wait >> dataset >> approve >> tables
