"""Similarity of two shapes, 0..1, for many pairs of shapes at once."""

from __future__ import annotations

from typing import Final

import numpy as np

from airflow_annotation.labels.agreement.submissions import count_within
from airflow_annotation.labels.arrays import FloatArray, IntArray

_PAIRS_AT_ONCE: Final = 1 << 14

LINE_SAMPLES: Final = 64
"""Number of points of a line that are compared."""


def box_iou(left: FloatArray, right: FloatArray) -> FloatArray:
    """Return the intersection over the union of upright boxes, 1 for two boxes that are the same point.

    This is the measure of Jaccard (1901), which PASCAL VOC (Everingham et al. 2010) and later COCO use for boxes. A box
    counts as the area that it covers, so ``pycocotools.mask.iou`` gives the same result.

    :param left: array of shape (pairs, 4): x, y, width, height
    :param right: the other box of each pair
    """
    overlap = np.minimum(left[:, :2] + left[:, 2:], right[:, :2] + right[:, 2:])
    overlap -= np.maximum(left[:, :2], right[:, :2])
    np.maximum(overlap, 0, out=overlap)
    shared = overlap[:, 0] * overlap[:, 1]
    union = left[:, 2] * left[:, 3] + right[:, 2] * right[:, 3] - shared
    iou = np.divide(shared, union, out=np.zeros(len(left)), where=union > 0)
    empty = union <= 0
    if empty.any():
        iou[empty] = (left[empty] == right[empty]).all(axis=1)
    capped: FloatArray = np.minimum(iou, 1.0)
    return capped


def interval_iou(left: FloatArray, right: FloatArray) -> FloatArray:
    """Return the intersection over the union of intervals, 1 for two equal points.

    :param left: array of shape (pairs, 2): start and end, the end not included
    :param right: the other interval of each pair
    """
    shared = np.minimum(left[:, 1], right[:, 1]) - np.maximum(left[:, 0], right[:, 0])
    union = (left[:, 1] - left[:, 0]) + (right[:, 1] - right[:, 0]) - np.maximum(shared, 0)
    equal = (left == right).all(axis=1)
    return np.where(equal, 1.0, np.divide(np.maximum(shared, 0), union, out=np.zeros(len(left)), where=union > 0))


def quad_iou(left: FloatArray, right: FloatArray) -> FloatArray:
    """Return the intersection over the union of convex quadrilaterals, such as rotated boxes; exact.

    Each one is cut along the four sides of the other (Sutherland and Hodgman 1974). Cut-off parts are moved onto the
    side, where they have no area, so that all pairs keep the same number of corners.

    :param left: array of shape (pairs, 4, 2): corners, clockwise if x points to the right and y down
    :param right: the other quadrilateral of each pair
    """
    parts = [
        _quad_iou(left[start : start + _PAIRS_AT_ONCE], right[start : start + _PAIRS_AT_ONCE])
        for start in range(0, len(left), _PAIRS_AT_ONCE)
    ]
    return np.concatenate(parts) if parts else np.empty(0)


def _quad_iou(left: FloatArray, right: FloatArray) -> FloatArray:
    # Coordinates are relative to a corner of the pair, so that no digits are lost far from the origin.
    origin = left[:, :1]
    left, right = left - origin, right - origin
    shared = left
    for side in range(4):
        shared = _cut(shared, right[:, side], right[:, (side + 1) % 4])
    areas = _area(left), _area(right)
    covered = np.minimum(_area(shared), np.minimum(*areas))
    union = areas[0] + areas[1] - covered
    iou: FloatArray = np.divide(covered, union, out=np.zeros(len(left)), where=union > 0)
    iou[(left == right).all(axis=(1, 2))] = 1
    return iou


def _cut(corners: FloatArray, start: FloatArray, end: FloatArray) -> FloatArray:
    """Move everything to the left of the line from start to end (with y down) onto the line."""
    along = end - start
    length = np.maximum((along**2).sum(axis=1), np.finfo(np.float64).tiny)[:, None]
    offset = corners - start[:, None]
    inside = along[:, None, 0] * offset[..., 1] - along[:, None, 1] * offset[..., 0]
    way = (offset * along[:, None]).sum(axis=2) / length
    onto = start[:, None] + way[..., None] * along[:, None]
    kept = np.where((inside >= 0)[..., None], corners, onto)
    following, after = np.roll(corners, -1, axis=1), np.roll(inside, -1, axis=1)
    crosses = (inside >= 0) != (after >= 0)
    part = np.divide(inside, inside - after, out=np.zeros_like(inside), where=crosses)
    crossing = np.where(crosses[..., None], corners + part[..., None] * (following - corners), kept)
    return np.stack([kept, crossing], axis=2).reshape(len(corners), -1, 2)


