"""The ``value`` of a Label Studio record, by the record's type, as columns of the ``labels`` table.

Values of one type are decoded together and become whole columns. Label Studio counts in percent of the media's size,
the tables in fractions. The formats are described with each tag at https://labelstud.io/tags/.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol

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
from airflow_annotation.labels.geometry import to_center
from airflow_annotation.labels.mask_budget import DEFAULT_BUDGET, MaskBudget
from airflow_annotation.labels.masks import bitmask_to_rle, brush_to_rle

_PERCENT: Final = 100

PATH_SEPARATOR: Final = "/"
"""Between the levels of a taxonomy or a nested choice, where a path is one class."""

PAGE: Final = "page"
"""Column with the page that a value itself names: it becomes part of the row's ``target``."""

SENT_AT: Final = "createdAt"
"""Attribute of a message of a conversation: when it was written, in milliseconds since 1970."""

_NAMES: Final = re.compile(r"(?:[^\\/]|\\.|\\$)+", re.DOTALL)


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
    """A point of a path, and how the path gets there: from the point before, in a straight line or not."""

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
        """Refuse what is no path of straight lines."""
        check_path(self.vertices)


def check_path(vertices: Sequence[Vertex]) -> None:
    """Check that vertices are a path of straight lines: ``points`` could not say another one.

    :raises ValueError: they are not
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


class _Choices(msgspec.Struct, gc=False):
    classes: list[str | list[str]]


class _Number(msgspec.Struct, gc=False):
    number: float


class _Pair(msgspec.Struct, gc=False):
    classes: Literal["left", "right"]


class _MessageContent(msgspec.Struct, gc=False):
    role: str
    content: str
    created_at: float | None = msgspec.field(name="createdAt", default=None)


class _Message(msgspec.Struct, gc=False):
    """A message of a conversation that somebody wrote, as oneself or as the other."""

    message: _MessageContent


class _Text(msgspec.Struct, gc=False):
    text: str | list[str]


class _Offsets(msgspec.Struct, gc=False):
    start: int
    end: int


class _Span(msgspec.Struct, gc=False):
    """``start`` and ``end`` count the characters of plain text; in HTML and dialogues they name elements.

    There the offsets count the characters in these elements, and in HTML ``globalOffsets`` those of the whole text.
    """

    start: int | str
    end: int | str
    start_offset: int | None = msgspec.field(name="startOffset", default=None)
    end_offset: int | None = msgspec.field(name="endOffset", default=None)
    offsets: _Offsets | None = msgspec.field(name="globalOffsets", default=None)
    text: str | None = None
    classes: list[str] | None = None


class _TimeRange(msgspec.Struct, gc=False):
    """``start`` and ``end`` are seconds of sound; of a time series what its time column has, as text if it is that."""

    start: float | str
    end: float | str
    channel: int | None = None
    classes: list[str] | None = None


class Sized(Protocol):
    """A record of something in a picture: the picture's width and height in pixels, None where nobody knows."""

    original_width: float | None
    original_height: float | None


class Pictures(NamedTuple):
    """What values are drawn on.

    :param records: the values' records
    :param budget: what a mask may cost
    """

    records: Sequence[Sized]
    budget: MaskBudget = DEFAULT_BUDGET


def _boxes(values: Sequence[_Box], _: Pictures) -> Columns:
    sides = [side for value in values for side in (value.x, value.y, value.width, value.height)]
    numbers = pa.array(sides, pa.float64()).to_numpy()
    rotation = pa.array([value.rotation or 0.0 for value in values], pa.float64())
    return {"bbox": bbox_column(_turned_round(numbers / _PERCENT, rotation)), "rotation": rotation, **_classes(values)}


def _ocr_boxes(values: Sequence[_OcrBox], pictures: Pictures) -> Columns:
    return {
        **_boxes(values, pictures),
        "text": pa.array([value.text for value in values], pa.string()),
        PAGE: pa.array([value.page for value in values], pa.int64()),
    }


def _turned_round(numbers: npt.NDArray[np.float64], rotation: pa.Array) -> npt.NDArray[np.float64]:
    """Return boxes with the upright ones beginning at their top left corner, in whatever direction they were drawn.

    :param numbers: x, y, width and height of each box, one after the other
    :param rotation: of each box
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
    """Label Studio turns an ellipse about its middle; the table's boxes turn about their top left corner."""
    middle = np.array([(value.x, value.y) for value in values]).reshape(-1, 2) / _PERCENT
    radius = np.array([(value.radius_x, value.radius_y) for value in values]).reshape(-1, 2) / _PERCENT
    degrees = np.array([value.rotation or 0.0 for value in values])
    # Where the size is unknown, the media is taken for a square.
    sizes = np.array([(one.original_width or 1, one.original_height or 1) for one in pictures.records]).reshape(-1, 2)
    corner = middle - to_center(2 * radius * sizes, degrees) / sizes
    return {
        "bbox": bbox_column(np.concatenate([corner, 2 * radius], axis=1).ravel()),
        "rotation": pa.array(degrees),
        **_classes(values),
    }


