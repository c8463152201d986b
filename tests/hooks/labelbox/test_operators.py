"""Operators, sensor and transfers with a connection to Labelbox in place of Label Studio, and nothing else changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.sdk import BaseHook
from PIL import Image

from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.exceptions import AnnotationUploadError
from airflow_annotation.hooks.labelbox import LabelboxHook
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import collect_tables
from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.operators.project import CreateAnnotationProjectOperator, DeleteAnnotationProjectOperator
from airflow_annotation.sensors.annotation import AnnotationSensor
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from tests.servers.labelbox import LabelboxStandIn
from tests.support.connections import airflow_connection
from tests.support.task_context import task_context

SCHEMA = {
    "objects": {"type": "detections", "classes": ["person", "animal"]},
    "scene": {"type": "classification", "classes": ["indoors", "outdoors"]},
}
LABELS = [
    {"name": "objects: animal", "bbox": {"top": 1.0, "left": 2.0, "height": 5.0, "width": 10.0}},
    {"name": "scene", "answer": {"name": "outdoors"}},
]


@pytest.fixture
def arguments(labelbox_conn_id: str) -> dict[str, Any]:
    return {"annotation_conn_id": labelbox_conn_id, "run_key": f"photos/{uuid4()}"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / str(uuid4())
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (20, 10), (number, 0, 0)).save(folder / f"{number}.png")
    return folder


def test_a_whole_cycle_runs(labelbox: LabelboxStandIn, arguments: dict[str, Any], photos: Path, tmp_path: Path) -> None:
    create = CreateAnnotationProjectOperator(task_id="create", title="Photos", label_schema=SCHEMA, **arguments)
    project = create.execute(task_context())
    assert project["tool"] == "labelbox"
    assert create.execute(task_context()) == {**project, "created": False}

    upload = UploadMediaOperator(
        task_id="upload", media=str(photos), upload_settings={"batch": "today", "priority": 1}, **arguments
    )
    uploaded = upload.execute(task_context())
    assert (uploaded["id"], uploaded["uploaded"], uploaded["failed"]) == (project["id"], 3, 0)
    assert upload.execute(task_context())["skipped"] == 3

    sensor = AnnotationSensor(task_id="wait", deferrable=True, **arguments)
    with pytest.raises(TaskDeferred):
        sensor.execute(task_context())
    for row in labelbox.control.waiting(project["id"]):
        label = labelbox.control.submit_label(project["id"], LABELS, data_row_id=row["data_row_id"])["label_id"]
        labelbox.control.approve(label)
    result = AnnotationSensor(task_id="wait", **arguments).execute(task_context())
    assert (result["completed"], result["fraction"]) == (3, 1.0)

    target = str(tmp_path / "dataset")
    dataset = AnnotationsToObjectStorageOperator(task_id="dataset", target=target, coordinates="pixels", **arguments)
    assert dataset.execute(task_context())["rows"] == {"items": 3, "annotations": 3, "labels": 6}
    tables = read_dataset(target)
    assert tables["items"]["status"].to_pylist() == ["done"] * 3
    assert {str(photos / f"{number}.png") for number in range(3)} == set(tables["items"]["media_uri"].to_pylist())
    boxes = [row["bbox"] for row in tables["labels"].to_pylist() if row["bbox"]]
    assert boxes == [pytest.approx([2, 1, 10, 5])] * 3

    with airflow_connection(f"sqlite_{uuid4().hex}", {"conn_type": "sqlite", "host": str(tmp_path / "db")}) as conn_id:
        sql = AnnotationsToSqlOperator(task_id="sql", sql_conn_id=conn_id, **arguments)
        assert sql.execute(task_context())["rows"] == {"items": 3, "annotations": 3, "labels": 6}
        labels = BaseHook.get_hook(conn_id).get_records("select label, count(*) from labels group by 1 order by 1")
    assert labels == [("animal", 3), ("outdoors", 3)]

    delete = DeleteAnnotationProjectOperator(task_id="delete", **arguments)
    assert delete.execute(task_context())
    assert not delete.execute(task_context())


def test_the_sensor_waits_for_labels_or_for_their_review(
    labelbox: LabelboxStandIn, arguments: dict[str, Any], photos: Path
) -> None:
    create = CreateAnnotationProjectOperator(task_id="create", title="Photos", label_schema=SCHEMA, **arguments)
    project = create.execute(task_context())
    UploadMediaOperator(task_id="upload", media=str(photos), **arguments).execute(task_context())
    for row in labelbox.control.waiting(project["id"]):
        labelbox.control.submit_label(project["id"], LABELS, data_row_id=row["data_row_id"])
    labeled = AnnotationSensor(task_id="labeled", completed_status="labeled", deferrable=True, **arguments)
    assert labeled.execute(task_context())["completed"] == 3
    with pytest.raises(TaskDeferred):
        AnnotationSensor(task_id="done", deferrable=True, **arguments).execute(task_context())


def test_one_bad_file_fails_the_task_after_the_others_are_in(arguments: dict[str, Any], photos: Path) -> None:
    create = CreateAnnotationProjectOperator(task_id="create", title="Photos", label_schema=SCHEMA, **arguments)
    create.execute(task_context())
    media = [*map(str, photos.iterdir()), f"{photos}/none.png"]
    with pytest.raises(AnnotationUploadError, match=r"1 of 4 .*none\.png does not exist"):
        UploadMediaOperator(task_id="upload", media=media, **arguments).execute(task_context())
    result = UploadMediaOperator(task_id="upload", media=media, max_failures=1, **arguments).execute(task_context())
    assert (result["uploaded"], result["skipped"], result["failed"]) == (0, 3, 1)


def test_a_landing_asks_for_the_ontology_once(
    labelbox: LabelboxStandIn, arguments: dict[str, Any], tmp_path: Path
) -> None:
    CreateAnnotationProjectOperator(task_id="create", title="Photos", label_schema=SCHEMA, **arguments).execute(
        task_context()
    )
    land = AnnotationsToObjectStorageOperator(task_id="land", target=str(tmp_path / "dataset"), **arguments)
    before = labelbox.control.operations()["ReadProject"]
    land.execute(task_context())
    assert labelbox.control.operations()["ReadProject"] == before + 1


def test_files_that_were_uploaded_land_from_labelbox_itself_without_a_root(
    arguments: dict[str, Any], photos: Path, tmp_path: Path
) -> None:
    hook = LabelboxHook(arguments["annotation_conn_id"])
    project = hook.create_project(
        title="Copies", run_key=arguments["run_key"], label_schema=LabelSchema.from_dict(SCHEMA)
    )
    UploadMediaOperator(task_id="upload", media=str(photos), media_access="upload", **arguments).execute(task_context())
    sent = sorted(path.read_bytes() for path in photos.iterdir())
    for path in photos.iterdir():
        path.unlink()
    items = collect_tables(hook.read_tables(project))["items"].to_pylist()
    for row in items:
        found = hook.find_media(project.id, row["item_id"])
        assert found is not None, row
        url, headers = found
        assert hook.is_own_url(url)
        assert httpx.get(url, headers=headers).content in sent
    assert hook.find_media(project.id, "no-such-item") is None
    landed = AnnotationsToObjectStorageOperator(
        task_id="land", target=str(tmp_path / "labels"), include_media="files", **arguments
    ).execute(task_context())
    assert landed["media"]["files"] == 3
    files = [path for path in (tmp_path / "labels" / "media").rglob("*") if path.is_file()]
    assert sorted(path.read_bytes() for path in files if path.suffix == ".png") == sent
