"""The objects of submissions: drawn shapes, marked spans and tracks, of any type."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.labels.agreement.areas import Areas
from airflow_annotation.labels.agreement.overlap import interval_iou, keypoint_similarity, line_overlap
from airflow_annotation.labels.agreement.submissions import Submissions
from airflow_annotation.labels.arrays import FloatArray, IntArray
from airflow_annotation.labels.media import label_sizes

UNKNOWN_SIDE: Final = 1024
"""Length in pixels of each side of an image whose size is not known."""

DEFAULT_SIGMA: Final = 0.05
"""Default sigma of a keypoint. COCO's sigmas are from 0.025 (eyes) to 0.107 (hips)."""

LONE_POINT_AREA: Final = 0.01
"""Area of a keypoint object without a box and without an extent, such as a lone point, relative to the image's."""

LINE_TOLERANCE: Final = 0.01
"""Greatest distance at which two lines count as the same, relative to the image's diagonal."""

NO_CLASS: Final = 0
"""Class number of objects without a class."""

INTERVALS: Final = (("span_start", "span_end", 0), ("time", "time_end", 0), ("frame", "frame_end", 1))
"""Columns of spans: begin, end, and how far the span reaches beyond the value of the end column."""

_COLUMNS: Final = (
    *("item_id", "label_id", "parent_label_id", "target", "type", "label", "bbox", "rotation", "points"),
    *("point_index", "mask_size", "mask_counts", "track_id", "frame", "frame_end", "tool_frame", "attributes"),
    *("time", "time_end", "span_start", "span_end"),
)
"""The columns of objects that are read."""

PARAGRAPH: Final = 1 << 24
"""Offset between paragraphs of a dialogue, in characters: longer than any paragraph, whose characters count from 0."""

Similarity = Callable[[IntArray, IntArray], FloatArray]


class Objects(NamedTuple):
    """Objects that are compared with each other.

    :param owner: submission of each object
    :param place: number of each object's image, page or frame; only objects of one place are compared
    :param label: number of each object's class
    :param similarity: function that returns the similarity of the objects of each pair, 0..1
    :param starts: first row of each object in ``rows``, and at the end the number of rows
    :param rows: row numbers in the table ``labels``
    """

    owner: IntArray
    place: IntArray
    label: IntArray
    similarity: Similarity
    starts: IntArray
    rows: IntArray


def find_objects(
    given: Submissions, rows: IntArray, label: IntArray, measure: str, sigmas: float | Mapping[str, float]
) -> Objects:
    """Return the objects that rows belong to.

    A polygon with a parent is a part of it. The points of one parent are one object, and so are the rows of a track. In
    semantic masks, all pixels of a class are one object.

    :param given: the submissions, with the rows
    :param rows: row numbers of labels of one field and one measure
    :param label: number of each row's class
    :param measure: ``iou``, ``overlap``, ``oks`` or ``line``
    :param sigmas: sigma of all keypoints, or sigmas by the name of a point
    """
    table = given.labels.select(_COLUMNS)
    is_all = np.array_equal(rows, np.arange(len(table)))  # equal counts are not enough: the order may differ
    table = _with_frames(table if is_all else table.take(pa.array(rows)))
    owner = given.owner[rows]
    place = _codes(table.column("target")) << 32
    each = np.arange(len(rows) + 1)
    if measure == "overlap":
        return Objects(owner, place, label, _of_intervals(table), each, rows)
    frame = pc.fill_null(table.column("frame"), -1).to_numpy().astype(np.int64) + 1
    if measure == "line":
        return Objects(owner, place + frame, label, _of_lines(table, image_sizes(table, given)), each, rows)
    if measure == "iou" and _is_simple(table):
        areas = Areas(table, each, image_sizes(table, given))
        return Objects(owner, place + frame, label, areas.similarity, each, rows)

    has_parent = pc.is_valid(table.column("parent_label_id")).to_numpy(zero_copy_only=False)
    if measure == "oks":
        label = np.where(has_parent, NO_CLASS, label)  # the classes of an object's points are their names
    else:
        place += np.where(pc.is_valid(table.column("track_id")).to_numpy(zero_copy_only=False), 0, frame)
    place += frame if measure == "oks" else 0
    key = _codes(_keys(table, measure), in_order=True)  # so that ties do not depend on other items
    by_class = label * pc.equal(table.column("type"), "segmentation").to_numpy(zero_copy_only=False)
    order = np.lexsort((frame, by_class, key, place, owner))
    changes = np.zeros(len(order), np.bool_)
    for column in (owner, place, key, by_class):
        changes |= np.diff(column[order], prepend=-1) != 0
    starts = np.append(np.flatnonzero(changes), len(order))
    first = order[starts[:-1]]
    table = table.take(pa.array(order))
    if measure == "iou":
        similarity: Similarity = Areas(table, starts, image_sizes(table, given)).similarity
    else:
        similarity = _of_keypoints(table, starts, owner[first], given, sigmas)
    return Objects(owner[first], place[first], label[first], similarity, starts, rows[order])


