"""Convert label rows to the form for datasets of images: one class in each row, and boxes as arrays, many at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.formats.labeled_images import LabeledImage, Path
from airflow_annotation.labels.arrays import BoolArray, FloatArray, IntArray
from airflow_annotation.labels.geometry import rotated_box_corners
from airflow_annotation.labels.types import AREA_TYPES


def one_class_each(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return rows with one class each: a shape with several classes gets a row for each, as in the tools' exports."""
    if rows.column("labels").null_count == len(rows):
        return rows
    classes = [list(dict.fromkeys(named or ())) for named in rows.column("labels").to_pylist()]
    counts = np.array([len(named) for named in classes], np.int64)
    several = (counts > 1) & pc.is_in(
        rows.column("type"), value_set=pa.array(sorted(AREA_TYPES | {"keypoint"}))
    ).to_numpy(zero_copy_only=False)
    if not several.any():
        return rows
    times = np.where(several, counts, 1)
    pairs = zip(rows.column("label").to_pylist(), classes, several.tolist(), strict=True)
    names = [name for label, named, has_several in pairs for name in (named if has_several else [label])]
    rows = rows.take(pa.array(np.repeat(np.arange(len(rows)), times)))
    return _with_column(rows, "label", pa.array(names, pa.string()))


def turn_round(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return rows whose upright boxes start at their top left corner, whatever direction they were drawn in."""
    column = rows.column("bbox")
    boxes = box_array(column)
    is_upright = pc.equal(pc.fill_null(rows.column("rotation"), 0.0), 0.0).to_numpy(zero_copy_only=False)
    if not ((boxes[:, 2:] < 0).any(axis=1) & is_upright).any():
        return rows
    turned = np.column_stack([boxes[:, :2] + np.minimum(boxes[:, 2:], 0), np.abs(boxes[:, 2:])])
    boxes = np.where(is_upright[:, None], turned, boxes)
    given = zip(boxes.tolist(), column.is_valid().to_pylist(), strict=True)
    return _with_column(rows, "bbox", pa.array([box if is_given else None for box, is_given in given], column.type))


def _with_column(rows: pa.RecordBatch, name: str, column: pa.Array) -> pa.RecordBatch:
    return rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), column)


def are_upright_boxes(rows: pa.RecordBatch) -> BoolArray:
    """Return which rows are only upright boxes with a class: without other data, and without other rows about them."""
    upright = pc.and_(pc.equal(rows.column("type"), "detection"), pc.is_valid(rows.column("bbox")))
    upright = pc.and_(upright, pc.equal(pc.fill_null(rows.column("rotation"), 0.0), 0.0))
    for name in ("parent_label_id", "attributes", "track_id"):
        upright = pc.and_(upright, pc.is_null(rows.column(name)))
    parents = rows.column("parent_label_id").drop_null()
    if len(parents):
        upright = pc.and_(upright, pc.invert(pc.is_in(rows.column("label_id"), value_set=parents)))
    are_upright: BoolArray = upright.to_numpy(zero_copy_only=False)
    return are_upright


def box_array(column: pa.ListArray) -> FloatArray:
    """Return boxes as an array of shape (rows, 4), NaN for rows without a box."""
    boxes = np.full((len(column), 4), np.nan)
    numbers = column.flatten().to_numpy(zero_copy_only=False)
    boxes[pc.is_valid(column).to_numpy(zero_copy_only=False)] = numbers.reshape(-1, 4)
    return boxes


def turned_corners(rows: pa.RecordBatch, images: list[LabeledImage], owners: IntArray) -> Sequence[Path | None]:
    """Return the corners of the rotated boxes, all computed together; None for rows of any other shape.

    :param owners: index of each row's image
    :raises AnnotationError: the size of an image is unknown
    """
    turned = pc.and_(
        pc.and_(pc.equal(rows.column("type"), "detection"), pc.is_valid(rows.column("bbox"))),
        pc.not_equal(pc.fill_null(rows.column("rotation"), 0.0), 0.0),
    )
    corners: list[Path | None] = [None] * len(rows)
    places = np.flatnonzero(turned.to_numpy(zero_copy_only=False))
    if places.size:
        sizes = np.array([images[owner].size for owner in owners[places].tolist()], np.float64)
        taken = rows.take(pa.array(places))
        boxes, rotations = box_array(taken.column("bbox")), taken.column("rotation").to_numpy(zero_copy_only=False)
        found = rotated_box_corners(boxes, rotations, sizes[:, 0], sizes[:, 1]).tolist()
        mirrored = (boxes[:, 2] * boxes[:, 3] < 0).tolist()
        for place, path, is_mirrored in zip(places.tolist(), found, mirrored, strict=True):
            corners[place] = [path[0], *path[:0:-1]] if is_mirrored else path  # always clockwise
    return corners
