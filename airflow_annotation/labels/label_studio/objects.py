"""Label Studio's tags for the kinds of media, one row for each tag.

The tags are described at https://labelstud.io/tags/.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from airflow_annotation.labels.media_types import MEDIA_TYPES, ROWS, TIMED, askable
from airflow_annotation.labels.types import FIELD_TYPES


class ObjectTag(NamedTuple):
    """A tag that shows media.

    :param name: name in a config
    :param media_type: kind of media that it shows
    :param value_type: kind of its value in a task's data if the tag has no ``valueType``: the ``url`` of a file, the
        ``text`` itself, or ``json``, a list or dictionary
    :param attributes: attributes of the tag in a generated config
    :param lacking: types of fields that generated projects do not ask for on it, although the kind of media has them
    """

    name: str
    media_type: str
    value_type: str = "url"
    attributes: Mapping[str, str] = {}
    lacking: tuple[str, ...] = ()


OBJECT_TAGS: Final[dict[str, ObjectTag]] = {
    tag.name.lower(): tag
    for tag in (
        ObjectTag("Image", "image", attributes={"zoomControl": "true"}),
        ObjectTag(
            "Video", "video", lacking=("instances", "polygons", "polylines", "keypoints", "segmentation", "spans")
        ),
        ObjectTag("Audio", "audio"),
        ObjectTag("AudioPlus", "audio"),
        ObjectTag("Text", "text", "text", {"valueType": "text"}),
        ObjectTag("HyperText", "html", "text", {"valueType": "text"}),
        ObjectTag("Pdf", "pdf", lacking=("detections", "spans", "relations")),
        ObjectTag("TimeSeries", "time_series", attributes={"valueType": "url", "sep": ","}),
        ObjectTag(
            "Paragraphs", "conversation", "json", {"layout": "dialogue", "nameKey": "role", "textKey": "content"}
        ),
        ObjectTag("Chat", "conversation", "json", {"messageroles": "user,assistant", "editable": "true"}),
        ObjectTag("List", "list", "json"),
    )
}
"""All tags by name in lower case. If a kind has several tags, the first is preferred."""

TAG_OF: Final = {tag.media_type: tag for tag in reversed(OBJECT_TAGS.values())}
"""The preferred tag of each kind of media."""

SEVERAL: Final = {"images": "image"}
"""Kinds of media of generated projects whose items have several files, and the kind of each file."""

_SINGLE: Final = {
    name: askable(FIELD_TYPES, name, TAG_OF[name].lacking if name in TAG_OF else ())
    | (TIMED if name == "video" else frozenset())
    for name in MEDIA_TYPES
    if name in TAG_OF or name == ROWS
}

ASKED: Final = {**_SINGLE, **{several: _SINGLE[one] for several, one in SEVERAL.items()}}
"""The kinds of media that generated projects can have, each with the types of fields for it."""
