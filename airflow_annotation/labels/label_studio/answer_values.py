"""The ``value`` of Label Studio records that are not drawn: answers, texts, messages, and marked spans.

:mod:`airflow_annotation.labels.label_studio.values` has the values of drawn records.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
import pyarrow as pa

from airflow_annotation.labels.columns import Columns, class_columns
from airflow_annotation.labels.label_studio.values import Pictures, Values, classes_of

PATH_SEPARATOR: Final = "/"
"""Separator between the levels of a taxonomy or a nested choice, in a class that is a path."""

SENT_AT: Final = "createdAt"
"""Attribute of a message of a conversation: the time when it was written, in milliseconds since 1970."""

NOTE: Final = "note"
"""Attribute with a note about a region that answers no question, ``meta.text``."""

_NAMES: Final = re.compile(r"(?:[^\\/]|\\.|\\$)+", re.DOTALL)


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
    """A message of a conversation that an annotator wrote, in any role."""

    message: _MessageContent


class _Text(msgspec.Struct, gc=False):
    text: str | list[str]


class _Offsets(msgspec.Struct, gc=False):
    start: int
    end: int


class _Span(msgspec.Struct, gc=False):
    """A span. ``start`` and ``end`` count the characters of plain text; in HTML and dialogues, they name elements.

    In HTML and dialogues, the offsets count the characters in these elements. In HTML, ``globalOffsets`` counts those
    of the whole text.
    """

    start: int | str
    end: int | str
    start_offset: int | None = msgspec.field(name="startOffset", default=None)
    end_offset: int | None = msgspec.field(name="endOffset", default=None)
    offsets: _Offsets | None = msgspec.field(name="globalOffsets", default=None)
    text: str | None = None
    classes: list[str] | None = None


class _TimeRange(msgspec.Struct, gc=False):
    """A range. ``start`` and ``end`` are seconds of sound, or values of a time series' time column, maybe text."""

    start: float | str
    end: float | str
    channel: int | None = None
    classes: list[str] | None = None


def _choices(values: Sequence[_Choices], _: Pictures) -> Columns:
    return class_columns([_join_paths(value.classes) for value in values])


def _numbers(values: Sequence[_Number], _: Pictures) -> Columns:
    return {"number": pa.array([value.number for value in values], pa.float64())}


def _texts(values: Sequence[_Text], _: Pictures) -> Columns:
    """Return the columns of texts: several texts in one area are one ``text`` of several lines, and ``labels``."""
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
        **classes_of(values),
    }


class _PathSpan(_Span, gc=False):
    """A span whose classes are paths of names."""

    classes: list[str | list[str]] | None = None  # type: ignore[assignment]  # the classes of other spans are names

    def __post_init__(self) -> None:
        """Turn the paths into names."""
        self.classes = list(_join_paths(self.classes or []))


def _span_place(value: _Span) -> tuple[int | None, int | None]:
    """Return start and end of a span in characters of the whole text or, in a dialogue, of its paragraph."""
    if value.offsets is not None:
        return value.offsets.start, value.offsets.end
    if value.start_offset is not None:
        return value.start_offset, value.end_offset
    return (value.start, value.end) if isinstance(value.start, int) and isinstance(value.end, int) else (None, None)


def _elements(value: _Span) -> dict[str, Any]:
    """Return the elements in which a span starts and ends, and the offsets in them."""
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
        **classes_of(values),
    }


def _places_column(places: Sequence[dict[str, Any]]) -> Columns:
    """Return places in the tool's own terms as attributes, so that a span that is written back has the same place."""
    if not any(places):
        return {}
    documents = [msgspec.json.encode(place).decode() if place else None for place in places]
    return {"attributes": pa.array(documents, pa.string())}


def _join_paths(classes: list[str | list[str]]) -> list[str]:
    return [class_ if isinstance(class_, str) else join_path(class_) for class_ in classes]


def join_path(path: Sequence[str]) -> str:
    """Return the class for a path of names: ``EU/FR``. In a name, a backslash precedes each ``/`` and backslash."""
    return PATH_SEPARATOR.join(re.sub(r"([\\/])", r"\\\1", name) for name in path)


def split_path(class_: str) -> list[str]:
    """Return the path of names of a class, the inverse of :func:`join_path`."""
    return [re.sub(r"\\(.)", r"\1", name) for name in _NAMES.findall(class_)]


CHOICES: Final = Values(_Choices, _choices)
PAIRS: Final = Values(_Pair, _pairs)
MESSAGES: Final = Values(_Message, _messages, "message")
NUMBERS: Final = Values(_Number, _numbers, "number")
TEXTS: Final = Values(_Text, _texts, "text")
SPANS: Final = Values(_Span, _spans)
PATH_SPANS: Final = Values(_PathSpan, _spans)
TIME_RANGES: Final = Values(_TimeRange, _time_ranges)


class _Answer(msgspec.Struct, gc=False):
    choices: list[str | list[str]] | None = None
    taxonomy: list[str | list[str]] | None = None
    labels: list[str | list[str]] | None = None
    text: str | list[str] | None = None
    datetime: str | list[str] | None = None
    number: float | None = None
    rating: float | None = None


def read_answer(type_: str, value: msgspec.Raw) -> list[str] | list[float] | None:
    """Return a record's answer about a region that another record draws, None if the value does not fit its type.

    :param type_: type of the record
    :param value: value of the record; it repeats the region's coordinates, which are left out
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
