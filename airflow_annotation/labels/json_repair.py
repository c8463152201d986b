"""Repairs JSON of tools that strict decoders refuse.

Only records that cannot be decoded come here. Nothing in them is dropped: values that strict JSON cannot have become
text.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

import msgspec

MAX_DEPTH: Final = 100
"""Greatest depth of a document. Deeper values become the text of their JSON, since decoders fail near 1,000."""

_MAX_DIGITS: Final = 400
"""Greatest number of digits. Python refuses integers of more than 4,300 digits, and a double ends at 309."""

_TOKENS: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]|-?(?:NaN|Infinity)|-?\d[\d.eE+-]*', re.DOTALL)
_PAIR: Final = r"\\u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}"
_LONE: Final = r"\\u[dD][89a-fA-F][\da-fA-F]{2}"
_ESCAPES: Final = re.compile(rf"{_PAIR}|({_LONE})|\\.|[\x00-\x1f]", re.DOTALL)


def split_records(data: bytes) -> list[msgspec.Raw]:
    """Return the raw records of a JSON array, repaired if decoders refuse the array.

    :raises msgspec.DecodeError: the bytes are not a JSON array, not even a damaged one
    """
    try:
        return msgspec.json.decode(data, type=list[msgspec.Raw])
    except (msgspec.DecodeError, RecursionError):
        return msgspec.json.decode(repair_json(data), type=list[msgspec.Raw])


def without_nulls(data: bytes) -> bytes:
    """Return a document without the keys that hold null, which mean the same as missing keys.

    :raises msgspec.DecodeError: the bytes are not JSON
    """
    return msgspec.json.encode(_without_nulls(msgspec.json.decode(data)))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(part) for key, part in value.items() if part is not None}
    return [_without_nulls(part) for part in value] if isinstance(value, list) else value


def repair_json(data: bytes) -> bytes:
    r"""Return a document in which values that strict JSON cannot have are text.

    - NaN, Infinity, and numbers that are too large for a double become strings with the same characters.
    - Half of a surrogate pair, which UTF-8 cannot encode, becomes the text of its escape: ``\ud800``.
    - A value that is nested deeper than :data:`MAX_DEPTH` becomes a string with its JSON.
    - Bytes that are not UTF-8 become the replacement character. Control characters in strings become their escapes.

    A document that is damaged in another way stays damaged.
    """
    text = bytes(data).decode(errors="replace")
    parts: list[str] = []
    depth = end = deep_start = 0
    for token in _TOKENS.finditer(text):
        first = text[token.start()]
        is_deep = depth > MAX_DEPTH
        if first in "[{":
            depth += 1
            if depth == MAX_DEPTH + 1:
                parts.append(text[end : token.start()])
                deep_start = token.start()
        elif first in "]}":
            depth -= 1
            if is_deep and depth == MAX_DEPTH:
                end = token.end()
                parts.append(json.dumps(text[deep_start:end], ensure_ascii=False))
        elif not is_deep:
            parts += (text[end : token.start()], _repair_string(token[0]) if first == '"' else _repair_number(token[0]))
            end = token.end()
    parts.append(json.dumps(text[deep_start:]) if depth > MAX_DEPTH else text[end:])
    return "".join(parts).encode()


def _repair_string(token: str) -> str:
    return _ESCAPES.sub(_repair_escape, token) if not token.isprintable() or "\\" in token else token


def _repair_escape(escape: re.Match[str]) -> str:
    found = escape[0]
    if found[0] != "\\":
        return f"\\u{ord(found):04x}"
    return f"\\{found}" if escape[1] else found


def _repair_number(token: str) -> str:
    try:
        fits = len(token) <= _MAX_DIGITS and math.isfinite(float(token))
    except ValueError:
        return token
    return token if fits else f'"{token}"'