def _polygons(values: Sequence[_Polygon], _: Pictures) -> Columns:
    return {"points": _points_column([value.points for value in values]), **_classes(values)}


def _vectors(values: Sequence[_Vector], _: Pictures) -> Columns:
    points = [[(vertex.x, vertex.y) for vertex in value.vertices] for value in values]
    types = pa.array(["polygon" if value.closed else "polyline" for value in values], pa.string())
    return {"points": _points_column(points), "type": types, **_classes(values)}


def _keypoints(values: Sequence[_Point], _: Pictures) -> Columns:
    return {"points": _points_column([[(value.x, value.y)] for value in values]), **_classes(values)}


def _brushes(values: Sequence[_Brush], pictures: Pictures) -> Columns:
    masks = [
        brush_to_rle(value.rle, round(record.original_width or 0), round(record.original_height or 0), pictures.budget)
        for value, record in zip(values, pictures.records, strict=True)
    ]
    return {**mask_columns(masks), **_classes(values)}


def _bitmasks(values: Sequence[_Bitmask], pictures: Pictures) -> Columns:
    masks = [
        bitmask_to_rle(value.url, pictures.budget.of_item(record.original_width, record.original_height))
        for value, record in zip(values, pictures.records, strict=True)
    ]
    return {**mask_columns(masks), **_classes(values)}


def _choices(values: Sequence[_Choices], _: Pictures) -> Columns:
    return class_columns([_join_paths(value.classes) for value in values])


def _numbers(values: Sequence[_Number], _: Pictures) -> Columns:
    return {"number": pa.array([value.number for value in values], pa.float64())}


def _texts(values: Sequence[_Text], _: Pictures) -> Columns:
    """Several texts in one area are joined by line ends in ``text``, and kept apart in ``labels``."""
    texts = [[value.text] if isinstance(value.text, str) else value.text for value in values]
    return {
        "text": pa.array(["\n".join(parts) for parts in texts], pa.string()),
        "labels": pa.array([parts if len(parts) > 1 else None for parts in texts], pa.list_(pa.string())),
    }


def _pairs(values: Sequence[_Pair], _: Pictures) -> Columns:
    return {"label": pa.array([value.classes for value in values], pa.string())}


def _messages(values: Sequence[_Message], _: Pictures) -> Columns:
    said = [value.message for value in values]
    times = [{} if one.created_at is None else {SENT_AT: one.created_at} for one in said]
    return {
        "label": pa.array([one.role for one in said], pa.string()),
        "text": pa.array([one.content for one in said], pa.string()),
        **_places_column(times),
    }


def _spans(values: Sequence[_Span], _: Pictures) -> Columns:
    places = [_span_place(value) for value in values]
    return {
        "span_start": pa.array([place[0] for place in places], pa.int64()),
        "span_end": pa.array([place[1] for place in places], pa.int64()),
        "text": pa.array([value.text for value in values], pa.string()),
        **_places_column([_elements(value) for value in values]),
        **_classes(values),
    }


class _PathSpan(_Span, gc=False):
    """A span whose classes are paths."""

    classes: list[str | list[str]] | None = None  # type: ignore[assignment]  # those of a span are names

    def __post_init__(self) -> None:
        """Make names of the paths."""
        self.classes = list(_join_paths(self.classes or []))


def _span_place(value: _Span) -> tuple[int | None, int | None]:
    """Return where a span starts and ends in characters: of the whole text, or of its paragraph in a dialogue."""
    if value.offsets is not None:
        return value.offsets.start, value.offsets.end
    if value.start_offset is not None:
        return value.start_offset, value.end_offset
    return (value.start, value.end) if isinstance(value.start, int) and isinstance(value.end, int) else (None, None)


def _elements(value: _Span) -> dict[str, Any]:
    """Return what a span's place is besides its characters: the elements in which it starts and ends."""
    if value.start_offset is None and isinstance(value.start, int):
        return {}
    elements: dict[str, Any] = {"start": value.start, "end": value.end}
    if value.offsets is not None and value.start_offset is not None:
        elements |= {"startOffset": value.start_offset, "endOffset": value.end_offset}
    return elements


def _time_ranges(values: Sequence[_TimeRange], _: Pictures) -> Columns:
    are_numbers = [not isinstance(value.start, str) and not isinstance(value.end, str) for value in values]
    places = [
        ({} if is_number else {"start": value.start, "end": value.end})
        | ({} if value.channel is None else {"channel": value.channel})
        for value, is_number in zip(values, are_numbers, strict=True)
    ]
    ranges = list(zip(values, are_numbers, strict=True))
    return {
        "time": pa.array([value.start if is_number else None for value, is_number in ranges], pa.float64()),
        "time_end": pa.array([value.end if is_number else None for value, is_number in ranges], pa.float64()),
        **_places_column(places),
        **_classes(values),
    }


def _places_column(places: Sequence[dict[str, Any]]) -> Columns:
    """Return what places are in the tool's own words, as attributes: a span that is written again is there again."""
    if not any(places):
        return {}
    documents = [msgspec.json.encode(place).decode() if place else None for place in places]
    return {"attributes": pa.array(documents, pa.string())}


# Columns


