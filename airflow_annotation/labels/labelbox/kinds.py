"""Labelbox's kinds of tools and questions for the types of labels, one row for each, with readers and writer.

Labelbox counts in pixels, the tables in fractions of the media's size.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from airflow_annotation.labels.arrays import FloatArray
from airflow_annotation.labels.columns import Columns, bbox_column, points_column
from airflow_annotation.labels.errors import UnwritableLabelError
from airflow_annotation.labels.labelbox.documents import RANKING, SELECTION, SELECTIONS, page_of
from airflow_annotation.labels.labelbox.mask_files import rle_to_png
from airflow_annotation.labels.masks import RLE
from airflow_annotation.labels.submissions import row_name
from airflow_annotation.labels.types import LABEL_TYPES

Row = Mapping[str, Any]
Record = dict[str, Any]
Pixels = Callable[[Sequence[float]], list[float]]
"""A function that checks coordinates of a row and turns them into pixels."""


# Reading


def _read_boxes(values: Sequence[Any], sizes: FloatArray) -> Columns:
    numbers = np.empty((len(values), 4))
    numbers[:, 0] = [box.left for box in values]
    numbers[:, 1] = [box.top for box in values]
    numbers[:, 2] = [box.width for box in values]
    numbers[:, 3] = [box.height for box in values]
    numbers[:, :2] /= sizes
    numbers[:, 2:] /= sizes
    return {"bbox": bbox_column(numbers.ravel()), "rotation": pa.repeat(0.0, len(values))}


def _read_polygons(values: Sequence[Any], sizes: FloatArray) -> Columns:
    """Return columns of polygons. Labelbox repeats the first corner at the end."""
    return _read_lines([path[:-1] if len(path) > 1 and path[0] == path[-1] else path for path in values], sizes)


def _read_lines(values: Sequence[Any], sizes: FloatArray) -> Columns:
    lengths = [len(path) for path in values]
    numbers = np.array([(point.x, point.y) for path in values for point in path], np.float64).reshape(-1, 2)
    numbers /= np.repeat(sizes, lengths, axis=0)
    return {"points": points_column(numbers.ravel(), lengths)}


def _read_points(values: Sequence[Any], sizes: FloatArray) -> Columns:
    return _read_lines([[value] for value in values], sizes)


def _read_spans(values: Sequence[Any], _: FloatArray) -> Columns:
    """Return columns of spans. Labelbox's end is the last character, the table's is the one after it."""
    if any((value.start is None or value.end is None) and not value.groups for value in values):
        raise ValueError("A span does not say where it is.")
    texts = [value.token if value.token or not value.groups else _words(value.groups) for value in values]
    pages = [{words.page_number for words in value.groups} for value in values]
    columns = {
        "span_start": pa.array([value.start for value in values], pa.int64()),
        "span_end": pa.array([None if value.end is None else value.end + 1 for value in values], pa.int64()),
        "text": pa.array(texts, pa.string()),
    }
    if any(pages):
        targets = [page_of(one.pop()) if len(one) == 1 else None for one in pages]
        columns["target"] = pa.array(targets, pa.string())
    return columns


def _words(groups: Sequence[Any]) -> str | None:
    return " ".join(words.text for words in groups if words.text) or None


def _read_message_spans(values: Sequence[Any], sizes: FloatArray) -> Columns:
    target = pa.array([value.message_id for value in values], pa.string())
    return {**_read_spans([value.location for value in values], sizes), "target": target}


def _read_rankings(values: Sequence[Any], _: FloatArray) -> Columns:
    """Return columns of choices among messages: the ids of the chosen messages, the best first."""
    chosen = [[one.message_id for one in value.chosen] for value in values]
    return {
        "labels": pa.array(chosen, pa.list_(pa.string())),
        "target": pa.array([value.parent_message_id for value in values], pa.string()),
    }


def _read_relations(values: Sequence[Any], _: FloatArray) -> Columns:
    return {
        "from_label_id": pa.array([value.source for value in values], pa.string()),
        "to_label_id": pa.array([value.target for value in values], pa.string()),
    }


# Writing


def _write_box(row: Row, pixels: Pixels) -> Record:
    if row.get("rotation"):
        raise UnwritableLabelError(f"{row_name(row)} is turned by {row['rotation']} degrees; Labelbox's boxes are not.")
    left, top, width, height = pixels(row["bbox"])
    return {"bbox": {"top": top, "left": left, "height": height, "width": width}}


def _write_polygon(row: Row, pixels: Pixels) -> Record:
    return {"polygon": _write_points(row, pixels)}


def _write_line(row: Row, pixels: Pixels) -> Record:
    return {"line": _write_points(row, pixels)}


def _write_point(row: Row, pixels: Pixels) -> Record:
    points = _write_points(row, pixels)
    if len(points) != 1:
        raise UnwritableLabelError(f"{row_name(row)} has {len(points)} points; an object has one.")
    return {"point": points[0]}


def _write_points(row: Row, pixels: Pixels) -> list[Record]:
    return [dict(zip("xy", pixels(point), strict=True)) for point in row["points"]]


def _write_mask(row: Row, _: Pixels) -> Record:
    return {"mask": {"png": base64.b64encode(rle_to_png(RLE(tuple(row["mask_size"]), row["mask_counts"]))).decode()}}


# Kinds


class Geometry(NamedTuple):
    """A key of an object that holds its geometry.

    :param type: default type of its labels
    :param read: function that makes columns from geometries and the sizes of their media in pixels; None for masks,
        which are in files
    :param kind: name in exports of objects with this key, if the geometry is in pixels of a picture
    """

    type: str
    read: Callable[[Sequence[Any], FloatArray], Columns] | None
    kind: str | None = None

    @property
    def is_flat(self) -> bool:
        """Whether it cannot be read without the size of the picture."""
        return self.kind is not None


class Kind(NamedTuple):
    """A kind of tool or question.

    :param types: types of labels that it makes; the first is the default
    :param geometries: geometries by the key of an object
    :param write: function that makes the geometry of an import; None if that needs more than a row
    """

    types: tuple[str, ...]
    geometries: Mapping[str, Geometry] = {}
    write: Callable[[Row, Pixels], Record] | None = None


TOOLS: Final[dict[str, Kind]] = {
    "rectangle": Kind(
        ("detection",), {"bounding_box": Geometry("detection", _read_boxes, "ImageBoundingBox")}, _write_box
    ),
    "polygon": Kind(("polygon",), {"polygon": Geometry("polygon", _read_polygons, "ImagePolygon")}, _write_polygon),
    "line": Kind(("polyline",), {"line": Geometry("polyline", _read_lines, "ImagePolyline")}, _write_line),
    "point": Kind(("keypoint",), {"point": Geometry("keypoint", _read_points, "ImagePoint")}, _write_point),
    "raster-segmentation": Kind(
        ("instance", "segmentation"),
        {"mask": Geometry("instance", None), "composite_mask": Geometry("instance", None)},
        _write_mask,
    ),
    "superpixel": Kind(("instance", "segmentation"), {}, _write_mask),
    "named-entity": Kind(
        ("span",),
        {"location": Geometry("span", _read_spans), "conversational_location": Geometry("span", _read_message_spans)},
    ),
    SELECTION: Kind(("ranking",), {"selected_message": Geometry("ranking", _read_rankings)}),
    SELECTIONS: Kind(("ranking",), {"selected_messages": Geometry("ranking", _read_rankings)}),
    RANKING: Kind(("ranking",), {"ranked_messages": Geometry("ranking", _read_rankings)}),
    "edge": Kind(
        ("relation",),
        {
            "unidirectional_relationship": Geometry("relation", _read_relations),
            "bidirectional_relationship": Geometry("relation", _read_relations),
        },
    ),
}
"""Tools, which draw. If several can make a type, the first is preferred."""

QUESTIONS: Final[dict[str, Kind]] = {
    "radio": Kind(("classification", "rating")),
    "checklist": Kind(("classifications",)),
    "text": Kind(("scalar", "text")),
}
"""Classifications, which ask questions."""

GEOMETRIES: Final = {key: geometry for kind in TOOLS.values() for key, geometry in kind.geometries.items()}
KIND_OF_GEOMETRY: Final = {key: name for name, kind in TOOLS.items() for key in kind.geometries}
CHOICE_TOOLS: Final = (SELECTION, SELECTIONS, RANKING)
"""Tools that choose among messages. Each is a field, and not a class of a field."""

MASK_TOOLS: Final = tuple(name for name, kind in TOOLS.items() if "instance" in kind.types)
"""Tools whose objects are masks."""

FIELD_TYPES: Final = {
    name: field_type
    for name, kind in TOOLS.items()
    if (field_type := LABEL_TYPES[kind.types[0]].field_type) and name not in CHOICE_TOOLS
}
"""The types of the fields of tools."""


def kinds_of(label_type: str, kinds: Mapping[str, Kind]) -> list[str]:
    """Return the names of the tools or questions that make labels of a type, the preferred one first."""
    return [name for name, kind in kinds.items() if label_type in kind.types]
