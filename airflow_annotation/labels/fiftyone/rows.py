"""Converts FiftyOne's label documents to rows of the ``labels`` table."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping
from statistics import fmean
from typing import Any, Final, NamedTuple

import numpy as np

from airflow_annotation.labels.cells import plain_value
from airflow_annotation.labels.errors import LabelRowError
from airflow_annotation.labels.fiftyone.documents import Array, elements_of, id_of, read_mask, resize_mask
from airflow_annotation.labels.masks import mask_to_rle
from airflow_annotation.labels.submissions import SCORE, Row

ROTATION: Final = "rotation"
"""The attribute of a detection in which FiftyOne's own integration stores a rotation, in degrees."""

INDEX: Final = "index"
"""The key of a row with FiftyOne's number of a track."""


class Asked(NamedTuple):
    """Options for converting documents to rows.

    :param label_type: type of the labels' field, in FiftyOne's words. With None, the class decides: detections become
        boxes, and polylines that are closed or filled become polygons
    :param attributes: names of the attributes to include
    :param size: width and height of the image in pixels; masks need it
    :param mask_targets: classes by their numbers in a segmentation; without a class, the number itself is the class
    """

    label_type: str | None = None
    attributes: Collection[str] = ()
    size: tuple[int, int] | None = None
    mask_targets: Mapping[int, str] | None = None


def rows_of(value: Any, field: str, asked: Asked) -> Iterator[Row]:
    """Yield the rows of a field's value.

    :param value: label's document, plain number or text, or None
    :param field: name of the field in the rows
    :param asked: options
    :raises LabelRowError: the value cannot become a row
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (Mapping, int, float, str)):
        raise LabelRowError(f"Field {field!r} holds a {type(value).__name__}, which is no label.")
    if isinstance(value, str):
        yield {"field": field, "type": "text", "text": value}
        return
    if isinstance(value, (int, float)):
        yield {"field": field, "type": "scalar", "number": value}
        return
    if value["_cls"] == "Classifications":
        yield from _classifications(value, field, asked)
        return
    for element in elements_of(value):
        read = _READERS.get(element["_cls"])
        if read is None:
            raise LabelRowError(f"Field {field!r} holds a {element['_cls']}, which no labeling tool has.")
        for row in read(element, asked):
            yield {"field": field, **row, **_shared(element, asked)}


def _classifications(value: Mapping[str, Any], field: str, asked: Asked) -> Iterator[Row]:
    """Yield one row with all classes, like a person's answer to a question with several choices."""
    elements = [element for element in elements_of(value) if element.get("label") is not None]
    if not elements:
        return
    classes = [element["label"] for element in elements]
    row: Row = {"field": field, "type": "classifications", "label_id": id_of(elements[0]), "label": classes[0]}
    if len(classes) > 1:
        row["labels"] = classes
    scores = [shared[SCORE] for element in elements if SCORE in (shared := _shared(element, asked))]
    yield {**row, SCORE: fmean(scores)} if scores else row


def _shared(element: Mapping[str, Any], asked: Asked) -> Row:
    shared: Row = {}
    answers = {name: plain_value(element[name]) for name in asked.attributes if element.get(name) is not None}
    if answers:
        shared["attributes"] = json.dumps(answers, ensure_ascii=False)
    if element.get(INDEX) is not None:
        shared[INDEX] = int(element[INDEX])
    if isinstance(element.get("confidence"), (int, float)):
        shared[SCORE] = float(element["confidence"])
    return shared


def _classification(element: Mapping[str, Any], asked: Asked) -> Iterator[Row]:  # noqa: ARG001 - as all readers
    if element.get("label") is not None:
        yield {"label_id": id_of(element), "type": "classification", "label": element["label"]}


def _detection(element: Mapping[str, Any], asked: Asked) -> Iterator[Row]:
    row: Row = {"label_id": id_of(element), "label": element.get("label")}
    if asked.label_type == "instances":
        yield {**row, "type": "instance", **_instance_mask(element, asked)}
        return
    row |= {"type": "detection", "bbox": [float(number) for number in element["bounding_box"]]}
    if element.get(ROTATION):
        row["rotation"] = float(element[ROTATION])
    yield row


