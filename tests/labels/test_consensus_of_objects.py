"""Objects of several people, as one, and what is between them."""

from __future__ import annotations

import itertools
import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_annotation.labels.geometry import rotated_box_corners, to_center
from airflow_annotation.labels.masks import RLE, mask_to_rle, rle_to_mask
from tests.support.annotators import BOXES, HEIGHT, WIDTH, Label, box
from tests.support.consensus import agreed, labels_of, merged


def test_boxes_of_most_people_are_the_mean_of_their_corners() -> None:
    first, second, third = box(0.1, 0.1, 0.2, 0.2), box(0.12, 0.1, 0.2, 0.2), box(0.1, 0.13, 0.2, 0.2)
    alone = box(0.6, 0.6, 0.2, 0.2)
    (row,) = labels_of([first], [second, alone], [third])
    assert row["bbox"] == pytest.approx([0.32 / 3, 0.33 / 3, 0.2, 0.2])
    share, names = agreed(row)
    assert names == ["a", "b", "c"]
    assert 0.6 < share < 1
    (row,) = labels_of([first], [second], weights={"a": 3})
    assert row["bbox"][0] == pytest.approx(0.105)


def test_the_class_and_the_attributes_of_an_object_are_voted_on() -> None:
    boxes = [
        [box(0.1, 0.1, 0.2, 0.2, name, attributes=json.dumps({"hidden": hidden}))]
        for name, hidden in (("car", "yes"), ("van", "no"), ("car", "no"))
    ]
    (row,) = labels_of(*boxes)
    assert (row["label"], json.loads(row["attributes"])) == ("car", {"hidden": "no"})


def test_objects_that_overlap_less_are_two() -> None:
    boxes = [[box(0.1, 0.1, 0.2, 0.2)], [box(0.2, 0.1, 0.2, 0.2)]]  # a third of both
    assert not labels_of(*boxes)
    assert len(labels_of(*boxes, min_overlap=0.3)) == 1


def test_the_order_of_boxes_that_are_one_another_does_not_matter() -> None:
    place = (0.0, 0.0, 0.5, 0.5)
    named = {who: [box(*place, label_id=f"{who}{number}") for number in range(2)] for who in "abc"}
    expected = merged(named).tables.labels.to_pylist()
    for orders in itertools.product((1, -1), repeat=3):
        turned = {who: own[::order] for (who, own), order in zip(named.items(), orders, strict=True)}
        assert merged(turned).tables.labels.to_pylist() == expected


@settings(max_examples=50)
@given(BOXES, BOXES, BOXES, st.randoms())
def test_the_order_of_annotators_and_labels_does_not_matter(
    one: list[Label], two: list[Label], three: list[Label], chance: random.Random
) -> None:
    labels = {"a": one, "b": two, "c": three}
    named = {
        who: [{**label, "label_id": f"{who}{place}"} for place, label in enumerate(own)] for who, own in labels.items()
    }
    expected = merged(named).tables.labels.to_pylist()
    shuffled = {who: chance.sample(named[who], len(named[who])) for who in chance.sample("abc", 3)}
    for row, other in zip(expected, merged(shuffled).tables.labels.to_pylist(), strict=True):
        assert row["bbox"] == pytest.approx(other["bbox"])
        assert {**row, "bbox": None} == {**other, "bbox": None}


@settings(max_examples=50)
@given(BOXES)
def test_people_who_say_the_same_are_merged_to_just_that(labels: list[Label]) -> None:
    found = labels_of(labels, labels, labels)
    # Two boxes that are one another's neighbors may have changed partners, where that is as good.
    assert len(found) == len(labels)
    assert np.sum([row["bbox"] for row in found], axis=0) == pytest.approx(
        np.sum([one["bbox"] for one in labels], axis=0)
    )
    assert all(agreed(row)[1] == ["a", "b", "c"] for row in found)


