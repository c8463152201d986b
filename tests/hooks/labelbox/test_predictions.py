"""Labels to start from, and labels as people's own, into Labelbox and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.annotation import AnnotationProject, UploadReport
from airflow_annotation.hooks.labelbox import LabelboxHook, predictions, tasks
from airflow_annotation.labels.mask_budget import MaskBudget
from airflow_annotation.labels.masks import mask_to_rle
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.submissions import read_rows, read_submissions
from airflow_annotation.labels.tables import collect_tables
from airflow_annotation.media.items import MediaItem
from tests.servers.labelbox import LabelboxStandIn

Row = dict[str, Any]

SCHEMA = LabelSchema.from_dict(
    {
        "objects": {
            "type": "detections",
            "classes": ["car", "person"],
            "attributes": {"occluded": {"type": "radio", "values": ["yes", "no"]}},
        },
        "sky": {"type": "instances", "classes": ["sky"]},
        "weather": {"type": "classification", "classes": ["sun", "rain"]},
        "joints": {"type": "keypoints", "classes": ["head"]},
    }
)
WIDTH, HEIGHT = 200, 100


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_WAIT", 0.01)


@pytest.fixture
def keys() -> list[str]:
    return [str(uuid4()) for _ in range(3)]


@pytest.fixture
def project(hook: LabelboxHook, labelbox: LabelboxStandIn, keys: list[str]) -> AnnotationProject:
    project = hook.create_project(title="Predictions", run_key=str(uuid4()), label_schema=SCHEMA)
    items = [MediaItem(media=f"https://media.example/{key}.jpg", item_key=key) for key in keys]
    for item in items:
        labelbox.control.describe_media(item.media, {"width": WIDTH, "height": HEIGHT})
    hook.upload_items(project.id, items)
    return project


def box(key: str, **columns: Any) -> Row:
    return {"item_key": key, "field": "objects", "label": "car", "bbox": [0.1, 0.2, 0.3, 0.4], **columns}


def upload(hook: LabelboxHook, project: AnnotationProject, rows: Iterable[Row], **arguments: Any) -> UploadReport:
    submissions = read_submissions(read_rows(rows))
    return hook.upload_predictions(project.id, submissions, **{"model_version": "v1", **arguments})


def accept(labelbox: LabelboxStandIn, project: AnnotationProject, *keys: str) -> None:
    for key in keys:
        labelbox.control.submit_label(project.id, [], global_key=key, accept_predictions=True)


def labels(hook: LabelboxHook, project: AnnotationProject) -> list[Row]:
    rows: list[Row] = collect_tables(hook.read_tables(project))["labels"].to_pylist()
    return rows


def counts(report: UploadReport) -> tuple[int, int, int]:
    return report.uploaded, report.skipped, report.failed


def test_predictions_that_are_accepted_come_back_as_they_were(
    hook: LabelboxHook, labelbox: LabelboxStandIn, project: AnnotationProject, keys: list[str]
) -> None:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:20, 30:60] = True
    rle = mask_to_rle(mask)
    rows = [
        box(keys[0], attributes='{"occluded": "yes"}'),
        {"item_key": keys[0], "field": "sky", "label": "sky", "mask_size": rle.size, "mask_counts": rle.counts},
        {"item_key": keys[0], "field": "weather", "label": "rain"},
    ]
    assert counts(upload(hook, project, rows)) == (1, 0, 0)
    assert labels(hook, project) == []
    accept(labelbox, project, keys[0])
    found = {row["field"]: row for row in labels(hook, project)}
    assert found["objects"]["bbox"] == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=1e-6)
    assert found["objects"]["attributes"] == '{"occluded":"yes"}'
    assert (tuple(found["sky"]["mask_size"]), found["sky"]["mask_counts"]) == rle
    assert found["weather"]["label"] == "rain"


def test_masks_go_in_as_far_as_the_hooks_limit_says(
    hook: LabelboxHook, project: AnnotationProject, keys: list[str]
) -> None:
    rle = mask_to_rle(np.ones((HEIGHT, WIDTH), bool))
    rows = [{"item_key": keys[0], "field": "sky", "label": "sky", "mask_size": rle.size, "mask_counts": rle.counts}]
    hook.mask_budget = MaskBudget.of_pixels(WIDTH * HEIGHT - 1)
    report = upload(hook, project, rows)
    assert f"has more than {WIDTH * HEIGHT - 1:,}" in report.failures[0].reason
    hook.mask_budget = MaskBudget.of_pixels(WIDTH * HEIGHT)
    assert counts(upload(hook, project, rows)) == (1, 0, 0)


def test_all_points_of_a_keypoint_go_in(
    hook: LabelboxHook, labelbox: LabelboxStandIn, project: AnnotationProject, keys: list[str]
) -> None:
    points = [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]
    row = {"item_key": keys[0], "field": "joints", "label": "head", "points": points, "label_id": "pose"}
    assert counts(upload(hook, project, [row])) == (1, 0, 0)
    accept(labelbox, project, keys[0])
    assert [row["points"] for row in labels(hook, project)] == [[pytest.approx(point)] for point in points]


def test_labels_that_are_wrong_are_failures_of_their_items_and_the_others_go_in(
    hook: LabelboxHook, project: AnnotationProject, keys: list[str]
) -> None:
    report = upload(
        hook,
        project,
        [
            {"item_key": keys[0], "field": "sky", "label": "sky", "mask_size": [HEIGHT, WIDTH], "mask_counts": "~"},
            box(keys[1], label_id="r"),
            box(keys[1], label_id="r", label="person"),
            box(keys[2], score=0.5),
        ],
    )
    assert counts(report) == (1, 0, 2)
    assert ["a broken mask" in report.failures[0].reason, "Two labels" in report.failures[1].reason] == [True, True]


def test_a_frame_of_the_file_and_a_time_say_the_same(hook: LabelboxHook, labelbox: LabelboxStandIn) -> None:
    schema = LabelSchema.from_dict({"objects": {"type": "detections", "classes": ["car"]}})
    project = hook.create_project(title="Clips", run_key=str(uuid4()), label_schema=schema, media_type="video")
    keys = [str(uuid4()) for _ in range(3)]
    items = [MediaItem(media=f"https://media.example/{key}.mp4", item_key=key, media_type="video") for key in keys]
    for item in items[:2]:
        described = {"width": WIDTH, "height": HEIGHT, "frame_count": 300, "frame_rate": 30}
        labelbox.control.describe_media(item.media, described)
    labelbox.control.describe_media(items[2].media, {"width": WIDTH, "height": HEIGHT})
    hook.upload_items(project.id, items)
    rows = [
        *(box(keys[0], label_id="t", frame=frame, is_keyframe=True) for frame in (30, 60)),
        *(box(keys[1], label_id="t", time=time, is_keyframe=True) for time in (1.0, 2.0)),
        box(keys[2], time=1.0),
    ]
    report = upload(hook, project, rows)
    assert (report.uploaded, [failure.item_key for failure in report.failures]) == (2, keys[2:])
    assert "Give it frame, from 0" in report.failures[0].reason
    accept(labelbox, project, *keys[:2])
    shown = [(row["item_key"], row["frame"], row["time"]) for row in labels(hook, project)]
    assert shown == [(key, frame, frame / 30) for key in keys[:2] for frame in (30, 60)]


def test_pixels_are_of_the_media(
    hook: LabelboxHook, labelbox: LabelboxStandIn, project: AnnotationProject, keys: list[str]
) -> None:
    upload(hook, project, [box(keys[0], bbox=[20, 20, 60, 40])], coordinates="pixels")
    accept(labelbox, project, keys[0])
    assert labels(hook, project)[0]["bbox"] == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=1e-6)


@pytest.mark.parametrize("mode", ["predictions", "annotations"])
def test_an_item_gets_labels_of_a_version_once(
    hook: LabelboxHook, project: AnnotationProject, keys: list[str], mode: str
) -> None:
    assert counts(upload(hook, project, [box(keys[0])], mode=mode)) == (1, 0, 0)
    assert counts(upload(hook, project, [box(keys[0]), box(keys[1])], mode=mode)) == (1, 1, 0)
    assert counts(upload(hook, project, [box(keys[2])], mode=mode, model_version="v")) == (1, 0, 0)
    expected = {keys[0]: 1, keys[1]: 1, keys[2]: 1} if mode == "annotations" else {}
    found = [row["item_key"] for row in labels(hook, project)]
    assert {key: found.count(key) for key in found} == expected


def test_predictions_of_a_version_are_replaced_by_choice_and_annotations_are_not(
    hook: LabelboxHook, project: AnnotationProject, keys: list[str]
) -> None:
    upload(hook, project, [box(keys[0])])
    assert counts(upload(hook, project, [box(keys[0], label="person")], on_existing="replace")) == (1, 0, 0)
    (left,) = hook.get_conn().get_project(project.id).get_mal_prediction_imports()
    assert left.name.startswith("v1 #")
    with pytest.raises(AnnotationError, match="cannot be replaced"):
        upload(hook, project, [], mode="annotations", on_existing="replace")


def test_what_cannot_be_written_or_is_refused_fails_by_item(
    hook: LabelboxHook, project: AnnotationProject, keys: list[str]
) -> None:
    rows = [
        box("none"),
        box(keys[0], label="lorry"),
        box(keys[1]),
        box(keys[1], bbox=[0.5, 0.5, 0.9, 0.9]),
        box(keys[2]),
        box(keys[1]),
    ]
    report = upload(hook, project, rows)
    reasons = {failure.item_key: failure.reason for failure in report.failures}
    assert counts(report) == (1, 0, 4)
    assert reasons["none"] == "The project has no item 'none'."
    assert "has the class 'lorry', which the project does not have" in reasons[keys[0]]
    assert "come in several places" in reasons[keys[1]]


def test_lines_that_labelbox_refuses_fail_their_item_with_its_words(
    hook: LabelboxHook, labelbox: LabelboxStandIn, project: AnnotationProject, keys: list[str]
) -> None:
    """A row leaves the project between the listing and the import."""
    row_id = hook.get_conn().get_data_row_by_global_key(keys[0]).uid

    def rows() -> Iterable[Row]:
        yield box(keys[1])
        hook.get_conn().get_data_row(row_id).delete()
        yield box(keys[0])

    report = upload(hook, project, rows())
    assert counts(report) == (1, 0, 1)
    assert report.failures[0].item_key == keys[0]
    assert "does not take 1 of 1 labels" in report.failures[0].reason
    assert "DataRow" in report.failures[0].reason


def test_imports_are_bounded(
    hook: LabelboxHook, project: AnnotationProject, keys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "LINES_PER_IMPORT", 2)
    assert counts(upload(hook, project, [box(key) for key in keys for _ in range(2)])) == (3, 0, 0)
    assert len(list(hook.get_conn().get_project(project.id).get_mal_prediction_imports())) == 3


@pytest.mark.parametrize("mode", ["predictions", "annotations"])
def test_a_lost_answer_or_a_failed_import_doubles_nothing(
    hook: LabelboxHook, labelbox: LabelboxStandIn, project: AnnotationProject, keys: list[str], mode: str
) -> None:
    kind, operation = {
        "predictions": ("prediction import", "createMALPredictionImportByFile"),
        "annotations": ("label import", "createLabelImportByFile"),
    }[mode]
    labelbox.control.fail(operation, cut=True, after=True)
    assert counts(upload(hook, project, [box(keys[0])], mode=mode)) == (1, 0, 0)
    labelbox.control.fail_tasks(kind)
    assert counts(upload(hook, project, [box(keys[1])], mode=mode)) == (1, 0, 0)
    if mode == "predictions":
        accept(labelbox, project, keys[0], keys[1])
    assert [row["item_key"] for row in labels(hook, project)] == [keys[0], keys[1]]


def test_slow_imports_are_waited_for(
    hook: LabelboxHook, labelbox: LabelboxStandIn, project: AnnotationProject, keys: list[str]
) -> None:
    labelbox.control.settings(task_seconds=0.5)
    assert counts(upload(hook, project, [box(key) for key in keys])) == (3, 0, 0)
