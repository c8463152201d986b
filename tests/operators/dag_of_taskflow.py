"""A DAG in TaskFlow's style, which runs itself with ``dag.test()`` and prints what became of it.

Tasks of this provider are given what tasks before them return, whole and by key; a mapped group has a project for each
of its indexes; and projects are deleted by teardowns, also where labeling fails.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task, task_group

from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.operators.predictions import UploadPredictionsOperator
from airflow_annotation.operators.project import CreateAnnotationProjectOperator, DeleteAnnotationProjectOperator
from airflow_annotation.sensors.annotation import AnnotationSensor
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.landed_annotations_to_object_storage import LandedAnnotationsToObjectStorageOperator
from devtools.processes import REPOSITORY

PHOTOS = REPOSITORY / "demo" / "photos"


@task
def find_schema() -> dict[str, Any]:
    return {"objects": {"type": "detections", "classes": ["cat", "cup"]}}


@task
def list_photos(pattern: str) -> list[str]:
    return sorted(map(str, PHOTOS.glob(pattern)))


@task
def predict(photos: Any) -> list[dict[str, Any]]:
    return [{"item_key": photo, "field": "objects", "label": "cat", "bbox": [0.1, 0.1, 0.5, 0.5]} for photo in photos]


@task
def label(project_id: str, fails: bool = False) -> int:
    """Play the person who labels, and return how many items were labeled."""
    if fails:
        raise RuntimeError("Nobody is there to label.")
    client = LabelStudioHook("label_studio_test").client
    items = client.request("GET", "/api/tasks/", params={"project": project_id, "fields": "all"}).json()["tasks"]
    for item in items:
        result = item["predictions"][0]["result"] if item["predictions"] else []
        client.request("POST", f"/api/tasks/{item['id']}/annotations/", json={"result": result})
    return len(items)


@task
def tell(project: str, uploaded: int, fraction: float, rows: Any, images: Any) -> list[Any]:
    return [project, uploaded, fraction, rows, images]


with DAG(
    "taskflow",
    schedule=None,
    default_args={"annotation_conn_id": "label_studio_test", "poke_interval": 0.2, "timeout": 60, "retries": 0},
) as dag:
    folder = Path(os.environ["AIRFLOW_HOME"]).as_uri()

    create = CreateAnnotationProjectOperator(task_id="create", label_schema=find_schema())
    project: Any = create.output
    with DeleteAnnotationProjectOperator(task_id="delete", project=project["id"]).as_teardown(setups=create):
        photos = list_photos("c*.jpg")
        upload = UploadMediaOperator(task_id="upload", project=project, media=photos)
        uploaded: Any = upload.output
        upload_each = UploadMediaOperator.partial(task_id="upload_each", project=project["id"]).expand(
            media=[[str(PHOTOS / "rocket.jpg")], [str(PHOTOS / "astronaut.jpg")]]
        )
        predictions = UploadPredictionsOperator(
            task_id="predict_all", project=uploaded, labels=predict(photos), model_version="cats-1"
        )
        labeled = label(project["id"])
        [predictions, upload_each] >> labeled
        wait = AnnotationSensor(task_id="wait", project=project["id"], min_completed=labeled)
        land = AnnotationsToObjectStorageOperator(task_id="land", project=project, target=f"{folder}/tables")
        wait >> land
        landed: Any = land.output
        waited: Any = wait.output
        to_coco = LandedAnnotationsToObjectStorageOperator(
            task_id="to_coco", source=landed, target=f"{folder}/coco", dataset_format="coco"
        )
        converted: Any = to_coco.output
        tell(project["uri"], uploaded["uploaded"], waited["fraction"], landed["rows"], converted["rows"])

    @task_group
    def cycle(photos: str, fails: bool) -> None:
        create = CreateAnnotationProjectOperator(task_id="create", label_schema=find_schema())
        project: Any = create.output
        with DeleteAnnotationProjectOperator(task_id="delete").as_teardown(setups=create):
            upload = UploadMediaOperator(task_id="upload", media=list_photos(photos))
            labeled = label(project["id"], fails)
            wait = AnnotationSensor(task_id="wait", project=project)
            upload >> labeled >> wait

    cycle.expand_kwargs([{"photos": "ca*.jpg", "fails": False}, {"photos": "co*.jpg", "fails": True}])

    create_none = CreateAnnotationProjectOperator(
        task_id="create_none", run_key="{{ run_id }}/none", copy_from=uploaded, trigger_rule="all_failed"
    )
    DeleteAnnotationProjectOperator(task_id="delete_none", project=create_none.output, trigger_rule="all_done")

if __name__ == "__main__":
    from tests.support.dag_outcome import print_outcome

    print_outcome(dag)