def _points_column(paths: Sequence[Sequence[tuple[float, float]]]) -> pa.Array:
    numbers = np.array([number for path in paths for point in path for number in point], dtype=np.float64) / _PERCENT
    return points_column(numbers, [len(path) for path in paths])


def _classes(values: Sequence[Any]) -> Columns:
    return class_columns([value.classes for value in values])


def _join_paths(classes: list[str | list[str]]) -> list[str]:
    return [class_ if isinstance(class_, str) else join_path(class_) for class_ in classes]


def join_path(path: Sequence[str]) -> str:
    """Return the class that a path of names is: ``EU/FR``. In a name, ``/`` and a backslash get a backslash before."""
    return PATH_SEPARATOR.join(re.sub(r"([\\/])", r"\\\1", name) for name in path)


def split_path(class_: str) -> list[str]:
    """Return the path of names that a class is, the inverse of :func:`join_path`."""
    return [re.sub(r"\\(.)", r"\1", name) for name in _NAMES.findall(class_)]


# Types


class ReadValues(NamedTuple):
    """How the values of some tags are read.

    :param struct: what each of them is
    :param columns: turns decoded values into columns
    :param answer: the member of ``struct`` that the tags call by names of their own
    """

    struct: type[msgspec.Struct]
    columns: Callable[[Sequence[Any], Pictures], Columns]
    answer: str = "classes"


BOXES: Final = ReadValues(_Box, _boxes)
ELLIPSES: Final = ReadValues(_Ellipse, _ellipses)
POLYGONS: Final = ReadValues(_Polygon, _polygons)
VECTORS: Final = ReadValues(_Vector, _vectors)
POINTS: Final = ReadValues(_Point, _keypoints)
BRUSHES: Final = ReadValues(_Brush, _brushes)
BITMASKS: Final = ReadValues(_Bitmask, _bitmasks)
CHOICES: Final = ReadValues(_Choices, _choices)
OCR_BOXES: Final = ReadValues(_OcrBox, _ocr_boxes)
PAIRS: Final = ReadValues(_Pair, _pairs)
MESSAGES: Final = ReadValues(_Message, _messages, "message")
NUMBERS: Final = ReadValues(_Number, _numbers, "number")
TEXTS: Final = ReadValues(_Text, _texts, "text")
SPANS: Final = ReadValues(_Span, _spans)
PATH_SPANS: Final = ReadValues(_PathSpan, _spans)
TIME_RANGES: Final = ReadValues(_TimeRange, _time_ranges)


class ValueReader(NamedTuple):
    """How values of one record type are read.

    :param type: the ``labels`` table's type of such a record
    :param decoder: decodes a list of values
    :param columns: turns decoded values into columns
    """

    type: str
    decoder: msgspec.json.Decoder[list[Any]]
    columns: Callable[[Sequence[Any], Pictures], Columns]

    def read(self, values: Sequence[msgspec.Raw], pictures: Pictures) -> Columns:
        """Return the columns of values, all at once.

        :param values: the values
        :param pictures: what they are drawn on
        :raises ValueError: one of the values is not what its type says, or no column can hold it
        """
        try:
            with np.errstate(all="ignore"):
                columns = self.columns(self.decoder.decode(b"[" + b",".join(values) + b"]"), pictures)
        except OverflowError as error:
            raise ValueError("A number does not fit its column.") from error
        check_finite(columns)
        return columns


def make_reader(type_: str, values: ReadValues, answer: str) -> ValueReader:
    """Make the reader of a record type.

    :param type_: the ``labels`` table's type of such a record
    :param values: how its values are read
    :param answer: what they call the classes, or whatever is the answer
    """
    (renamed,) = (
        (field.name, field.type, msgspec.field(name=answer, default=field.default))
        for field in msgspec.structs.fields(values.struct)
        if field.name == values.answer
    )
    struct = msgspec.defstruct(values.struct.__name__, [renamed], bases=(values.struct,), kw_only=True, gc=False)
    return ValueReader(type_, msgspec.json.Decoder(list[struct]), values.columns)  # type: ignore[valid-type]


NOTE: Final = "note"
"""Attribute with what somebody wrote about a region beside all questions, ``meta.text``."""


class _Answer(msgspec.Struct, gc=False):
    choices: list[str | list[str]] | None = None
    taxonomy: list[str | list[str]] | None = None
    labels: list[str | list[str]] | None = None
    text: str | list[str] | None = None
    datetime: str | list[str] | None = None
    number: float | None = None
    rating: float | None = None


def read_answer(type_: str, value: msgspec.Raw) -> list[str] | list[float] | None:
    """Return what a record says about a region that another record draws, None if it is not what its type says.

    :param type_: the record's type
    :param value: the record's value; it repeats the region's coordinates, which are left out
    """
    name = "text" if type_ == "textarea" else type_
    if name not in _Answer.__struct_fields__:
        return None
    try:
        answer = getattr(msgspec.json.decode(value, type=_Answer), name)
    except msgspec.ValidationError:
        return None
    if isinstance(answer, float):
        return [answer]
    return _join_paths([answer] if isinstance(answer, str) else answer) if answer is not None else None