def _area(corners: FloatArray) -> FloatArray:
    x, y = corners[..., 0], corners[..., 1]
    area: FloatArray = np.abs((x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1)) / 2
    return area


def keypoint_similarity(  # noqa: PLR0917 - arrays that belong together
    points: FloatArray, key: IntArray, names: int, k: FloatArray, area: FloatArray, left: IntArray, right: IntArray
) -> FloatArray:
    """Return COCO's object keypoint similarity (OKS) of objects: the mean of exp(-d² / 2 s² k²) over their points.

    d is the distance of the two points with one name, s² the area of the object and k twice the point's sigma, as in
    ``pycocotools.cocoeval`` (Ronchi and Perona 2017). In COCO, one of the two objects is the true one, and its points
    count. Here neither object is the true one: s² is the mean of both areas, and a point that only one object has
    counts as 0.

    :param points: array of shape (points, 2): x and y in pixels, in the order of ``key``
    :param key: each point's object times ``names`` plus its name, ascending
    :param names: number of names
    :param k: twice the sigma of each point
    :param area: area of each object in square pixels
    :param left: one object of each pair
    :param right: the other object of each pair
    """
    counts = np.bincount(key // names, minlength=len(area))
    spread = np.maximum(area[left] + area[right], np.finfo(np.float64).tiny)
    firsts = np.cumsum(counts) - counts
    own = counts[left]
    pair = np.repeat(np.arange(len(left)), own)
    place = firsts[left][pair] + count_within(own)
    wanted = right[pair] * names + key[place] % names
    other = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    both = key[other] == wanted
    distance = ((points[place] - points[other]) ** 2).sum(axis=1)
    alike = np.where(both, np.exp(-distance / (spread[pair] * k[place] ** 2)), 0.0)
    shared = np.bincount(pair, both, len(left))
    return np.bincount(pair, alike, len(left)) / (counts[left] + counts[right] - shared)


def line_overlap(left: FloatArray, right: FloatArray, tolerance: float) -> float:
    """Return the share of two lines within a tolerance of each other: the F1 of completeness and correctness.

    These are the shares of each line's length in the buffer around the other line (Wiedemann et al., Empirical
    evaluation of automatically extracted road axes, 1998), measured at :data:`LINE_SAMPLES` points of each line.

    :param left: corners of one line, array of shape (corners, 2)
    :param right: corners of the other line
    :param tolerance: greatest distance, in the same unit
    """
    first, second = _along(left), _along(right)
    shares = [np.mean(_distance(points, corners) <= tolerance) for points, corners in ((first, right), (second, left))]
    return float(2 * shares[0] * shares[1] / total) if (total := sum(shares)) else 0.0


def _along(corners: FloatArray) -> FloatArray:
    """Return points of a line at equal distances."""
    way = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(corners, axis=0).T))])
    at = np.linspace(0, way[-1], LINE_SAMPLES)
    return np.column_stack([np.interp(at, way, corners[:, axis]) for axis in (0, 1)])


def _distance(points: FloatArray, corners: FloatArray) -> FloatArray:
    """Return the distances of points from a line."""
    if len(corners) == 1:
        alone: FloatArray = np.hypot(*(points - corners).T)
        return alone
    start, along = corners[:-1], np.diff(corners, axis=0)
    offset = points[:, None] - start
    length = np.maximum((along**2).sum(axis=1), np.finfo(np.float64).tiny)
    part = np.clip((offset * along).sum(axis=2) / length, 0, 1)
    nearest: FloatArray = np.sqrt(((offset - part[..., None] * along) ** 2).sum(axis=2)).min(axis=1)
    return nearest


def boxes_at(frames: IntArray, boxes: FloatArray, until: IntArray, at: IntArray) -> FloatArray:
    """Return the boxes of a track at some frames, NaN if it is not shown.

    Boxes move in straight lines between the frames that have one, as both tools draw them. If the object disappears
    before the next box, the box stays in place.

    :param frames: frames that have a box, ascending
    :param boxes: array of shape (frames, 4)
    :param until: last frame in which each box is shown, which begins with its own frame; from the next box on, that box
        counts
    :param at: the wanted frames
    """
    holds = until + 1 < np.append(frames[1:], np.iinfo(np.int64).max)
    known = np.concatenate([frames, until[holds]])
    order = np.argsort(known, kind="stable")
    values = np.concatenate([boxes, boxes[holds]])[order]
    found = np.column_stack([np.interp(at, known[order], values[:, side]) for side in range(4)])
    last = np.searchsorted(frames, at, side="right") - 1
    found[(last < 0) | (at > until[np.maximum(last, 0)])] = np.nan
    return found
