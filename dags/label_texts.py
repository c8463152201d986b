"""Let people mark names in texts and choose each text's sentiment. Land the labels in SQL and as a dataset for NER.

Texts are rows of a CSV file with the columns ``item_key`` and ``text``. The dataset is made from the SQL tables.

Needs two connections: ``annotation_default`` to Label Studio or Labelbox, and ``annotations_db`` to a database.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG

from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.operators.project import CreateAnnotationProjectOperator
from airflow_annotation.sensors.annotation import AnnotationSensor
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from airflow_annotation.transfers.landed_annotations_to_object_storage import LandedAnnotationsToObjectStorageOperator

with DAG(
    "label_texts",
    schedule=None,
    default_args={"annotation_conn_id": "{{ params.annotation_conn_id }}"},
    params={
        "annotation_conn_id": "annotation_default",
        "texts": str(Path(__file__).parents[1] / "demo" / "texts" / "reviews.csv"),
        "dataset": "file:///tmp/label_texts",
    },
    tags=["annotation"],
):
    create = CreateAnnotationProjectOperator(
        task_id="create_project",
        media_type="text",
        label_schema={
            "entities": {"type": "spans", "classes": ["person", "place", "organization"]},
            "sentiment": {"type": "classification", "classes": ["positive", "neutral", "negative"]},
        },
    )
    upload = UploadMediaOperator(task_id="upload_texts", media="{{ params.texts }}")
    wait = AnnotationSensor(
        task_id="wait_for_labels",
        count_skipped=True,
        deferrable=True,
        poke_interval=5,
        timeout=timedelta(days=7).total_seconds(),
    )
    tables = AnnotationsToSqlOperator(task_id="labels_to_sql", sql_conn_id="annotations_db")
    dataset = LandedAnnotationsToObjectStorageOperator(
        task_id="tables_to_conll",
        source=tables.output,
        target="{{ params.dataset }}/{{ run_id }}",
        dataset_format="conll",
        dataset_options={"label_fields": ["entities"]},
        include_media="files",  # the texts of Labelbox; those of Label Studio are in the tables
    )

    create >> upload >> wait >> tables >> dataset
