"""Boxes and points: relative and pixel coordinates, rotated boxes, polygons, ellipses.

Relative coordinates are 0..1 of the media's width and height, as in the ``labels`` table. Pixels are counted from the
top left corner of the top left pixel, x to the right and y down. Angles are degrees clockwise *in pixels*: the relative
axes differ in length, so functions that rotate or measure take the media's size and compute in pixels.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.labels.arrays import FloatArray, list_offsets
from airflow_annotation.labels.errors import LabelError
from airflow_annotation.labels.media import label_sizes

_BBOX_AXES: Final = (0, 1, 0, 1)
"""The side of the media (0 for width, 1 for height) for each number of a bbox (x, y, width, height)."""

_POINT_AXES: Final = (0, 1)


def labels_to_pixels(labels: pa.RecordBatch, items: pa.RecordBatch) -> pa.RecordBatch:
    """Return rows of the ``labels`` table with ``bbox`` and ``points`` in pixels of their media.

    If an item shows several images, these are pixels of the label's image. Everything else stays unchanged:
    ``rotation`` is in degrees in either unit, and masks have their own size.

    :param labels: rows of the ``labels`` table, of one project
    :param items: rows of the ``items`` table of the same project, at least those of the labels' items; matched by
        ``item_id``
    :raises LabelError: a label has coordinates, and its item is not in ``items`` or has no known width and height. A
        null would lose the shape that a person drew, and relative numbers in a pixel column would be worse.
    """
    drawn = pc.or_(pc.is_valid(labels.column("bbox")), pc.is_valid(labels.column("points")))
    sizes = label_sizes(labels, items)
    unknown = pc.and_(drawn, pc.or_(pc.is_null(sizes[0]), pc.is_null(sizes[1])))
    if pc.any(unknown).as_py():
        keys = pc.unique(labels.column("item_key").filter(unknown)).to_pylist()
        raise LabelError(
            f"The width and height of item {keys[0]!r} are not known"
            + (f" (and of {len(keys) - 1} more items in its batch)" if len(keys) > 1 else "")
            + ", so its labels have no pixel coordinates: take relative ones, or upload the item with its size."
        )
    for name, convert in (("bbox", bbox_to_pixels), ("points", points_to_pixels)):
        column = convert(labels.column(name), *sizes)
        labels = labels.set_column(labels.schema.get_field_index(name), labels.schema.field(name), column)
    return labels


def bbox_to_pixels(bbox: pa.ListArray, width: pa.Array, height: pa.Array) -> pa.ListArray:
    """Return a column of relative boxes (x, y, width, height) in pixels; null boxes stay null.

    :param bbox: ``list<double>``
    :param width: the media's width for each row, in pixels; read for rows with a box only
    :param height: the media's height for each row, in pixels
    :raises ValueError: a box does not have four numbers
    """
    return _scale_lists(bbox, _per_row(width, height), _BBOX_AXES)


def bbox_to_relative(bbox: pa.ListArray, width: pa.Array, height: pa.Array) -> pa.ListArray:
    """Return a column of boxes in pixels as relative boxes, the inverse of :func:`bbox_to_pixels`."""
    return _scale_lists(bbox, 1 / _per_row(width, height), _BBOX_AXES)


def points_to_pixels(points: pa.ListArray, width: pa.Array, height: pa.Array) -> pa.ListArray:
    """Return a column of paths of relative points (x, y) in pixels; null paths stay null.

    :param points: ``list<list<double>>``
    :param width: the media's width for each row, in pixels; read for rows with points only
    :param height: the media's height for each row, in pixels
    :raises ValueError: a point does not have two numbers
    """
    return _scale_paths(points, _per_row(width, height))


def points_to_relative(points: pa.ListArray, width: pa.Array, height: pa.Array) -> pa.ListArray:
    """Return a column of paths of points in pixels as relative paths, the inverse of :func:`points_to_pixels`."""
    return _scale_paths(points, 1 / _per_row(width, height))


# Rotated boxes


def rotated_box_corners(
    bbox: npt.ArrayLike, rotation: npt.ArrayLike, width: npt.ArrayLike, height: npt.ArrayLike
) -> FloatArray:
    """Return the corners of boxes that are rotated about their top left corner, which is the first corner.

    :param bbox: array of shape (boxes, 4): relative x, y, width, height of the box before it is rotated
    :param rotation: degrees clockwise, one for each box
    :param width: width of the media in pixels, one for all boxes or one for each
    :param height: height of the media in pixels
    :returns: array of shape (boxes, 4, 2), relative, clockwise from the top left corner of the unrotated box
    """
    size = _sizes(width, height)
    box = np.asarray(bbox, np.float64).reshape(-1, 4)
    along, down = _axes(rotation)
    right = box[:, 2:3] * size[:, :1] * along
    below = box[:, 3:4] * size[:, 1:] * down
    corners = (box[:, :2] * size)[:, None] + np.stack([right * 0, right, right + below, below], axis=1)
    return corners / size[:, None]


def rotated_to_oriented_boxes(
    bbox: npt.ArrayLike, rotation: npt.ArrayLike, width: npt.ArrayLike, height: npt.ArrayLike
) -> FloatArray:
    """Return boxes as center, size and angle, as in YOLO's oriented boxes.

    :param bbox: array of shape (boxes, 4): relative x, y, width, height of the box before it is rotated
    :param rotation: degrees clockwise about the top left corner, one for each box
    :param width: width of the media in pixels, one for all boxes or one for each
    :param height: height of the media in pixels
    :returns: array of shape (boxes, 5): center x, center y, width and height in pixels, and degrees clockwise
    """
    size = _sizes(width, height)
    corner, extent = np.split(np.asarray(bbox, np.float64).reshape(-1, 4) * np.tile(size, 2), 2, axis=1)
    center = corner + to_center(extent, rotation)
    return np.column_stack([center, extent, np.broadcast_to(rotation, len(center))])


def to_center(extent: FloatArray, rotation: npt.ArrayLike) -> FloatArray:
    """Return the vectors from the first corners of boxes to their centers, in pixels.

    :param extent: width and height of each box in pixels, of shape (boxes, 2)
    :param rotation: degrees clockwise, one for each box
    """
    along, down = _axes(rotation)
    return (extent[:, :1] * along + extent[:, 1:] * down) / 2


def _axes(rotation: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return the directions of the x and the y axes of boxes, as unit vectors of shape (boxes, 2)."""
    angle = np.radians(np.atleast_1d(np.asarray(rotation, np.float64)))
    return np.column_stack([np.cos(angle), np.sin(angle)]), np.column_stack([-np.sin(angle), np.cos(angle)])


