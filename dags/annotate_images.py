"""Let people draw boxes in photos, and land these labels as a Parquet dataset and as SQL tables.

Needs two connections: ``annotation_default`` to Label Studio or Labelbox, and ``annotations_db`` to a database.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG

from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.operators.project import CreateAnnotationProjectOperator
from airflow_annotation.sensors.annotation import AnnotationSensor
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator

with DAG(
    "annotate_images",
    schedule=None,
    default_args={"annotation_conn_id": "{{ params.annotation_conn_id }}"},
    params={
        "annotation_conn_id": "annotation_default",
        "photos": str(Path(__file__).parents[1] / "demo" / "photos" / "*.jpg"),
        "dataset": "file:///tmp/annotate_images",
    },
    tags=["annotation"],
):
    create = CreateAnnotationProjectOperator(
        task_id="create_project",
        label_schema={
            "objects": {"type": "detections", "classes": ["person", "animal", "building", "flower", "cup"]},
            "scene": {"type": "classification", "classes": ["indoors", "outdoors"]},
        },
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
    tables = AnnotationsToSqlOperator(task_id="labels_to_sql", sql_conn_id="annotations_db")

    create >> upload >> wait >> [dataset, tables]
