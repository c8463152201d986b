"""The tags of a labeling config that show media, and the places of these media in a task's data.

The tags are described at https://labelstud.io/tags/.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from xml.etree import ElementTree

import msgspec

from airflow_annotation.labels.label_studio.objects import OBJECT_TAGS
from airflow_annotation.labels.media import page_target

DEFAULT_FRAME_RATE: Final = 24.0
"""Frames per second that Label Studio's player counts if the config has no rate."""

DATA_KEY: Final = re.compile(r"\$([\w-]+)")
"""Matches a config's reference to a key of a task's data."""

_DATA_PATH: Final = re.compile(r"\$([\w-]+(?:\[\d+\]|\.[\w-]+)*)")
_DATA_STEP: Final = re.compile(r"\[(\d+)\]|([\w-]+)")


class Repeat(NamedTuple):
    """How a ``Repeater`` repeats the tags inside it.

    :param on: reference to the list with one element for each repetition, ``$images``
    :param flag: placeholder of the number, from 0, in names and values
    """

    on: str
    flag: str


class MediaObject(msgspec.Struct, frozen=True, kw_only=True):
    """A tag that shows media.

    :param name: name in ``to_name`` of results
    :param tag: name of the tag as in the config
    :param data_key: key of the task's data that holds the media
    :param media_type: ``image``, ``video``, ...; the tag's own name if this package does not know the tag
    :param value_type: kind of the data, as in the config: ``url``, ``text``, ``json``; empty for the tag's default
    :param frame_rate: ``frameRate`` of a video as in the config: a number, or ``$key`` of the task's data
    :param value: reference to what it shows, as in the config: ``$key``, ``$key[0].url``
    :param is_list: whether it shows the pages of a list
    :param repeat: how a ``Repeater`` repeats it, if one does
    :param message_keys: for a conversation, the keys of a message for its author and its text
    """

    name: str
    tag: str
    data_key: str
    media_type: str
    value_type: str = ""
    frame_rate: str = ""
    value: str = ""
    is_list: bool = False
    repeat: Repeat | None = None
    message_keys: tuple[str, str] = ("author", "text")

    @property
    def holds(self) -> str:
        """The kind of its value in a task's data: the ``url`` of a file, the ``text`` itself, or ``json``."""
        shown = OBJECT_TAGS.get(self.tag.lower())
        return self.value_type or (shown.value_type if shown else "text")

    def find_shown(self, data: Mapping[str, Any]) -> Any:
        """Return what it shows from a task's data, None if the data have nothing for it.

        :param data: data of the task
        """
        return _look_up(self.value, data)

    def find_paragraph(self, data: Mapping[str, Any], number: object) -> str:
        """Return the text of a paragraph of a dialogue, empty if the data have none.

        :param data: data of the task
        :param number: number of the paragraph from 0, as in results
        """
        paragraphs = self.find_shown(data)
        if not isinstance(paragraphs, list) or not str(number).isdecimal() or int(str(number)) >= len(paragraphs):
            return ""
        paragraph = paragraphs[int(str(number))]
        return (_text(paragraph.get(self.text_key)) or "") if isinstance(paragraph, Mapping) else ""

    @property
    def shows_several(self) -> bool:
        """Whether it can show several images of a task."""
        return self.is_list or self._repeated_path is not None

    def show(self, places: Sequence[str]) -> Any:
        """Return the value to store under the key of a task's data so that this tag shows files.

        :param places: URIs of the files; several only if it shows several
        """
        if self.is_list:
            return list(places)
        if self._repeated_path is None:
            (place,) = places
            return place
        return [{self._repeated_path: place} if self._repeated_path else place for place in places]

    @property
    def _repeated_path(self) -> str | None:
        """The path from an element of a ``Repeater``'s list to a file; None if that is no list."""
        if self.repeat is None:
            return None
        element = f"{self.repeat.on}[{self.repeat.flag}]"
        found = re.fullmatch(rf"{re.escape(element)}(?:\.([\w-]+))?", self.value)
        return found and (found[1] or "")

    def list_shown(self, data: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
        """Yield what it shows of a task: the targets and their URIs, None if the data have none.

        :param data: data of the task
        """
        for number in range(_length(self.repeat.on, data)) if self.repeat else (None,):
            name, value = self.name, self.value
            if self.repeat and number is not None:
                name, value = (text.replace(self.repeat.flag, str(number)) for text in (name, value))
            shown = _look_up(value, data)
            if isinstance(shown, list):
                yield from ((page_target(name, page), _text(one)) for page, one in enumerate(shown))
            elif isinstance(shown, str) and shown:
                yield name, shown

    @property
    def text_key(self) -> str:
        """The key of each paragraph's text in a dialogue; empty for other media."""
        return self.message_keys[1] if self.tag.lower() == "paragraphs" else ""

    @property
    def holds_messages(self) -> bool:
        """Whether a task's data hold the messages of a conversation."""
        return self.media_type == "conversation" and self.holds == "json"

    @property
    def has_frame_rate_in_data(self) -> bool:
        """Whether each task's data contain the rate at which the player counts frames."""
        return DATA_KEY.fullmatch(self.frame_rate) is not None

    def find_frame_rate(self, data: Mapping[str, Any]) -> float:
        """Return the rate at which the player counts the frames of a video, in frames per second.

        :param data: data of the task
        """
        key = DATA_KEY.fullmatch(self.frame_rate)
        try:
            rate = float(data.get(key[1], "") if key else self.frame_rate)
        except (TypeError, ValueError, OverflowError):
            return DEFAULT_FRAME_RATE
        if not math.isfinite(rate) or rate <= 0:
            return DEFAULT_FRAME_RATE
        rate = rate if rate >= 1 else 1 / rate  # the player reads a value below 1 as the seconds of a frame
        return rate if math.isfinite(rate) else DEFAULT_FRAME_RATE


def read_media(element: ElementTree.Element, attributes: dict[str, str], targets: set[str]) -> MediaObject | None:
    """Return the media that a tag shows, None if it shows nothing from a task's data.

    :param element: element of the tag
    :param attributes: own and inherited attributes, with names in lower case
    :param targets: names of the media that controls are about
    """
    tag = element.tag.lower()
    key = DATA_KEY.search(attributes.get("value") or attributes.get("valuelist") or "")
    shown = OBJECT_TAGS.get(tag)
    if key is None or not (shown or attributes["name"] in targets):
        return None
    return MediaObject(
        name=attributes["name"],
        tag=element.tag,
        data_key=key[1],
        media_type=shown.media_type if shown else tag,
        value_type=attributes.get("valuetype", ""),
        frame_rate=attributes.get("framerate", ""),
        value=attributes.get("value") or attributes.get("valuelist") or "",
        is_list="valuelist" in attributes,
        message_keys=(
            attributes.get("namekey", "role" if tag == "chat" else "author"),
            attributes.get("textkey", "content" if tag == "chat" else "text"),
        ),
        repeat=Repeat(attributes.get("repeaton", ""), attributes["indexflag"]) if "indexflag" in attributes else None,
    )


def _look_up(value: str, data: Mapping[str, Any]) -> Any:
    """Return what a tag shows: the value of ``$key[0].url`` in the data, or a text that contains such references."""
    whole = _DATA_PATH.fullmatch(value)
    if whole:
        return _follow(whole[1], data)
    return _DATA_PATH.sub(lambda found: _text(_follow(found[1], data)) or "", value)


def _follow(path: str, data: Any) -> Any:
    for index, key in _DATA_STEP.findall(path):
        if index and isinstance(data, Sequence) and not isinstance(data, str) and int(index) < len(data):
            data = data[int(index)]
        elif key and isinstance(data, Mapping):
            data = data.get(key)
        else:
            return None
    return data


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _length(value: str, data: Mapping[str, Any]) -> int:
    shown = _look_up(value, data)
    return len(shown) if isinstance(shown, list) else 0
