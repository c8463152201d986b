"""Files of items that the API server reads for the page: the beginning of texts and time series, and whole PDFs.

It reads only files that the tool itself holds, as for images.
"""

from __future__ import annotations

import codecs
import csv
import io
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from airflow_annotation.exceptions import MediaError
from airflow_annotation.hooks.annotation import AnnotationHook
from airflow_annotation.labels.arrays import FloatArray
from airflow_annotation.media.content import content_suffix
from airflow_annotation.plugins.page.shown_media import LARGEST, MediaPart, MediaPlace, read_beginning
from airflow_annotation.plugins.page.shown_text import LONGEST, ShownText, between_tags, cut_text, shown_texts

_TEXT_BYTES: Final = 1 << 20
_SERIES_BYTES: Final = 4 << 20
_CHANNELS: Final = 6
_PARTS: Final = 400
"""Number of parts of a long time series. Each part is shown by its least and its greatest value."""

_TIME_NAMES: Final = frozenset({"time", "t", "timestamp", "date", "datetime", "seconds", "sec", "ts"})


class Channel(msgspec.Struct, frozen=True):
    """A column of values of a time series.

    :param name: name of the column
    :param low: least value
    :param high: greatest value
    :param lines: runs of values without a gap, each a list of pairs of time and value
    """

    name: str
    low: float
    high: float
    lines: list[list[tuple[float, float]]]


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """A time series as the page draws it.

    :param start: first time: in the column's own unit, for dates in seconds since 1970; without a column of times, the
        number of the row
    :param end: last time
    :param is_clock: whether the times are dates
    :param channels: columns of numbers
    :param is_cut: whether the file has more rows
    """

    start: float
    end: float
    is_clock: bool
    channels: list[Channel]
    is_cut: bool


def read_texts(hook: AnnotationHook, place: MediaPlace, media_type: str) -> list[ShownText]:
    """Read the text of a file that the tool holds, or the beginning of a long text.

    :param hook: hook of the tool
    :param place: place of the file, with the tool's headers
    :param media_type: kind of the item: for ``html``, the text between the tags is read; for ``conversation``, the
        messages
    :raises MediaError: the file cannot be read, or is not a text
    """
    content, is_cut = read_beginning(hook, place, _TEXT_BYTES)
    if content_suffix(io.BytesIO(content)) not in {None, ".svg"}:
        raise MediaError("The file of this item is not a text.")
    text = _decode(content, is_cut=is_cut).replace("\r\n", "\n")
    if media_type == "conversation":
        if is_cut:
            raise MediaError("The conversation of this item is too large to be shown here.")
        try:
            messages = msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise MediaError("The file of this item is not JSON.") from error
        return shown_texts(msgspec.json.encode(messages if isinstance(messages, dict) else {"": messages}).decode())
    if media_type == "html":
        text = between_tags(text)
    return [ShownText("", cut_text(text) if len(text) > LONGEST or not is_cut else text + "…")]


def read_series(hook: AnnotationHook, place: MediaPlace) -> Series:
    """Read a time series from a CSV file that the tool holds, or the beginning of a long file.

    :param hook: hook of the tool
    :param place: place of the file, with the tool's headers
    :raises MediaError: the file cannot be read, or has no columns of numbers
    """
    content, is_cut = read_beginning(hook, place, _SERIES_BYTES)
    if is_cut:
        content = content[: content.rfind(b"\n") + 1]
    columns = _numbers(_parse(content))
    named = [name for name in columns if name.lower() in _TIME_NAMES]
    time = next((name for name in (*named, *list(columns)[:1]) if _ascends(columns[name][0])), "")
    if len(columns) - bool(time) < 1:
        raise MediaError("The file of this item has no columns of numbers that are shown here.")
    length = len(next(iter(columns.values()))[0])
    times = columns[time][0] if time else np.arange(length, dtype=np.float64)
    channels = [_channel(name, times, values) for name, (values, _) in columns.items() if name != time]
    return Series(
        start=float(times[0]),
        end=float(times[-1]),
        is_clock=bool(time) and columns[time][1],
        channels=[channel for channel in channels if channel.lines][:_CHANNELS],
        is_cut=is_cut,
    )


