"""Label Studio's tags for the types of labels, one row for each tag, with its reader and its writer.

The tags are described at https://labelstud.io/tags/.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

from airflow_annotation.labels.label_studio import answer_values, values
from airflow_annotation.labels.label_studio.values import ValueReader, Values, make_reader
from airflow_annotation.labels.types import LABEL_TYPES


class Tag(NamedTuple):
    """A tag that people label with.

    :param name: name in a config. If it ends with ``Labels``, a shape's tag has its own classes; otherwise, the
        classes, if any, come from a ``Labels`` tag on the same media
    :param types: types of labels that its records can have; the first is the default
    :param value: value of its records, with reader and writer; None for records of many frames, see
        :mod:`airflow_annotation.labels.label_studio.video`
    :param classes: key of the value that holds the answer, if it differs from the tag's name
    :param record: type of its records, if it differs from the tag's name
    :param has_named: whether a shape's tag also exists with ``Labels`` at its end
    :param in_video: whether one of its records becomes many rows
    """

    name: str
    types: tuple[str, ...]
    value: Values | None = None
    classes: str | None = None
    record: str | None = None
    has_named: bool = True
    in_video: bool = False

    @property
    def is_shape(self) -> bool:
        """Whether it draws shapes."""
        return LABEL_TYPES[self.types[0]].is_shape

    @property
    def spellings(self) -> list[str]:
        """The tag's names in lower case, first the name of the tag with its own classes."""
        name = self.name.lower()
        return [f"{name}labels", name] if self.is_shape and self.has_named else [name]


TAGS: Final[dict[str, Tag]] = {
    tag.name.lower(): tag
    for tag in (
        Tag("Rectangle", ("detection",), values.BOXES),
        Tag("Ellipse", ("ellipse",), values.ELLIPSES),
        Tag("Polygon", ("polygon",), values.POLYGONS),
        Tag("Vector", ("polyline", "polygon"), values.VECTORS),
        Tag("KeyPoint", ("keypoint",), values.POINTS),
        Tag("Brush", ("instance", "segmentation"), values.BRUSHES),
        Tag("Bitmask", ("instance", "segmentation"), values.BITMASKS),
        Tag("Ocr", ("detection",), values.OCR_BOXES),
        Tag("MagicWand", ("instance", "segmentation"), values.BRUSHES, has_named=False),
        Tag("Choices", ("classification", "classifications"), answer_values.CHOICES, "choices"),
        Tag("Taxonomy", ("classifications", "classification", "span"), answer_values.CHOICES, "taxonomy"),
        Tag("Number", ("scalar",), answer_values.NUMBERS, "number"),
        Tag("Rating", ("rating", "scalar"), answer_values.NUMBERS, "rating"),
        Tag("Pairwise", ("pairwise",), answer_values.PAIRS, "selected"),
        Tag("Ranker", ("ranking",)),
        Tag("TextArea", ("text",), answer_values.TEXTS, "text"),
        Tag("DateTime", ("text",), answer_values.TEXTS, "datetime"),
        Tag("Chat", ("message",), answer_values.MESSAGES, "chatmessage", record="chatmessage"),
        Tag("Labels", ("span",), answer_values.SPANS),
        Tag("HyperTextLabels", ("span",), answer_values.SPANS),
        Tag("ParagraphLabels", ("span",), answer_values.SPANS),
        Tag("TimeSeriesLabels", ("span",), answer_values.TIME_RANGES),
        Tag("VideoRectangle", ("detection",), has_named=False, in_video=True),
        Tag("VideoVector", ("polyline", "polygon"), in_video=True),
        Tag("TimelineLabels", ("classification", "classifications"), in_video=True),
    )
}
"""All tags by name in lower case. If a type has several tags, the first is preferred. Other tags land as ``other``."""

SHAPES: Final = {name: tag for name, tag in TAGS.items() if tag.is_shape}
"""The tags that draw shapes."""

READERS: Final[dict[str, ValueReader]] = {
    tag.record or spelling: make_reader(tag.types[0], tag.value, tag.classes or spelling)
    for tag in TAGS.values()
    if tag.value is not None
    for spelling in tag.spellings
}
"""The readers of records by type; those of videos are in ``video.py``."""

TIME_RANGES: Final = make_reader("span", answer_values.TIME_RANGES, "labels")
"""The reader of records of type ``labels`` on media with a duration, such as sound."""

PATH_SPANS: Final = make_reader("span", answer_values.PATH_SPANS, "taxonomy")
"""The reader of records of type ``taxonomy`` about a part of a text."""


def find_tag(spelling: str) -> Tag | None:
    """Return the tag with this name in lower case, with or without ``labels`` at its end; None if it is unknown."""
    return TAGS.get(spelling) or SHAPES.get(spelling.removesuffix("labels"))


@cache
def tags_of(label_type: str, *, in_video: bool = False) -> tuple[str, ...]:
    """Return the names of the tags for a type of label, the preferred one first.

    :param label_type: type of label
    :param in_video: return the tags whose records become many rows
    """
    return tuple(
        spelling
        for tag in TAGS.values()
        if tag.in_video == in_video and label_type in tag.types
        for spelling in tag.spellings
    )
