"""Reads regions that other programs wrote: with ids that are numbers, numbers that are text, or empty keys."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import msgspec

from airflow_annotation.labels.label_studio.regions import Region
from airflow_annotation.labels.lenient import decode_lenient

_IDS: Final = ("id", "parentID", "from_id", "to_id")


def read_region(record: msgspec.Raw) -> Region:
    """Decode a region. An invalid record becomes a region without a type, so that its raw record lands.

    An id always becomes text, because relations, parts and answers refer to regions by it.
    """
    with suppress(msgspec.DecodeError):
        return _decode(record)
    with suppress(msgspec.DecodeError):
        return _decode(_mended(record))
    try:
        region = decode_lenient(record, Region)
    except msgspec.DecodeError:
        return Region()
    region.from_name = region.from_name or region.type
    region.type = ""
    return region


def _mended(record: msgspec.Raw) -> bytes:
    fields = msgspec.json.decode(record, type=dict[str, msgspec.Raw])
    repaired: dict[str, Any] = {name: value for name, value in fields.items() if bytes(value) != b"null"}
    for name in repaired.keys() & set(_IDS):
        repaired[name] = _id_text(repaired[name])
    for name in repaired.keys() & _NUMBERS.keys():
        repaired[name] = msgspec.convert(msgspec.json.decode(repaired[name]), _NUMBERS[name], strict=False)
    return msgspec.json.encode(repaired)


def _id_text(raw: msgspec.Raw) -> str:
    value = msgspec.json.decode(raw)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


_decode: Final = msgspec.json.Decoder(Region).decode
_NUMBERS: Final[dict[str, Any]] = {"original_width": float, "original_height": float, "score": float, "item_index": int}