def _sizes(width: npt.ArrayLike, height: npt.ArrayLike) -> FloatArray:
    return np.column_stack([np.atleast_1d(np.asarray(side, np.float64)) for side in (width, height)])


# Paths


def path_area(points: npt.ArrayLike) -> float:
    """Return the area inside a closed path of shape (points, 2), in the square of its unit."""
    x, y = np.asarray(points, np.float64).reshape(-1, 2).T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def around_ellipse(bbox: npt.ArrayLike, rotation: float, width: float, height: float) -> list[float]:
    """Return the upright box around an ellipse: relative x, y, width, height.

    :param bbox: relative x, y, width, height of the box around the ellipse before it is rotated
    :param rotation: degrees clockwise about the box's top left corner
    :param width: width of the media in pixels
    :param height: height of the media in pixels
    """
    (box,) = rotated_to_oriented_boxes(bbox, rotation, width, height)
    ((along,), (down,)) = _axes(rotation)
    half = np.hypot(along * box[2] / 2, down * box[3] / 2)
    upright: list[float] = (np.concatenate([box[:2] - half, 2 * half]) / (width, height, width, height)).tolist()
    return upright


def ellipse_outline(bbox: npt.ArrayLike, rotation: float, width: float, height: float, corners: int = 64) -> FloatArray:
    """Return a polygon whose corners are on an ellipse. With 64 corners, it has 99.8 percent of the ellipse's area.

    :param bbox: relative x, y, width, height of the box around the ellipse before it is rotated
    :param rotation: degrees clockwise about the box's top left corner
    :param width: width of the media in pixels
    :param height: height of the media in pixels
    :returns: relative points of shape (corners, 2), clockwise
    """
    (box,) = rotated_to_oriented_boxes(bbox, rotation, width, height)
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)[:, None]
    ((along,), (down,)) = _axes(rotation)
    path = box[:2] + np.cos(turn) * along * box[2] / 2 + np.sin(turn) * down * box[3] / 2
    return np.asarray(path / (width, height), np.float64)


# Columns


def _per_row(width: pa.Array, height: pa.Array) -> FloatArray:
    """Return the media's sizes as an array of shape (rows, 2), NaN for null."""
    return np.column_stack(
        [pc.cast(side, pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64) for side in (width, height)]
    )


def _scale_lists(column: pa.ListArray, factors: FloatArray, axes: tuple[int, ...]) -> pa.ListArray:
    """Multiply each row's numbers by the row's factors: number i by the factor of ``axes[i]``."""
    wrong = column.filter(pc.not_equal(pc.list_value_length(column), len(axes)))
    if len(wrong):
        raise ValueError(f"Expected {len(axes)} coordinates, got {wrong[0].as_py()}.")
    numbers = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, len(axes))
    rows = pc.is_valid(column).to_numpy(zero_copy_only=False)
    return _with_values(column, pa.array((numbers * factors[rows][:, axes]).ravel(), column.type.value_type))


def _scale_paths(column: pa.ListArray, factors: FloatArray) -> pa.ListArray:
    rows = pc.list_parent_indices(column).to_numpy()
    return _with_values(column, _scale_lists(column.flatten(), factors[rows], _POINT_AXES))


def _with_values(column: pa.ListArray, values: pa.Array) -> pa.ListArray:
    """Return lists of other values with the same lengths and nulls as those of ``column``."""
    return pa.ListArray.from_arrays(list_offsets(column), values, type=column.type, mask=pc.is_null(column))
