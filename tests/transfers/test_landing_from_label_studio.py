from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import numpy as np
import pytest
from airflow.sdk import BaseHook
from PIL import Image

from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.hooks.annotation import AnnotationHook
from airflow_annotation.operators.predictions import UploadPredictionsOperator
from airflow_annotation.plugins.page import samples
from airflow_annotation.plugins.page.shown_media import find_place, read_image
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from tests.support.connections import airflow_connection
from tests.support.datasets import image_index, read_coco
from tests.support.task_context import task_context

if TYPE_CHECKING:
    from devtools.label_studio import LabelStudio

CONFIG = """
<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="objects" toName="image"><Label value="car"/><Label value="person"/></RectangleLabels>
</View>
"""


def box(label: str) -> dict[str, Any]:
    return {
        "id": uuid4().hex[:10],
        "type": "rectanglelabels",
        "from_name": "objects",
        "to_name": "image",
        "original_width": 200,
        "original_height": 100,
        "value": {"x": 10, "y": 20, "width": 25, "height": 50, "rotation": 0, "rectanglelabels": [label]},
    }


@pytest.fixture
def project_by_hand(label_studio: LabelStudio) -> Iterator[str]:
    """A project that this provider neither made nor filled: a labeled photo, an empty one, and one nobody looked at."""
    with httpx.Client(base_url=label_studio.url, headers={"Authorization": f"Token {label_studio.api_key}"}) as client:
        project = client.post("/api/projects", json={"title": f"By hand {uuid4()}"[:50], "label_config": CONFIG})
        project_id = str(project.raise_for_status().json()["id"])
        tasks = [
            {"data": {"image": "/1.jpg"}, "annotations": [{"result": [box("car"), box("person")]}]},
            {"data": {"image": "/2.jpg"}, "annotations": [{"result": []}]},
            {"data": {"image": "/3.jpg"}, "predictions": [{"result": [box("car")], "model_version": "m1"}]},
        ]
        client.post(f"/api/projects/{project_id}/import", json=tasks).raise_for_status()
        yield project_id
        client.delete(f"/api/projects/{project_id}").raise_for_status()


def test_a_project_made_by_hand_lands_whole_in_files_and_in_a_database(
    label_studio_conn_id: str, project_by_hand: str, tmp_path: Path
) -> None:
    shared: dict[str, Any] = {"annotation_conn_id": label_studio_conn_id, "project": project_by_hand}
    target = str(tmp_path / "dataset")
    to_files = AnnotationsToObjectStorageOperator(task_id="files", target=target, coordinates="pixels", **shared)
    assert to_files.execute(task_context())["rows"] == {"items": 3, "annotations": 2, "labels": 2}
    tables = read_dataset(target)
    assert sorted(tables["items"].column("status").to_pylist()) == ["labeled", "labeled", "unlabeled"]
    for row in tables["labels"].to_pylist():
        assert row["bbox"] == pytest.approx([20, 20, 50, 50])

    connection = {"conn_type": "sqlite", "host": str(tmp_path / "annotations.db")}
    with airflow_connection(f"sqlite_{uuid4().hex}", connection) as conn_id:
        to_sql = AnnotationsToSqlOperator(task_id="sql", sql_conn_id=conn_id, include_predictions=True, **shared)
        assert to_sql.execute(task_context())["rows"] == {"items": 3, "annotations": 3, "labels": 3}
        rows = BaseHook.get_hook(conn_id).get_records("select origin, label from labels order by 1, 2")
    assert rows == [("person", "car"), ("person", "person"), ("prediction", "car")]


