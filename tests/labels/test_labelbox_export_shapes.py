"""Labelbox's export as tables: shapes, answers about them, and masks."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pytest

from airflow_annotation.labels.masks import RLE, mask_to_rle
from tests.support.labelbox_rows import annotation, label, labels, only, png, row

T = TypeVar("T")


# Labels


def test_shapes_land_in_parts_of_the_picture() -> None:
    corners = [{"x": 0, "y": 0}, {"x": 500, "y": 0}, {"x": 500, "y": 250}]
    read = labels(
        row(
            label(
                objects=[
                    annotation(
                        "ImageBoundingBox",
                        "objects: car",
                        feature_schema_id="rect-car",
                        bounding_box={"top": 100.0, "left": 250.0, "height": 50.0, "width": 125.0},
                    ),
                    annotation("ImagePolygon", "roof", polygon=[*corners, corners[0]]),
                    annotation("ImagePolyline", "lane", line=corners),
                    annotation("ImagePoint", "nose", point={"x": 10, "y": 20}),
                ]
            )
        )
    )
    assert only(read, "ordinal", "label_id", "type", "field", "label", "bbox", "points") == [
        (0, "f-objects: car", "detection", "objects", "car", [0.25, 0.2, 0.125, 0.1], None),
        (1, "f-roof", "polygon", "polygon", "roof", None, [[0, 0], [0.5, 0], [0.5, 0.5]]),
        (2, "f-lane", "polyline", "line", "lane", None, [[0, 0], [0.5, 0], [0.5, 0.5]]),
        (3, "f-nose", "keypoint", "point", "nose", None, [[0.01, 0.04]]),
    ]


def test_a_polygon_of_several_parts_is_several_rows_with_one_parent() -> None:
    parts = [
        [{"x": x, "y": y} for x, y in corners] for corners in ([(0, 0), (10, 0), (0, 5)], [(9, 9), (9, 5), (5, 5)])
    ]
    read = labels(row(label(objects=[annotation("ImagePolygon", "roof", polygon=parts)])), keep_raw=True)
    assert only(read, "label_id", "parent_label_id", "ordinal", "field") == [
        ("f-roof.0", "f-roof", 0, "polygon"),
        ("f-roof.1", "f-roof", 1, "polygon"),
    ]
    assert read[1]["points"] == [[0.009, 0.018], [0.009, 0.01], [0.005, 0.01]]
    assert json.loads(read[0]["raw"])["polygon"] == parts


def test_answers_land_with_what_they_led_to() -> None:
    nested = [{"feature_id": "n", "name": "size", "value": "size", "text_answer": {"content": "big"}}]
    box = annotation(
        "ImageBoundingBox",
        "objects: car",
        bounding_box={"top": 0, "left": 0, "height": 5, "width": 5},
        classifications=[
            {
                "feature_id": "q",
                "name": "damage",
                "radio_answer": {"feature_id": "a", "name": "dent", "value": "dent", "classifications": nested},
            },
            {"feature_id": "t", "name": "tags", "checklist_answers": [{"name": "day"}, {"name": "wet"}]},
            {"feature_id": "u", "feature_schema_id": "age", "name": "age", "text_answer": {"content": "7.5"}},
        ],
    )
    answers = [
        {"feature_id": "c1", "name": "weather", "radio_answer": {"name": "rain", "classifications": nested}},
        {"feature_id": "c2", "name": "tags", "checklist_answers": [{"name": "day"}, {"name": "wet"}]},
        {"feature_id": "c3", "name": "note", "text_answer": {"content": "hello", "classifications": []}},
        {"feature_id": "c4", "name": "count", "text_answer": {"content": "12"}},
        {"feature_id": "c5", "name": "count", "text_answer": {"content": "a dozen"}},
    ]
    read = labels(row(label(objects=[box], classifications=answers)))
    assert json.loads(read[0]["attributes"]) == {
        "damage": "dent",
        "damage/dent/size": "big",
        "tags": ["day", "wet"],
        "age": 7.5,
    }
    assert only(read[1:], "ordinal", "label_id", "type", "field", "label", "labels", "text", "number") == [
        (1, "c1", "classification", "weather", "rain", None, None, None),
        (2, "c2", "classifications", "tags", "day", ["day", "wet"], None, None),
        (3, "c3", "text", "note", None, None, "hello", None),
        (4, "c4", "scalar", "count", None, None, None, 12.0),
        (5, "c5", "text", "count", None, None, "a dozen", None),
    ]
    assert json.loads(read[1]["attributes"]) == {"rain/size": "big"}


def test_rows_of_several_labels_stay_in_order() -> None:
    box = annotation("ImageBoundingBox", "objects: car", bounding_box={"top": 0, "left": 0, "height": 5, "width": 5})
    answer = {"feature_id": "c", "name": "weather", "radio_answer": {"name": "sun"}}
    one, two = label("one", objects=[box, box], classifications=[answer]), label("two", objects=[box])
    read = labels(row(one, two), row(label("three", classifications=[answer, answer])))
    assert only(read, "annotation_id", "ordinal", "type") == [
        ("one", 0, "detection"),
        ("one", 1, "detection"),
        ("one", 2, "classification"),
        ("two", 0, "detection"),
        ("three", 0, "classification"),
        ("three", 1, "classification"),
    ]


def spot(height: int = 8, width: int = 6) -> npt.NDArray[np.uint8]:
    pixels = np.zeros((height, width), np.uint8)
    pixels[2:5, 1:4] = 255
    return pixels


def test_masks_are_fetched_once_and_read_to_the_pixel() -> None:
    composite = np.zeros((8, 6, 3), np.uint8)
    composite[1:3, 1:3], composite[5:, 2:] = (10, 20, 30), (200, 0, 7)
    alpha = np.dstack([spot(), spot(), spot(), np.full((8, 6), 255, np.uint8)])
    files = {"a": png(spot()), "b": png(composite), "c": png(alpha)}
    asked: list[Sequence[str]] = []

    def fetch(urls: Sequence[str], read: Callable[[str, bytes], T]) -> Iterable[T]:
        asked.append(urls)
        return (read(url, files[url]) for url in urls)

    runs = {"size": [2, 3], "counts": [1, 2, 3]}
    read = labels(
        row(
            label(
                objects=[
                    annotation("ImageSegmentationMask", "surface: 1 = road", mask={"url": "a"}),
                    annotation("ImageSegmentationMask", "cells: nucleus", mask={"url": "c"}),
                    annotation("ImageSegmentationMask", "x", mask=runs),
                    annotation("ImageSegmentationMask", "x", mask={"png": base64.b64encode(files["a"]).decode()}),
                    *(
                        annotation("ImageSegmentationMask", "x", composite_mask={"url": "b", "color_rgb": color})
                        for color in ([10, 20, 30], [200, 0, 7], [1, 1, 1])
                    ),
                ]
            )
        ),
        fetch_masks=fetch,
    )
    spotted = mask_to_rle(spot())
    colors = [np.all(composite == color, axis=2) for color in ([10, 20, 30], [200, 0, 7], [1, 1, 1])]
    inline = np.array([[0, 1, 0], [1, 0, 0]])
    expected = [spotted, spotted, mask_to_rle(inline), spotted, *map(mask_to_rle, colors)]
    assert [RLE((*one["mask_size"],), one["mask_counts"]) for one in read] == expected
    assert only(read[:3], "type", "field", "label") == [
        ("segmentation", "surface", "road"),
        ("instance", "cells", "nucleus"),
        ("instance", "raster-segmentation", "x"),
    ]
    assert sorted(map(sorted, asked)) == [["a", "c"], ["b"]]


def test_a_mask_that_cannot_be_read_is_named() -> None:
    masked = row(label(objects=[annotation("ImageSegmentationMask", "x", mask={"url": "https://masks/1"})]))
    with pytest.raises(ValueError, match="'https://masks/1' is no image"):
        labels(masked, fetch_masks=lambda urls, read: [read(url, b"<html>") for url in urls])
    with pytest.raises(ValueError, match="'https://masks/1' is in a file"):
        labels(masked)
    with pytest.raises(ConnectionError, match="masks/1"):
        labels(masked, fetch_masks=_unreachable)


def _unreachable(urls: Sequence[str], read: Callable[[str, bytes], T]) -> Iterable[T]:
    del read
    raise ConnectionError(f"Cannot reach {urls[0]}.")
