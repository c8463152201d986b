"""Converts the ``value`` of drawn Label Studio records to columns of the ``labels`` table, and rows to values.

:mod:`airflow_annotation.labels.label_studio.answer_values` has the values of records that are not drawn. Values of one
type are decoded together into whole columns. Label Studio counts in percent of the media's size, the tables in
fractions. The formats are described with each tag at https://labelstud.io/tags/.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from airflow_annotation.labels.columns import (
    Columns,
    bbox_column,
    check_finite,
    class_columns,
    mask_columns,
    points_column,
)
from airflow_annotation.labels.errors import UnwritableLabelError
from airflow_annotation.labels.geometry import to_center
from airflow_annotation.labels.mask_budget import DEFAULT_BUDGET, MaskBudget
from airflow_annotation.labels.masks import RLE, bitmask_to_rle, brush_to_rle, rle_to_bitmask, rle_to_brush
from airflow_annotation.labels.media import split_target

Row = Mapping[str, Any]
WriteShape = Callable[[Row, float], dict[str, Any]]
"""A function that takes a row and the media's width divided by its height, and returns its value without classes."""

_PERCENT: Final = 100

PAGE: Final = "page"
"""Column with the page that a value names, which becomes part of the row's ``target``."""


class _Box(msgspec.Struct, gc=False):
    x: float
    y: float
    width: float
    height: float
    rotation: float | None = 0.0
    classes: list[str] | None = None


class _OcrBox(_Box, gc=False):
    """A box around a text on a page."""

    text: str | None = msgspec.field(name="ocrtext", default=None)
    page: int | None = msgspec.field(name="pageIndex", default=None)


class _Ellipse(msgspec.Struct, gc=False):
    x: float
    y: float
    radius_x: float = msgspec.field(name="radiusX")
    radius_y: float = msgspec.field(name="radiusY")
    rotation: float | None = 0.0
    classes: list[str] | None = None


class _Polygon(msgspec.Struct, gc=False):
    points: list[tuple[float, float]]
    classes: list[str] | None = None


class Vertex(msgspec.Struct, gc=False):
    """A point of a path, with the point before it, and whether the line between them is curved."""

    x: float
    y: float
    id: str | None = None
    previous: str | None = msgspec.field(name="prevPointId", default=None)
    is_bezier: bool | None = msgspec.field(name="isBezier", default=False)


class _Vector(msgspec.Struct, gc=False):
    vertices: list[Vertex]
    closed: bool | None = False
    classes: list[str] | None = None

    def __post_init__(self) -> None:
        """Refuse paths with branches or curves."""
        check_path(self.vertices)


def check_path(vertices: Sequence[Vertex]) -> None:
    """Check that vertices are a path of straight lines without branches, since ``points`` cannot describe another one.

    :raises ValueError: they are not such a path
    """
    for before, vertex in itertools.pairwise(vertices):
        if vertex.previous is not None and vertex.previous != before.id:
            raise ValueError("The vertices branch.")
    if any(vertex.is_bezier for vertex in vertices):
        raise ValueError("The vertices are joined by curves.")


class _Point(msgspec.Struct, gc=False):
    x: float
    y: float
    classes: list[str] | None = None


class _Brush(msgspec.Struct, gc=False):
    rle: list[int]
    classes: list[str] | None = None


class _Bitmask(msgspec.Struct, gc=False):
    url: str = msgspec.field(name="imageDataURL")
    classes: list[str] | None = None


class Sized(Protocol):
    """A record with the width and height in pixels of its picture, None if not known."""

    original_width: float | None
    original_height: float | None


class Pictures(NamedTuple):
    """The pictures on which values are drawn.

    :param records: records of the values
    :param budget: limits for the size of a mask
    """

    records: Sequence[Sized]
    budget: MaskBudget = DEFAULT_BUDGET


# Reading


def _boxes(values: Sequence[_Box], _: Pictures) -> Columns:
    sides = (
        [value.x for value in values],
        [value.y for value in values],
        [value.width for value in values],
        [value.height for value in values],
    )
    numbers = np.column_stack([pa.array(side, pa.float64()).to_numpy() for side in sides]).ravel()
    rotation = pa.array([value.rotation or 0.0 for value in values], pa.float64())
    return {
        "bbox": bbox_column(_turned_round(numbers / _PERCENT, rotation)),
        "rotation": rotation,
        **classes_of(values),
    }


def _ocr_boxes(values: Sequence[_OcrBox], pictures: Pictures) -> Columns:
    return {
        **_boxes(values, pictures),
        "text": pa.array([value.text for value in values], pa.string()),
        PAGE: pa.array([value.page for value in values], pa.int64()),
    }


