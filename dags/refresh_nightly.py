"""Each night, upload the new photos of a folder to one long-lived project, and land what has changed in it.

No task waits for people. Labels that exist by then land, and later labels land on another night. The upload skips
photos that the project already has. The landing reads only the items that have changed since the last landing.

Needs the connections ``annotation_default`` to Label Studio or Labelbox and ``annotations_db`` to a database. The DAG
is paused at first: check its params before you turn it on.
"""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import DAG, Asset

from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.operators.project import CreateAnnotationProjectOperator
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator

with DAG(
    "refresh_nightly",
    schedule="@daily",
    is_paused_upon_creation=True,
    max_active_runs=1,
    default_args={
        "annotation_conn_id": "{{ params.annotation_conn_id }}",
        "run_key": "{{ params.run_key }}",
        "retries": 2,
    },
    params={
        "annotation_conn_id": "annotation_default",
        "run_key": "refresh_nightly",
        "photos": str(Path(__file__).parents[1] / "demo" / "photos" / "*.jpg"),
        "dataset": "file:///tmp/refresh_nightly",
    },
    tags=["annotation"],
):
    create = CreateAnnotationProjectOperator(
        task_id="find_or_create_project",
        title="Photos of all nights",
        label_schema={"objects": {"type": "detections", "classes": ["person", "animal", "building", "flower", "cup"]}},
    )
    upload = UploadMediaOperator(task_id="upload_new_photos", media="{{ params.photos }}")
    dataset = AnnotationsToObjectStorageOperator(
        task_id="changes_to_dataset",
        target="{{ params.dataset }}",
        keep_versions=7,
        outlets=[Asset("nightly_labels")],
    )
    tables = AnnotationsToSqlOperator(task_id="changes_to_sql", sql_conn_id="annotations_db", table_prefix="nightly_")

    create >> upload >> [dataset, tables]
