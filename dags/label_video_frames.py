"""Extract one frame a second from each video of a folder, let people draw boxes in them, land the labels, and train.

The labels land as tables. From the tables and the frames, a YOLO dataset is made. A second DAG is scheduled on the
asset of this dataset.

Needs the connection ``annotation_default`` to Label Studio or Labelbox, and videos in the folder that the param
``videos`` names: on disk, or in any bucket (``s3://aws_default@bucket/videos``).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, task

from airflow_annotation.operators.frames import ExtractFramesOperator
from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.operators.project import CreateAnnotationProjectOperator
from airflow_annotation.sensors.annotation import AnnotationSensor
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.landed_annotations_to_object_storage import LandedAnnotationsToObjectStorageOperator

YOLO = Asset("yolo_of_video_frames")


@task
def list_videos(folder: str) -> list[str]:
    """Return the videos of a folder. The next tasks are mapped over them, one for each video."""
    from airflow_annotation.media.listing import list_media

    return [item.media for item in list_media(folder) if item.media_type == "video"]


def frame_images(extracted: dict[str, Any]) -> Any:
    """Return the frames of one video as media: rows with the file, the item key, the video and the frame number."""
    from airflow_annotation.media.frame_folder import read_frames_table

    return read_frames_table(extracted["table"])


@task
def seconds_with_labels(dataset: str, extracted: Any) -> dict[str, list[float]]:
    """Return for each video the times of its frames that have labels, in seconds.

    :param extracted: the return value of the extraction of each video
    """
    import pyarrow as pa

    from airflow_annotation.formats.parquet import read_dataset
    from airflow_annotation.labels.video_frames import labels_to_video
    from airflow_annotation.media.frame_folder import read_frames_table

    frames = pa.concat_tables([read_frames_table(video["table"]) for video in extracted])
    labels = labels_to_video(read_dataset(dataset)["labels"], frames).to_pylist()
    return {
        key: sorted({row["time"] for row in labels if row["item_key"] == key})
        for key in frames["video_key"].unique().to_pylist()
    }


with DAG(
    "label_video_frames",
    schedule=None,
    default_args={"annotation_conn_id": "{{ params.annotation_conn_id }}"},
    params={
        "annotation_conn_id": "annotation_default",
        "videos": "/tmp/label_video_frames/videos",  # noqa: S108 - an example's
        "frames": "file:///tmp/label_video_frames/frames",
        "dataset": "file:///tmp/label_video_frames/dataset",
        "yolo": "file:///tmp/label_video_frames/yolo",
    },
    tags=["annotation"],
):
    create = CreateAnnotationProjectOperator(
        task_id="create_project",
        label_schema={"objects": {"type": "detections", "classes": ["person", "animal", "vehicle"]}},
    )
    videos = list_videos("{{ params.videos }}")
    extract = ExtractFramesOperator.partial(task_id="extract_frames", target="{{ params.frames }}", fps=1).expand(
        video=videos
    )
    upload = UploadMediaOperator.partial(task_id="upload_frames", media_field="file").expand(
        media=extract.output.map(frame_images)
    )
    wait = AnnotationSensor(
        task_id="wait_for_labels",
        count_skipped=True,
        deferrable=True,
        poke_interval=5,
        timeout=timedelta(days=7).total_seconds(),
    )
    land = AnnotationsToObjectStorageOperator(task_id="labels_to_dataset", target="{{ params.dataset }}")

    yolo = LandedAnnotationsToObjectStorageOperator(
        task_id="dataset_to_yolo",
        source=land.output,
        target="{{ params.yolo }}",
        dataset_format="yolo",
        dataset_options={"splits": {"train": 0.8, "val": 0.2}},
        include_media="files",
        media_roots="{{ params.frames }}",
        outlets=[YOLO],
    )

    create >> upload >> wait >> land >> [yolo, seconds_with_labels("{{ params.dataset }}", extract.output)]


@task
def train(triggering_asset_events: Any = None) -> dict[str, Any]:
    """Take the place of a training with YOLO, and return what the training would get."""
    from airflow.sdk import ObjectStoragePath

    landing = triggering_asset_events[YOLO][-1].extra
    folder = ObjectStoragePath(landing["path"])
    return {
        "data": str(folder / "data.yaml"),
        "images": len([path for split in ("train", "val") for path in (folder / "images" / split).glob("*")]),
        "objects": landing["rows"]["objects"],
    }


with DAG("train_on_video_frames", schedule=[YOLO], max_active_runs=1, tags=["annotation"]):
    train()