def _with_frames(table: pa.RecordBatch) -> pa.RecordBatch:
    """Take the tool's frame numbers if those of the file are not known, since its frame rate is not known."""
    frames = pc.coalesce(table.column("frame"), table.column("tool_frame"))
    return table.set_column(table.schema.get_field_index("frame"), table.schema.field("frame"), frames)


def is_interval(table: pa.RecordBatch) -> pa.Array:
    """Return which labels are about a stretch of the text, the sound or the video, and not drawn."""
    known = [pc.is_valid(table.column(end)) for _, end, _ in INTERVALS]
    return pc.or_(pc.or_(*known[:2]), known[2])


def _is_simple(table: pa.RecordBatch) -> bool:
    """Return whether each row is an object of its own."""
    untracked = table.column("track_id").null_count == len(table)
    return untracked and bool(pc.all(pc.equal(table.column("type"), "detection")).as_py())


def _codes(column: pa.Array, *, in_order: bool = False) -> IntArray:
    """Return a number for each value of a column: in the order in which values come, or in sorted order."""
    encoded = column.dictionary_encode("encode")
    codes: IntArray = encoded.indices.to_numpy().astype(np.int64)
    return pc.rank(encoded.dictionary).to_numpy().astype(np.int64)[codes] if in_order else codes


def _keys(table: pa.RecordBatch, measure: str) -> pa.Array:
    """Return a name of each row's object, which is unique within its submission and place."""
    own, parent = table.column("label_id"), table.column("parent_label_id")
    if measure == "oks":
        return pc.coalesce(parent, own)
    if measure == "iou":
        parts = pc.if_else(pc.equal(table.column("type"), "polygon"), pc.coalesce(parent, own), own)
        keys = pc.coalesce(table.column("track_id"), parts)
        return pc.if_else(pc.equal(table.column("type"), "segmentation"), "", keys)
    return own


def image_sizes(table: pa.RecordBatch, given: Submissions) -> FloatArray:
    """Return the width and height of each row's image in pixels."""
    sides = label_sizes(table, given.items)
    return np.column_stack([pc.fill_null(side, UNKNOWN_SIDE).to_numpy().astype(np.float64) for side in sides])


# Intervals


def _of_intervals(table: pa.RecordBatch) -> Similarity:
    bounds: FloatArray = np.full((len(table), 2), np.nan)
    for begin, end, beyond in INTERVALS:
        first = pc.cast(table.column(begin), pa.float64())
        last = pc.add(pc.cast(pc.coalesce(table.column(end), table.column(begin)), pa.float64()), float(beyond))
        numbers = np.column_stack([side.to_numpy(zero_copy_only=False) for side in (first, last)])
        if begin == "span_start" and first.null_count < len(first):
            numbers = numbers + PARAGRAPH * np.array(
                [paragraphs_of(one) for one in table.column("attributes").to_pylist()]
            )
        bounds = np.where(np.isnan(bounds[:, :1]), numbers, bounds)
    return lambda left, right: interval_iou(bounds[left], bounds[right])


