"""How Label Studio spells the types of labels: one row a tag, with its reader and its writer.

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

    :param name: as a config has it. With ``Labels`` at the end, a shape's tag has classes of its own; without, classes
        come from a ``Labels`` tag beside it, if from anywhere
    :param types: the types of label that its records can be; records are of the first where they do not say more
    :param value: what a record of it holds, and what reads and writes that; None for records of many frames, see
        :mod:`airflow_annotation.labels.label_studio.video`
    :param classes: the key of the value that holds the answer, where it is not the one that the tag's name says
    :param record: the type of its records, where it is not the tag's name
    :param has_named: whether there is a tag of a shape with ``Labels`` at its end
    :param in_video: whether one record of it is many rows
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
        """Whether it draws."""
        return LABEL_TYPES[self.types[0]].is_shape

    @property
    def spellings(self) -> list[str]:
        """The tag's names in lower case; the one with classes of its own first."""
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
"""By name in lower case; of several tags for one type the first is preferred. What is not here lands as ``other``."""

SHAPES: Final = {name: tag for name, tag in TAGS.items() if tag.is_shape}
"""The tags that draw."""

READERS: Final[dict[str, ValueReader]] = {
    tag.record or spelling: make_reader(tag.types[0], tag.value, tag.classes or spelling)
    for tag in TAGS.values()
    if tag.value is not None
    for spelling in tag.spellings
}
"""How the records of each type are read; those of videos in ``video.py``."""

TIME_RANGES: Final = make_reader("span", answer_values.TIME_RANGES, "labels")
"""How records of type ``labels`` are read on media that last, such as sound."""

PATH_SPANS: Final = make_reader("span", answer_values.PATH_SPANS, "taxonomy")
"""How records of type ``taxonomy`` are read where they are about a part of a text."""


def find_tag(spelling: str) -> Tag | None:
    """Return the tag with this name in lower case, with ``labels`` at its end or without; None if it is unknown."""
    return TAGS.get(spelling) or SHAPES.get(spelling.removesuffix("labels"))


@cache
def tags_of(label_type: str, *, in_video: bool = False) -> tuple[str, ...]:
    """Return the names of the tags that records of a type of label can be of, the preferred one first.

    :param label_type: the type
    :param in_video: ask for the tags whose records are of many rows
    """
    return tuple(
        spelling
        for tag in TAGS.values()
        if tag.in_video == in_video and label_type in tag.types
        for spelling in tag.spellings
    )
