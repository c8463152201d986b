"""Rows as people have them, on their way into a tool: what is made of them, and what is wrong with them."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_annotation.labels.completion import complete_labels
from airflow_annotation.labels.errors import LabelError, LabelRowError
from airflow_annotation.labels.label_studio.config import label_schema_from_config
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.results import results_from_labels
from airflow_annotation.labels.labelbox.features import Ontology
from airflow_annotation.labels.labelbox.ontology import label_schema_from_ontology
from airflow_annotation.labels.labelbox.results import results_from_labels as labelbox_results
from airflow_annotation.labels.masks import mask_to_rle
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.submissions import SCORE, Submission, read_rows, read_submissions
from airflow_annotation.labels.tables import LABELS
from tests.support.label_studio_rows import CONFIG

Row = dict[str, Any]

SCHEMA = LabelSchema.from_dict(
    {
        "objects": {
            "type": "detections",
            "classes": ["car", "person"],
            "attributes": {"occluded": {"type": "radio", "values": ["yes", "no"]}},
        },
        "joints": {"type": "keypoints", "classes": ["head", "foot"]},
        "paths": {"type": "polylines", "classes": ["lane"]},
        "things": {"type": "instances", "classes": ["car"]},
        "quality": {"type": "scalar"},
    }
)
BOX: Row = {"item_key": "a", "field": "objects", "label": "car", "bbox": [0.1, 0.2, 0.3, 0.4]}
MASK = mask_to_rle(np.eye(4))


def submitted(*rows: Row) -> list[Submission]:
    return list(read_submissions(read_rows(rows)))


def complete(*rows: Row, **facts: Any) -> list[Row]:
    (submission,) = submitted(*({"item_key": "a", **row} for row in rows))
    return complete_labels(submission, SCHEMA, **facts)


def test_a_keypoint_of_several_points_is_a_row_a_point_and_keeps_its_parent() -> None:
    points = [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]
    pose = {"field": "joints", "label": "head", "points": points, "label_id": "pose", "attributes": {"note": "x"}}
    other = {"field": "joints", "label": "foot", "points": points[:2], "label_id": "p2", "parent_label_id": "box"}
    single = {"field": "joints", "label": "foot", "points": points[:1], "label_id": "p3"}
    relation = {"field": "r", "type": "relation", "from_label_id": "pose", "to_label_id": "p3", "label_id": "r"}
    rows = complete(pose, other, single, relation)
    names = ("label_id", "parent_label_id", "point_index", "points")
    assert [tuple(row.get(name) for name in names) for row in rows[:-1]] == [
        ("pose.0", "pose", 0, [[0.1, 0.2]]),
        ("pose.1", "pose", 1, [[0.3, 0.4]]),
        ("pose.2", "pose", 2, [[0.5, 0.6]]),
        ("p2.0", "box", 0, [[0.1, 0.2]]),
        ("p2.1", "box", 1, [[0.3, 0.4]]),
        ("p3", None, None, [[0.1, 0.2]]),
    ]
    assert (rows[-1]["from_label_id"], rows[-1]["to_label_id"]) == ("pose.0", "p3")
    assert {row["attributes"] for row in rows[:3]} == {'{"note": "x"}'}


@pytest.mark.parametrize("missing", [None, math.nan, float("nan"), np.float32("nan"), Decimal("NaN"), pd.NA, pd.NaT])
def test_what_is_missing_stays_missing_in_every_column(missing: Any) -> None:
    row = {**BOX, **{field.name: missing for field in LABELS if field.name not in BOX}, SCORE: missing}
    (submission,) = submitted(row)
    assert {name: value for name, value in submission.labels[0].items() if value is not None} == BOX
    assert submission.score is None


def test_missing_values_inside_of_values_are_missing_too() -> None:
    attributes = {"occluded": "no", "age": math.nan, "parts": ["door", pd.NA]}
    (row,) = complete({**BOX, "attributes": attributes})
    assert json.loads(row["attributes"]) == {"occluded": "no", "age": None, "parts": ["door", None]}
    (row,) = complete({**BOX, "attributes": '{"occluded": "no", "age": NaN}'})
    assert json.loads(row["attributes"]) == {"occluded": "no", "age": None}
    with pytest.raises(LabelRowError, match="takes x, y, width and height"):
        complete({**BOX, "bbox": [0.1, math.nan, 0.2, 0.2]})


def test_decimals_are_numbers_and_whole_numbers_stay_whole() -> None:
    box = [Decimal("0.1"), Decimal("0.2"), Decimal("0.3"), Decimal("0.4")]
    (row,) = complete(
        {**BOX, "bbox": box, SCORE: Decimal("0.5"), "attributes": {"count": Decimal(3), "age": Decimal("1.5")}}
    )
    assert row["bbox"] == pytest.approx(BOX["bbox"])
    assert json.loads(row["attributes"]) == {"count": 3, "age": 1.5, "score": 0.5}
    (row,) = complete({"field": "joints", "label": "head", "points": np.array([[0.1, 0.2]]), "label_id": Decimal(7)})
    assert (row["points"], row["label_id"]) == ([[0.1, 0.2]], "7")
    (row,) = complete({"field": "quality", "number": Decimal("1.5"), "frame": 3.0, "label_id": 12.0})
    assert (row["number"], row["frame"], row["label_id"]) == (1.5, 3, "12")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("bbox", "here"),
        ("bbox", "[0.1, 0.2"),
        ("bbox", ["left", 0, 1, 1]),
        ("points", [0.1, 0.2]),
        ("frame", 1.5),
        ("frame", 2**40),
        ("number", "many"),
        ("is_keyframe", "no"),
        ("time", object()),
    ],
)
def test_a_value_of_another_type_is_a_problem_of_its_item_alone(column: str, value: Any) -> None:
    one, other = submitted({**BOX, column: value}, {**BOX, "item_key": "b"})
    assert (one.item_key, other.item_key, other.problem) == ("a", "b", None)
    assert other.labels[0]["bbox"] == BOX["bbox"]
    with pytest.raises(LabelRowError, match=f"Column '{column}' of the labels is not "):
        complete_labels(one, SCHEMA)


def test_a_column_of_the_same_name_as_ours_says_nothing() -> None:
    (submission,) = submitted({**BOX, "problem": "none at all"})
    assert submission.problem is None


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"field": "joints", "label": "head", "points": []}, "has no point in its points"),
        ({"field": "paths", "label": "lane", "points": []}, "has no point in its points"),
        ({"field": "paths", "label": "lane", "points": [[0.1]]}, "a point that is not x and y"),
        ({"field": "things", "label": "car", "mask_size": [4, 4], "mask_counts": "~~~"}, "broken mask"),
        ({"field": "things", "label": "car", "mask_size": [4, 5], "mask_counts": MASK.counts}, "broken mask"),
        ({"field": "things", "label": "car", "mask_size": [4, 4], "mask_counts": "é"}, "broken mask"),
        ({"field": "things", "label": "car", "mask_size": [4], "mask_counts": MASK.counts}, "without mask_size"),
        ({"field": "things", "label": "car", "mask_size": [10**6, 10**6], "mask_counts": "1"}, "broken mask"),
        ({"field": "things", "label": "car", "mask_size": [4, 4]}, "has no mask_counts"),
        ({**BOX, "mask_counts": "1"}, "without mask_size"),
        ({**BOX, "attributes": "{"}, "attributes that are not JSON"),
        ({**BOX, "attributes": "[1]"}, "not a JSON object"),
        ({**BOX, "attributes": {"age": math.inf}}, "not finite"),
        ({**BOX, "labels": ["car", None]}, "a class without a name"),
        ({"field": "quality", "number": math.inf}, "no finite number"),
        ({**BOX, "time": -1.0}, "counts from 0"),
        ({"field": "x", "type": "span", "span_start": 9, "span_end": 3}, "ends before it starts: its span_start is 9"),
        ({"field": "x", "type": "span", "time": 2.0, "time_end": 1.0}, "ends before it starts: its time is 2.0"),
        ({**BOX, "frame": 5, "frame_end": 4}, "ends before it starts: its frame is 5, its frame_end 4"),
        ({"field": "x", "type": "other", "raw": "{"}, "a raw that is not JSON"),
        ({"field": "x", "type": "other", "raw": "3"}, "a raw that is not a JSON object"),
        (
            {"field": "occluded", "type": "classification", "label": "yes"},
            "asks 'occluded' about each label of field 'objects'. Put the answer under 'occluded' into the attributes",
        ),
        ({"field": "objects.occluded", "label": "yes"}, "asks 'occluded' about each label of field 'objects'"),
        ({"field": "mood", "label": "x"}, "no such field. Its fields: objects, joints, paths, things, quality"),
    ],
)
def test_a_row_that_says_no_label_is_named(row: Row, said: str) -> None:
    with pytest.raises(LabelRowError, match=said):
        complete(row)


def test_a_span_over_paragraphs_counts_the_characters_of_each() -> None:
    span = {"field": "x", "type": "span", "label": "y", "span_start": 9, "span_end": 3}
    assert len(complete({**span, "attributes": {"start": "0", "end": "1"}})) == 1
    with pytest.raises(LabelRowError, match="ends before it starts"):
        complete({**span, "attributes": {"start": "0", "end": "0"}})


def test_two_labels_do_not_have_one_id_except_in_the_frames_of_a_video_and_as_two_answers_about_one_region() -> None:
    with pytest.raises(LabelRowError, match="Two labels have the label_id 'r1', of the fields 'objects' and 'objects'"):
        complete({**BOX, "label_id": "r1"}, {**BOX, "label_id": "r1", "label": "person"})
    path = {"field": "paths", "label": "lane", "points": [[0, 0], [1, 1]], "label_id": "r1"}
    with pytest.raises(LabelRowError, match="of the fields 'objects' and 'paths'"):
        complete({**BOX, "label_id": "r1"}, path)
    assert len(complete({**BOX, "label_id": "r1", "frame": 0}, {**BOX, "label_id": "r1", "frame": 5})) == 2
    span = {"type": "span", "span_start": 3, "span_end": 9, "label_id": "s", "label": "x"}
    assert len(complete({**span, "field": "names"}, {**span, "field": "kinds"})) == 2


@given(
    frame=st.integers(0, 10**6),
    length=st.integers(0, 1000),
    rate=st.sampled_from([1.0, 23.976, 24.0, 25.0, 30000 / 1001, 50.0, 60.0, 120.0]),
)
def test_frame_and_time_follow_from_each_other_even_in_milliseconds(frame: int, length: int, rate: float) -> None:
    (row,) = complete({**BOX, "frame": frame, "frame_end": frame + length}, frame_rate=rate)
    assert row["time"] == pytest.approx(frame / rate)
    assert row["time_end"] == pytest.approx((frame + length + 1) / rate)
    for digits in (3, 9):
        times = {name: round(row[name], digits) for name in ("time", "time_end")}
        (back,) = complete({**BOX, **times}, frame_rate=rate)
        assert (back["frame"], back["frame_end"]) == (frame, frame + length)
    (row,) = complete({**BOX, "frame": frame})
    assert row.get("time") is None


# Whatever rows hold, they become a tool's records, or an error of their item.

NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.floats(-0.5, 1.5) | st.sampled_from([0.0, 0.5, 1.0])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "label": st.sampled_from(["car", "hip", "leaf", "grass", "sun", "EU/FR", ""]),
    "labels": st.lists(st.sampled_from(["car", "day", "wet", None]), max_size=2),
    "number": NUMBERS,
    "text": st.text(max_size=5),
    "bbox": st.lists(NUMBERS, min_size=3, max_size=4),
    "rotation": NUMBERS,
    "points": st.lists(st.lists(NUMBERS, min_size=1, max_size=2), max_size=3),
    "point_index": st.integers(-1, 3),
    "mask_size": st.lists(st.sampled_from([-1, 0, 4, 640, 10**8]), max_size=3) | st.just([4, 4]),
    "mask_counts": st.sampled_from([MASK.counts, "", "1", "~", "é", "04"]),
    "track_id": st.sampled_from(["t", ""]),
    "frame": st.integers(-1, 30),
    "frame_end": st.integers(-1, 30),
    "tool_frame": st.integers(-1, 30),
    "time": NUMBERS,
    "time_end": NUMBERS,
    "is_keyframe": st.booleans(),
    "span_start": st.integers(-1, 9),
    "span_end": st.integers(-1, 9),
    "from_label_id": st.sampled_from(["r0", "x"]),
    "to_label_id": st.sampled_from(["r0", "x"]),
    "label_id": st.sampled_from(["r0", "r1", ""]),
    "parent_label_id": st.sampled_from(["r0", "x"]),
    "target": st.sampled_from(["image", "image[2]", "nowhere", ""]),
    "attributes": st.sampled_from(
        ["{}", "{", "null", "[]", '{"score": "high"}', '{"occluded": "yes"}', '{"age": NaN}', '{"enabled": false}']
    ),
    "raw": st.sampled_from(["{}", "{", "3", '{"type": "x"}']),
    SCORE: NUMBERS,
}
ONTOLOGY: dict[str, Any] = {
    "tools": [
        {"tool": tool, "name": field, "featureSchemaId": field, "schemaNodeId": field, "classifications": []}
        for tool, field in [
            ("rectangle", "objects: car"),
            ("polygon", "areas: road"),
            ("line", "lines: lane"),
            ("point", "joints: hip"),
            ("raster-segmentation", "things: leaf"),
            ("named-entity", "names: city"),
            ("edge", "relation"),
        ]
    ],
    "classifications": [
        {
            "type": "radio",
            "name": "weather",
            "instructions": "weather",
            "featureSchemaId": "weather",
            "options": [{"label": "sun", "value": "sun", "featureSchemaId": "sun"}],
        },
        {"type": "text", "name": "note", "instructions": "note", "featureSchemaId": "note", "options": []},
    ],
}


POINT, PATH = [[0.5, 0.5]], [[0.1, 0.1], [0.9, 0.9], [0.5, 0.1]]
GOOD: list[Row] = [
    {"field": "objects", "type": "detection", "label": "car", "bbox": [0.1, 0.2, 0.3, 0.4]},
    {"field": "rounds", "type": "ellipse", "label": "wheel", "bbox": [0.1, 0.2, 0.3, 0.4]},
    {"field": "areas", "type": "polygon", "label": "road", "points": PATH},
    {"field": "lines", "type": "polyline", "label": "lane", "points": PATH},
    {"field": "joints", "type": "keypoint", "label": "hip", "points": POINT},
    {"field": "joints", "type": "keypoint", "label": "hip", "points": PATH},
    {"field": "things", "type": "instance", "label": "leaf", "mask_size": [4, 4], "mask_counts": MASK.counts},
    {"field": "names", "type": "span", "label": "city", "span_start": 3, "span_end": 7},
    {"field": "marks", "type": "span", "label": "title", "span_start": 3, "span_end": 7},
    {"field": "tones", "type": "span", "label": "glad", "attributes": '{"start": "0", "end": "1"}'},
    {"field": "events", "type": "span", "label": "run", "time": 1.0, "time_end": 2.0},
    {"field": "relation", "type": "relation", "from_label_id": "r0", "to_label_id": "r1"},
    {"field": "weather", "type": "classification", "label": "sun"},
    {"field": "weather", "labels": ["sun"]},
    {"field": "tags", "type": "classifications", "labels": ["day", "wet"]},
    {"field": "place", "type": "classifications", "label": "EU/FR"},
    {"field": "count", "type": "scalar", "number": 3.0},
    {"field": "note", "type": "text", "text": "seen"},
    {"field": "tracks", "type": "detection", "label": "bus", "bbox": [0.1, 0.2, 0.3, 0.4], "track_id": "t", "frame": 3},
    {"field": "lanes", "type": "polyline", "label": "left", "points": PATH, "time": 0.5, "is_keyframe": True},
    {"field": "scenes", "type": "classification", "label": "rain", "frame": 3, "frame_end": 8},
    {"field": "x", "type": "other", "raw": '{"type": "x"}'},
    {"field": "objects.occluded", "type": "classification", "label": "yes"},
    {"field": "unheard of", "type": "unheard of"},
]


@st.composite
def rows(draw: st.DrawFn) -> Row:
    """A row that is right for one of the tools, with some columns that are not."""
    row: Row = {"item_key": "a", **draw(st.sampled_from(GOOD))}
    for name in draw(st.sets(st.sampled_from(sorted(VALUES)), max_size=3)):
        row[name] = draw(VALUES[name])
    if draw(st.integers(0, 9)) == 0:
        del row[draw(st.sampled_from(sorted(row.keys() - {"item_key", "field"})))]
    return row


@settings(max_examples=400, deadline=None)
@given(st.lists(rows(), max_size=3), st.booleans())
def test_any_row_is_written_or_is_an_error_of_its_item(made: list[Row], sized: bool) -> None:
    size = (640, 480) if sized else (None, None)
    config, ontology = LabelingConfig(CONFIG), Ontology(ONTOLOGY)
    for submission in submitted(*made):
        try:
            labels = complete_labels(
                submission, label_schema_from_config(CONFIG), frame_rate=25.0, find_size=lambda _: size
            )
            records = results_from_labels(labels, config, duration=2.0, find_size=lambda _: size)
            assert json.loads(json.dumps(records, allow_nan=False)) == records
        except LabelError:
            pass
        try:
            labels = complete_labels(
                submission, label_schema_from_ontology(ONTOLOGY), frame_rate=25.0, find_size=lambda _: size
            )
            lines = labelbox_results(labels, ontology, global_key="a", width=size[0], height=size[1])
            assert json.loads(json.dumps(lines, allow_nan=False)) == lines
        except LabelError:
            pass
