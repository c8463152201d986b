"""The types of labels, each defined once. Everything that other modules know about types is derived from here.

A tool's package has one more table, of how the tool spells the types:
:mod:`airflow_annotation.labels.label_studio.tags` and :mod:`airflow_annotation.labels.labelbox.kinds`.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class LabelType(NamedTuple):
    """A type of label, in the column ``type`` of the ``labels`` table.

    :param name: name of the type
    :param field_type: type of the schema's fields that ask for such labels, in FiftyOne's words; None if no field of a
        generated project can ask for them
    :param needs: columns that such a label must have
    :param has_classes: whether such labels have classes; None if they are optional in a field
    :param is_shape: whether such labels are drawn
    :param covers_area: whether such labels cover a part of an image
    :param is_answer: whether such labels are answers about the whole item. Others can have attributes
    :param media: the kinds of media on which a field can ask for such labels, by the names of
        :data:`~airflow_annotation.labels.media_types.MEDIA_TYPES`; empty for all
    """

    name: str
    field_type: str | None
    needs: tuple[str, ...] = ()
    has_classes: bool | None = True
    is_shape: bool = False
    covers_area: bool = False
    is_answer: bool = False
    media: tuple[str, ...] = ()


_LASTING: Final = ("text", "html", "conversation", "pdf", "audio", "video", "time_series", "rows")
"""Kinds of media in which people can mark a stretch, from a start to an end."""

_VISUAL: Final = ("image", "video")
_MASK: Final = ("mask_size", "mask_counts")

OTHER: Final = "other"
"""Type of a label that no rule covers, and of a field that was read from a tool and has none of these types."""

LABEL_TYPES: Final[dict[str, LabelType]] = {
    type_.name: type_
    for type_ in (
        LabelType("classification", "classification", ("label",), is_answer=True),
        LabelType("classifications", "classifications", ("label",), is_answer=True),
        LabelType("detection", "detections", ("bbox",), is_shape=True, covers_area=True, media=(*_VISUAL, "pdf")),
        LabelType("ellipse", None, ("bbox",), is_shape=True, covers_area=True),
        LabelType("instance", "instances", _MASK, is_shape=True, covers_area=True, media=_VISUAL),
        LabelType("polygon", "polygons", ("points",), is_shape=True, covers_area=True, media=_VISUAL),
        LabelType("polyline", "polylines", ("points",), is_shape=True, media=_VISUAL),
        LabelType("keypoint", "keypoints", ("points",), is_shape=True, media=_VISUAL),
        LabelType("segmentation", "segmentation", _MASK, is_shape=True, covers_area=True, media=_VISUAL),
        LabelType("scalar", "scalar", ("number",), has_classes=False, is_answer=True),
        LabelType("text", "text", ("text",), has_classes=False, is_answer=True),
        LabelType("rating", "rating", ("number",), has_classes=False, is_answer=True),
        LabelType("pairwise", "pairwise", ("label",), has_classes=False, is_answer=True, media=("rows",)),
        LabelType("ranking", "ranking", ("labels",), has_classes=None, is_answer=True, media=("rows",)),
        LabelType("span", "spans", media=_LASTING),
        LabelType("message", "messages", ("text",), has_classes=False, media=("rows",)),
        LabelType("relation", "relations", ("from_label_id", "to_label_id"), has_classes=None),
        LabelType(OTHER, None, ("raw",)),
    )
}
"""All types by name, in the order of lists for people."""

OF_FIELD: Final = {type_.field_type: type_ for type_ in LABEL_TYPES.values() if type_.field_type is not None}
"""The type of the labels that each type of field asks for."""

FIELD_TYPES: Final = tuple(OF_FIELD)
"""The types of fields, in FiftyOne's words."""

RELATIONS: Final = "relations"
"""The type of the fields that ask for relations between the labels of other fields."""

MESSAGES: Final = "messages"
"""The type of the fields that ask people to continue a conversation."""

SHAPE_TYPES: Final = tuple(name for name, type_ in OF_FIELD.items() if type_.is_shape)
"""The field types that are drawn."""

REGION_TYPES: Final = tuple(name for name, type_ in OF_FIELD.items() if not type_.is_answer)
"""The field types whose labels are about a part of the item, so that they can have attributes."""

AREA_FIELDS: Final = tuple(name for name, type_ in OF_FIELD.items() if type_.covers_area)
"""The field types whose labels cover a part of the image."""

AREA_TYPES: Final = frozenset(name for name, type_ in LABEL_TYPES.items() if type_.covers_area)
"""The types of labels that cover a part of the image."""

CLASSIFICATION_TYPES: Final = frozenset(
    name for name, type_ in LABEL_TYPES.items() if type_.is_answer and type_.has_classes
)
"""The types of labels that are classes of the whole item; fields that ask for them have the same names."""

TIMED_TYPES: Final = ("classification", "classifications")
"""The types of fields that can also ask about stretches of a video or a sound."""

WITHOUT_CLASSES: Final = frozenset(name for name, type_ in LABEL_TYPES.items() if type_.has_classes is False)
"""The types that have no classes; fields that ask for them have the same names."""

LISTS_NO_CLASSES: Final = WITHOUT_CLASSES | {"ranking"}
"""The types whose column ``labels`` does not have classes, but parts of a text, or entries in their order."""

DEFAULT_RATING: Final = 5
"""The default best rating of a field."""

RATING_MAX: Final = 100
"""The best rating that a field can ask for."""

DIRECTION: Final = "direction"
"""Attribute of a relation: ``right`` from its first label to its second, ``left`` back, ``bi`` both ways."""

PLACE_ATTRIBUTES: Final = ("start", "end", "startOffset", "endOffset", "channel", "groups")
"""Attributes of a span that say where it is, in the tool's own words, if no column says it.

In a dialogue of Label Studio, ``start`` and ``end`` are the numbers of its paragraphs, and ``span_start`` and
``span_end`` count the characters in them; the offsets are there if the tool, which counts units of UTF-16, has other
numbers. In HTML, ``start`` and ``end`` are XPaths, the offsets count the characters in these elements, and
``span_start`` and ``span_end`` those of the whole text. In a time series whose times are not numbers, they are its
times. ``channel`` is the channel of a sound. ``groups`` are the words of a document in Labelbox, by page.
"""
