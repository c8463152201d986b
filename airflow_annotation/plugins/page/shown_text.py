"""What an item shows that is neither image, video nor sound: the texts of its data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

_LONGEST: Final = 5_000
_MOST: Final = 12


class ShownText(msgspec.Struct, frozen=True):
    """A text of an item.

    :param name: of the data key that has it, which labels on it have as their ``target``
    :param text: the text, cut after 5,000 characters
    """

    name: str
    text: str


def shown_texts(data: str | None) -> list[ShownText]:
    """Return the texts of an item, at most a dozen.

    Lists, such as the turns of a conversation or the answers of a ranking, have a line for each entry.

    :param data: the column ``data`` of its row in ``items``: a JSON object, or null
    """
    found = msgspec.json.decode(data) if data else {}
    texts = ((name, _text(value)) for name, value in found.items()) if isinstance(found, dict) else ()
    return [ShownText(name, _cut(text)) for name, text in texts if text][:_MOST]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(_line(entry) for entry in value)
    return _line(value)


def _line(value: Any) -> str:
    return ": ".join(_strings(value))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for entry in value.values():
            yield from _strings(entry)
    elif isinstance(value, list):
        yield ", ".join(_line(entry) for entry in value)
    elif value is not None:
        yield value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