def _instance_mask(element: Mapping[str, Any], asked: Asked) -> Row:
    """Return the mask of a detection in the whole image. Without a mask, it is the box."""
    if asked.size is None:
        raise LabelRowError("The mask of an instance needs the size of its image, which is not known.")
    width, height = asked.size
    x, y, across, down = element["bounding_box"]
    left, top = round(x * width), round(y * height)
    right, bottom = max(round((x + across) * width), left + 1), max(round((y + down) * height), top + 1)
    inside = np.ones((bottom - top, right - left), bool)
    if element.get("mask") is not None:
        inside = resize_mask(_read_plane(element["mask"]), right - left, bottom - top) != 0
    whole = np.zeros((height, width), bool)
    seen = (slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0)))
    shape = whole[seen].shape
    first = (max(-top, 0), max(-left, 0))
    whole[seen] = inside[first[0] : first[0] + shape[0], first[1] : first[1] + shape[1]]
    return _mask_columns(whole)


def _read_plane(content: Any) -> Array:
    mask = read_mask(content)
    if mask.ndim != 2:
        raise LabelRowError(f"A mask of FiftyOne has the shape {mask.shape}: only masks of numbers go up.")
    return mask


def _polyline(element: Mapping[str, Any], asked: Asked) -> Iterator[Row]:
    own = id_of(element)
    closed = element.get("closed") or element.get("filled")
    type_ = {"polygons": "polygon", "polylines": "polyline"}.get(asked.label_type or "")
    type_ = type_ or ("polygon" if closed else "polyline")
    parts = [part for part in element.get("points") or () if len(part)]
    for number, part in enumerate(parts):
        row: Row = {"label_id": own, "type": type_, "label": element.get("label")}
        if len(parts) > 1:
            row |= {"label_id": f"{own}.{number}", "parent_label_id": own}
        yield {**row, "points": [[float(x), float(y)] for x, y in part]}


def _keypoint(element: Mapping[str, Any], asked: Asked) -> Iterator[Row]:  # noqa: ARG001 - as all readers
    own = id_of(element)
    for number, (x, y) in enumerate(element.get("points") or ()):
        if not (math.isfinite(x) and math.isfinite(y)):
            continue  # a point of the skeleton that is not in the image
        yield {
            "label_id": f"{own}.{number}",
            "parent_label_id": own,
            "type": "keypoint",
            "label": element.get("label"),
            "points": [[float(x), float(y)]],
            "point_index": number,
        }


def _segmentation(element: Mapping[str, Any], asked: Asked) -> Iterator[Row]:
    if element.get("mask") is None:
        return
    mask = _read_plane(element["mask"])
    if asked.size is not None:
        mask = resize_mask(mask, *asked.size)
    targets = asked.mask_targets
    for value in np.unique(mask).tolist():
        if not value or (targets is not None and value not in targets):
            continue
        name = str(value) if targets is None else targets[value]
        row = {"label_id": f"{id_of(element)}.{value}", "type": "segmentation", "label": name}
        yield {**row, **_mask_columns(mask == value)}


def _regression(element: Mapping[str, Any], asked: Asked) -> Iterator[Row]:  # noqa: ARG001 - as all readers
    if element.get("value") is not None:
        yield {"label_id": id_of(element), "type": "scalar", "number": float(element["value"])}


def _temporal(element: Mapping[str, Any], asked: Asked) -> Iterator[Row]:  # noqa: ARG001 - as all readers
    first, last = element["support"]
    yield {
        "label_id": id_of(element),
        "type": "classification",
        "label": element.get("label"),
        "frame": int(first) - 1,
        "frame_end": int(last) - 1,
    }


def _mask_columns(mask: np.ndarray[Any, Any]) -> Row:
    encoded = mask_to_rle(mask)
    return {"mask_size": list(encoded.size), "mask_counts": encoded.counts}


_READERS: Final = {
    "Classification": _classification,
    "Detection": _detection,
    "Polyline": _polyline,
    "Keypoint": _keypoint,
    "Segmentation": _segmentation,
    "Regression": _regression,
    "TemporalDetection": _temporal,
}
