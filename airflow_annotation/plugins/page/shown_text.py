"""The texts of an item's data, which the page shows if the item is not an image, video or sound."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from airflow_annotation.formats.texts import html_text

LONGEST: Final = 5_000
"""Maximum number of shown characters of a text."""

_MOST: Final = 12
_LONGEST_HTML: Final = 200_000
_BETWEEN: Final = ": "
_SAID: Final = ("content", "text")
"""Keys of a message with its text."""


class ShownText(msgspec.Struct, frozen=True):
    """A text of an item.

    :param name: key of the item's data that holds it; labels on the text have it as ``target``
    :param text: the text, cut after 5,000 characters
    :param starts: for a conversation, the positions in ``text`` at which the messages' own texts start; otherwise empty
    """

    name: str
    text: str
    starts: list[int] = []


def shown_texts(data: str | None, *, is_html: bool = False) -> list[ShownText]:
    """Return the texts of an item, at most twelve.

    A list, such as the messages of a conversation or the choices of a ranking, becomes a text with a line per entry.

    :param data: column ``data`` of the item's row in ``items``: a JSON object, or null
    :param is_html: whether the texts are HTML; then only the text between the tags is returned
    """
    found = msgspec.json.decode(data) if data else {}
    values = found.items() if isinstance(found, dict) else ()
    read = between_tags if is_html else str
    texts = (ShownText(name, cut_text(read(_text(value))), _starts(value)) for name, value in values)
    return [text for text in texts if text.text][:_MOST]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(_line(entry) for entry in value)
    return _line(value)


def _starts(value: Any) -> list[int]:
    """Return the positions in the text of a conversation at which the messages' own texts start."""
    starts, start = [], 0
    for entry in value if isinstance(value, list) else ():
        said = next((key for key in _SAID if isinstance(entry, dict) and isinstance(entry.get(key), str)), None)
        if said is None:
            return []
        before = dict(itertools.takewhile(lambda pair, said=said: pair[0] != said, entry.items()))  # type: ignore[misc]
        starts.append(start + len(_BETWEEN.join([*_strings(before), ""])))
        start += len(_line(entry)) + 1
    return starts


def _line(value: Any) -> str:
    return _BETWEEN.join(_strings(value))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for entry in value.values():
            yield from _strings(entry)
    elif isinstance(value, list):
        yield ", ".join(_line(entry) for entry in value)
    elif value is not None:
        yield value if isinstance(value, str) else msgspec.json.encode(value).decode()


def between_tags(source: str) -> str:
    """Return the text that HTML shows. Of long HTML, only the beginning is read."""
    return html_text(source[:_LONGEST_HTML])


def cut_text(text: str) -> str:
    """Return a text, or the beginning of a long text."""
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"
