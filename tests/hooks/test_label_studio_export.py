"""Reading projects of a live Label Studio."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.label_studio import export, task_pages
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.results import results_from_labels
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.tables import collect_tables
from devtools.label_studio import API_KEY, USERNAME, LabelStudio
from tests.servers.faults import Fault, SeenRequest, fault_server
from tests.support.read_options import with_options

CONFIG = """
<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="objects" toName="image"><Label value="car"/><Label value="person"/></RectangleLabels>
  <PolygonLabels name="areas" toName="image"><Label value="road"/></PolygonLabels>
  <Choices name="weather" toName="image"><Choice value="sun"/><Choice value="rain"/></Choices>
  <Number name="count" toName="image"/>
  <TextArea name="note" toName="image"/>
  <Choices name="objects.occluded" toName="image" perRegion="true" whenTagName="objects"><Choice value="yes"/></Choices>
  <Ranker name="rank" toName="image"/>
</View>
"""
LABELS: list[dict[str, Any]] = [
    {
        "label_id": "box1",
        "field": "objects",
        "type": "detection",
        "label": "car",
        "bbox": [0.123456789, 0.2, 1 / 3, 0.4],
        "rotation": 12.5,
        "attributes": '{"occluded":"yes"}',
    },
    {"label_id": "area", "field": "areas", "type": "polygon", "label": "road", "points": [[0, 0], [1, 0.1], [0.7, 1]]},
    {"label_id": "sky", "field": "weather", "type": "classification", "label": "rain"},
    {"label_id": "n", "field": "count", "type": "scalar", "number": 2.5},
    {"label_id": "t", "field": "note", "type": "text", "text": 'déjà "vu" 🚗'},
]


@pytest.fixture
def client(label_studio: LabelStudio) -> LabelStudioClient:
    return LabelStudioClient(url=label_studio.url, api_key=label_studio.api_key)


@pytest.fixture
def project(client: LabelStudioClient) -> Iterator[AnnotationProject]:
    made = client.request("POST", "/api/projects/", json={"title": "reading tables", "label_config": CONFIG}).json()
    yield AnnotationProject(
        id=str(made["id"]),
        title=made["title"],
        url=f"{client.url}/projects/{made['id']}/data",
        uri=f"label-studio://test/projects/{made['id']}",
        tool="label_studio",
    )
    client.request("DELETE", f"/api/projects/{made['id']}/")


def add_tasks(client: LabelStudioClient, project: AnnotationProject, tasks: list[dict[str, Any]]) -> list[int]:
    answer = client.request("POST", f"/api/projects/{project.id}/import?return_task_ids=true", json=tasks).json()
    ids: list[int] = answer["task_ids"]
    return ids


def results() -> list[dict[str, Any]]:
    return results_from_labels(LABELS, LabelingConfig(CONFIG), find_size=lambda _: (640, 480))


def read(client: LabelStudioClient, project: AnnotationProject, **choices: Any) -> dict[str, list[dict[str, Any]]]:
    tables = collect_tables(export.read_tables(client, project, LabelingConfig(CONFIG), **with_options(choices)))
    return {name: table.to_pylist() for name, table in tables.items()}


def assert_labels_came_back(rows: list[dict[str, Any]]) -> None:
    assert [row["label_id"] for row in rows] == [label["label_id"] for label in LABELS]
    for row, label in zip(rows, LABELS, strict=True):
        for name, value in label.items():
            if name == "points":
                assert row[name] == [pytest.approx(point, abs=1e-6) for point in value]
            else:
                assert row[name] == (pytest.approx(value, abs=1e-6) if name in ("bbox", "rotation") else value)


def test_labels_come_back_as_annotations_and_as_predictions(
    client: LabelStudioClient, project: AnnotationProject
) -> None:
    prediction = {"result": results(), "model_version": "v1", "score": 0.75}
    add_tasks(
        client,
        project,
        [
            {"data": {"image": "a", "item_key": "a"}, "annotations": [{"result": results(), "ground_truth": False}]},
            {"data": {"image": "b", "item_key": "b"}, "predictions": [prediction]},
            {"data": {"image": "c", "item_key": "c"}},
        ],
    )
    tables = read(client, project, include_predictions=True)
    assert [(row["item_key"], row["status"], row["prediction_count"]) for row in tables["items"]] == [
        ("a", "labeled", 0),
        ("b", "unlabeled", 1),
        ("c", "unlabeled", 0),
    ]
    person, model = tables["annotations"]
    assert (person["annotator"], person["origin"], person["label_count"]) == (USERNAME, "person", 5)
    assert (model["model_version"], model["score"], model["origin"]) == ("v1", 0.75, "prediction")
    assert_labels_came_back([row for row in tables["labels"] if row["item_key"] == "a"])
    assert_labels_came_back([row for row in tables["labels"] if row["item_key"] == "b"])
    without = read(client, project, annotators="id")
    assert [row["origin"] for row in without["annotations"]] == ["person"]
    assert without["annotations"][0]["annotator"].isdecimal()


def test_the_tools_own_states_land(client: LabelStudioClient, project: AnnotationProject) -> None:
    ids = add_tasks(client, project, [{"data": {"image": name}} for name in "abc"])
    for task_id, was_cancelled in zip(ids, [False, True], strict=False):
        answer = {"result": [], "was_cancelled": was_cancelled, "lead_time": 3.5}
        client.request("POST", f"/api/tasks/{task_id}/annotations/", json=answer)
    client.request("POST", f"/api/tasks/{ids[2]}/drafts", json={"result": results()})
    tables = read(client, project)
    assert [row["status"] for row in tables["items"]] == ["labeled", "skipped", "unlabeled"]
    assert [(row["status"], row["annotator"], row["lead_time"]) for row in tables["annotations"]] == [
        ("submitted", USERNAME, 3.5),
        ("skipped", USERNAME, 3.5),
        ("draft", USERNAME, None),
    ]
    assert tables["labels"] == []
    client.request("PATCH", f"/api/projects/{project.id}/", json={"maximum_annotations": 2})
    assert [row["status"] for row in read(client, project)["items"]] == ["partial", "skipped", "unlabeled"]


@pytest.mark.parametrize("dense", [2, 0])
def test_a_project_is_read_in_pieces_while_it_changes(
    client: LabelStudioClient, project: AnnotationProject, monkeypatch: pytest.MonkeyPatch, dense: int
) -> None:
    monkeypatch.setattr(export, "_DENSE", dense)
    monkeypatch.setattr(export, "_PIECE_ITEMS", 5)
    monkeypatch.setattr(task_pages, "PAGE_TASKS", 10)
    ids = add_tasks(client, project, [{"data": {"image": str(n), "item_key": str(n)}} for n in range(60)])
    batches = export.read_tables(client, project, LabelingConfig(CONFIG))
    keys = next(batches).items["item_key"].to_pylist()
    client.request("DELETE", f"/api/tasks/{ids[0]}/")
    client.request("DELETE", f"/api/tasks/{ids[50]}/")
    keys += [key for batch in batches for key in batch.items["item_key"].to_pylist()]
    assert keys == [str(n) for n in range(60) if n != 50]


def test_only_the_wanted_items_are_read(client: LabelStudioClient, project: AnnotationProject) -> None:
    ids = add_tasks(client, project, [{"data": {"image": str(n)}} for n in range(6)])
    assert [row["item_id"] for row in read(client, project, item_ids=ids[1:3])["items"]] == [str(n) for n in ids[1:3]]
    assert read(client, project, item_ids=[])["items"] == []


def test_an_empty_project_has_no_rows(client: LabelStudioClient, project: AnnotationProject) -> None:
    assert read(client, project) == {"items": [], "annotations": [], "labels": []}


@pytest.mark.parametrize("status_code", [504, 414])
def test_a_piece_that_fails_is_asked_for_in_halves(
    client: LabelStudioClient, project: AnnotationProject, monkeypatch: pytest.MonkeyPatch, status_code: int
) -> None:
    monkeypatch.setattr(export, "_SMALLEST_PIECE", 2)
    add_tasks(client, project, [{"data": {"image": str(n)}} for n in range(7)])
    asked = []

    def fail_on_large_pieces(request: SeenRequest) -> Fault | None:
        if "/export" not in request.path:
            return None
        asked.append(request.path.count("ids%5B%5D"))
        return Fault(status=status_code) if asked[-1] > 2 else None

    with fault_server(client.url) as proxy:
        proxy.choose = fail_on_large_pieces
        behind = LabelStudioClient(url=proxy.url, api_key=API_KEY, attempts=0)
        assert len(read(behind, project)["items"]) == 7
    assert asked == [7, 3, 1, 2, 4, 2, 2]


def test_of_items_with_large_predictions_fewer_are_asked_for_at_a_time(
    client: LabelStudioClient, project: AnnotationProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_PIECE_ITEMS", 4)
    monkeypatch.setattr(export, "_PIECE_BYTES", 40_000)
    note = {"from_name": "note", "to_name": "image", "type": "textarea", "value": {"text": ["a" * 20_000]}}
    prediction = {"result": [note], "model_version": "v1"}
    add_tasks(client, project, [{"data": {"image": str(n)}, "predictions": [prediction]} for n in range(16)])
    one_at_once = LabelStudioClient(url=client.url, api_key=API_KEY, concurrency=1)

    def sizes(options: ReadOptions) -> list[int]:
        return [len(batch.items) for batch in export.read_tables(one_at_once, project, LabelingConfig(CONFIG), options)]

    assert sizes(ReadOptions()) == [4, 4, 4, 4]
    assert sizes(ReadOptions(include_predictions=True)) == [4, 4, 4, 1, 1, 1, 1]


def test_of_videos_with_all_their_frames_few_are_read_at_a_time(
    client: LabelStudioClient, project: AnnotationProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_FILLED_PIECE_ITEMS", 2)
    add_tasks(client, project, [{"data": {"image": str(n)}} for n in range(5)])
    config = LabelingConfig(CONFIG.replace("<Image", "<Video"))
    batches = export.read_tables(client, project, config, ReadOptions(frames="all"))
    assert [len(batch.items) for batch in batches] == [2, 2, 1]
    assert [len(batch.items) for batch in export.read_tables(client, project, config)] == [5]
    images = export.read_tables(client, project, LabelingConfig(CONFIG), ReadOptions(frames="all"))
    assert [len(batch.items) for batch in images] == [5]


def test_videos_whose_rate_is_not_the_configs_are_counted_in_the_log(
    client: LabelStudioClient, project: AnnotationProject, caplog: pytest.LogCaptureFixture
) -> None:
    config = CONFIG.replace("<Image", '<Video frameRate="29.97"')
    rates = (25, 29.97, 30000 / 1001, None, 30)
    add_tasks(client, project, [{"data": {"image": str(n), "frame_rate": rate}} for n, rate in enumerate(rates)])
    with caplog.at_level(logging.WARNING, logger=export.__name__):
        list(export.read_tables(client, project, LabelingConfig(config)))
        assert "2 videos of project" in caplog.text
        assert caplog.text.count("another frame rate") == 1
        caplog.clear()
        list(export.read_tables(client, project, LabelingConfig(config.replace("29.97", "$frame_rate"))))
    assert caplog.text == ""


def test_labels_of_no_known_type_are_counted_in_the_log(
    client: LabelStudioClient, project: AnnotationProject, caplog: pytest.LogCaptureFixture
) -> None:
    record = {
        "id": "r",
        "type": "magnetwand",
        "from_name": "rank",
        "to_name": "image",
        "value": {"magnetwand": ["1"]},
    }
    add_tasks(client, project, [{"data": {"image": "a"}, "annotations": [{"result": [record]}]}])
    with caplog.at_level(logging.WARNING, logger=export.__name__):
        (row,) = read(client, project)["labels"]
    assert (row["type"], json.loads(row["raw"])) == ("other", record)
    assert "1 labels of project" in caplog.text
    assert "1 of rank" in caplog.text