def read_document(hook: AnnotationHook, place: MediaPlace) -> MediaPart:
    """Read a whole PDF that the tool holds.

    :param hook: hook of the tool
    :param place: place of the file, with the tool's headers
    :raises MediaError: the file is too large, or is not a PDF
    """
    content, is_cut = read_beginning(hook, place, LARGEST)
    if is_cut:
        raise MediaError("The document of this item is too large to be downloaded here.")
    if content_suffix(io.BytesIO(content)) != ".pdf":
        raise MediaError("The media of this item is not a PDF.")
    return MediaPart(content, "application/pdf", 0, len(content))


def _decode(content: bytes, *, is_cut: bool = False) -> str:
    """Decode text in UTF-8. An incomplete character at the end of cut content is left out.

    :raises MediaError: the content is not text in UTF-8
    """
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(content, final=not is_cut)
    except UnicodeDecodeError as error:
        raise MediaError("The file of this item is not a text in UTF-8.") from error
    if "\0" in text:
        raise MediaError("The file of this item is not a text.")
    return text


def _parse(content: bytes) -> pa.Table:
    head = _decode(content, is_cut=True).partition("\n")[0]
    separator = max(",;\t|", key=head.count)
    names = [name.strip() for name in next(csv.reader([head], delimiter=separator), [])]
    # If the first row has only numbers, the file has no names of columns.
    has_names = not all(_is_number(name) for name in names)
    try:
        return pa_csv.read_csv(
            pa.BufferReader(content),
            parse_options=pa_csv.ParseOptions(delimiter=separator, invalid_row_handler=lambda _: "skip"),
            read_options=pa_csv.ReadOptions(autogenerate_column_names=not has_names, use_threads=False),
        )
    except pa.ArrowInvalid as error:
        raise MediaError("The file of this item is not a CSV file that the page can show.") from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(table: pa.Table) -> dict[str, tuple[FloatArray, bool]]:
    """Return the columns of numbers or dates by name, and whether each has dates."""
    found: dict[str, tuple[FloatArray, bool]] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        type_: Any = column.type
        is_clock = pa.types.is_timestamp(type_) or pa.types.is_date(type_)
        if not (is_clock or pa.types.is_integer(type_) or pa.types.is_floating(type_)) or not len(column):
            continue
        numbers = _seconds(column) if is_clock else column.cast(pa.float64(), safe=False)
        found[name] = (numbers.to_numpy(), is_clock)
    return found


def _seconds(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return times as seconds since 1970."""
    zone = column.type.tz if pa.types.is_timestamp(column.type) else None
    microseconds = column.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())
    return pc.divide(microseconds.cast(pa.float64(), safe=False), 1e6)


def _ascends(times: FloatArray) -> bool:
    return bool(np.isfinite(times).all() and (np.diff(times) >= 0).all())


def _channel(name: str, times: FloatArray, values: FloatArray) -> Channel:
    """Return a column. If it has many values, return the least and the greatest value of each part."""
    values = np.where(np.isfinite(values), values, np.nan)
    if len(values) > 2 * _PARTS:
        starts = np.linspace(0, len(values), _PARTS, endpoint=False).astype(np.int64)
        parts = [np.arange(start, end) for start, end in zip(starts, [*starts[1:], len(values)], strict=True)]
        shown = [
            sorted({part[np.nanargmin(values[part])], part[np.nanargmax(values[part])]})
            if np.isfinite(values[part]).any()
            else [part[0]]
            for part in parts
        ]
        at = np.concatenate([np.array(one, np.int64) for one in shown])
        times, values = times[at], values[at]
    there = np.isfinite(values)
    if not there.any():
        return Channel(name, 0.0, 0.0, [])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(np.int8))).reshape(-1, 2)
    lines = [
        list(zip(times[start:end].tolist(), values[start:end].tolist(), strict=True)) for start, end in edges.tolist()
    ]
    return Channel(name, float(np.nanmin(values)), float(np.nanmax(values)), lines)
