"""Label Studio's regions as labels."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.label_studio_exports import BOX, read_labels, region


def test_a_box_lands_with_its_class_and_place() -> None:
    row = region("rectanglelabels", "objects", {**BOX, "rectanglelabels": ["car"]}, origin="manual", parentID="r0")
    assert read_labels([row]) == [
        {
            "ordinal": 0,
            "label_id": "r1",
            "parent_label_id": "r0",
            "field": "objects",
            "target": "image",
            "type": "detection",
            "label": "car",
            "bbox": pytest.approx([0.1, 0.2, 0.3, 0.4]),
            "rotation": 0.0,
            "label_origin": "manual",
        }
    ]


def test_answers_about_a_region_are_its_attributes() -> None:
    rows = read_labels(
        [
            region("textarea", "objects.plate", {**BOX, "text": ["AB 12"]}),
            region("rectanglelabels", "objects", {**BOX, "rectanglelabels": ["car"]}),
            region("choices", "objects.occluded", {**BOX, "choices": ["yes"]}),
            region("choices", "objects.parts", {**BOX, "choices": ["door"]}),
            region("number", "objects.age", {**BOX, "number": 3}),
            region("rectanglelabels", "objects", {**BOX, "rectanglelabels": ["person"]}, id="r2"),
        ]
    )
    assert [(row["label"], row["ordinal"]) for row in rows] == [("car", 0), ("person", 1)]
    assert json.loads(rows[0]["attributes"]) == {"plate": "AB 12", "occluded": "yes", "parts": ["door"], "age": 3}
    assert "attributes" not in rows[1]


def test_the_same_region_id_in_two_annotations_is_two_regions() -> None:
    box = region("rectanglelabels", "objects", {**BOX, "rectanglelabels": ["car"]})
    rows = read_labels([box, region("choices", "objects.occluded", {"choices": ["yes"]})], [box])
    assert [row.get("attributes") for row in rows] == ['{"occluded":"yes"}', None]


def test_a_shape_gets_its_class_from_the_labels_beside_it() -> None:
    rows = read_labels([region("rectangle", "frame", BOX), region("labels", "kind", {**BOX, "labels": ["old", "new"]})])
    assert len(rows) == 1
    assert (rows[0]["field"], rows[0]["type"], rows[0]["label"]) == ("kind", "detection", "old")
    assert rows[0]["labels"] == ["old", "new"]


def test_regions_without_a_label_land() -> None:
    (row,) = read_labels([region("rectangle", "frame", BOX)])
    assert (row["type"], row["field"], row.get("label")) == ("detection", "kind", None)


def test_keypoints_of_a_parent_are_ordered_by_the_skeleton() -> None:
    points = [("foot", "b1"), ("hip", "b1"), ("knee", None)]
    rows = read_labels(
        [
            region("keypointlabels", "joints", {"x": 50, "y": 25, "keypointlabels": [label]}, id=label, parentID=parent)
            for label, parent in points
        ]
    )
    assert [(row["label"], row.get("point_index")) for row in rows] == [("foot", 2), ("hip", 0), ("knee", None)]
    assert rows[0]["points"] == [[0.5, 0.25]]


def test_a_turned_ellipse_turns_about_its_boxs_corner_in_the_table() -> None:
    value = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "rotation": 90, "ellipselabels": ["wheel"]}
    (row,) = read_labels([region("ellipselabels", "rounds", value)])
    # In pixels: middle (320, 240), radii 64 and 96; the corner (-64, -96) turned by 90 degrees is (96, -64).
    assert row["bbox"] == pytest.approx([(320 + 96) / 640, (240 - 64) / 480, 0.2, 0.4])
    assert (row["type"], row["rotation"]) == ("ellipse", 90)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (region("choices", "weather", {"choices": ["sun"]}), {"type": "classification", "label": "sun"}),
        (
            region("choices", "tags", {"choices": ["day", "wet"]}),
            {"type": "classifications", "label": "day", "labels": ["day", "wet"]},
        ),
        (region("choices", "tags", {"choices": ["day"]}), {"type": "classifications", "label": "day"}),
        (region("taxonomy", "place", {"taxonomy": [["EU", "FR"]]}), {"type": "classifications", "label": "EU/FR"}),
        (region("number", "count", {"number": 3}), {"type": "scalar", "number": 3.0}),
        (region("rating", "stars", {"rating": 4}), {"type": "rating", "number": 4.0}),
        (region("textarea", "note", {"text": ["a", "b"]}), {"type": "text", "text": "a\nb", "labels": ["a", "b"]}),
        (region("datetime", "seen", {"datetime": "2026-01-01"}), {"type": "text", "text": "2026-01-01"}),
        (
            region(
                "vectorlabels",
                "lines",
                {"vertices": [{"x": 10, "y": 20}, {"x": 30, "y": 40}], "vectorlabels": ["lane"]},
            ),
            {"type": "polyline", "label": "lane", "points": [[0.1, 0.2], [0.3, 0.4]]},
        ),
        (
            region("labels", "names", {"start": 3, "end": 9, "text": "Berlin", "labels": ["city"]}, to_name="story"),
            {"type": "span", "span_start": 3, "span_end": 9, "text": "Berlin", "label": "city", "target": "story"},
        ),
        (
            region("pairwise", "better", {"selected": "right"}, to_name="better"),
            {"type": "pairwise", "field": "better", "label": "right"},
        ),
        (
            region("ranker", "order", {"ranker": {"order": ["b", "a"]}}, to_name="answers"),
            {"type": "ranking", "labels": ["b", "a"], "target": "answers", "label_id": "r1"},
        ),
        (
            region("chatmessage", "chat", {"chatmessage": {"role": "user", "content": "Hi"}}, to_name="chat"),
            {"type": "message", "field": "chat", "label": "user", "text": "Hi", "target": "chat"},
        ),
        (
            region(
                "ocrlabels",
                "ocr",
                {"x": 10, "y": 20, "width": 30, "height": 40, "ocrtext": "Hi", "ocrlabels": ["typo"], "pageIndex": 2},
                to_name="paper",
            ),
            {"type": "detection", "label": "typo", "text": "Hi", "bbox": [0.1, 0.2, 0.3, 0.4], "target": "paper[2]"},
        ),
        (
            region("labels", "voices", {"start": 1.5, "end": 2.0, "labels": ["anna"]}, to_name="sound"),
            {"type": "span", "time": 1.5, "time_end": 2.0, "label": "anna"},
        ),
    ],
)
def test_other_answers(record: dict[str, Any], expected: dict[str, Any]) -> None:
    (row,) = read_labels([record])
    assert {name: row[name] for name in expected} == expected


def test_each_bucket_of_a_ranking_is_a_row() -> None:
    value = {"ranker": {"good": ["b", "a"], "bad": [], "_": ["c"]}}
    rows = read_labels([region("ranker", "sorted", value, to_name="answers", id="r")])
    assert [(row.get("label"), row["labels"], row["label_id"], row["parent_label_id"]) for row in rows] == [
        ("good", ["b", "a"], "r.good", "r"),
        ("bad", [], "r.bad", "r"),
        (None, ["c"], "r._", "r"),
    ]


def test_relations_name_their_ends() -> None:
    relation = {"type": "relation", "from_id": "a", "to_id": "b", "direction": "left", "labels": ["holds"]}
    (row,) = read_labels([relation])
    assert (row["type"], row["from_label_id"], row["to_label_id"], row["label"]) == ("relation", "a", "b", "holds")


@pytest.mark.parametrize(
    "record",
    [
        region("ranker", "order", {"ranker": {"order": "1"}}),
        region("ranker", "order", {"ranker": {}}),
        region("pairwise", "better", {"selected": "both"}),
        region("chatmessage", "chat", {"chatmessage": {"role": "user"}}),
        region("ocrlabels", "ocr", {"x": 1, "y": 2, "width": 3, "ocrlabels": ["typo"]}),
        region("rectanglelabels", "objects", {"x": "left"}),
        region("brushlabels", "things", {"format": "rle", "rle": [1, 2, 3], "brushlabels": ["leaf"]}),
        region("bitmasklabels", "spots", {"imageDataURL": "data:image/png;base64,", "bitmasklabels": ["rust"]}),
        region("vectorlabels", "lines", {"vertices": [{"x": 1, "y": 2, "isBezier": True}], "vectorlabels": ["lane"]}),
        {"type": 5},
        "nonsense",
        None,
    ],
)
def test_what_no_rule_covers_lands_as_it_is(record: Any) -> None:
    box = region("rectanglelabels", "objects", {**BOX, "rectanglelabels": ["car"]})
    rows = read_labels([box, record, box])
    assert [row["type"] for row in rows] == ["detection", "other", "detection"]
    assert json.loads(rows[1]["raw"]) == record
    assert "raw" not in rows[0]


def test_raw_records_are_kept_by_choice() -> None:
    records = [
        region("rectanglelabels", "objects", {**BOX, "rectanglelabels": ["car"]}, meta={"text": ["mine"]}, id=name)
        for name in ("a", "b")
    ]
    rows = read_labels(records, keep_raw=True)
    assert [json.loads(row["raw"]) for row in rows] == records


def test_repeated_controls_belong_to_one_field() -> None:
    config = """
      <View><Repeater on="$pages" indexFlag="{{n}}">
        <Image name="page_{{n}}" value="$pages[{{n}}].url"/>
        <RectangleLabels name="objects_{{n}}" toName="page_{{n}}"><Label value="car"/></RectangleLabels>
      </Repeater></View>
    """
    records = [
        region("rectanglelabels", f"objects_{n}", {**BOX, "rectanglelabels": ["car"]}, to_name=f"page_{n}")
        for n in (0, 11)
    ]
    assert [(row["field"], row["target"]) for row in read_labels(records, config=config)] == [
        ("objects", "page_0"),
        ("objects", "page_11"),
    ]
