"""Converts rows of the ``labels`` table to FiftyOne's label documents."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from airflow_annotation.labels.errors import LabelRowError
from airflow_annotation.labels.fiftyone.documents import Array, Document, read_mask, resize_mask, write_mask
from airflow_annotation.labels.fiftyone.rows import ROTATION
from airflow_annotation.labels.geometry import ellipse_outline
from airflow_annotation.labels.masks import RLE, rle_bbox, rle_to_mask
from airflow_annotation.labels.submissions import SCORE, Row

_OWN_FIELDS: Final = frozenset(
    (
        *("_id", "_cls", "id", "tags", "attributes", "label", "confidence", "index", "instance", "keyframe", ROTATION),
        *("bounding_box", "mask", "mask_path", "points", "closed", "filled", "value", "support", "logits"),
    )
)
"""Names of FiftyOne's own fields of labels, which attributes cannot have."""

_IN_PARTS: Final = ("keypoint", "polygon", "polyline")
_NOWHERE: Final = [math.nan, math.nan]


class Group(NamedTuple):
    """The rows that are one label in FiftyOne.

    :param key: id of the label in the tool
    :param rows: rows of the label: one, except for keypoints and shapes of several parts
    """

    key: str
    rows: list[Row]

    @property
    def type(self) -> str:
        """The type of the rows."""
        return str(self.rows[0]["type"])

    @property
    def label(self) -> str | None:
        """The class."""
        label: str | None = self.rows[0].get("label")
        return label


def group_rows(rows: Iterable[Row]) -> list[Group]:
    """Group the rows of one submission and field into FiftyOne's labels.

    The points of one parent and class are one label, and so are the parts of a shape. A shape that is drawn on an
    object of another field is a label of its own.
    """
    groups: dict[tuple[str, ...], Group] = {}
    classes: dict[str, set[str | None]] = {}
    for row in rows:
        parent = row.get("parent_label_id")
        if parent is None or row["type"] not in _IN_PARTS:
            key: tuple[str, ...] = (row["label_id"], str(row.get("label")), str(row["ordinal"]))
            groups[key] = Group(row["label_id"], [row])
            continue
        classes.setdefault(parent, set()).add(row.get("label"))
        key = (parent, str(row.get("label")))
        groups.setdefault(key, Group(parent, [])).rows.append(row)
    for group in groups.values():
        _number_points(group)
    # If a parent has one class, its points are the parent itself; if it has several, each class is a label of its own.
    return [
        group
        if len(classes.get(group.key, ())) <= 1 or group.rows[0].get("parent_label_id") != group.key
        else group._replace(key=f"{group.key}/{group.label}")
        for group in groups.values()
    ]


def _number_points(group: Group) -> None:
    """Give the points of a keypoint the places from their upload, because a tool may renumber the remaining points."""
    places = [row["label_id"].removeprefix(f"{group.key}.") for row in group.rows]
    if group.type != "keypoint" or not any(map(str.isdecimal, places)):
        return
    following = max(int(place) for place in places if place.isdecimal()) + 1
    for number, place in enumerate(places):
        index = int(place) if place.isdecimal() else following
        following += not place.isdecimal()
        group.rows[number] = {**group.rows[number], "point_index": index}
    group.rows.sort(key=lambda row: int(row["point_index"]))


def content_of(group: Group, size: tuple[int, int] | None, before: Mapping[str, Any] | None) -> Document:
    """Return the class and the place from the rows, as keys of a label's document.

    :param group: the rows
    :param size: width and height of the image in pixels, for ellipses
    :param before: existing document of the label
    :raises LabelRowError: the rows lack a value
    """
    content = _WRITERS[group.type](group.rows, size, before)
    if group.type not in ("scalar", "rating"):
        content["label"] = group.label
    return content


def attributes_of(rows: Sequence[Row]) -> tuple[Document, float | None]:
    """Return the attributes of a label, under names that FiftyOne takes, and the model's score."""
    attributes: Document = {}
    for row in rows:
        attributes |= json.loads(row.get("attributes") or "{}")
    score = attributes.pop(SCORE, None)
    return {attribute_name(name): value for name, value in attributes.items()}, score


def attribute_name(name: str) -> str:
    """Return an attribute's name as FiftyOne takes it: no reserved name, no dots, dollars or leading underscores."""
    plain = name.replace(".", "_").replace("$", "_").lstrip("_") or "_".join(("attribute", str(len(name))))
    return f"{plain}_" if plain in _OWN_FIELDS else plain


