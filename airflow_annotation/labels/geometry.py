"""Boxes and points: relative and pixel coordinates, rotated boxes, polygons, ellipses.

Relative coordinates are 0..1 of the media's width and height, as the ``labels`` table has them; pixels are counted from
the top left corner of the top left pixel, x to the right and y down. Angles are degrees clockwise *in pixels*: relative
axes are not of equal length, so whatever turns or measures takes the media's size and works in pixels.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

FloatArray = npt.NDArray[np.float64]

_BBOX_AXES: Final = (0, 1, 0, 1)
"""Which side of the media each number of a bbox (x, y, width, height) is measured along."""

_POINT_AXES: Final = (0, 1)


def labels_to_pixels(labels: pa.RecordBatch, items: pa.RecordBatch) -> pa.RecordBatch:
    """Return rows of the ``labels`` table with ``bbox`` and ``points`` in pixels of their media.

    Everything else stays as it is: ``rotation`` is in degrees in either unit, and masks carry their own size.

    :param labels: rows of the ``labels`` table, of one project
    :param items: rows of the ``items`` table of the same project, at least those that the labels belong to; matched by
        ``item_id``
    :raises ValueError: a label has coordinates, and its item is not in ``items`` or has no known width and height. A
        null instead would lose what a person drew, and relative numbers in a pixel column would be worse.
    """
    drawn = pc.or_(pc.is_valid(labels.column("bbox")), pc.is_valid(labels.column("points")))
    place = pc.index_in(labels.column("item_id"), value_set=items.column("item_id"))
    sizes = [pc.take(items.column(side), place) for side in ("width", "height")]
    unknown = pc.and_(drawn, pc.or_(pc.is_null(sizes[0]), pc.is_null(sizes[1])))
    if pc.any(unknown).as_py():
        keys = pc.unique(labels.column("item_key").filter(unknown)).to_pylist()
        raise ValueError(
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
    :raises ValueError: a box has not four numbers
    """
    return _scale_lists(bbox, _per_row(width, height), _BBOX_AXES)


def bbox_to_relative(bbox: pa.ListArray, width: pa.Array, height: pa.Array) -> pa.ListArray:
    """Return a column of boxes in pixels as relative ones; the inverse of :func:`bbox_to_pixels`."""
    return _scale_lists(bbox, 1 / _per_row(width, height), _BBOX_AXES)


def points_to_pixels(points: pa.ListArray, width: pa.Array, height: pa.Array) -> pa.ListArray:
    """Return a column of paths of relative points (x, y) in pixels; null paths stay null.

    :param points: ``list<list<double>>``
    :param width: the media's width for each row, in pixels; read for rows with points only
    :param height: the media's height for each row, in pixels
    :raises ValueError: a point has not two numbers
    """
    return _scale_paths(points, _per_row(width, height))


def points_to_relative(points: pa.ListArray, width: pa.Array, height: pa.Array) -> pa.ListArray:
    """Return a column of paths of points in pixels as relative ones; the inverse of :func:`points_to_pixels`."""
    return _scale_paths(points, 1 / _per_row(width, height))


def _per_row(width: pa.Array, height: pa.Array) -> FloatArray:
    """Return the media's sizes as (rows, 2), NaN where they are null."""
    return np.column_stack(
        [pc.cast(side, pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64) for side in (width, height)]
    )


def _scale_lists(column: pa.ListArray, factors: FloatArray, axes: tuple[int, ...]) -> pa.ListArray:
    """Multiply each row's numbers by its factors, number i by the factor of ``axes[i]``."""
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
    """Return lists of the same lengths and nulls as ``column``'s around other values."""
    # The offsets are counted anew: a slice's own do not start at 0, and null rows may hide values.
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, values, type=column.type, mask=pc.is_null(column))
