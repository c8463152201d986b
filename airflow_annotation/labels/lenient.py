"""Decodes records with invalid parts: the rest of the record is still read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin

import msgspec

from airflow_annotation.labels.json_repair import repair_json

T = TypeVar("T")

Note = Callable[[str], None]
Whole = Mapping[type, Callable[[msgspec.Raw], Any]]


def decode_lenient(data: bytes, type_: type[T], note: Note = lambda _: None, whole: Whole | None = None) -> T:
    """Decode a JSON document. A value that does not fit its field's type becomes the field's default.

    If another value takes the place of a list of raw records, it becomes the only record of the list.

    :param data: document as bytes
    :param type_: struct, or a type that consists of structs, lists and dictionaries
    :param note: function that is called with the name of each field or list whose value is left out
    :param whole: functions by struct, which make the struct from a raw record that is not such a struct
    :raises msgspec.DecodeError: a required field does not fit, or the bytes are not JSON
    """
    try:
        return msgspec.json.decode(data, type=type_)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raw = msgspec.json.decode(repair_json(data), type=msgspec.Raw)
        return cast("T", _Reader(note, whole or {}).read(raw, type_, "record"))


class _Reader:
    def __init__(self, note: Note, whole: Whole) -> None:
        self._note = note
        self._whole = whole

    def read(self, raw: msgspec.Raw, type_: Any, name: str) -> Any:
        """Decode the parts of a value that fit its type.

        :param name: name of its field
        :raises msgspec.ValidationError: no part of it fits
        """
        try:
            return msgspec.json.decode(raw, type=type_)
        except msgspec.ValidationError:
            for kind in get_args(type_) if get_origin(type_) in (Union, UnionType) else (type_,):
                origin = get_origin(kind) or kind
                if origin in self._whole:
                    return self._whole[origin](raw)
                try:
                    if origin is list:
                        return self._read_list(raw, get_args(kind)[0], name)
                    if origin is dict:
                        return self._read_dict(raw, get_args(kind), name)
                    if isinstance(origin, type) and issubclass(origin, msgspec.Struct):
                        return self._read_struct(raw, kind, origin)
                except msgspec.ValidationError:
                    continue
            raise

    def _read_struct(self, raw: msgspec.Raw, kind: Any, origin: type[msgspec.Struct]) -> msgspec.Struct:
        said = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        values = {}
        for field in msgspec.structs.fields(kind):
            value = said.get(field.encode_name)
            fits, read = (False, None) if value is None else self._try(value, field.type, field.encode_name)
            if fits:
                values[field.name] = read
            elif field.required:
                raise msgspec.ValidationError(f"{field.encode_name} is missing, or is not what it should be")
            elif value is not None and bytes(value) != b"null":
                self._note(field.encode_name)
        return origin(**values)

    def _read_list(self, raw: msgspec.Raw, type_: Any, name: str) -> list[Any]:
        if type_ is msgspec.Raw:
            return [] if bytes(raw) == b"null" else [raw]
        records = msgspec.json.decode(raw, type=list[msgspec.Raw])
        return [read for record in records for read in self._some(record, type_, name)]

    def _read_dict(self, raw: msgspec.Raw, kinds: tuple[Any, Any], name: str) -> dict[Any, Any]:
        read: dict[Any, Any] = {}
        for text, record in msgspec.json.decode(raw, type=dict[str, msgspec.Raw]).items():
            key = _key(text, kinds[0])
            values = self._some(record, kinds[1], name) if key is not None else []
            if values:
                read[key] = values[0]
            elif key is None:
                self._note(name)
        return read

    def _some(self, raw: msgspec.Raw, type_: Any, name: str) -> list[Any]:
        """Return a list of the one value, or an empty list and a note."""
        fits, read = self._try(raw, type_, name)
        if not fits:
            self._note(name)
        return [read] if fits else []

    def _try(self, raw: msgspec.Raw, type_: Any, name: str) -> tuple[bool, Any]:
        try:
            return True, self.read(raw, type_, name)
        except msgspec.ValidationError:
            return False, None


def _key(text: str, type_: Any) -> Any:
    try:
        return msgspec.convert(text, type_, strict=False)
    except msgspec.ValidationError:
        return None
