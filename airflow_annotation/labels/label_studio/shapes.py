"""Rows of the ``labels`` table as the ``value`` of Label Studio's shapes: percent of the media's size, and masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from airflow_annotation.labels.errors import UnwritableLabelError
from airflow_annotation.labels.masks import RLE, rle_to_bitmask, rle_to_brush
from airflow_annotation.labels.media import split_target

Row = Mapping[str, Any]
WriteShape = Callable[[Row, float], dict[str, Any]]
"""Takes a row and the media's width divided by its height, returns the value of its record without the classes."""


def write_rectangle(row: Row, _: float) -> dict[str, Any]:
    """Write a box, rotated or not."""
    x, y, width, height = row["bbox"]
    rotation = row.get("rotation") or 0.0
    return {"x": x * 100, "y": y * 100, "width": width * 100, "height": height * 100, "rotation": rotation}


def write_ocr_box(row: Row, _: float) -> dict[str, Any]:
    """Write a box around a text on a page."""
    page = split_target(row.get("target") or "")[1]
    text = {} if row.get("text") is None else {"ocrtext": row["text"]}
    return {**write_rectangle(row, _), **text, **({} if page is None else {"pageIndex": page})}


def write_ellipse(row: Row, aspect: float) -> dict[str, Any]:
    """Write an ellipse. Label Studio turns it about its middle, the table about the top left corner of its box."""
    x, y, width, height = row["bbox"]
    rotation = row.get("rotation") or 0.0
    cos, sin = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
    middle_x = x + width / 2 * cos - height / 2 * sin / aspect
    middle_y = y + width / 2 * sin * aspect + height / 2 * cos
    radii = {"radiusX": width * 50, "radiusY": height * 50}
    return {"x": middle_x * 100, "y": middle_y * 100, **radii, "rotation": rotation}


def write_polygon(row: Row, _: float) -> dict[str, Any]:
    """Write a closed path."""
    return {"points": [[x * 100, y * 100] for x, y in row["points"]], "closed": True}


def write_vector(row: Row, _: float) -> dict[str, Any]:
    """Write a path, open or closed."""
    return {"vertices": path_vertices(row), "closed": row["type"] == "polygon"}


def path_vertices(row: Row) -> list[dict[str, Any]]:
    """Return the points of a row as vertices, in percent; all rows of an object give them the same names."""
    name = row["label_id"] if row.get("track_id") is None else row["track_id"]
    names = [f"{name}-{number}" for number in range(len(row["points"]))]
    return [
        {"id": name, "x": x * 100, "y": y * 100, "isBezier": False, "prevPointId": before}
        for name, before, (x, y) in zip(names, [None, *names], row["points"], strict=False)
    ]


def write_keypoint(row: Row, _: float) -> dict[str, Any]:
    """Write a point; its width is that of the dot that people see, in percent.

    :raises UnwritableLabelError: the row has several points
    """
    if len(row["points"]) != 1:
        raise UnwritableLabelError(f"Label {row.get('label_id')!r} has {len(row['points'])} points; a region has one.")
    ((x, y),) = row["points"]
    return {"x": x * 100, "y": y * 100, "width": 0.5}


def write_brush(row: Row, _: float) -> dict[str, Any]:
    """Write a mask as Label Studio's RLE."""
    return {"format": "rle", "rle": rle_to_brush(RLE(tuple(row["mask_size"]), row["mask_counts"]))}


def write_bitmask(row: Row, _: float) -> dict[str, Any]:
    """Write a mask as an image."""
    return {"imageDataURL": rle_to_bitmask(RLE(tuple(row["mask_size"]), row["mask_counts"]))}
