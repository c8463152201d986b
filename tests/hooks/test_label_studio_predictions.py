from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pytest

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks import late_requests
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.label_studio import predictions
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.hooks.label_studio.hook import LabelStudioHook
from airflow_annotation.labels.mask_budget import MaskBudget
from airflow_annotation.labels.masks import mask_to_rle, toggles_to_rle
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import collect_tables
from tests.servers.faults import Fault, fault_server

if TYPE_CHECKING:
    from devtools.label_studio import LabelStudio
from tests.support.label_studio_predictions import HEIGHT, SCHEMA, WIDTH, Row, landed, submissions
from tests.support.label_studio_uploads import upload_predictions


@pytest.fixture
def make_project(hook: LabelStudioHook) -> Iterator[Callable[..., AnnotationProject]]:
    """Makes a project with items ``photo-0``, ``photo-1``, ... of a known size."""
    made: list[AnnotationProject] = []

    def make(items: int = 3, schema: LabelSchema = SCHEMA) -> AnnotationProject:
        made.append(hook.create_project(title="predictions", run_key=f"predictions/{uuid4()}", label_schema=schema))
        tasks = [
            {"image": f"/{n}.jpg", "item_key": f"photo-{n}", "width": WIDTH, "height": HEIGHT} for n in range(items)
        ]
        hook.client.request("POST", f"/api/projects/{made[-1].id}/import", json=tasks)
        return made[-1]

    yield make
    for project in made:
        hook.delete_project(project.id)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_requests, "_WAITS", (0.01, 0.01, 0.01))
    monkeypatch.setattr(late_requests, "_LATE_LOOKS", (0.01, 0.01))


def box(item: int | str, **columns: Any) -> Row:
    key = item if isinstance(item, str) else f"photo-{item}"
    return {"item_key": key, "field": "objects", "label": "car", "bbox": [0.1, 0.2, 0.3, 0.4], **columns}


def test_tracks_in_a_video_land_as_they_went_in(hook: LabelStudioHook) -> None:
    config = """<View><Video name="video" value="$video" frameRate="25"/><VideoRectangle name="box" toName="video"/>
      <Labels name="objects" toName="video"><Label value="car"/></Labels>
      <TimelineLabels name="scenes" toName="video"><Label value="rain"/></TimelineLabels></View>"""
    project = hook.create_project(title="tracks", run_key=f"predictions/{uuid4()}", label_config=config)
    facts = {"item_key": "clip", "width": WIDTH, "height": HEIGHT, "frame_count": 10, "frame_rate": 25}
    hook.client.request("POST", f"/api/projects/{project.id}/import", json=[{"video": "/clip.mp4", **facts}])
    shared = {"track_id": "t", "is_keyframe": True, "type": "detection"}
    rows = [
        box("clip", label_id="t", bbox=[0, 0, 0.1, 0.1], time=0.0, **shared),
        box("clip", label_id="t", bbox=[0.2, 0, 0.1, 0.1], time=0.08, attributes='{"enabled":false}', **shared),
        box("clip", label_id="t", bbox=[0.5, 0, 0.1, 0.1], time=0.28, **shared),
    ]
    scene = {"item_key": "clip", "field": "scenes", "type": "classification", "label": "rain", "label_id": "s"}
    rows.append({**scene, "time": 0.04, "time_end": 0.2})
    report = hook.upload_predictions(project.id, submissions(rows), model_version="v1")
    assert report.failures == []
    options = ReadOptions(include_predictions=True, frames="all")
    shown = collect_tables(hook.read_tables(project, options))["labels"].to_pylist()
    hook.delete_project(project.id)
    assert [(row["label_id"], row["frame"], row["frame_end"], row["is_keyframe"]) for row in shown] == [
        ("t", 0, None, True),
        ("t", 1, None, False),
        ("t", 2, None, True),
        ("t", 7, None, True),
        ("t", 8, None, False),
        ("t", 9, None, False),
        ("s", 1, 4, None),
    ]
    assert shown[1]["bbox"] == pytest.approx([0.1, 0, 0.1, 0.1])


