"""Let people choose the better of two answers of a language model, and land a dataset for training it with DPO.

Answers are rows of JSON Lines with the columns ``item_key``, ``prompt``, ``left`` and ``right``. They can also come
from a query (``sql=``). People also rate the difficulty of each prompt. This rating is a column of the dataset.

Needs the connection ``annotation_default`` to Label Studio.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG

from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.operators.project import CreateAnnotationProjectOperator
from airflow_annotation.sensors.annotation import AnnotationSensor
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator

with DAG(
    "compare_answers",
    schedule=None,
    default_args={"annotation_conn_id": "{{ params.annotation_conn_id }}"},
    params={
        "annotation_conn_id": "annotation_default",
        "answers": str(Path(__file__).parents[1] / "demo" / "texts" / "answers.jsonl"),
        "dataset": "file:///tmp/compare_answers",
    },
    tags=["annotation"],
):
    create = CreateAnnotationProjectOperator(
        task_id="create_project",
        media_type="rows",
        label_schema={
            "better": {"type": "pairwise", "targets": ["left", "right"], "context": ["prompt"]},
            "difficulty": {"type": "rating", "max": 5, "targets": ["prompt"]},
        },
    )
    upload = UploadMediaOperator(task_id="upload_answers", media="{{ params.answers }}")
    wait = AnnotationSensor(
        task_id="wait_for_preferences",
        count_skipped=True,
        deferrable=True,
        poke_interval=5,
        timeout=timedelta(days=7).total_seconds(),
    )
    dataset = AnnotationsToObjectStorageOperator(
        task_id="preferences_to_dataset",
        target="{{ params.dataset }}/{{ run_id }}",
        annotations="all",
        dataset_format="preferences",
        dataset_options={"splits": {"train": 0.9, "test": 0.1}},
    )

    create >> upload >> wait >> dataset
