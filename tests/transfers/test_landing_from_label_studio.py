from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest
from airflow.sdk import BaseHook

from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from tests.support.connections import airflow_connection
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