def test_a_keypoint_of_several_points_goes_there_and_back_again(
    hook: LabelStudioHook, make_project: Callable[..., AnnotationProject]
) -> None:
    project = make_project()
    points = [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]
    pose = {"field": "joints", "label": "head", "points": points, "label_id": "pose"}
    for mode in ("predictions", "annotations"):
        report = hook.upload_predictions(
            project.id, submissions([{"item_key": "photo-0", **pose}]), model_version=mode, mode=mode
        )
        assert (report.uploaded, report.failures) == (1, [])
    rows = [row for row in landed(hook, project)["labels"] if row["origin"] == "person"]
    assert [(row["label_id"], row["parent_label_id"], row["point_index"]) for row in rows] == [
        ("pose.0", "pose", 0),
        ("pose.1", "pose", 1),
        ("pose.2", "pose", 2),
    ]
    assert [row["points"] for row in rows] == [[pytest.approx(point)] for point in points]
    again = [{**row, "item_key": "photo-1", "annotation_id": None, "project": None} for row in rows]
    report = hook.upload_predictions(project.id, submissions(again), model_version="again")
    assert report.failures == []
    names = ("label_id", "parent_label_id", "point_index", "points", "label")
    back = [row for row in landed(hook, project)["labels"] if row["item_key"] == "photo-1"]
    assert [[row[name] for name in names] for row in back] == [[row[name] for name in names] for row in rows]


def test_masks_beyond_the_default_limit_go_in_where_the_hooks_limit_was_raised(
    hook: LabelStudioHook, make_project: Callable[..., AnnotationProject]
) -> None:
    project = make_project(items=1)
    large = [20_000, 20_000]
    task = {"image": "/large.jpg", "item_key": "large", "width": large[1], "height": large[0]}
    hook.client.request("POST", f"/api/projects/{project.id}/import", json=[task])
    rle = toggles_to_rle(np.array([0]), large[1], large[0])
    rows = [box("large", field="things", mask_size=rle.size, mask_counts=rle.counts, bbox=None)]
    report = hook.upload_predictions(project.id, submissions(rows), model_version="v1")
    assert "has more than 268,435,456" in report.failures[0].reason
    hook.mask_budget = MaskBudget.of_pixels(1 << 29)
    assert hook.upload_predictions(project.id, submissions(rows), model_version="v1").uploaded == 1
    (back,) = landed(hook, project)["labels"]
    assert (back["mask_size"], back["mask_counts"]) == (large, rle.counts)


def test_labels_that_are_wrong_are_failures_of_their_items_and_the_others_go_in(
    hook: LabelStudioHook, make_project: Callable[..., AnnotationProject]
) -> None:
    project = make_project(items=7)
    rle = mask_to_rle(np.ones((HEIGHT, WIDTH)))
    rows = [
        box(0, field="joints", label="head", points=[], bbox=None),
        box(1, field="things", mask_size=rle.size, mask_counts="~~~", bbox=None),
        box(2, label_id="r"),
        box(2, label_id="r", label="person"),
        box(3, field="occluded", type="classification", label="yes", bbox=None),
        box(4, bbox="here"),
        box(5, bbox=[0.1, float("nan"), 0.1, 0.1]),
        box(6),
    ]
    report = hook.upload_predictions(project.id, submissions(rows), model_version="v1")
    assert (report.uploaded, report.failed) == (1, 6)
    said = [
        "has no point",
        "a broken mask",
        "Two labels have the label_id 'r'",
        "into the attributes of that",
        "'bbox'",
    ]
    for failure, text in zip(report.failures, [*said, "takes x, y"], strict=True):
        assert text in failure.reason
        assert repr(failure.item_key) in failure.reason


def test_a_frame_of_the_file_and_a_time_say_the_same(hook: LabelStudioHook) -> None:
    config = """<View><Video name="video" value="$video" frameRate="25"/><VideoRectangle name="box" toName="video"/>
      <Labels name="objects" toName="video"><Label value="car"/></Labels></View>"""
    project = hook.create_project(title="frames", run_key=f"predictions/{uuid4()}", label_config=config)
    facts = {"item_key": "clip", "width": WIDTH, "height": HEIGHT, "frame_count": 300, "frame_rate": 30}
    unknown = {"item_key": "unknown", "width": WIDTH, "height": HEIGHT}
    tasks = [{"video": "/clip.mp4", **facts}, {"video": "/other.mp4", **unknown}]
    hook.client.request("POST", f"/api/projects/{project.id}/import", json=tasks)
    for version, when in (("frame", {"frame": 30}), ("time", {"time": 1.0})):
        rows = [box("clip", label_id="t", track_id="t", is_keyframe=True, **when)]
        report = hook.upload_predictions(project.id, submissions(rows), model_version=version)
        assert report.failures == []
    shown = landed(hook, project)["labels"]
    report = hook.upload_predictions(project.id, submissions([box("unknown", frame=30)]), model_version="v")
    hook.delete_project(project.id)
    assert [(row["frame"], row["time"], row["tool_frame"]) for row in shown] == [(30, 1.0, 26)] * 2
    assert "only where the file's frame_rate is known" in report.failures[0].reason


