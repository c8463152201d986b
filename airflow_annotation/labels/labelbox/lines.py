"""Decodes the lines of a Labelbox export. If a line has odd values, the rest of it is still read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, TypeVar, cast

import msgspec

from airflow_annotation.labels.json_repair import repair_json, without_nulls
from airflow_annotation.labels.labelbox.records import Annotations, Answer, Label, Object, Row, TypedRow
from airflow_annotation.labels.lenient import Note, decode_lenient

_decoder = msgspec.json.Decoder(Row[Object, Answer])
_raw_decoder = msgspec.json.Decoder(Row[msgspec.Raw, msgspec.Raw])
_UNREADABLE: Final = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


class _Head(msgspec.Struct):
    feature_id: str | None = None
    feature_schema_id: str | None = None
    name: str = ""


def decode_rows(lines: list[bytes], note: Note) -> list[TypedRow]:
    """Decode lines of an export.

    An invalid annotation becomes an annotation without a kind, with its name and ids.

    :param lines: lines of the export. If a part of a line cannot be decoded, the decoded rest replaces the line in this
        list
    :param note: function that is called with the name of each value that is left out
    :raises ValueError: a line is not a data row; the message has its beginning
    """
    try:
        return _decoder.decode_lines(b"\n".join(lines))
    except _UNREADABLE:
        return [_decode_row(lines, place, note) for place in range(len(lines))]


def _decode_row(lines: list[bytes], place: int, note: Note) -> TypedRow:
    with suppress(*_UNREADABLE):
        return _decoder.decode(lines[place])
    with suppress(*_UNREADABLE):
        line = without_nulls(repair_json(lines[place]))
        row: Any = _decoder.decode(line)
        lines[place] = line
        return cast("TypedRow", row)
    row = _mend(lines[place], note)
    lines[place] = msgspec.json.encode(row)
    for label in _labels(row):
        annotations = label.annotations
        if annotations is not None:
            annotations.objects = [_decode_record(raw, Object) for raw in annotations.objects]
            annotations.relationships = [_decode_record(raw, Object) for raw in annotations.relationships]
            annotations.classifications = [_decode_record(raw, Answer) for raw in annotations.classifications]
            for frame in (*annotations.frames.values(), *annotations.timestamp.values()):
                frame.objects = {id_: _decode_record(raw, Object) for id_, raw in frame.objects.items()}
                frame.classifications = [_decode_record(raw, Answer) for raw in frame.classifications]
    return cast("TypedRow", row)


def _mend(line: bytes, note: Note) -> Row[msgspec.Raw, msgspec.Raw]:
    """Decode a line with raw records. Annotations of an unknown form are one record as a whole."""

    def keep_whole(raw: msgspec.Raw) -> Annotations[msgspec.Raw, msgspec.Raw]:
        with suppress(*_UNREADABLE):  # null counts as absent, also if the line has odd values elsewhere
            return msgspec.json.decode(without_nulls(bytes(raw)), type=Annotations[msgspec.Raw, msgspec.Raw])
        return Annotations(objects=[raw])

    try:
        return decode_lenient(repair_json(line), Row[msgspec.Raw, msgspec.Raw], note, {Annotations: keep_whole})
    except msgspec.DecodeError as error:
        raise ValueError(f"The export has a line that is no data row ({error}): {line[:80]!r}…") from error


def raw_records(row: TypedRow, line: bytes) -> dict[int, str]:
    """Return the raw records of a row, by the ``id()`` of the decoded ones."""
    pairs: list[tuple[object, msgspec.Raw]] = []
    for label, raw_label in zip(_labels(row), _labels(_raw_decoder.decode(line)), strict=True):
        one, other = label.annotations, raw_label.annotations
        if one is not None and other is not None:
            pairs += zip(one.objects, other.objects, strict=True)
            pairs += zip(one.relationships, other.relationships, strict=True)
            pairs += zip(one.classifications, other.classifications, strict=True)
            for frames, raw_frames in ((one.frames, other.frames), (one.timestamp, other.timestamp)):
                for number, frame in frames.items():
                    pairs += [(shown, raw_frames[number].objects[id_]) for id_, shown in frame.objects.items()]
                    pairs += zip(frame.classifications, raw_frames[number].classifications, strict=True)
    return {id(record): bytes(raw_record).decode() for record, raw_record in pairs}


def _labels(row: Row[Any, Any]) -> Iterator[Label[Any, Any]]:
    for project in row.projects.values():
        yield from project.labels
    for experiment in row.experiments.values():
        for run in experiment.runs.values():
            yield from run.predictions


R = TypeVar("R", Object, Answer)


def _decode_record(raw: msgspec.Raw, type_: type[R]) -> R:
    with suppress(msgspec.DecodeError):
        return msgspec.json.decode(raw, type=type_)
    try:
        head = decode_lenient(raw, _Head)
    except msgspec.DecodeError:
        return type_()
    return type_(feature_id=head.feature_id, feature_schema_id=head.feature_schema_id, name=head.name)
