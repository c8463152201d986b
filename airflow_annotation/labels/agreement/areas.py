"""Similarity of areas: boxes, ellipses, polygons, masks, and tracks of these."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.labels.agreement.overlap import box_iou, boxes_at, quad_iou
from airflow_annotation.labels.arrays import FloatArray, IntArray
from airflow_annotation.labels.geometry import around_ellipse, ellipse_outline, rotated_box_corners
from airflow_annotation.labels.masks import RLE, mask_to_rle, merge_rles, rle_area, rle_bbox, rle_iou, rle_to_mask
from airflow_annotation.labels.outlines import polygons_to_rle
from airflow_annotation.labels.video import MAX_FRAMES

Row = dict[str, Any]

_UPRIGHT, _ROTATED, _DRAWN = 0, 1, 2
_COLUMNS: Final = (
    *("type", "bbox", "rotation", "points", "mask_size", "mask_counts"),
    *("track_id", "frame", "frame_end", "attributes"),
)


class Areas:
    """Objects that cover a part of an image, or of the frames of a video.

    Boxes, upright or rotated, are compared exactly. Other shapes are compared by the pixels of their image, as in COCO.

    :param rows: rows of the ``labels`` table, with the rows of an object together
    :param starts: first row of each object, and at the end the number of rows
    :param sizes: width and height of each row's image in pixels, array of shape (rows, 2)
    """

    def __init__(self, rows: pa.RecordBatch, starts: IntArray, sizes: FloatArray) -> None:
        count = len(starts) - 1
        self._rows, self._starts, self._sizes = rows.select(_COLUMNS), starts, sizes
        self._kind = np.full(count, _DRAWN, np.int8)
        self._boxes = np.zeros((count, 4))
        self._corners: FloatArray = np.empty((0, 4, 2))
        self._masks: dict[int, RLE] = {}
        self._tracks: dict[int, list[Row]] = {}
        self._read_boxes()
        for number in np.flatnonzero(self._kind == _DRAWN).tolist():
            self._read_drawn(number)

    def similarity(self, left: IntArray, right: IntArray) -> FloatArray:
        """Return the intersection over the union of the objects of each pair.

        :param left: one object of each pair
        :param right: the other object of each pair
        """
        iou = box_iou(self._boxes[left], self._boxes[right])
        if not self._kind.any():
            return iou
        kind = np.where(iou > 0, np.maximum(self._kind[left], self._kind[right]), _UPRIGHT)
        turned = np.flatnonzero(kind == _ROTATED)
        if turned.size:
            iou[turned] = quad_iou(self._corners[left[turned]], self._corners[right[turned]])
        for pair in np.flatnonzero(kind == _DRAWN).tolist():
            iou[pair] = self._drawn_iou(int(left[pair]), int(right[pair]))
        return iou

    def _read_boxes(self) -> None:
        rows = self._rows
        first = self._starts[:-1]
        is_box = pc.and_(pc.equal(rows.column("type"), "detection"), pc.is_valid(rows.column("bbox")))
        is_box = pc.and_(is_box, pc.is_null(rows.column("track_id"))).to_numpy(zero_copy_only=False)
        is_box = is_box[first] & (np.diff(self._starts) == 1)
        numbers = np.flatnonzero(is_box)
        self._boxes[numbers] = rows.column("bbox").take(pa.array(first[numbers])).flatten().to_numpy().reshape(-1, 4)
        rotation = pc.fill_null(rows.column("rotation"), 0.0).to_numpy()[first]
        self._kind[numbers] = np.where(rotation[numbers] == 0, _UPRIGHT, _ROTATED)
        turned = np.flatnonzero(self._kind == _ROTATED)
        if not turned.size:
            return
        sizes = self._sizes[first]
        all_corners = rotated_box_corners(self._boxes, np.where(is_box, rotation, 0), *sizes.T)
        low, high = all_corners[turned].min(axis=1), all_corners[turned].max(axis=1)
        self._boxes[turned] = np.concatenate([low, high - low], axis=1)
        self._corners = all_corners * sizes[:, None]

    def _read_drawn(self, number: int) -> None:
        """Find the box around each drawn shape, and read tracks."""
        rows, size = self._rows_of(number), self._size(number)
        if rows[0]["track_id"] is not None and rows[0]["frame"] is not None:
            self._tracks[number] = rows
        # The places of tracks, and whether tracks meet, are compared frame by frame.
        around = [(0.0, 0.0, 1.0, 1.0)] if number in self._tracks else [_around(row, size) for row in rows]
        boxes = np.array(around, np.float64)
        low, high = boxes[:, :2].min(axis=0), (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
        self._boxes[number] = np.concatenate([low, high - low])

    def _rows_of(self, number: int) -> list[Row]:
        start, end = self._starts[number : number + 2].tolist()
        rows: list[Row] = self._rows.slice(start, end - start).to_pylist()
        return rows

    def _size(self, number: int) -> tuple[int, int]:
        width, height = self._sizes[self._starts[number]].astype(int).tolist()
        return width, height

    def _mask(self, number: int) -> RLE:
        if number not in self._masks:
            parts = [draw(row, self._size(number)) for row in self._rows_of(number)]
            self._masks[number] = merge_rles(of_one_size(parts))
        return self._masks[number]

    def _drawn_iou(self, one: int, other: int) -> float:
        if (one in self._tracks) != (other in self._tracks):
            return 0.0
        if one in self._tracks:
            return _track_iou(self._tracks[one], self._tracks[other], self._size(one))
        return rle_iou(*of_one_size([self._mask(one), self._mask(other)]))


def draw(row: Row, size: tuple[int, int]) -> RLE:
    """Return the pixels that a label covers.

    :param row: row of the ``labels`` table
    :param size: width and height of its image in pixels, for a row whose mask does not have them
    """
    if row["mask_counts"] is not None:
        height, width = row["mask_size"]
        return RLE((height, width), row["mask_counts"])
    outline = row["points"] or []
    if row["bbox"] is not None:
        turn = row["rotation"] or 0.0
        if row["type"] == "ellipse":
            outline = ellipse_outline(row["bbox"], turn, *size).tolist()
        else:
            outline = rotated_box_corners(row["bbox"], turn, *size)[0].tolist()
    return polygons_to_rle([[outline]] if len(outline) > 2 else [], *size)


def _of_size(mask: RLE, size: tuple[int, int]) -> RLE:
    """Return a mask in another size; each pixel is the nearest one."""
    if mask.size == size:
        return mask
    rows, columns = (np.arange(side) * own // side for side, own in zip(size, mask.size, strict=True))
    return mask_to_rle(rle_to_mask(mask)[np.ix_(rows, columns)])


def of_one_size(masks: Sequence[RLE]) -> list[RLE]:
    """Return masks in the largest of their sizes. Each mask has a size; an outline has that of its image, if known."""
    size = max((mask.size for mask in masks), key=lambda size: (size[0] * size[1], size))
    return [_of_size(mask, size) for mask in masks]


def _around(row: Row, size: tuple[int, int]) -> tuple[float, ...]:
    """Return the upright box around a label: relative x, y, width, height."""
    if row["mask_counts"] is not None:
        height, width = row["mask_size"]
        box = rle_bbox(RLE((height, width), row["mask_counts"]))
        return box[0] / width, box[1] / height, box[2] / width, box[3] / height
    if row["bbox"] is not None and row["type"] == "ellipse":
        return tuple(around_ellipse(row["bbox"], row["rotation"] or 0.0, *size))
    points = row["points"] or [[0.0, 0.0]]
    if row["bbox"] is not None:
        points = rotated_box_corners(row["bbox"], row["rotation"] or 0.0, *size)[0].tolist()
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def _track_iou(left: list[Row], right: list[Row], size: tuple[int, int]) -> float:
    """Return the intersection over the union of two tracks, each summed over the frames.

    This is the measure of video instance segmentation (Yang, Fan and Xu 2019). Upright boxes move in straight lines
    between their key frames. Other shapes exist only in frames that have a row.
    """
    sides = left, right
    if all(row["type"] == "detection" and row["bbox"] and not row["rotation"] for rows in sides for row in rows):
        frames = np.unique(np.concatenate([_frames(rows) for rows in sides]))
        boxes = [
            boxes_at(
                np.array([row["frame"] for row in rows]), np.array([row["bbox"] for row in rows]), _until(rows), frames
            )
            for rows in sides
        ]
        areas = [np.nan_to_num(of[:, 2] * of[:, 3]) for of in boxes]
        iou = box_iou(*(np.nan_to_num(of) for of in boxes))
        both = ~np.isnan(boxes[0][:, 0]) & ~np.isnan(boxes[1][:, 0])
        total = areas[0] + areas[1]
        shared = np.where(both, iou * total / (1 + iou), 0.0)
        union = (total - shared).sum()
        return float(shared.sum() / union) if union else 0.0
    drawn = iter(of_one_size([draw(row, size) for rows in sides for row in rows]))
    masks = [{row["frame"]: next(drawn) for row in rows} for rows in sides]
    common = union_pixels = 0.0
    for frame in masks[0].keys() | masks[1].keys():
        found = [of[frame] for of in masks if frame in of]
        pixels = sum(map(rle_area, found))
        iou_here = rle_iou(*found) if len(found) == 2 else 0.0
        both_pixels = iou_here * pixels / (1 + iou_here)
        common, union_pixels = common + both_pixels, union_pixels + pixels - both_pixels
    return common / union_pixels if union_pixels else 0.0


def _frames(rows: list[Row]) -> IntArray:
    first, last = int(rows[0]["frame"]), int(_until(rows).max())
    if last - first >= MAX_FRAMES:  # a few bytes can claim this many: use only frames with boxes
        return np.array([row["frame"] for row in rows], np.int64)
    return np.arange(first, last + 1)


def _until(rows: list[Row]) -> IntArray:
    """Return the last frame in which each box of a track is shown: its ``frame_end``, or the next key frame."""
    following = [*(row["frame"] for row in rows[1:]), rows[-1]["frame"]]
    ends = [
        row["frame_end"] if row["frame_end"] is not None else after if _is_shown(row) else row["frame"]
        for row, after in zip(rows, following, strict=True)
    ]
    return np.array([max(row["frame"], end) for row, end in zip(rows, ends, strict=True)], np.int64)


def _is_shown(row: Row) -> bool:
    """Return whether an object is shown between this key frame and the next."""
    return row["attributes"] is None or json.loads(row["attributes"]).get("enabled") is not False