def test_predictions_arrive_once_with_their_version_and_score(
    hook: LabelStudioHook, make_project: Callable[..., AnnotationProject]
) -> None:
    project = make_project()
    rows = [box(0, score=0.5, label_id="a"), box(0, score=0.7, label="person"), box(1)]
    for expected in ((2, 0), (0, 2)):
        report = hook.upload_predictions(project.id, submissions(rows), model_version="v1")
        assert (report.uploaded, report.skipped, report.failures) == (*expected, [])
    report = hook.upload_predictions(project.id, submissions(rows[-1:]), model_version="v")
    assert report.uploaded == 1, "a version whose name is part of another's"
    report = hook.upload_predictions(project.id, submissions([*rows, box(2)]), model_version="v")
    assert (report.uploaded, report.skipped) == (2, 1)

    tables = landed(hook, project)
    assert {item["annotation_count"] for item in tables["items"]} == {0}
    found = sorted((row["item_key"], row["model_version"], row["score"]) for row in tables["annotations"])
    assert found == [
        ("photo-0", "v", pytest.approx(0.6)),
        ("photo-0", "v1", pytest.approx(0.6)),
        ("photo-1", "v", None),
        ("photo-1", "v1", None),
        ("photo-2", "v", None),
    ]
    first = [row for row in tables["labels"] if row["item_key"] == "photo-0"]
    assert {(row["label"], json.loads(row["attributes"])["score"]) for row in first} == {("car", 0.5), ("person", 0.7)}
    assert "a" in {row["label_id"] for row in first}


def test_people_are_shown_the_predictions_that_were_uploaded_last(
    hook: LabelStudioHook, make_project: Callable[..., AnnotationProject]
) -> None:
    project = make_project(1)
    for version in ("first", "second"):
        hook.upload_predictions(project.id, submissions([box(0)]), model_version=version)
        task = hook.client.request("GET", f"/api/projects/{project.id}/next").json()
        assert [prediction["model_version"] for prediction in task["predictions"]] == [version]


def test_predictions_are_replaced_by_choice(
    hook: LabelStudioHook, make_project: Callable[..., AnnotationProject]
) -> None:
    project = make_project()
    hook.upload_predictions(project.id, submissions([box(0), box(1)]), model_version="v1")
    hook.upload_predictions(project.id, submissions([box(0)]), model_version="other")
    report = hook.upload_predictions(
        project.id, submissions([box(0, label="person")]), model_version="v1", on_existing="replace"
    )
    assert (report.uploaded, report.skipped) == (1, 0)
    labels = landed(hook, project)["labels"]
    assert sorted((row["item_key"], row["label"]) for row in labels) == [("photo-0", "car"), ("photo-0", "person")]


def test_annotations_are_made_once_and_are_no_ground_truth(
    hook: LabelStudioHook, make_project: Callable[..., AnnotationProject]
) -> None:
    project = make_project()
    rows = [box(0), {"item_key": "photo-1", "field": None}]
    for _ in range(2):
        report = hook.upload_predictions(project.id, submissions(rows), model_version="v1", mode="annotations")
        assert report.uploaded + report.skipped == 2
    tables = landed(hook, project)
    made = [row for row in tables["annotations"] if row["origin"] == "person"]
    assert sorted((row["item_key"], row["label_count"], row["ground_truth"]) for row in made) == [
        ("photo-0", 1, False),
        ("photo-1", 0, False),
    ]
    assert [item["status"] for item in tables["items"]] == ["labeled", "labeled", "unlabeled"]


def test_an_upload_that_ended_before_the_annotations_were_made_goes_on(
    hook: LabelStudioHook, label_studio: LabelStudio, make_project: Callable[..., AnnotationProject]
) -> None:
    project = make_project()
    rows = [box(0), box(1)]
    with fault_server(label_studio.url, faults=[Fault(method="POST", path="/api/dm/actions/", status=403)]) as server:
        client = LabelStudioClient(url=server.url, api_key=label_studio.api_key)
        with pytest.raises(AnnotationError, match="403"):
            upload_predictions(client, project.id, submissions(rows), model_version="v1", mode="annotations")
    report = hook.upload_predictions(project.id, submissions(rows), model_version="v1", mode="annotations")
    assert (report.uploaded, report.skipped) == (0, 2)
    assert [item["annotation_count"] for item in landed(hook, project)["items"]] == [1, 1, 0]


@pytest.mark.parametrize(
    "fault",
    [Fault(method="POST", path="import/predictions", cut="body"), Fault(method="POST", path="predictions", status=502)],
    ids=["answer lost", "request lost"],
)
def test_what_got_lost_on_the_way_is_sent_again_and_nothing_twice(
    fault: Fault, hook: LabelStudioHook, label_studio: LabelStudio, make_project: Callable[..., AnnotationProject]
) -> None:
    project = make_project()
    with fault_server(label_studio.url, faults=[fault]) as server:
        client = LabelStudioClient(url=server.url, api_key=label_studio.api_key)
        report = upload_predictions(client, project.id, submissions([box(0), box(1)]), model_version="v1")
    assert report.uploaded == 2
    assert [item["prediction_count"] for item in landed(hook, project)["items"]] == [1, 1, 0]