def _turned_round(numbers: npt.NDArray[np.float64], rotation: pa.Array) -> npt.NDArray[np.float64]:
    """Return boxes so that upright ones begin at their top left corner, regardless of the direction of drawing.

    :param numbers: x, y, width and height of each box, in one array
    :param rotation: rotation of each box in degrees
    """
    boxes = numbers.reshape(-1, 4)
    backwards = (boxes[:, 2:] < 0) & (rotation.to_numpy() == 0)[:, None]
    if not backwards.any():
        return numbers
    moved = np.where(backwards, boxes[:, :2] + boxes[:, 2:], boxes[:, :2])
    sides = np.where(backwards, -boxes[:, 2:], boxes[:, 2:])
    turned: npt.NDArray[np.float64] = np.concatenate([moved, sides], axis=1).ravel()
    return turned


def _ellipses(values: Sequence[_Ellipse], pictures: Pictures) -> Columns:
    """Return columns of ellipses. Label Studio rotates an ellipse about its center, the table about its corner."""
    middle = np.array([(value.x, value.y) for value in values]).reshape(-1, 2) / _PERCENT
    radius = np.array([(value.radius_x, value.radius_y) for value in values]).reshape(-1, 2) / _PERCENT
    degrees = np.array([value.rotation or 0.0 for value in values])
    # Media of unknown size count as a square.
    sizes = np.array([(one.original_width or 1, one.original_height or 1) for one in pictures.records]).reshape(-1, 2)
    corner = middle - to_center(2 * radius * sizes, degrees) / sizes
    return {
        "bbox": bbox_column(np.concatenate([corner, 2 * radius], axis=1).ravel()),
        "rotation": pa.array(degrees),
        **classes_of(values),
    }


def _polygons(values: Sequence[_Polygon], _: Pictures) -> Columns:
    return {"points": _points_column([value.points for value in values]), **classes_of(values)}


def _vectors(values: Sequence[_Vector], _: Pictures) -> Columns:
    points = [[(vertex.x, vertex.y) for vertex in value.vertices] for value in values]
    types = pa.array(["polygon" if value.closed else "polyline" for value in values], pa.string())
    return {"points": _points_column(points), "type": types, **classes_of(values)}


def _keypoints(values: Sequence[_Point], _: Pictures) -> Columns:
    return {"points": _points_column([[(value.x, value.y)] for value in values]), **classes_of(values)}


def _brushes(values: Sequence[_Brush], pictures: Pictures) -> Columns:
    masks = [
        brush_to_rle(value.rle, round(record.original_width or 0), round(record.original_height or 0), pictures.budget)
        for value, record in zip(values, pictures.records, strict=True)
    ]
    return {**mask_columns(masks), **classes_of(values)}


def _bitmasks(values: Sequence[_Bitmask], pictures: Pictures) -> Columns:
    masks = [
        bitmask_to_rle(value.url, pictures.budget.of_item(record.original_width, record.original_height))
        for value, record in zip(values, pictures.records, strict=True)
    ]
    return {**mask_columns(masks), **classes_of(values)}


def _points_column(paths: Sequence[Sequence[tuple[float, float]]]) -> pa.Array:
    numbers = np.array([number for path in paths for point in path for number in point], dtype=np.float64) / _PERCENT
    return points_column(numbers, [len(path) for path in paths])


def classes_of(values: Sequence[Any]) -> Columns:
    """Return the columns of the values' ``classes``."""
    return class_columns([value.classes for value in values])


# Writing


def _write_rectangle(row: Row, _: float) -> dict[str, Any]:
    """Write a box, rotated or not."""
    x, y, width, height = row["bbox"]
    rotation = row.get("rotation") or 0.0
    return {"x": x * 100, "y": y * 100, "width": width * 100, "height": height * 100, "rotation": rotation}


def _write_ocr_box(row: Row, aspect: float) -> dict[str, Any]:
    """Write a box around a text on a page."""
    page = split_target(row.get("target") or "")[1]
    text = {} if row.get("text") is None else {"ocrtext": row["text"]}
    return {**_write_rectangle(row, aspect), **text, **({} if page is None else {"pageIndex": page})}


def _write_ellipse(row: Row, aspect: float) -> dict[str, Any]:
    """Write an ellipse. Label Studio rotates it about its center, the table about the top left corner of its box."""
    x, y, width, height = row["bbox"]
    rotation = row.get("rotation") or 0.0
    cos, sin = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
    middle_x = x + width / 2 * cos - height / 2 * sin / aspect
    middle_y = y + width / 2 * sin * aspect + height / 2 * cos
    radii = {"radiusX": width * 50, "radiusY": height * 50}
    return {"x": middle_x * 100, "y": middle_y * 100, **radii, "rotation": rotation}


