"""Convert an object's shape to boxes, outlines and masks, however it was drawn. This table says what is exact:

=============  ====================  ==============================  ==============================
drawn as       upright box           outline                         mask
=============  ====================  ==============================  ==============================
box            exact                 exact                           to the nearest pixel
rotated box    the box around it     exact                           to the nearest pixel
ellipse        the box around it     64 corners, 99.8 % of the area  of that outline
polygon        the box around it     exact                           to the nearest pixel
mask           the box around it     along the pixels' edges: exact  exact
keypoints      the box around them   none                            none
=============  ====================  ==============================  ==============================

An object that has points and a box has that box.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy.typing as npt

from airflow_annotation.formats.labeled_images import LabeledImage, LabeledObject, Path
from airflow_annotation.labels.geometry import around_ellipse, ellipse_outline
from airflow_annotation.labels.masks import columns_of, rle_bbox, rle_to_mask
from airflow_annotation.labels.outlines import polygons_to_rle, rle_to_polygons

Rings = list[Path]


def upright_box(one: LabeledObject, image: LabeledImage) -> list[float] | None:
    """Return the smallest upright box around an object: x, y, width, height, each 0..1 of the image's size.

    :returns: None for an empty mask
    """
    if one.corners is not None:
        return _around(one.corners)
    if one.bbox is not None:
        if one.type == "ellipse" and one.rotation:
            return around_ellipse(one.bbox, one.rotation, *image.size)
        return one.bbox
    if one.mask is not None:
        height, width = one.mask.size
        x, y, across, down = rle_bbox(one.mask)
        return [x / width, y / height, across / width, down / height] if across else None
    return _around([*(point for path in one.paths for point in path), *([p.x, p.y] for p in one.keypoints)])


def clip_box(box: list[float]) -> list[float] | None:
    """Return the part of a relative box that is inside of the image, None if no part is."""
    x, y = max(box[0], 0.0), max(box[1], 0.0)
    right, bottom = min(box[0] + box[2], 1.0), min(box[1] + box[3], 1.0)
    return [x, y, right - x, bottom - y] if right > x and bottom > y else None


def outlines(one: LabeledObject, image: LabeledImage) -> list[Rings]:
    """Return an object's outlines in relative coordinates: for each part a polygon, its outline first, then its holes.

    :returns: an empty list for an empty mask, and for objects that only have points
    """
    if one.corners is not None:
        return [[one.corners]]
    if one.bbox is not None and one.type == "ellipse":
        return [[ellipse_outline(one.bbox, one.rotation, *image.size).tolist()]]
    if one.mask is not None:
        return [[ring.tolist() for ring in rings] for rings in rle_to_polygons(one.mask)]
    if one.bbox is not None:
        x, y, width, height = one.bbox
        return [[[[x, y], [x + width, y], [x + width, y + height], [x, y + height]]]]
    return [[path] for path in one.paths if len(path) > 2]


def paint(pixels: npt.NDArray[Any], one: LabeledObject, image: LabeledImage, value: int) -> bool:
    """Set the pixels that an object covers to a value; return whether there are any.

    :param pixels: pixels of the image, array of shape (height, width)
    """
    rle = one.mask or polygons_to_rle(outlines(one, image), *image.size)
    left, _, across, _ = map(int, rle_bbox(rle))
    if across:
        pixels[:, left : left + across][rle_to_mask(columns_of(rle, left, across))] = value
    return across > 0


def _around(points: Iterable[Iterable[float]]) -> list[float] | None:
    xs, ys = zip(*points, strict=True) if (points := list(points)) else ((), ())
    if not xs:
        return None
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