def test_a_landing_asks_for_the_project_and_its_label_config_once(
    label_studio_conn_id: str, project_by_hand: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    send = httpx.Client.send

    def counted(client: httpx.Client, request: httpx.Request, **arguments: Any) -> httpx.Response:
        asked.append(str(request.url))
        return send(client, request, **arguments)

    monkeypatch.setattr(httpx.Client, "send", counted)
    land = AnnotationsToObjectStorageOperator(
        task_id="land", annotation_conn_id=label_studio_conn_id, project=project_by_hand, target=str(tmp_path)
    )
    assert land.execute(task_context())["rows"]["items"] == 3
    of_project = [url for url in asked if httpx.URL(url).path == f"/api/projects/{project_by_hand}/"]
    assert len(of_project) == 2
    assert sum("label_config" in url for url in of_project) == 1


PAGES = json.loads((Path(__file__).parents[1] / "labels" / "cases" / "F1_pages.json").read_text())


@pytest.fixture
def project_of_pages(label_studio: LabelStudio) -> Iterator[str]:
    """A project with an item of two images that the server holds, 1000 x 500 and 200 x 800, with a box on each."""
    with httpx.Client(base_url=label_studio.url, headers={"Authorization": f"Token {label_studio.api_key}"}) as client:
        body = {"title": f"Pages {uuid4()}"[:50], "label_config": PAGES["label_config"]}
        project = f"/api/projects/{client.post('/api/projects', json=body).raise_for_status().json()['id']}"
        files = {
            f"file{number}": (f"p{number}.png", png(size)) for number, size in enumerate([(1000, 500), (200, 800)])
        }
        sent = client.post(f"{project}/import", params={"commit_to_project": "false"}, files=files).raise_for_status()
        ids = json.dumps(sent.json()["file_upload_ids"])
        stored = client.get(f"{project}/file-uploads", params={"ids": ids}).raise_for_status().json()
        uris = sorted((f"/data/{one['file']}" for one in stored), key=lambda uri: uri.rpartition("-")[2])
        (task,) = PAGES["tasks"]
        annotations = [{"result": annotation["result"]} for annotation in task["annotations"]]
        client.post(
            f"{project}/import", json=[{"data": {"images": uris}, "annotations": annotations}]
        ).raise_for_status()
        yield project.rpartition("/")[2]
        client.delete(project).raise_for_status()


def png(size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "PNG")
    return file.getvalue()


def test_images_of_an_item_land_with_their_own_labels_go_back_and_are_on_the_page(
    label_studio_conn_id: str, project_of_pages: str, tmp_path: Path
) -> None:
    shared: dict[str, Any] = {"annotation_conn_id": label_studio_conn_id, "project": project_of_pages}
    landed = AnnotationsToObjectStorageOperator(
        task_id="coco", target=str(tmp_path / "coco"), dataset_format="coco", include_media="files", **shared
    ).execute(task_context())
    folder = Path(landed["path"].removeprefix("file://"))
    boxes = [[100, 50, 100, 100], [120, 80, 20, 160]]
    assert np.allclose([one["bbox"] for one in read_coco(folder)["annotations"]], boxes)
    sizes = [Image.open(folder / file).size for file in image_index(folder)["file"].to_pylist()]
    assert sizes == [(1000, 500), (200, 800)]

    to_tables = {"target": str(tmp_path / "tables"), "include_predictions": True, **shared}
    AnnotationsToObjectStorageOperator(task_id="tables", coordinates="pixels", **to_tables).execute(task_context())
    assert np.allclose(read_dataset(str(tmp_path / "tables"))["labels"]["bbox"].to_pylist(), boxes)

    AnnotationsToObjectStorageOperator(task_id="relative", **to_tables).execute(task_context())
    labels = read_dataset(str(tmp_path / "tables"))["labels"]
    uploaded = UploadPredictionsOperator(task_id="upload", labels=labels, model_version="again", **shared).execute(
        task_context()
    )
    assert (uploaded["uploaded"], uploaded["failed"]) == (1, 0)
    AnnotationsToObjectStorageOperator(task_id="again", **to_tables).execute(task_context())
    again = read_dataset(str(tmp_path / "tables"))["labels"].to_pylist()
    own, predicted = ([row for row in again if row["origin"] == origin] for origin in ("person", "prediction"))
    for name in ("label_id", "target", "label"):
        assert [row[name] for row in predicted] == [row[name] for row in own]
    assert np.allclose([row["bbox"] for row in predicted], [row["bbox"] for row in own])

    hook = AnnotationHook.for_connection(label_studio_conn_id)
    first, second = samples.read_sample(hook, hook.get_project(project_of_pages)).items
    assert [(one.target, one.width, one.height, len(one.labels)) for one in (first, second)] == [
        ("image[0]", 1000, 500, 1),
        ("image[1]", 200, 800, 1),
    ]
    place = find_place(hook, project_of_pages, second.item_id, second.target)
    assert Image.open(io.BytesIO(read_image(hook, place).content)).size == (200, 800)
