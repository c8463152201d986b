"""Polygons with holes from masks, and masks from polygons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from airflow_annotation.labels.arrays import FloatArray, IntArray
from airflow_annotation.labels.masks import (
    RLE,
    columns_of,
    merge_rles,
    rle_bbox,
    rle_to_mask,
    rle_to_toggles,
    toggles_to_rle,
)


def polygons_to_rle(polygons: Sequence[Sequence[npt.ArrayLike]], width: int, height: int) -> RLE:
    """Return the mask of what is inside of any of the polygons.

    COCO's own rasterisation (``pycocotools.mask.frPyObjects``): exact where corners lie on corners of pixels, as those
    of :func:`rle_to_polygons` do, otherwise an approximation to about half a pixel. What lies outside of the image is
    left out.

    :param polygons: each one a list of rings, the outline first and then its holes; a ring is an array of shape
        (corners, 2) of x and y, each 0..1 of the image's width and height
    :param width: of the image, in pixels
    :param height: of the image, in pixels
    :raises ValueError: a ring has fewer than three corners
    """
    masks = [toggles_to_rle(np.empty(0, np.int64), width, height)]
    for rings in polygons:
        flat = []
        for ring in rings:
            corners = np.asarray(ring, np.float64)
            if corners.ndim != 2 or corners.shape[0] < 3 or corners.shape[1] != 2:
                raise ValueError(
                    f"A polygon has three corners or more, each with x and y; this one: {corners.tolist()}."
                )
            flat.append((_clip(corners) * (width, height)).ravel().tolist())
        filled = [RLE((height, width), ring["counts"].decode()) for ring in coco_mask.frPyObjects(flat, height, width)]
        # What is inside of a hole is inside of two rings: its toggles are there twice.
        places, times = np.unique(np.concatenate([rle_to_toggles(ring) for ring in filled]), return_counts=True)
        masks.append(toggles_to_rle(places[times % 2 == 1], width, height))
    return merge_rles(masks)


def _clip(corners: FloatArray) -> FloatArray:
    """Return the part of a polygon that is near the image: COCO's rasterisation takes memory for all of an edge.

    Edge by edge, as Sutherland and Hodgman do; what is cut off becomes edges along the border, outside of the image.
    """
    for axis in (0, 1):
        for border, side in ((-1.0, 1.0), (2.0, -1.0)):
            inside = (corners[:, axis] - border) * side >= 0
            if inside.all() or not len(corners):
                continue
            clipped = []
            for here, there, is_in, goes_in in zip(
                corners, np.roll(corners, -1, axis=0), inside, np.roll(inside, -1), strict=True
            ):
                if is_in:
                    clipped.append(here)
                if is_in != goes_in:
                    way = (border - here[axis]) / (there[axis] - here[axis])
                    crossing = here + (there - here) * way
                    crossing[axis] = border
                    clipped.append(crossing)
            corners = np.array(clipped, np.float64).reshape(-1, 2)
    return corners if len(corners) > 2 else np.full((3, 2), -1.0)


def rle_to_polygons(rle: RLE) -> list[list[FloatArray]]:
    """Return the outlines of a mask along the edges of its pixels: nothing is simplified, nothing is lost.

    Pixels that touch at a corner only are in different polygons or on different turns of an outline.

    :returns: one polygon for each connected part, as :func:`polygons_to_rle` takes them: the outline, clockwise as
        seen, then its holes, counterclockwise
    :raises ValueError: the counts are not those of a mask of this size
    """
    left, top, width, height = (int(number) for number in rle_bbox(rle))
    mask = rle_to_mask(columns_of(rle, left, width))[top : top + height]
    if not mask.size:
        return []
    # Whoever walks along an edge has the mask on the right: to the right where it begins below, to the left where it
    # begins above, up where it begins to the right, down where it begins to the left.
    rows, columns = _edges(mask), _edges(mask.T)
    row_start, row_end = (x + rows.line * (width + 1) for x in _directed(rows, rows.sign > 0))
    column_start, column_end = (y * (width + 1) + columns.line for y in _directed(columns, columns.sign < 0))
    # Where two pixels touch at a corner, two edges come in and two go out: stay with the pixel that is walked around.
    column_after = _meet(row_end * 2 + (rows.sign < 0), column_start * 2 + (columns.sign > 0))
    row_after = _meet(column_end * 2 + (columns.sign > 0), row_start * 2 + (rows.sign > 0))
    rings = _cycles(row_after[column_after])

    ring_of_row = np.empty(len(rows.line), np.int64)
    for number, ring in enumerate(rings):
        ring_of_row[ring] = number
    # The area between a ring and the top of the image, which is on the left of its upper edges.
    areas = np.bincount(ring_of_row, -rows.line * rows.sign * (rows.end - rows.begin), len(rings))
    outlines = np.flatnonzero(areas > 0)
    polygons = {int(number): [_corners(rings[number], row_start, row_end, width)] for number in outlines}

    # The pixel above a hole's upper edge belongs to the part that the hole is in, and so does the side where the run
    # of this pixel begins. That side is the outline's, or that of a hole which begins further up.
    holes = np.flatnonzero(areas < 0)
    tops = np.array([rings[number][np.argmin(rows.line[rings[number]])] for number in holes], np.int64)
    holes, tops = holes[np.argsort(rows.line[tops])], tops[np.argsort(rows.line[tops])]
    run_starts = np.flatnonzero(np.diff(mask, axis=1, prepend=False) & mask)
    above = (rows.line[tops] - 1) * width + rows.begin[tops]
    y, x = np.divmod(run_starts[np.searchsorted(run_starts, above, side="right") - 1], width)
    sides = np.searchsorted(columns.line * (height + 1) + columns.begin, x * (height + 1) + y, side="right") - 1
    owners = {number: number for number in polygons}
    for hole, around in zip(holes.tolist(), ring_of_row[row_after[sides]].tolist(), strict=True):
        owners[hole] = owners[around]
        polygons[owners[hole]].append(_corners(rings[hole], row_start, row_end, width))

    corner, size = np.array([left, top]), np.array(rle.size[::-1])
    return [[(ring + corner) / size for ring in polygon] for polygon in polygons.values()]


class _Edges(NamedTuple):
    """The horizontal edges of a mask, line by line: from ``begin`` to ``end`` on the line above row ``line``.

    ``sign`` is 1 where the mask is below and -1 where it is above. Those of the transposed mask are the vertical edges,
    with ``line`` along x and the mask to the right where ``sign`` is 1.
    """

    line: IntArray
    begin: IntArray
    end: IntArray
    sign: IntArray


def _edges(mask: npt.NDArray[np.bool_]) -> _Edges:
    steps = np.diff(np.pad(mask.view(np.int8), ((1, 1), (0, 0))), axis=0)
    changes = np.diff(np.pad(steps, ((0, 0), (1, 1))), axis=1)
    places = np.flatnonzero(changes != 0)
    line, place = np.divmod(places, changes.shape[1])
    sign = np.cumsum(changes.ravel()[places])
    first = np.flatnonzero(sign)
    return _Edges(line[first], place[first], place[first + 1], sign[first])


def _directed(edges: _Edges, forward: npt.NDArray[np.bool_]) -> tuple[IntArray, IntArray]:
    return np.where(forward, edges.begin, edges.end), np.where(forward, edges.end, edges.begin)


def _meet(ends: IntArray, starts: IntArray) -> IntArray:
    """Return for each end the place of the start that is equal to it. Both have the same elements, each one once."""
    result = np.empty(len(ends), np.int64)
    result[np.argsort(ends)] = np.argsort(starts)
    return result


def _cycles(following: IntArray) -> list[IntArray]:
    """Return the cycles of a permutation."""
    ahead = following.tolist()
    seen = [False] * len(ahead)
    cycles = []
    for first in range(len(ahead)):
        cycle = []
        at = first
        while not seen[at]:
            seen[at] = True
            cycle.append(at)
            at = ahead[at]
        if cycle:
            cycles.append(np.array(cycle))
    return cycles


def _corners(ring: IntArray, starts: IntArray, ends: IntArray, width: int) -> FloatArray:
    corners = np.column_stack([starts[ring], ends[ring]]).ravel()
    return np.column_stack([corners % (width + 1), corners // (width + 1)]).astype(np.float64)
