"""The kinds of media that items are of: what each one is, said once.

A tool's package has one table more, of how the tool spells the kinds:
:mod:`airflow_annotation.labels.label_studio.objects` and :mod:`airflow_annotation.labels.labelbox.media_types`. Which
types of fields can be asked on each kind is said by :mod:`airflow_annotation.labels.types`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from airflow_annotation.labels.errors import LabelSchemaError
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.types import OF_FIELD, OTHER, REGION_TYPES, RELATIONS, TIMED_TYPES

ROWS: Final = "rows"
"""Kind of items without a file: what is shown are columns of a row."""

OTHER_FILE: Final = "other"
"""What a file is that is of none of our kinds."""

DEFAULT_COLUMNS: Final = ("time", "value")
"""Columns of a time series that are shown where nobody says which: the time, and a value."""


class MediaType(NamedTuple):
    """A kind of media.

    :param name: as ``items.media_type`` and the parameter ``media_type`` have it; in generated projects of Label Studio
        also the key of the task's data that holds the media
    :param mime_types: of its files, the one that a tool is told first; of ``image/`` and the like all that begin so
    :param is_data: whether the item's data may be the media itself: a text, messages
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
"""All kinds by name, in the order in which they are listed for people."""

OF_MIME_TYPE: Final = {mime_type: name for name, type_ in MEDIA_TYPES.items() for mime_type in type_.mime_types}
"""The kind of media by MIME type, or by its part up to the slash."""

FILES: Final = frozenset(name for name, type_ in MEDIA_TYPES.items() if not type_.is_data)
"""The kinds whose items are files, and nothing else."""


class ProjectMedia(msgspec.Struct, frozen=True, kw_only=True):
    """What the items of a project are that somebody wants.

    :param media_type: one of :data:`MEDIA_TYPES`; None for what the label schema settles, else ``image``
    :param frame_rate: of videos, frames per second, for tools whose player does not know each file's own
    :param columns: of time series, the column of the time and those of the values
    """

    media_type: str | None = None
    frame_rate: float | None = None
    columns: tuple[str, ...] = ()


def media_type_of_mime(mime_type: str) -> str | None:
    """Return the kind of media of a MIME type, None where it is none of ours."""
    return OF_MIME_TYPE.get(mime_type) or OF_MIME_TYPE.get(f"{mime_type.partition('/')[0]}/")


def askable(field_types: Iterable[str], media_type: str, lacking: Iterable[str] = ()) -> frozenset[str]:
    """Return those of some types of fields that can be asked on a kind of media.

    :param field_types: what a tool can ask at all
    :param media_type: the kind
    :param lacking: what it cannot ask on this kind, although others can
    """
    lacking = frozenset(lacking)
    return frozenset(
        type_ for type_ in field_types if type_ not in lacking and media_type in (OF_FIELD[type_].media or MEDIA_TYPES)
    )


def timed(field_type: str) -> str:
    """Return what the tables of what can be asked call a type of field that is asked of stretches of the media."""
    return f"timed {field_type}"


TIMED: Final = frozenset(map(timed, TIMED_TYPES))
"""What a tool asks besides on the kinds of media of which it asks about stretches."""


def find_media_type(schema: LabelSchema, media: ProjectMedia, asked: Mapping[str, frozenset[str]], tool: str) -> str:
    """Return the kind of media that a generated project is for, and check that the tool can ask for the schema on it.

    :param schema: label schema
    :param media: what is wanted; without a kind, the one that the schema settles, else images
    :param asked: the kinds that the tool has, each with the types of fields that it asks on it
    :param tool: its name, for errors
    :raises LabelSchemaError: the tool has no such kind, or cannot ask on it what a field asks; the message says which
        it has
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
    """Check that relations have labels to be between.

    :param fields: types of fields by name
    :raises LabelSchemaError: no field asks for a part of the item
    """
    related = {type_ for type_ in fields.values() if type_ in REGION_TYPES}
    if related == {RELATIONS}:
        name = next(name for name, type_ in fields.items() if type_ == RELATIONS)
        raise LabelSchemaError(
            f"Label schema, field {name!r} is of type relations, which are between labels of parts of the item: add a "
            "field of such labels, for example of spans or detections."
        )