def test_masks_have_the_pixels_of_most() -> None:
    def painted(type_: str, rows: slice) -> list[Label]:
        mask = np.zeros((HEIGHT, WIDTH), np.bool_)
        mask[rows] = True
        rle = mask_to_rle(mask)
        return [{"type": type_, "label": "road", "mask_size": rle.size, "mask_counts": rle.counts}]

    for type_ in ("instance", "segmentation"):
        (row,) = labels_of(*(painted(type_, slice(first, first + 40)) for first in (0, 10, 20)))
        mask = rle_to_mask(RLE(tuple(row["mask_size"]), row["mask_counts"]))
        assert mask.sum() == 40 * WIDTH
        assert mask[10:50].all()


def test_keypoints_are_the_mean_of_each_point_that_most_have() -> None:
    def person(nose: float, ear: float | None = None) -> list[Label]:
        points = {"nose": nose} | ({} if ear is None else {"ear": ear})
        return [{**box(0.2, 0.2, 0.5, 0.5, "person"), "label_id": "body"}] + [
            {"type": "keypoint", "field": "points", "label": name, "label_id": name, "parent_label_id": "body"}
            | {"points": [[x, 0.5]]}
            for name, x in points.items()
        ]

    rows = labels_of(person(0.30, 0.5), person(0.32, 0.52), person(0.31))
    parent = next(row for row in rows if row["type"] == "detection")
    points = {row["label"]: row for row in rows if row["type"] == "keypoint"}
    assert points["nose"]["points"] == [[pytest.approx(0.31), pytest.approx(0.5)]]
    assert points["ear"]["points"] == [[pytest.approx(0.51), pytest.approx(0.5)]]
    assert {row["parent_label_id"] for row in points.values()} == {parent["label_id"]}
    assert len({row["label_id"] for row in rows}) == 3


def turned(center: tuple[float, float], width: float, height: float, degrees: float, type_: str) -> list[Label]:
    """Return a box or ellipse by its center, width and height in pixels."""
    corner = np.array(center) - to_center(np.array([[width, height]]), degrees)[0]
    bbox = (np.array([*corner, width, height]) / ([WIDTH, HEIGHT] * 2)).tolist()
    return [{"type": type_, "label": "car", "bbox": bbox, "rotation": degrees}]


def apart(one: Label, other: Label) -> float:
    """Return how far the corners of two boxes are from the nearest ones of the other, in pixels, at most."""
    first, second = (
        rotated_box_corners(row["bbox"], row["rotation"], WIDTH, HEIGHT)[0] * (WIDTH, HEIGHT) for row in (one, other)
    )
    return float(np.linalg.norm(first[:, None] - second, axis=2).min(axis=1).max())


@pytest.mark.parametrize("type_", ["detection", "ellipse"])
def test_rotated_boxes_and_ellipses_are_the_mean_of_center_size_and_angle(type_: str) -> None:
    (row,) = labels_of(
        turned((100, 50), 60, 30, 355, type_),
        turned((103, 50), 30, 66, 95, type_),
        turned((100, 53), 57, 30, 180, type_),
    )
    (expected,) = turned((101, 51), 61, 30, 0, type_)
    assert apart(row, expected) < 1e-6
    (row,) = labels_of(turned((100, 50), 60, 30, 10, type_), turned((104, 50), 60, 30, 14, type_), weights={"a": 3})
    assert row["rotation"] == pytest.approx(11)


@given(st.floats(0, 360), st.integers(0, 3), st.floats(20, 60), st.floats(20, 60))
def test_the_same_rotated_box_is_itself_however_it_was_drawn(
    degrees: float, quarters: int, width: float, height: float
) -> None:
    sides = (height, width) if quarters % 2 else (width, height)
    one, other = (
        turned((100, 50), width, height, degrees, "detection"),
        turned((100, 50), *sides, degrees + 90 * quarters, "detection"),
    )
    (row,) = labels_of(one, other, one)
    assert apart(row, one[0]) < 1e-6


def test_the_mean_of_rotated_boxes_is_nearer_to_what_is_there_than_any_of_them() -> None:
    chance = np.random.default_rng(3)
    (truth,) = turned((100, 50), 60, 30, 30, "detection")
    merged_errors, own_errors = [], []
    for _ in range(30):
        drawn = [
            turned(
                (100 + chance.normal(0, 2), 50 + chance.normal(0, 2)),
                60 + chance.normal(0, 2),
                30 + chance.normal(0, 2),
                30 + chance.normal(0, 3),
                "detection",
            )
            for _ in range(3)
        ]
        (row,) = labels_of(*drawn)
        merged_errors.append(apart(row, truth))
        own_errors.append(np.mean([apart(one, truth) for (one,) in drawn]))
    assert np.mean(merged_errors) < 0.75 * np.mean(own_errors)