def paragraphs_of(attributes: str | None) -> tuple[int, int]:
    """Return the paragraphs of a dialogue in which a span begins and ends; (0, 0) if the span is in none.

    :param attributes: attributes of the span, as in the ``labels`` table; in HTML they contain XPaths
    """
    found: Mapping[str, Any] = json.loads(attributes) if attributes else {}
    ends = found.get("start"), found.get("end")
    first, last = (int(end) if isinstance(end, str) and end.isdecimal() else -1 for end in ends)
    return (first, last) if min(first, last) >= 0 else (0, 0)


# Lines


def _of_lines(table: pa.RecordBatch, sizes: FloatArray) -> Similarity:
    paths = table.column("points").to_pylist()
    corners = [np.array(path, np.float64).reshape(-1, 2) * size for path, size in zip(paths, sizes, strict=True)]
    tolerance = np.hypot(*sizes.T) * LINE_TOLERANCE

    def similarity(left: IntArray, right: IntArray) -> FloatArray:
        pairs = zip(left.tolist(), right.tolist(), strict=True)
        return np.array([line_overlap(corners[one], corners[other], tolerance[one]) for one, other in pairs])

    return similarity


# Keypoints


def _of_keypoints(
    table: pa.RecordBatch, starts: IntArray, owner: IntArray, given: Submissions, sigmas: float | Mapping[str, float]
) -> Similarity:
    sizes = image_sizes(table, given)
    count = len(starts) - 1
    number = np.repeat(np.arange(count), np.diff(starts))
    points = table.column("points").flatten().flatten().to_numpy().reshape(-1, 2) * sizes
    index = pc.cast(table.column("point_index"), pa.string())
    named = pc.coalesce(index, table.column("label"), pa.scalar(""))
    name = _codes(named)
    names = int(name.max(initial=0)) + 1
    key, chosen = np.unique(number * names + name, return_index=True)
    if isinstance(sigmas, Mapping):
        labels = zip(table.column("label").to_pylist(), index.to_pylist(), strict=True)
        sigma = np.array([sigmas.get(own, sigmas.get(place, DEFAULT_SIGMA)) for own, place in labels])
    else:
        sigma = np.full(len(name), sigmas)
    points, first = points[chosen], starts[:-1]
    of = np.searchsorted(key // names, np.arange(count))
    extent = np.maximum.reduceat(points, of) - np.minimum.reduceat(points, of)
    area = _box_areas(table, first, owner, given, sizes[first])
    area = np.where(np.isnan(area), extent.prod(axis=1), area)
    area = np.where(area > 0, area, sizes[first].prod(axis=1) * LONE_POINT_AREA)
    k = 2 * sigma[chosen]
    return lambda left, right: keypoint_similarity(points, key, names, k, area, left, right)


def _box_areas(
    table: pa.RecordBatch, first: IntArray, owner: IntArray, given: Submissions, sizes: FloatArray
) -> FloatArray:
    """Return the areas in square pixels of the parent boxes of keypoint objects, NaN for objects without one."""
    parents = table.column("parent_label_id").take(pa.array(first))
    areas = np.full(len(first), np.nan)
    if parents.null_count == len(parents):
        return areas
    ids, places = given.labels.column("label_id"), np.arange(len(given.labels))
    is_box = pc.and_(pc.is_valid(given.labels.column("bbox")), pc.is_in(ids, value_set=parents.unique()))
    boxes = given.labels.filter(is_box)
    owners = given.owner[places[is_box.to_numpy(zero_copy_only=False)]].tolist()
    found = {
        (owner, label_id): box[2] * box[3]
        for owner, label_id, box in zip(
            owners, boxes.column("label_id").to_pylist(), boxes.column("bbox").to_pylist(), strict=True
        )
    }
    for number, mine in enumerate(zip(owner.tolist(), parents.to_pylist(), strict=True)):
        areas[number] = found.get(mine, np.nan) * sizes[number].prod()
    return areas
