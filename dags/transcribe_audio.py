"""Let people transcribe sounds, and land an audio folder that Hugging Face's ``datasets`` reads.

The sounds here are Morse code, so anybody can check the transcripts.

Needs the connection ``annotation_default`` to Label Studio or Labelbox.
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
    "transcribe_audio",
    schedule=None,
    default_args={"annotation_conn_id": "{{ params.annotation_conn_id }}"},
    params={
        "annotation_conn_id": "annotation_default",
        "sounds": str(Path(__file__).parents[1] / "demo" / "sounds" / "*.wav"),
        "dataset": "file:///tmp/transcribe_audio",
    },
    tags=["annotation"],
):
    create = CreateAnnotationProjectOperator(
        task_id="create_project",
        media_type="audio",
        label_schema={
            "transcription": {"type": "text"},
            "quality": {"type": "classification", "classes": ["clear", "noisy"]},
        },
    )
    upload = UploadMediaOperator(task_id="upload_sounds", media="{{ params.sounds }}")
    wait = AnnotationSensor(
        task_id="wait_for_transcripts",
        count_skipped=True,
        deferrable=True,
        poke_interval=5,
        timeout=timedelta(days=7).total_seconds(),
    )
    dataset = AnnotationsToObjectStorageOperator(
        task_id="transcripts_to_dataset",
        target="{{ params.dataset }}/{{ run_id }}",
        dataset_format="audio_folder",
        include_media="files",
    )

    create >> upload >> wait >> dataset