def test_other_shapes_are_the_one_that_is_most_like_the_others() -> None:
    def polygon(x: float) -> list[Label]:
        return [{"type": "polygon", "label": "car", "points": [[x, 0.1], [x + 0.3, 0.1], [x + 0.3, 0.6]]}]

    (row,) = labels_of(polygon(0.1), polygon(0.12), polygon(0.14))
    assert row["points"] == polygon(0.12)[0]["points"]


def test_a_track_is_one_object_with_all_its_frames() -> None:
    def track(x: float, name: str) -> list[Label]:
        return [box(x + frame / 100, 0.1, 0.2, 0.2, track_id=name, label_id=name, frame=frame) for frame in (0, 10)]

    rows = labels_of(track(0.1, "t"), track(0.11, "u"))
    assert [row["frame"] for row in rows] == [0, 10]
    assert len({row["track_id"] for row in rows}) == len({row["label_id"] for row in rows}) == 1


def test_relations_lead_to_the_merged_labels() -> None:
    def pair(first: str, second: str) -> list[Label]:
        ends = {"from_label_id": first, "to_label_id": second}
        return [
            {**box(0.1, 0.1, 0.2, 0.2), "label_id": first},
            {**box(0.6, 0.1, 0.2, 0.2), "label_id": second},
            {"type": "relation", "label_id": "r", "label": "beside", "field": "relation", **ends},
        ]

    rows = labels_of(pair("p", "q"), pair("x", "y"), pair("m", "n")[:2])
    (relation,) = (row for row in rows if row["type"] == "relation")
    left, right = (row["label_id"] for row in sorted(rows, key=lambda row: row["bbox"] or [9])[:2])
    assert (relation["from_label_id"], relation["to_label_id"]) == (left, right)


def test_a_label_whose_parent_is_in_no_consensus_has_none() -> None:
    wheel = {**box(0.1, 0.1, 0.2, 0.2, "wheel"), "label_id": "wheel", "parent_label_id": "car"}
    cars = [{**box(at, 0.5, 0.2, 0.2), "label_id": "car"} for at in (0.1, 0.7)]
    (row,) = labels_of(*([car, wheel] for car in cars))
    assert (row["label"], row["parent_label_id"]) == ("wheel", None)


def test_pixels_that_nobody_shares_are_no_mask() -> None:
    masks = []
    for first in (0, 50):
        mask = np.zeros((HEIGHT, WIDTH), np.bool_)
        mask[first : first + 40] = True
        rle = mask_to_rle(mask)
        masks.append([{"type": "segmentation", "label": "road", "mask_size": rle.size, "mask_counts": rle.counts}])
    assert not labels_of(*masks)


def test_which_of_two_equal_shapes_is_which_does_not_depend_on_the_other_items() -> None:
    def shapes(*ids: str) -> list[Label]:
        points = [[0.1, 0.1], [0.4, 0.1], [0.4, 0.6]]
        return [{"type": "polygon", "label": "car", "label_id": one, "points": points} for one in ids]

    item = {"a": shapes("p", "q"), "b": shapes("x", "y")}
    alone, beside = (merged(first, item).tables.labels.to_pylist() for first in ({}, {"a": shapes("q"), "b": []}))
    assert [row["label_id"] for row in alone] == [row["label_id"] for row in beside]
    assert len(alone) == 2


def test_objects_are_merged_with_those_they_match_in_whatever_order_they_come() -> None:
    low, high = box(0.0, 0.0, 0.5, 0.25), box(0.0, 0.0, 0.5, 0.5)
    named = {"c0": high, "c1": high, "c2": high, "c3": low}
    for order in itertools.permutations(named):
        own = [{**named[name], "label_id": name} for name in order]
        (row,) = merged({"a": [], "b": [{**low, "label_id": "b0"}], "c": own}).tables.labels.to_pylist()
        assert row["bbox"] == low["bbox"]