def test_requests_are_bounded(
    hook: LabelStudioHook,
    label_studio: LabelStudio,
    make_project: Callable[..., AnnotationProject],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = make_project(7)
    monkeypatch.setattr(predictions, "PREDICTIONS_PER_REQUEST", 3)
    monkeypatch.setattr(predictions, "BYTES_PER_REQUEST", 1000)
    rows = [box(n) for n in range(6)] + [box(6)] * 3
    with fault_server(label_studio.url) as server:
        client = LabelStudioClient(url=server.url, api_key=label_studio.api_key)
        assert upload_predictions(client, project.id, submissions(rows), model_version="v1").uploaded == 7
        sent = [json.loads(one.body) for one in server.requests if "import/predictions" in one.path]
    assert [len(request) for request in sent] == [3, 3, 1]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (box("elsewhere"), "project has no item 'elsewhere'"),
        (box(1, label="cat"), "the class 'cat', which the project does not have"),
        (box(1, field="boats"), "no such field"),
        (box(1, bbox=[0.9, 0.2, 0.3, 0.4]), "outside its media"),
        (box(1, bbox=[0.1, 0.2]), "takes x, y, width and height"),
        (box(1, bbox=None), "is of type detection and has no bbox"),
        (box(1, field="things", mask_size=[10, 10], mask_counts="n2"), "the size 10 x 10, its media 640 x 480"),
        (box(1, attributes="{"), "attributes that are not JSON"),
        (box(1, attributes='{"age": 3}'), "the attribute 'age', which the project does not ask"),
        (box(1, type="cuboid"), "cannot be written"),
        ({"item_key": "photo-1", "field": "weather"}, "has no label"),
    ],
)
def test_labels_that_cannot_be_written_are_reported_by_item_and_keep_no_others_out(
    row: Row, reason: str, hook: LabelStudioHook, make_project: Callable[..., AnnotationProject]
) -> None:
    project = make_project()
    report = hook.upload_predictions(project.id, submissions([box(0), row, box(2)]), model_version="v1")
    assert (report.uploaded, report.failed) == (2, 1)
    assert report.failures[0].item_key == row["item_key"]
    assert reason in report.failures[0].reason


def test_what_the_server_itself_drops_is_reported_by_item(
    hook: LabelStudioHook, make_project: Callable[..., AnnotationProject]
) -> None:
    """It says only how many it took."""
    project = make_project()
    raw = {"type": "rectanglelabels", "from_name": "nobody", "to_name": "image", "value": {}}
    rows = [box(0), {"item_key": "photo-1", "field": "objects", "type": "other", "raw": json.dumps(raw)}, box(2)]
    report = hook.upload_predictions(project.id, submissions(rows), model_version="v1")
    assert (report.uploaded, report.failed) == (2, 1)
    assert "'nobody' not found" in report.failures[0].reason
    assert [item["prediction_count"] for item in landed(hook, project)["items"]] == [1, 0, 1]


def test_rows_of_an_item_that_come_in_several_places_are_reported(
    hook: LabelStudioHook, make_project: Callable[..., AnnotationProject]
) -> None:
    project = make_project()
    report = hook.upload_predictions(project.id, submissions([box(0), box(1), box(0)]), model_version="v1")
    assert (report.uploaded, report.failed) == (2, 1)
    assert "order the rows by item_key" in report.failures[0].reason


def test_coordinates_in_pixels_go_by_the_size_of_the_item(
    hook: LabelStudioHook, make_project: Callable[..., AnnotationProject]
) -> None:
    project = make_project()
    hook.client.request(
        "POST", f"/api/projects/{project.id}/import", json=[{"image": "/x.jpg", "item_key": "sizeless"}]
    )
    rows = [box(0, bbox=[64, 48, 320, 96]), box("sizeless", bbox=[64, 48, 320, 96])]
    report = hook.upload_predictions(project.id, submissions(rows), model_version="v1", coordinates="pixels")
    assert [failure.item_key for failure in report.failures] == ["sizeless"]
    assert landed(hook, project)["labels"][0]["bbox"] == pytest.approx([0.1, 0.1, 0.5, 0.2])


def test_a_model_version_that_cannot_be_told_from_others_is_refused(hook: LabelStudioHook) -> None:
    for version in ("", "a,b"):
        with pytest.raises(AnnotationError, match="model_version"):
            hook.upload_predictions("1", [], model_version=version)
