"""Let three people label each photo, land one answer merged from theirs, and list the photos on which they disagree.

Photos with less agreement than ``min_agreement`` have no submission in the consensus. They land separately with all
their submissions, for somebody who decides.

Needs the connection ``annotation_default`` to Label Studio or Labelbox.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task

from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.operators.project import CreateAnnotationProjectOperator
from airflow_annotation.sensors.annotation import AnnotationSensor
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator


@task
def list_disagreements(landing: dict[str, Any]) -> list[str]:
    """Return the keys of the items for which no consensus has landed."""
    from airflow_annotation.formats.parquet import read_dataset

    tables = read_dataset(landing["target"], landing["version"])
    agreed = set(tables["annotations"]["item_id"].to_pylist())
    return [row["item_key"] for row in tables["items"].to_pylist() if row["item_id"] not in agreed]


with DAG(
    "consensus_of_three",
    schedule=None,
    default_args={"annotation_conn_id": "{{ params.annotation_conn_id }}"},
    params={
        "annotation_conn_id": "annotation_default",
        "photos": str(Path(__file__).parents[1] / "demo" / "photos" / "*.jpg"),
        "dataset": "file:///tmp/consensus_of_three",
    },
    tags=["annotation"],
):
    create = CreateAnnotationProjectOperator(
        task_id="create_project",
        label_schema={"scene": {"type": "classification", "classes": ["indoors", "outdoors", "unclear"]}},
    )
    upload = UploadMediaOperator(task_id="upload_photos", media="{{ params.photos }}", overlap=3)
    wait = AnnotationSensor(
        task_id="wait_for_three",
        min_annotations=3,
        deferrable=True,
        poke_interval=5,
        timeout=timedelta(days=7).total_seconds(),
    )
    consensus = AnnotationsToObjectStorageOperator(
        task_id="consensus_to_dataset",
        target="{{ params.dataset }}/{{ run_id }}/consensus",
        annotations="consensus",
        # If only two of three people agree, their mean agreement over the three pairs of people is 1/3.
        consensus={"min_annotators": 3, "min_agreement": 0.3},
    )
    disagreements = list_disagreements(consensus.output)  # type: ignore[arg-type] # an XComArg
    to_settle = AnnotationsToObjectStorageOperator(
        task_id="disagreements_to_dataset",
        target="{{ params.dataset }}/{{ run_id }}/disagreements",
        items=disagreements,
    )

    create >> upload >> wait >> consensus
    disagreements >> to_settle
