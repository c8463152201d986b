"""Labelbox's words for the kinds of media."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from airflow_annotation.labels.labelbox.kinds import QUESTIONS, TOOLS
from airflow_annotation.labels.media_types import TIMED, askable
from airflow_annotation.labels.types import LABEL_TYPES

MEDIA_TYPES: Final = {
    "image": "IMAGE",
    "video": "VIDEO",
    "audio": "AUDIO",
    "text": "TEXT",
    "html": "HTML",
    "pdf": "PDF",
    "conversation": "CONVERSATIONAL",
    "tms_geo": "TMS_GEO",
    "tms_simple": "TMS_SIMPLE",
}
"""Labelbox's word for each kind of media. Only Labelbox has tiled imagery (``tms_geo``, ``tms_simple``)."""

NAMES: Final = {word: name for name, word in MEDIA_TYPES.items()}
"""The kind of media by Labelbox's word."""

_LACKING: Final[Mapping[str, tuple[str, ...]]] = {
    "video": ("polygons", "spans", "relations"),
    "audio": ("spans", "relations"),
    "html": ("spans", "relations"),
    "tms_geo": ("relations",),
    "tms_simple": ("relations",),
}
"""Types of fields that Labelbox cannot ask for on a kind of media, although other tools can."""

_TILES: Final = ("tms_geo", "tms_simple")

_FIELD_TYPES: Final = tuple(
    field_type
    for kind in (*TOOLS.values(), *QUESTIONS.values())
    for type_ in kind.types
    if (field_type := LABEL_TYPES[type_].field_type) is not None
)

ASKED: Final = {
    name: askable(_FIELD_TYPES, "image" if name in _TILES else name, _LACKING.get(name, ()))
    | (TIMED if name in ("video", "audio") else frozenset())
    for name in MEDIA_TYPES
}
"""The kinds of media that generated projects can have, each with the types of fields for it."""
