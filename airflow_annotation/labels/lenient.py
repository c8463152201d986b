"""Decoding of records of which a part is not what its type says: the rest of the record is read all the same."""

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
    """Decode a JSON document; what does not fit a field's type takes the field's default.

    Where a list of undecoded records should stand and something else does, that is the only record of the list.

    :param data: the document
    :param type_: a struct, or a type that is made of structs, lists and dictionaries
    :param note: called with the name of each field, or of the list, whose value is left out
    :param whole: makes the value of a struct from the record as it stands, where the record is no such struct
    :raises msgspec.DecodeError: a required field does not fit either, or the bytes are no JSON
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
        """Decode a value as far as it fits.

        :param name: of the field that it is in
        :raises msgspec.ValidationError: nothing of it fits
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
        """Return the only value, or none and a note."""
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
