"""FiftyOne's label documents as rows and back, without FiftyOne: see tests/fiftyone for those of a real one."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_annotation.labels.errors import LabelRowError
from airflow_annotation.labels.fiftyone.documents import LISTS, Document, document_id, read_mask, write_mask
from airflow_annotation.labels.fiftyone.merge import Merged, Place, known_ids, merge_field
from airflow_annotation.labels.fiftyone.rows import Asked, rows_of
from airflow_annotation.labels.submissions import Row

SIZE = (20, 15)
SCOPE = ("label-studio://host/projects/1", "7", "field")
TARGETS = {1: "sky", 2: "road"}

ids = st.binary(min_size=12, max_size=12).map(bytes.hex)
classes = st.sampled_from(["cat", "dog", "bird"])
shares = st.floats(0, 1)
points = st.lists(st.tuples(shares, shares).map(list), min_size=2, max_size=5)


def masks(*values: int) -> st.SearchStrategy[bytes]:
    width, height = SIZE
    cells = st.lists(st.sampled_from(values), min_size=width * height // 25, max_size=width * height // 25)
    return cells.map(
        lambda drawn: write_mask(np.array(drawn, np.uint8).reshape(height // 5, -1).repeat(5, 0).repeat(5, 1))
    )


def whole_pixels(drawn: tuple[int, int, int, int]) -> list[float]:
    left, top, across, down = drawn
    return [left / SIZE[0], top / SIZE[1], across / SIZE[0], down / SIZE[1]]


boxes = st.tuples(st.integers(0, 10), st.integers(0, 7), st.integers(1, 10), st.integers(1, 8)).map(whole_pixels)
confidence = st.none() | shares


def element(name: str, **keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Document]:
    rest: dict[str, st.SearchStrategy[Any]] = {
        "confidence": confidence,
        "source": st.sampled_from(["model", None]),
        "tags": st.just([]),
    }
    return st.fixed_dictionaries({"_id": ids, "_cls": st.just(name), "label": classes, **rest, **keys})


ELEMENTS = {
    "Classifications": element("Classification"),
    "Detections": element("Detection", bounding_box=boxes, mask=st.none() | masks(0, 1)),
    "Polylines": element("Polyline", points=st.lists(points, min_size=1, max_size=3), closed=st.booleans()),
    "Keypoints": element("Keypoint", points=st.lists(st.tuples(shares, shares).map(list), min_size=1, max_size=4)),
    "TemporalDetections": element(
        "TemporalDetection", support=st.tuples(st.integers(1, 50), st.integers(50, 90)).map(list)
    ),
}


@st.composite
def lists_of_labels(draw: st.DrawFn) -> Document:
    class_ = draw(st.sampled_from(sorted(LISTS)))
    unique = (lambda one: one["label"]) if class_ == "Classifications" else (lambda one: one["_id"])
    elements = draw(st.lists(ELEMENTS[class_], max_size=3, unique_by=unique))
    return {"_cls": class_, LISTS[class_]: elements}


def landed(document: Any, asked: Asked) -> list[Row]:
    return [{**row, "ordinal": number} for number, row in enumerate(rows_of(document, "field", asked))]


def place(class_: str, **more: Any) -> Place:
    targets = {name: value for value, name in TARGETS.items()}
    return Place(class_=class_, scope=SCOPE, size=SIZE, mask_targets=targets, **more)


def counts(merged: Merged) -> dict[str, int]:
    return {name: count for name, count in merged.changes.items() if count}


@given(lists_of_labels(), st.sampled_from([None, "instances"]))
def test_labels_that_come_back_as_they_went_stay_exactly_as_they_are(
    document: Document, label_type: str | None
) -> None:
    rows = landed(document, Asked(label_type=label_type, size=SIZE))
    target = place(document["_cls"])
    merged = merge_field(document, rows, target, known=known_ids(document, rows, target))
    assert merged.value == document
    assert counts(merged).keys() <= {"unchanged"}


@given(lists_of_labels())
def test_labels_of_another_tool_s_ids_are_found_by_what_they_say(document: Document) -> None:
    rows = landed(document, Asked(size=SIZE))
    names = {row.get("parent_label_id") or row["label_id"] for row in rows}
    new = {name: f"region {number}" for number, name in enumerate(sorted(names))}
    for row in rows:
        parent = row.get("parent_label_id")
        row.update(label_id=new[parent or row["label_id"]])
        if parent:
            row.update(parent_label_id=new[parent])
    merged = merge_field(document, rows, place(document["_cls"]), deletions="all")
    assert counts(merged).keys() <= {"unchanged"}
    assert merged.value == document


@given(lists_of_labels(), lists_of_labels())
def test_merging_twice_is_merging_once(document: Document, other: Document) -> None:
    target = place(document["_cls"])
    rows = landed(other, Asked(size=SIZE)) if other["_cls"] == document["_cls"] else []
    known = known_ids(document, rows, target)
    once = merge_field(document, rows, target, known=known)
    twice = merge_field(once.value, rows, target, known=known | once.ids)
    assert twice.value == once.value
    assert counts(twice).keys() <= {"unchanged"}


@given(lists_of_labels())
def test_labels_go_when_people_deleted_them_and_stay_when_the_tool_never_had_them(document: Document) -> None:
    target = place(document["_cls"])
    key = LISTS[document["_cls"]]
    known = {one["_id"] for one in document[key][::2]}
    merged = merge_field(document, [], target, known=known)
    assert [one["_id"] for one in merged.value[key]] == [one["_id"] for one in document[key][1::2]]
    assert merge_field(document, [], target, known=known, deletions="none").value == document
    assert merge_field(document, [], target, deletions="all").value[key] == []


@given(lists_of_labels())
def test_labels_of_an_empty_field_are_made_of_the_rows_alone(document: Document) -> None:
    rows = landed(document, Asked(size=SIZE))
    made = merge_field(None, rows, place(document["_cls"])).value
    again = landed(made, Asked(size=SIZE))
    assert [row.get("label") for row in again] == [row.get("label") for row in rows]
    assert [row["label_id"] for row in again] == [row["label_id"] for row in rows]


@given(lists_of_labels())
def test_a_label_that_gets_another_class_keeps_its_place_to_the_last_digit(document: Document) -> None:
    rows = landed(document, Asked(size=SIZE))
    for row in rows:
        row["label"] = "other"
        row["points"] = row.get("points") and [[x + 1e-8, y] for x, y in row["points"]]
    merged = merge_field(document, rows, place(document["_cls"]))
    key = LISTS[document["_cls"]]
    if document["_cls"] != "Classifications":  # which are matched by class
        assert merged.value[key] == [{**one, "label": "other"} for one in document[key]]


def test_an_edited_label_keeps_its_attributes_and_how_sure_the_model_was() -> None:
    before = {
        "_cls": "Detections",
        "detections": [
            {"_id": "a" * 24, "_cls": "Detection", "label": "cat", "bounding_box": [0.1, 0.1, 0.2, 0.2]}
            | {"confidence": 0.4, "source": "model", "occluded": "no", "index": 3, "tags": ["checked"]}
        ],
    }
    rows = landed(before, Asked(attributes=["occluded"]))
    rows[0] |= {"label": "dog", "bbox": [0.1, 0.1, 0.3, 0.2], "attributes": json.dumps({"occluded": "yes"})}
    merged = merge_field(before, rows, place("Detections", attributes=["occluded"]))
    assert merged.value["detections"] == [
        {**before["detections"][0], "label": "dog", "bounding_box": [0.1, 0.1, 0.3, 0.2], "occluded": "yes"}  # type: ignore[dict-item]
    ]
    assert counts(merged) == {"edited": 1}


def test_ids_of_the_tool_become_ids_of_fiftyone_the_same_each_time() -> None:
    assert document_id("0123456789abcdef01234567", *SCOPE) == "0123456789abcdef01234567"
    made = document_id("Xk3_b", *SCOPE)
    assert len(bytes.fromhex(made)) == 12
    assert made == document_id("Xk3_b", *SCOPE) != document_id("Xk3_b", "other project")


def test_choices_of_one_answer_are_a_classification_each() -> None:
    kept = {"_id": "e" * 24, "_cls": "Classification", "label": "cat", "confidence": 0.5}
    before = {"_cls": "Classifications", "classifications": [kept, {**kept, "_id": "f" * 24, "label": "dog"}]}
    (row,) = landed(before, Asked())
    assert (row["labels"], row["score"]) == (["cat", "dog"], 0.5)
    known = known_ids(before, [row], place("Classifications"))
    assert known == {"e" * 24, "f" * 24}
    chosen = [{**row, "labels": ["cat", "bird", "fish"], "attributes": '{"score": 0.5}'}]
    merged = merge_field(before, chosen, place("Classifications"), known=known)
    after = merged.value["classifications"]
    assert [one["label"] for one in after] == ["cat", "bird", "fish"]
    assert after[0] == kept
    assert "confidence" not in after[1], "the score was the model's"
    assert len({one["_id"] for one in after}) == 3
    assert counts(merged) == {"unchanged": 1, "deleted": 1, "added": 2}
    assert counts(merge_field(merged.value, chosen, place("Classifications"))) == {"unchanged": 3}


def test_a_box_that_a_person_drew_and_another_deletes_goes() -> None:
    rows = [{"label_id": "Xk3_b", "type": "detection", "label": "cat", "bbox": [0, 0, 0.5, 0.5], "ordinal": 0}]
    drawn = merge_field(None, rows, place("Detections"))
    assert counts(drawn) == {"added": 1}
    deleted = merge_field(drawn.value, [], place("Detections"), known=drawn.ids)
    assert deleted.value == {"_cls": "Detections", "detections": []}


def test_points_of_a_skeleton_that_people_delete_are_no_numbers() -> None:
    nowhere = [math.nan, math.nan]
    keypoint = {"_id": "b" * 24, "_cls": "Keypoint", "label": "cat", "points": [[0.1, 0.1], nowhere, [0.3, 0.3]]}
    before = {"_cls": "Keypoints", "keypoints": [keypoint]}
    rows = landed(before, Asked())
    assert [row["point_index"] for row in rows] == [0, 2]
    # Label Studio has no place for a point's number: it counts what is left.
    merged = merge_field(before, [{**rows[1], "point_index": 0}], place("Keypoints"))
    (after,) = merged.value["keypoints"]
    assert np.isnan(after["points"][:2]).all()
    assert after["points"][2] == [0.3, 0.3]


def test_a_label_of_which_the_tool_was_given_a_part_stays_whole_until_people_change_it() -> None:
    parts = [[[0.1, 0.1], [0.2, 0.1], [0.2, 0.2]], [[0.5, 0.5], [0.6, 0.5], [0.6, 0.6]]]
    line = {"_id": "d" * 24, "_cls": "Polyline", "label": "cat", "points": parts, "closed": False, "confidence": 0.5}
    before = {"_cls": "Polylines", "polylines": [line]}
    row: Row = {"field": "field", "type": "polygon", "label_id": "d" * 24, "label": "cat", "ordinal": 0}
    given = [{**row, "points": parts[0]}]
    accepted = merge_field(before, given, place("Polylines"), given=given)
    assert (accepted.value, counts(accepted)) == (before, {"unchanged": 1})
    changed = merge_field(before, [{**row, "points": parts[1]}], place("Polylines"), given=given)
    (after,) = changed.value["polylines"]
    assert (after["points"], after["closed"], after["confidence"]) == ([parts[1]], False, 0.5)
    back = merge_field(changed.value, given, place("Polylines"), given=given)
    assert back.value["polylines"][0]["points"] == [parts[0]], "people went back to what the tool was given"


def test_numbers_of_a_segmentation_that_the_project_has_no_class_for_stay() -> None:
    mask = np.array([[0, 1, 9], [2, 2, 9]], np.uint8)
    before = {"_id": "c" * 24, "_cls": "Segmentation", "mask": write_mask(mask)}
    rows = landed(before, Asked(size=(3, 2), mask_targets=TARGETS))
    assert [row["label"] for row in rows] == ["sky", "road"]
    unchanged = merge_field(before, rows, place("Segmentation"))
    assert unchanged.value is before
    merged = merge_field(before, rows[:1], place("Segmentation"))
    assert read_mask(merged.value["mask"]).tolist() == [[0, 1, 9], [0, 0, 9]]


@pytest.mark.parametrize(("class_", "value", "row"), [("number", 3, {"number": 4.0}), ("text", "a", {"text": "b"})])
def test_plain_values_are_replaced(class_: str, value: Any, row: Row) -> None:
    rows = [{"label_id": "x", "type": "scalar" if class_ == "number" else "text", "ordinal": 0, **row}]
    merged = merge_field(value, rows, place(class_))
    assert merged.value == next(iter(row.values()))
    assert type(merged.value) is type(value)
    assert merge_field(merged.value, [], place(class_), known=merged.ids).value is None


@given(masks(0, 1, 2))
def test_segmentations_come_back_as_they_went(mask: bytes) -> None:
    before = {"_id": "c" * 24, "_cls": "Segmentation", "mask": mask}
    rows = landed(before, Asked(size=SIZE, mask_targets=TARGETS))
    made = merge_field(None, rows, place("Segmentation")).value
    if rows:
        assert np.array_equal(read_mask(made["mask"]), read_mask(mask))


def test_labels_that_no_tool_has_are_an_error_that_names_the_field() -> None:
    with pytest.raises(LabelRowError, match="'heat' holds a Heatmap"):
        list(rows_of({"_cls": "Heatmap", "_id": "d" * 24}, "heat", Asked()))
    with pytest.raises(LabelRowError, match="needs the size"):
        list(rows_of({"_cls": "Detection", "_id": "d" * 24, "bounding_box": [0, 0, 1, 1]}, "x", Asked("instances")))


@pytest.mark.parametrize(
    ("document", "label_type"),
    [({"_cls": "Detection", "bounding_box": [0, 0, 1, 1]}, "instances"), ({"_cls": "Segmentation"}, None)],
)
def test_a_mask_of_colors_is_an_error_that_says_so(document: dict[str, Any], label_type: str | None) -> None:
    document = {**document, "_id": "d" * 24, "mask": write_mask(np.zeros((4, 6, 3), np.uint8))}
    with pytest.raises(LabelRowError, match=r"shape \(4, 6, 3\)"):
        list(rows_of(document, "x", Asked(label_type, size=(6, 4))))
