"""Let people correct a model's predictions, land the corrected labels, and count what people changed.

Needs the connection ``annotation_default`` to Label Studio or Labelbox. The model here finds what stands out from a
photo's background. Replace it with your own. Labelbox does not export the predictions that people start from, so in
Labelbox all boxes count as added.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task

from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.operators.predictions import UploadPredictionsOperator
from airflow_annotation.operators.project import CreateAnnotationProjectOperator
from airflow_annotation.sensors.annotation import AnnotationSensor
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator


def find_subjects(params: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield one box for each photo, around the part that differs most from the photo's median color."""
    import numpy as np
    from PIL import Image

    from airflow_annotation.media.listing import list_media

    for item in list_media(params["photos"]):
        pixels = np.asarray(Image.open(item.media).convert("RGB").resize((64, 64)), np.float64)
        difference = np.abs(pixels - np.median(pixels, axis=(0, 1))).sum(axis=2)
        rows, columns = np.nonzero(difference > np.quantile(difference, 0.9))
        left, right = np.quantile(columns, (0.05, 0.95)) / 64
        top, bottom = np.quantile(rows, (0.05, 0.95)) / 64
        yield {
            "item_key": item.item_key,
            "field": "subject",
            "label": "subject",
            "bbox": [left, top, right - left, bottom - top],
            "score": 1 - difference.mean() / difference.max(),
        }


@task
def count_changes(dataset: str) -> dict[str, int]:
    """Return how many of the model's boxes people left unchanged, changed and deleted, and how many they added.

    Boxes on photos that were skipped count as ``unreviewed``.
    """
    from airflow_annotation.formats.parquet import read_dataset
    from airflow_annotation.labels.diff import diff_predictions

    changes = diff_predictions(read_dataset(dataset))["change"]
    return {row["values"]: row["counts"] for row in changes.value_counts().to_pylist()}


with DAG(
    "correct_predictions",
    schedule=None,
    default_args={"annotation_conn_id": "{{ params.annotation_conn_id }}"},
    params={
        "annotation_conn_id": "annotation_default",
        "photos": str(Path(__file__).parents[1] / "demo" / "photos" / "*.jpg"),
        "dataset": "file:///tmp/correct_predictions",
    },
    tags=["annotation"],
):
    create = CreateAnnotationProjectOperator(
        task_id="create_project",
        label_schema={"subject": {"type": "detections", "classes": ["subject", "distraction"]}},
    )
    upload = UploadMediaOperator(task_id="upload_photos", media="{{ params.photos }}")
    predict = UploadPredictionsOperator(task_id="upload_predictions", labels=find_subjects, model_version="contrast-1")
    wait = AnnotationSensor(
        task_id="wait_for_corrections",
        count_skipped=True,
        deferrable=True,
        poke_interval=5,
        timeout=timedelta(days=7).total_seconds(),
    )
    land = AnnotationsToObjectStorageOperator(
        task_id="corrections_to_dataset", target="{{ params.dataset }}", include_predictions=True
    )

    create >> upload >> predict >> wait >> land >> count_changes("{{ params.dataset }}")