def _write_polygon(row: Row, _: float) -> dict[str, Any]:
    """Write a closed path."""
    return {"points": [[x * 100, y * 100] for x, y in row["points"]], "closed": True}


def _write_vector(row: Row, _: float) -> dict[str, Any]:
    """Write a path, open or closed."""
    return {"vertices": path_vertices(row), "closed": row["type"] == "polygon"}


def path_vertices(row: Row) -> list[dict[str, Any]]:
    """Return the points of a row as vertices, in percent. They have the same names in all rows of an object."""
    name = row["label_id"] if row.get("track_id") is None else row["track_id"]
    names = [f"{name}-{number}" for number in range(len(row["points"]))]
    return [
        {"id": name, "x": x * 100, "y": y * 100, "isBezier": False, "prevPointId": before}
        for name, before, (x, y) in zip(names, [None, *names], row["points"], strict=False)
    ]


def _write_keypoint(row: Row, _: float) -> dict[str, Any]:
    """Write a point. Its width is the width of the visible dot, in percent.

    :raises UnwritableLabelError: the row has several points
    """
    if len(row["points"]) != 1:
        raise UnwritableLabelError(f"Label {row.get('label_id')!r} has {len(row['points'])} points; a region has one.")
    ((x, y),) = row["points"]
    return {"x": x * 100, "y": y * 100, "width": 0.5}


def _write_brush(row: Row, _: float) -> dict[str, Any]:
    """Write a mask as Label Studio's RLE."""
    return {"format": "rle", "rle": rle_to_brush(RLE(tuple(row["mask_size"]), row["mask_counts"]))}


def _write_bitmask(row: Row, _: float) -> dict[str, Any]:
    """Write a mask as an image."""
    return {"imageDataURL": rle_to_bitmask(RLE(tuple(row["mask_size"]), row["mask_counts"]))}


# Values


class Values(NamedTuple):
    """Reader and writer of the values of some tags.

    :param struct: type of each value
    :param columns: function that turns decoded values into columns
    :param answer: member of ``struct`` for which the tags have their own names
    :param write: function that makes the value of a shape from a row
    """

    struct: type[msgspec.Struct]
    columns: Callable[[Sequence[Any], Pictures], Columns]
    answer: str = "classes"
    write: WriteShape | None = None


BOXES: Final = Values(_Box, _boxes, write=_write_rectangle)
ELLIPSES: Final = Values(_Ellipse, _ellipses, write=_write_ellipse)
POLYGONS: Final = Values(_Polygon, _polygons, write=_write_polygon)
VECTORS: Final = Values(_Vector, _vectors, write=_write_vector)
POINTS: Final = Values(_Point, _keypoints, write=_write_keypoint)
BRUSHES: Final = Values(_Brush, _brushes, write=_write_brush)
BITMASKS: Final = Values(_Bitmask, _bitmasks, write=_write_bitmask)
OCR_BOXES: Final = Values(_OcrBox, _ocr_boxes, write=_write_ocr_box)


class ValueReader(NamedTuple):
    """Reader of the values of one record type.

    :param type: the ``labels`` table's type of such a record
    :param decoder: decoder of a list of values
    :param columns: function that turns decoded values into columns
    """

    type: str
    decoder: msgspec.json.Decoder[list[Any]]
    columns: Callable[[Sequence[Any], Pictures], Columns]

    def read(self, values: Sequence[msgspec.Raw], pictures: Pictures) -> Columns:
        """Return the columns of values, all at once.

        :param values: the values
        :param pictures: pictures on which they are drawn
        :raises ValueError: a value does not fit its type, or no column can hold it
        """
        try:
            with np.errstate(all="ignore"):
                columns = self.columns(self.decoder.decode(b"[" + b",".join(values) + b"]"), pictures)
        except OverflowError as error:
            raise ValueError("A number does not fit its column.") from error
        check_finite(columns)
        return columns


def make_reader(type_: str, values: Values, answer: str) -> ValueReader:
    """Make the reader of a record type.

    :param type_: the ``labels`` table's type of such a record
    :param values: reader and writer of its values
    :param answer: their name for the classes, or for another answer
    """
    (renamed,) = (
        (field.name, field.type, msgspec.field(name=answer, default=field.default))
        for field in msgspec.structs.fields(values.struct)
        if field.name == values.answer
    )
    struct = msgspec.defstruct(values.struct.__name__, [renamed], bases=(values.struct,), kw_only=True, gc=False)
    return ValueReader(type_, msgspec.json.Decoder(list[struct]), values.columns)  # type: ignore[valid-type]
