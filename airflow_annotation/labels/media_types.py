"""The kinds of media of items, with all facts about each kind in one place.

Each tool's package has another table, with the tool's words for the kinds:
:mod:`airflow_annotation.labels.label_studio.objects` and :mod:`airflow_annotation.labels.labelbox.media_types`.
:mod:`airflow_annotation.labels.types` defines which types of fields each kind can have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from airflow_annotation.labels.errors import LabelSchemaError
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.types import OF_FIELD, OTHER, REGION_TYPES, RELATIONS, TIMED_TYPES

ROWS: Final = "rows"
"""Kind of items without a file, which show columns of a row."""

OTHER_FILE: Final = "other"
"""Kind of a file of none of the known kinds."""

DEFAULT_COLUMNS: Final = ("time", "value")
"""Columns of a time series that are shown by default: the time and one value."""


class MediaType(NamedTuple):
    """A kind of media.

    :param name: name in ``items.media_type`` and in the parameter ``media_type``; in generated projects of Label Studio
        also the key of the task's data that holds the media
    :param mime_types: MIME types of its files; tools get the first one. ``image/`` and the like mean all types that
        begin so
    :param is_data: whether the item's data may be the media themselves: a text, messages
    """

    name: str
    mime_types: tuple[str, ...] = ()
    is_data: bool = False


MEDIA_TYPES: Final[dict[str, MediaType]] = {
    media_type.name: media_type
    for media_type in (
        MediaType("image", ("image/",)),
        MediaType("video", ("video/",)),
        MediaType("audio", ("audio/",)),
        MediaType("text", ("text/plain", "text/"), is_data=True),
        MediaType("html", ("text/html", "application/xhtml+xml"), is_data=True),
        MediaType("pdf", ("application/pdf",)),
        MediaType("time_series", ("text/csv",)),
        MediaType("conversation", ("application/json",), is_data=True),
        MediaType(ROWS, is_data=True),
    )
}
"""All kinds by name, in the order of lists for people."""

OF_MIME_TYPE: Final = {mime_type: name for name, type_ in MEDIA_TYPES.items() for mime_type in type_.mime_types}
"""The kind of media by MIME type, or by the MIME type's part up to the slash."""

FILES: Final = frozenset(name for name, type_ in MEDIA_TYPES.items() if not type_.is_data)
"""The kinds whose items are always files."""


class ProjectMedia(msgspec.Struct, frozen=True, kw_only=True):
    """The wanted media of a project's items.

    :param media_type: one of :data:`MEDIA_TYPES`; None for the kind that follows from the label schema, or else
        ``image``
    :param frame_rate: frame rate of videos, in frames per second, for tools whose player does not know the rate of each
        file
    :param columns: columns of time series: the time column and the value columns
    """

    media_type: str | None = None
    frame_rate: float | None = None
    columns: tuple[str, ...] = ()


def media_type_of_mime(mime_type: str) -> str | None:
    """Return the kind of media of a MIME type, None if it has no known kind."""
    return OF_MIME_TYPE.get(mime_type) or OF_MIME_TYPE.get(f"{mime_type.partition('/')[0]}/")


def askable(field_types: Iterable[str], media_type: str, lacking: Iterable[str] = ()) -> frozenset[str]:
    """Return the types of fields that a tool can ask for on a kind of media.

    :param field_types: all types of fields that the tool can ask for
    :param media_type: kind of media
    :param lacking: types that it cannot ask for on this kind, although other tools can
    """
    lacking = frozenset(lacking)
    return frozenset(
        type_ for type_ in field_types if type_ not in lacking and media_type in (OF_FIELD[type_].media or MEDIA_TYPES)
    )


def timed(field_type: str) -> str:
    """Return the name of a type of field for stretches of the media, in the tables of askable types."""
    return f"timed {field_type}"


TIMED: Final = frozenset(map(timed, TIMED_TYPES))
"""The additional types on kinds of media for which a tool asks about stretches."""


def find_media_type(schema: LabelSchema, media: ProjectMedia, asked: Mapping[str, frozenset[str]], tool: str) -> str:
    """Return the kind of media of a generated project, and check that the tool can ask for the schema on it.

    :param schema: label schema
    :param media: wanted media; without a kind, the kind that follows from the schema, or else images
    :param asked: kinds of media of the tool, each with the types of fields that it can ask for
    :param tool: name of the tool, for errors
    :raises LabelSchemaError: the tool does not have this kind, or cannot ask for a field on it; the message says what
        it can do
    """
    media_type = media.media_type
    if media_type is not None and media_type not in asked:
        raise LabelSchemaError(
            f"{tool} has no generated projects for media of type {media_type!r}. It has them for {', '.join(asked)}."
        )
    fields = {
        name: timed(field.type) if field.timed else field.type
        for name, field in schema.fields.items()
        if field.type != OTHER
    }
    _check_relations(fields)
    about = [field for field in schema.fields.values() if field.type != RELATIONS]
    if media_type is None and ROWS in asked and all(field.targets for field in about):
        media_type = ROWS
    if media_type is None:
        fitting = [kind for kind, types in asked.items() if types.issuperset(fields.values())]
        if len(fitting) > 1 and "image" not in fitting:
            raise LabelSchemaError(
                f"Without a media_type, {tool} cannot tell what the items are. This label schema can be asked on "
                f"{', '.join(fitting)}: pass one of them as media_type."
            )
        media_type = "image" if "image" in fitting or not fitting else fitting[0]
    for name, type_ in fields.items():
        if type_ not in asked[media_type]:
            on = ", ".join(kind for kind, types in asked.items() if type_ in types) or "nothing"
            has_stretches = type_ == "spans" and asked[media_type] >= TIMED
            way_out = f" On {media_type}, ask a classification with timed=True instead." if has_stretches else ""
            raise LabelSchemaError(
                f"Label schema, field {name!r} is of type {type_}, which {tool} does not ask on media of type "
                f"{media_type}. It asks it on {on}.{way_out}"
            )
    if media.frame_rate is not None and media_type != "video":
        raise LabelSchemaError(f"frame_rate is of videos, not of media of type {media_type}.")
    if media.columns and (media_type != "time_series" or len(media.columns) < len(DEFAULT_COLUMNS)):
        raise LabelSchemaError(
            f"columns are of time series, the time first, for example {list(DEFAULT_COLUMNS)}. They are "
            f"{list(media.columns)}, of media of type {media_type}."
        )
    if len({column for column in media.columns if isinstance(column, str) and column}) < len(media.columns):
        raise LabelSchemaError(f"columns are names, each one once: {list(media.columns)} are not.")
    return media_type


def _check_relations(fields: Mapping[str, str]) -> None:
    """Check that the schema has labels for its relations.

    :param fields: types of the fields by name
    :raises LabelSchemaError: no field has labels of a part of the item
    """
    related = {type_ for type_ in fields.values() if type_ in REGION_TYPES}
    if related == {RELATIONS}:
        name = next(name for name, type_ in fields.items() if type_ == RELATIONS)
        raise LabelSchemaError(
            f"Label schema, field {name!r} is of type relations, which are between labels of parts of the item: add a "
            "field of such labels, for example of spans or detections."
        )