def _classification(rows: Sequence[Row], size: Any, before: Any) -> Document:  # noqa: ARG001 - as all writers
    first, last = rows[0].get("frame"), rows[0].get("frame_end")
    if first is None:
        return {}
    return {"support": [first + 1, (first if last is None else last) + 1]}


def _detection(rows: Sequence[Row], size: Any, before: Any) -> Document:  # noqa: ARG001 - as all writers
    content: Document = {"bounding_box": rows[0]["bbox"]}
    if rows[0].get("rotation") or (before or {}).get(ROTATION):
        content[ROTATION] = rows[0].get("rotation") or 0.0
    return content


def _instance(rows: Sequence[Row], size: Any, before: Any) -> Document:  # noqa: ARG001 - as all writers
    encoded = RLE(tuple(rows[0]["mask_size"]), rows[0]["mask_counts"])
    height, width = encoded.size
    left, top, across, down = (int(number) for number in rle_bbox(encoded))
    mask = rle_to_mask(encoded)[top : top + down, left : left + across]
    box = [left / width, top / height, across / width, down / height]
    return {"bounding_box": box, "mask": write_mask(np.ascontiguousarray(mask)) if mask.size else None}


def _polyline(rows: Sequence[Row], size: Any, before: Mapping[str, Any] | None) -> Document:  # noqa: ARG001
    content: Document = {"points": [row["points"] for row in rows]}
    if before is None:
        is_closed = rows[0]["type"] == "polygon"
        content |= {"closed": is_closed, "filled": is_closed}
    return content


def _ellipse(rows: Sequence[Row], size: tuple[int, int] | None, before: Any) -> Document:  # noqa: ARG001
    if size is None:
        raise LabelRowError("The outline of an ellipse needs the size of its image, which is not known.")
    outline = ellipse_outline(rows[0]["bbox"], rows[0].get("rotation") or 0.0, *size)
    return {"points": [outline.tolist()], "closed": True, "filled": True}


def _keypoint(rows: Sequence[Row], size: Any, before: Mapping[str, Any] | None) -> Document:  # noqa: ARG001
    indices = [int(row["point_index"]) for row in rows if row.get("point_index") is not None]
    if len(set(indices)) < len(rows):
        return {"points": [row["points"][0] for row in rows]}
    length = max(len((before or {}).get("points") or ()), *(index + 1 for index in indices))
    points = [list(_NOWHERE) for _ in range(length)]
    for index, row in zip(indices, rows, strict=True):
        points[index] = row["points"][0]
    return {"points": points}


def _regression(rows: Sequence[Row], size: Any, before: Any) -> Document:  # noqa: ARG001 - as all writers
    return {"value": rows[-1]["number"]}


_WRITERS: Final[dict[str, Callable[..., Document]]] = {
    "classification": _classification,
    "classifications": _classification,
    "detection": _detection,
    "instance": _instance,
    "polygon": _polyline,
    "polyline": _polyline,
    "ellipse": _ellipse,
    "keypoint": _keypoint,
    "scalar": _regression,
    "rating": _regression,
}


def segmentation_mask(rows: Sequence[Row], targets: Mapping[str, int], before: Mapping[str, Any] | None) -> Array:
    """Return the mask of a segmentation: the number of each pixel's class, 0 for no class.

    If a pixel has two classes, that of the later row counts. Numbers for which the project has no class stay.

    :param rows: one row for each class
    :param targets: numbers of the classes
    :param before: existing document of the label
    :raises LabelRowError: a class has no number, or masks differ in size
    """
    height, width = rows[0]["mask_size"]
    mask = np.zeros((height, width), np.uint8 if max(targets.values(), default=0) < 256 else np.uint16)
    if before is not None and before.get("mask") is not None:
        old = resize_mask(read_mask(before["mask"]), width, height)
        if old.ndim == 2:
            mask = np.where(np.isin(old, [*targets.values()]), 0, old).astype(np.result_type(old, mask))
    for row in rows:
        if row["label"] not in targets:
            raise LabelRowError(f"The class {row['label']!r} has no number among the mask targets.")
        if list(row["mask_size"]) != [height, width]:
            raise LabelRowError("The masks of one image differ in size.")
        mask[rle_to_mask(RLE((height, width), row["mask_counts"]))] = targets[row["label"]]
    return mask
