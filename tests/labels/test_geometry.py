from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_annotation.labels.geometry import (
    bbox_to_pixels,
    bbox_to_relative,
    ellipse_outline,
    labels_to_pixels,
    path_area,
    points_to_pixels,
    points_to_relative,
    rotated_box_corners,
    rotated_to_oriented_boxes,
)
from airflow_annotation.labels.tables import ITEMS, LABELS

BBOX = pa.list_(pa.float64())
POINTS = pa.list_(pa.list_(pa.float64()))

sides = st.integers(1, 20_000)
numbers = st.floats(-0.5, 1.5)
bboxes = st.none() | st.lists(numbers, min_size=4, max_size=4)
paths = st.none() | st.lists(st.lists(numbers, min_size=2, max_size=2), max_size=5)
rows = st.lists(st.tuples(bboxes, paths, sides, sides), max_size=8)


def label(item_id: str, **values: Any) -> dict[str, Any]:
    required = {"project": "p", "item_id": item_id, "item_key": f"key-{item_id}", "annotation_id": "1"}
    return required | {"origin": "person", "ordinal": 0, "label_id": "a", "field": "f", "type": "detection"} | values


def item(item_id: str, width: int | None, height: int | None) -> dict[str, Any]:
    required = {"project": "p", "tool": "label_studio", "item_id": item_id, "item_key": f"key-{item_id}"}
    counts = {"media_type": "image", "status": "labeled", "annotation_count": 1, "prediction_count": 0}
    return required | counts | {"width": width, "height": height}


def labels_of(*values: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(values), schema=LABELS)


def items_of(*values: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(values), schema=ITEMS)


def test_labels_to_pixels_scales_boxes_and_points_by_their_own_items_size() -> None:
    labels = labels_of(
        label("b", bbox=[0.5, 0.5, 0.25, 1.0], rotation=30.0),
        label("a", points=[[0.0, 1.0], [0.5, 0.1]]),
        label("a", label="cat"),
    )
    pixels = labels_to_pixels(labels, items_of(item("a", 100, 10), item("b", 640, 480)))
    assert pixels.schema == LABELS
    assert pixels.column("bbox").to_pylist() == [[320, 240, 160, 480], None, None]
    assert pixels.column("points").to_pylist() == [None, [[0, 10], [50, 1]], None]
    assert pixels.column("rotation").to_pylist() == [30, None, None]
    assert pixels.drop_columns(["bbox", "points"]).equals(labels.drop_columns(["bbox", "points"]))


@pytest.mark.parametrize("items", [[], [item("a", None, None)], [item("a", 640, None)]])
def test_labels_to_pixels_names_the_item_whose_size_is_not_known(items: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="item 'key-a' are not known"):
        labels_to_pixels(labels_of(label("a", bbox=[0, 0, 1, 1])), items_of(*items))


def test_labels_to_pixels_asks_for_no_size_where_nothing_is_drawn() -> None:
    labels = labels_of(label("a", label="rain"), label("a", mask_size=[2, 2], mask_counts="04"))
    assert labels_to_pixels(labels, items_of(item("a", None, None))).equals(labels)


@given(rows, st.integers(0, 3))
def test_pixels_and_back_is_the_same_to_rounding(values: list[Any], start: int) -> None:
    bbox, points, width, height = (
        pa.array([row[i] for row in values], type_)[start:]
        for i, type_ in enumerate((BBOX, POINTS, pa.int32(), pa.int32()))
    )
    boxes_there = bbox_to_pixels(bbox, width, height)
    points_there = points_to_pixels(points, width, height)
    for place, (box, path, w, h) in enumerate(values[start:]):
        if box is not None:
            assert boxes_there[place].as_py() == [box[0] * w, box[1] * h, box[2] * w, box[3] * h]
        if path is not None:
            assert points_there[place].as_py() == [[x * w, y * h] for x, y in path]
    boxes_back = bbox_to_relative(boxes_there, width, height)
    points_back = points_to_relative(points_there, width, height)
    for got, expected in ((boxes_back, bbox), (points_back, points)):
        assert got.type == expected.type
        assert got.is_null().equals(expected.is_null())
    assert boxes_back.flatten().to_pylist() == pytest.approx(bbox.flatten().to_pylist(), abs=1e-12)
    assert points_back.flatten().flatten().to_pylist() == pytest.approx(
        points.flatten().flatten().to_pylist(), abs=1e-12
    )


def test_a_box_or_point_with_a_number_missing_is_an_error_that_shows_it() -> None:
    width = pa.array([10], pa.int32())
    with pytest.raises(ValueError, match=r"4 coordinates, got \[1.0, 2.0, 3.0\]"):
        bbox_to_pixels(pa.array([[1, 2, 3]], BBOX), width, width)
    with pytest.raises(ValueError, match=r"2 coordinates, got \[3.0\]"):
        points_to_pixels(pa.array([[[1, 2], [3]]], POINTS), width, width)


# Rotated boxes

boxes = st.tuples(numbers, numbers, st.floats(0.001, 1), st.floats(0.001, 1))
rotated = st.lists(st.tuples(boxes, st.floats(-179.9, 180), sides, sides), min_size=1, max_size=5)


def columns_of(values: list[Any]) -> tuple[Any, Any, Any, Any]:
    bbox, rotation, width, height = (np.array(column, np.float64) for column in zip(*values, strict=True))
    return bbox, rotation, width, height


def test_a_quarter_turn_on_a_wide_image_turns_pixels_not_relative_axes() -> None:
    corners = rotated_box_corners([[0.5, 0.5, 0.25, 0.25]], 90, 400, 200) * (400, 200)
    np.testing.assert_allclose(corners, [[[200, 100], [200, 200], [150, 200], [150, 100]]], atol=1e-9)


@given(rotated)
def test_corners_keep_the_sides_and_area_of_the_box_in_pixels(values: list[Any]) -> None:
    bbox, rotation, width, height = columns_of(values)
    size = np.column_stack([width, height])
    pixels = rotated_box_corners(bbox, rotation, width, height) * size[:, None]
    for corners, box, (w, h) in zip(pixels, bbox, size, strict=True):
        np.testing.assert_allclose(corners[0], box[:2] * (w, h), atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(corners[1] - corners[0]), box[2] * w, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(corners[3] - corners[0]), box[3] * h, rtol=1e-6, atol=1e-6)
        assert path_area(corners) == pytest.approx(box[2] * w * box[3] * h, rel=1e-6, abs=1e-6)


@given(rotated)
def test_oriented_boxes_have_the_centre_of_the_corners(values: list[Any]) -> None:
    bbox, rotation, width, height = columns_of(values)
    oriented = rotated_to_oriented_boxes(bbox, rotation, width, height)
    centres = rotated_box_corners(bbox, rotation, width, height).mean(axis=1) * np.column_stack([width, height])
    np.testing.assert_allclose(oriented[:, :2], centres, atol=1e-6)
    np.testing.assert_allclose(oriented[:, 4], rotation)


@given(boxes, st.floats(-360, 360), sides, sides)
def test_an_ellipse_touches_the_sides_of_its_rotated_box(box: Any, rotation: float, width: int, height: int) -> None:
    path = ellipse_outline(box, rotation, width, height) * (width, height)
    assert path_area(path) == pytest.approx(np.pi / 4 * box[2] * width * box[3] * height, rel=0.002, abs=1e-6)
    corners = rotated_box_corners([box], rotation, width, height)[0] * (width, height)
    middles = (corners + np.roll(corners, -1, axis=0)) / 2
    np.testing.assert_allclose(path[[48, 0, 16, 32]], middles, atol=1e-6)
