"""Label Studio's export as tables: items and submissions."""

from __future__ import annotations

import datetime
import json
from collections.abc import Collection
from typing import Any

import pytest

from airflow_annotation.labels.label_studio.export import tables_from_export
from tests.support.label_studio_exports import BOX, read, region, source, task


def test_predictions_that_are_read_are_counted_and_others_are_as_the_server_counts_them() -> None:
    late = task([], total_predictions=2, predictions=[7])
    assert read(late).items["prediction_count"].to_pylist() == [2]
    assert read(late, include_predictions=True).items["prediction_count"].to_pylist() == [1]


def test_items_keep_what_the_caller_attached() -> None:
    data = {
        "photo": "/data/upload/1.jpg",
        "item_key": "k1",
        "media_uri": "gs://bucket/1.jpg",
        "width": 640,
        "height": 480,
        "camera": {"id": 4},
    }
    times = {"created_at": "2026-11-22T17:07:08.624092Z", "updated_at": "2026-11-22T17:07:08Z"}
    (row,) = read(task([], data=data, total_predictions=2, **times), run_key="run").items.to_pylist()
    assert row == {
        "project": "label-studio://studio/projects/7",
        "tool": "label_studio",
        "run_key": "run",
        "item_id": "1",
        "item_key": "k1",
        "media_uri": "gs://bucket/1.jpg",
        "media_type": "image",
        "width": 640,
        "height": 480,
        "frame_count": None,
        "frame_rate": None,
        "status": "labeled",
        "annotation_count": 1,
        "prediction_count": 2,
        "agreement": None,
        "media": None,
        "created_at": datetime.datetime(2026, 11, 22, 17, 7, 8, 624092, tzinfo=datetime.timezone.utc),
        "updated_at": datetime.datetime(2026, 11, 22, 17, 7, 8, tzinfo=datetime.timezone.utc),
        "item_url": "https://studio/projects/7/data?task=1",
        "data": '{"camera":{"id":4}}',
    } | {"data": row["data"]}
    assert json.loads(row["data"])["camera"] == {"id": 4}


def test_items_that_somebody_else_uploaded_are_known_by_their_media_and_sized_by_their_labels() -> None:
    box = region("rectanglelabels", "objects", {**BOX, "rectanglelabels": ["car"]})
    (row,) = read(task([box])).items.to_pylist()
    assert (row["item_key"], row["media_uri"]) == ("https://photos/1.jpg", "https://photos/1.jpg")
    assert (row["width"], row["height"]) == (640, 480)
    (row,) = read(task(predictions=[{"id": 9, "result": [box]}])).items.to_pylist()
    assert (row["width"], row["height"]) == (640, 480)
    (row,) = read(task(data={"photo": ["a.jpg", "b.jpg"], "width": "wide"})).items.to_pylist()
    assert (row["item_key"], row["media_uri"], row["width"]) == ("a.jpg", None, None)
    assert json.loads(row["data"]) == {"photo": ["a.jpg", "b.jpg"], "width": "wide"}


@pytest.mark.parametrize(
    ("annotations", "unfinished", "status"),
    [
        ([], (), "unlabeled"),
        ([[]], (), "labeled"),
        ([[]], (1,), "partial"),
        ([{"was_cancelled": True}], (1,), "skipped"),
        ([{"was_cancelled": True}, []], (), "labeled"),
    ],
)
def test_item_status(annotations: list[Any], unfinished: Collection[int], status: str) -> None:
    assert read(task(*annotations), unfinished=unfinished).items["status"].to_pylist() == [status]


def test_empty_skipped_and_draft_submissions_are_told_apart() -> None:
    box = region("rectanglelabels", "objects", {**BOX, "rectanglelabels": ["car"]})
    draft = {"id": 100, "user": "anna", "result": [box], "created_at": None}
    tables = read(
        task([box], [], {"was_cancelled": True, "result": [box]}, drafts=[draft, 7]), find_email="user{}".format
    )
    assert [
        tuple(row[name] for name in ("annotation_id", "status", "label_count", "annotator"))
        for row in tables.annotations.to_pylist()
    ] == [
        ("100", "submitted", 1, "user3"),
        ("101", "submitted", 0, "user3"),
        ("102", "skipped", 1, "user3"),
        ("draft-100", "draft", 0, "anna"),
    ]
    assert tables.labels["annotation_id"].to_pylist() == ["100", "102"]


def test_people_can_stay_unnamed() -> None:
    draft = {"id": 5, "user": "anna@example.com"}
    expanded = {"completed_by": {"id": 8, "email": "ben@example.com"}}
    tables = read(task([], expanded, drafts=[draft]), annotators="id", find_email="user{}".format)
    assert tables.annotations["annotator"].to_pylist() == ["3", "8", None]


def test_annotations_are_chosen_and_items_never_left_out() -> None:
    submissions = [
        {"updated_at": "2026-01-03T00:00:00Z", "ground_truth": False, "result": []},
        {"updated_at": "2026-01-02T00:00:00Z", "ground_truth": True, "result": []},
        {"updated_at": "2026-01-04T00:00:00Z", "was_cancelled": True, "result": []},
    ]
    chosen = {
        choice: read(task(*submissions), task(), annotations=choice) for choice in ("all", "latest", "ground_truth")
    }
    assert {choice: tables.annotations["annotation_id"].to_pylist() for choice, tables in chosen.items()} == {
        "all": ["100", "101", "102"],
        "latest": ["100"],
        "ground_truth": ["101"],
    }
    assert all(tables.items["annotation_count"].to_pylist() == [3, 0] for tables in chosen.values())


def test_predictions_are_rows_of_their_own_origin() -> None:
    box = region("rectanglelabels", "objects", {**BOX, "rectanglelabels": ["car"]}, score=0.5)
    prediction = {"id": 100, "model_version": "v1", "score": 0.9, "result": [box]}
    data = json.dumps([task([box], predictions=[100])]).encode()
    tables = tables_from_export(data, source(), predictions={1: [json.dumps(prediction).encode()]})  # type: ignore[list-item]
    assert tables.annotations["origin"].to_pylist() == ["person", "prediction"]
    assert tables.annotations["model_version"].to_pylist() == [None, "v1"]
    assert tables.labels["origin"].to_pylist() == ["person", "prediction"]
    assert tables.labels["attributes"].to_pylist() == ['{"score":0.5}'] * 2


def test_many_tasks_are_one_batch_in_order() -> None:
    box = region("rectanglelabels", "objects", {**BOX, "rectanglelabels": ["car"]})
    choice = region("choices", "weather", {"choices": ["sun"]})
    tasks = [task(*([[box, choice, box]] * (n % 3)), id=n) for n in range(1, 351)]
    tables = read(*tasks)
    assert tables.items["item_id"].to_pylist() == [str(n) for n in range(1, 351)]
    assert tables.labels["item_id"].to_pylist() == [str(n) for n in range(1, 351) for _ in range(3 * (n % 3))]
    assert tables.labels["ordinal"].to_pylist() == [0, 1, 2] * (len(tables.labels) // 3)
    assert set(tables.labels["type"].to_pylist()[1::3]) == {"classification"}


def test_an_empty_export_has_no_rows() -> None:
    assert [len(batch) for batch in read()] == [0, 0, 0]
