"""Converts masks to polygons with holes, and polygons to masks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from airflow_annotation.labels.arrays import FloatArray, IntArray
from airflow_annotation.labels.masks import RLE, merge_rles, rle_to_toggles, toggles_to_rle, transpose_toggles


def polygons_to_rle(polygons: Sequence[Sequence[npt.ArrayLike]], width: int, height: int) -> RLE:
    """Return the mask of all pixels inside of at least one polygon.

    This is COCO's own rasterisation (``pycocotools.mask.frPyObjects``). It is exact if the corners lie on corners of
    pixels, like those from :func:`rle_to_polygons`; otherwise, it is an approximation to about half a pixel. Parts
    outside of the image are left out.

    :param polygons: polygons, each a list of rings: first the outline, then its holes. A ring is an array of shape
        (corners, 2) with x and y, each 0..1 of the image's width and height
    :param width: width of the image in pixels
    :param height: height of the image in pixels
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
        # Toggles of two rings at one place cancel out, so that holes are not in the mask.
        places, times = np.unique(np.concatenate([rle_to_toggles(ring) for ring in filled]), return_counts=True)
        masks.append(toggles_to_rle(places[times % 2 == 1], width, height))
    return merge_rles(masks)


def _clip(corners: FloatArray) -> FloatArray:
    """Return the part of a polygon near the image, since COCO's rasterisation needs memory for whole edges.

    It works edge by edge, like the algorithm of Sutherland and Hodgman. Cut-off parts become edges along the border,
    outside of the image.
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
    """Return the exact outlines of a mask, along the edges of its pixels, without simplification.

    Pixels that touch only at a corner are in different polygons, or on different turns of an outline.

    :returns: one polygon for each connected part, as :func:`polygons_to_rle` takes them: the outline, clockwise on the
        screen, then its holes, counterclockwise
    :raises ValueError: the counts are not those of a mask of this size
    """
    height, width = rle.size
    toggles = rle_to_toggles(rle)
    runs_down = _runs(toggles, height, width)
    runs_across = _runs(transpose_toggles(toggles, height, width), width, height)
    if not len(runs_down.line):
        return []
    # Each edge has a direction with the mask on its right: to the right if the mask is below the edge, to the left if
    # it is above, up if it is to the right, down if it is to the left.
    rows, columns = _edges(runs_down), _edges(runs_across)
    row_start, row_end = (x + rows.line * (width + 1) for x in _directed(rows, rows.sign > 0))
    column_start, column_end = (y * (width + 1) + columns.line for y in _directed(columns, columns.sign < 0))
    # If two pixels touch at a corner, two edges come in and two go out: continue around the same pixel.
    column_after = _meet(row_end * 2 + (rows.sign < 0), column_start * 2 + (columns.sign > 0))
    row_after = _meet(column_end * 2 + (columns.sign > 0), row_start * 2 + (rows.sign > 0))
    order, firsts = _cycles(row_after[column_after])
    ring_of_row = np.empty(len(order), np.int64)
    ring_of_row[order] = np.repeat(np.arange(len(firsts)), np.diff(firsts, append=len(order)))
    # The sum of the areas between edges and the top of the image, whose sign tells outlines from holes.
    areas = np.bincount(ring_of_row, -rows.line * rows.sign * (rows.end - rows.begin), len(firsts))

    # The pixel above a hole's upper edge belongs to the part with the hole, and so does the side at which the run of
    # this pixel begins. That side belongs to the outline, or to a hole that begins further up. A ring begins with an
    # upper edge, since edges are in the order of lines.
    holes = np.flatnonzero(areas < 0)
    tops = order[firsts[holes]]
    run_starts = runs_across.line * width + runs_across.begin
    above = (rows.line[tops] - 1) * width + rows.begin[tops]
    y, x = np.divmod(run_starts[np.searchsorted(run_starts, above, side="right") - 1], width)
    sides = np.searchsorted(columns.line * (height + 1) + columns.begin, x * (height + 1) + y, side="right") - 1
    owners = np.arange(len(firsts))
    owners[holes] = ring_of_row[row_after[sides]]
    while not np.array_equal(owners, further := owners[owners]):
        owners = further

    corners = np.column_stack([row_start[order], row_end[order]]).ravel()
    points = np.column_stack([corners % (width + 1), corners // (width + 1)]) / np.array([width, height])
    bounds = [*(2 * firsts).tolist(), len(points)]
    # Rings are in the order of their tops, and an outline begins further up than its holes.
    grouped = np.argsort(owners, kind="stable")
    rings = [points[bounds[ring] : bounds[ring + 1]] for ring in grouped.tolist()]
    parts = [*np.flatnonzero(np.diff(owners[grouped], prepend=-1)).tolist(), len(rings)]
    return [rings[first:last] for first, last in itertools.pairwise(parts)]


class _Runs(NamedTuple):
    """The runs of a mask, line by line: from ``begin`` up to ``end`` (not included) in column (or row) ``line``."""

    line: IntArray
    begin: IntArray
    end: IntArray


def _runs(toggles: IntArray, length: int, lines: int) -> _Runs:
    """Return the runs of a mask, each within one line.

    :param toggles: toggles of a mask with this number of lines and this length of a line, in the order of the lines
    """
    if len(toggles) % 2:
        toggles = np.append(toggles, length * lines)
    start, stop = toggles[::2], toggles[1::2]
    first, last = start // length, (stop - 1) // length
    parts = last - first + 1
    nth = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
    line = np.repeat(first, parts) + nth
    begin = np.where(nth == 0, np.repeat(start, parts) - line * length, 0)
    end = np.minimum(np.repeat(stop, parts) - line * length, length)
    return _Runs(line, begin, end)


class _Edges(NamedTuple):
    """The horizontal edges of a mask, line by line: from ``begin`` to ``end`` on the line above row ``line``.

    ``sign`` is 1 if the mask is below the edge, and -1 if it is above. The edges of the transposed mask are the
    vertical edges, with ``line`` along x and the mask to the right if ``sign`` is 1.
    """

    line: IntArray
    begin: IntArray
    end: IntArray
    sign: IntArray


def _edges(runs: _Runs) -> _Edges:
    """Return the edges at both ends of runs. Edges of neighboring runs are merged into one."""
    line, place = np.concatenate([runs.begin, runs.end]), np.concatenate([runs.line, runs.line])
    sign = np.repeat(np.array([1, -1]), len(runs.line))
    order = np.lexsort((place, line))
    line, place, sign = line[order], place[order], sign[order]
    breaks = (np.diff(line) != 0) | (np.diff(place) != 1) | (np.diff(sign) != 0)
    first = np.flatnonzero(np.concatenate([[True], breaks]))
    last = np.append(first[1:] - 1, len(line) - 1)
    return _Edges(line[first], place[first], place[last] + 1, sign[first])


def _directed(edges: _Edges, forward: npt.NDArray[np.bool_]) -> tuple[IntArray, IntArray]:
    return np.where(forward, edges.begin, edges.end), np.where(forward, edges.end, edges.begin)


def _meet(ends: IntArray, starts: IntArray) -> IntArray:
    """Return the place of the equal start for each end. Both have the same elements, each one once."""
    result = np.empty(len(ends), np.int64)
    result[np.argsort(ends)] = np.argsort(starts)
    return result


def _cycles(following: IntArray) -> tuple[IntArray, IntArray]:
    """Return the cycles of a permutation one after the other, and the begin of each, at its smallest element.

    It uses numpy, and follows all cycles at once in steps of 1, 2, 4, ...
    """
    ahead = following.tolist()
    order: list[int] = []
    firsts = []
    for first in range(len(ahead)):
        at = ahead[first]
        if at < 0:
            continue
        firsts.append(len(order))
        order.append(first)
        ahead[first] = -1
        while at != first:
            order.append(at)
            ahead[at], at = -1, ahead[at]
    return np.array(order), np.array(firsts)
