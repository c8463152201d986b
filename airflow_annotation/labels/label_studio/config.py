"""Converts a label schema to Label Studio's labeling config, and back.

The tags are described at https://labelstud.io/tags/.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Final
from xml.etree import ElementTree

from airflow_annotation.labels.colors import color
from airflow_annotation.labels.errors import LabelSchemaError
from airflow_annotation.labels.label_studio.config_fields import read_field
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.objects import ASKED, OBJECT_TAGS, SEVERAL, TAG_OF
from airflow_annotation.labels.label_studio.tags import SHAPES, TAGS, tags_of
from airflow_annotation.labels.label_studio.task_data import RESERVED_KEYS
from airflow_annotation.labels.media_types import DEFAULT_COLUMNS, ROWS, ProjectMedia, find_media_type
from airflow_annotation.labels.schema import LabelAttribute, LabelField, LabelSchema
from airflow_annotation.labels.types import MESSAGES, OF_FIELD, OTHER, REGION_TYPES, RELATIONS, SHAPE_TYPES, TIMED_TYPES

_SPAN_TAGS: Final = {
    "Text": "Labels",
    "HyperText": "HyperTextLabels",
    "Paragraphs": "ParagraphLabels",
    "TimeSeries": "TimeSeriesLabels",
    "Audio": "Labels",
}
"""The tag that marks parts of the media that another tag shows."""

_SHOWN_BY: Final = {"ranking": "List", MESSAGES: "Chat"}
"""The tag that shows the targets of a field, if it is not ``Text``."""

_CHOICES: Final = ("Choices", "Choice", {"showInline": "true"})
"""The tag that asks for classes of the whole item, the tag of a class, and the attributes of the former."""

_HOTKEYS: Final = "1234567890qwetasdfgzxcvbyiopjklnm"
"""Keys for classes, in the order in which Label Studio itself assigns them. Other keys are its own commands."""

_DATA_KEY: Final = re.compile(r"[\w-]+")
_TAKEN_KEYS: Final = ("media", "media_type", *RESERVED_KEYS)
"""Data keys with facts about the item itself, which no tag can show."""
_NOT_A_NAME: Final = re.compile(r"[+-]?(\d[\d_]*)?\.?\d*([eE][+-]?\d+)?|true|false|nan|[+-]?inf(inity)?", re.IGNORECASE)


def label_config_from_schema(
    schema: LabelSchema, *, media_type: str | None = None, frame_rate: float | None = None, columns: Sequence[str] = ()
) -> str:
    """Compile a label schema to a labeling config.

    :param schema: label schema
    :param media_type: media type of the items, one of :data:`~airflow_annotation.labels.label_studio.objects.ASKED`;
        None for the type that follows from the schema, or else ``image``. It is also the key of the task's data that
        holds the media
    :param frame_rate: frame rate of the videos, in frames per second. Label Studio's player counts frames at the
        config's rate, not at the file's
    :param columns: columns of time series: the time column and the value columns; by default ``time`` and ``value``
    :raises LabelSchemaError: Label Studio cannot label this; the message names the field
    """
    asked = ProjectMedia(media_type=media_type, frame_rate=frame_rate, columns=tuple(columns))
    writer = _Writer(schema, find_media_type(schema, asked, ASKED, "Label Studio"), asked)
    for name, field in schema.fields.items():
        writer.write(name, field)
    ElementTree.indent(writer.view)
    return ElementTree.tostring(writer.view, encoding="unicode")


def label_schema_from_config(config: str | LabelingConfig) -> LabelSchema:
    """Read the label schema back from a labeling config.

    Any config can be read. A control that no type of this package describes becomes a field of type ``other`` with the
    name of its tag.

    :param config: the labeling config
    :raises LabelSchemaError: it is not well-formed XML
    """
    config = config if isinstance(config, LabelingConfig) else LabelingConfig(config)
    fields: dict[str, LabelField] = {}
    for control in config.controls.values():
        gives_classes_elsewhere = control.tag in SHAPES and control.field != control.name
        if control.attribute is None and not (gives_classes_elsewhere and control.field in config.controls):
            fields[control.field] = read_field(control, config)
    if config.relations is not None:
        fields.setdefault(config.relations.field, LabelField(type=RELATIONS, classes=config.relations.classes))
    return LabelSchema(fields)


# Writing


def attribute_control_name(field: str, attribute: str) -> str:
    """Return the name of the control that asks for an attribute of a field's labels."""
    return f"{field}.{attribute}"


def shape_control_name(field: str) -> str:
    """Return the name of the control that draws a field's boxes in videos. ``Labels`` only gives them classes."""
    return f"{field}.box"


def _control_names(schema: LabelSchema) -> set[str]:
    """Return the names of all controls. In Label Studio, each name may occur only once in a config."""
    names: set[str] = set()
    for field_name, field in schema.fields.items():
        for name in (field_name, *(attribute_control_name(field_name, attribute) for attribute in field.attributes)):
            where = f"Label schema, field {field_name!r}"
            if name in names:
                raise LabelSchemaError(f"{where}: Label Studio would get two controls named {name!r}. Rename one.")
            if _NOT_A_NAME.fullmatch(name) or "$" in name or "," in name:
                raise LabelSchemaError(
                    f"{where}: Label Studio cannot name a control {name!r}, since it would read a number, a list or a "
                    "reference to the task's data. Rename it."
                )
            names.add(name)
    return names


class _Writer:
    """Writes the fields of a schema one after the other, each after the media that it is about.

    :param schema: label schema
    :param media_type: media type of the items
    :param media: other properties of the items
    """

    def __init__(self, schema: LabelSchema, media_type: str, media: ProjectMedia) -> None:
        self.view = ElementTree.Element("View")
        self._media_type = media_type
        self._taken = _control_names(schema)
        self._objects: dict[str, ElementTree.Element] = {}
        self._hotkeys = iter(_HOTKEYS)
        if media_type != ROWS:
            self._show_media(media)

    def write(self, name: str, field: LabelField) -> None:
        """Write a field, and before it the media that it is about, if they are not shown yet.

        :raises LabelSchemaError: Label Studio cannot ask for it
        """
        where = f"Label schema, field {name!r}"
        if field.type == RELATIONS:
            self._write_relations(name, field)
            return
        if self._media_type == ROWS and not field.targets:
            raise LabelSchemaError(
                f"{where} does not say what it is about, and rows have no media. Give it targets, the keys of the rows."
            )
        if field.type in SHAPE_TYPES and field.targets:
            raise LabelSchemaError(
                f"{where} is of type {field.type} and has targets, which are texts: Label Studio draws on the media."
            )
        for key in field.context:
            self._show(key, "Text")
        tag = _SHOWN_BY.get(field.type, "Text")
        own_name = name if field.type == MESSAGES else None  # people continue the messages in the tag that shows them
        shown = [self._show(key, tag, own_name) for key in field.targets or (self._media_type,)]
        _check_field(name, field)
        for media in shown:
            is_other = media.tag != tag and (tag != "Text" or media.tag == "List")
            if is_other or (media.tag == "Chat" and media.get("name") != name and field.type in REGION_TYPES):
                key = media.get("value", media.get("valueList", ""))[1:]
                raise LabelSchemaError(f"{where} is about {key!r}, which another field shows as a {media.tag}.")
        to_name = ",".join(media.attrib["name"] for media in shown)
        if field.type != MESSAGES:
            self._write_field(name, field, to_name, shown[0].tag)
        for attribute_name, attribute in field.attributes.items():
            _write_attribute(self.view, name, attribute_name, attribute, to_name)

    def _write_boxes_of_video(self, name: str, field: LabelField, names: dict[str, str]) -> None:
        if self.view.find("VideoRectangle") is not None:  # the player draws all boxes with the first VideoRectangle
            raise LabelSchemaError(
                f"Label schema, field {name!r}: on videos Label Studio draws boxes for one field of a schema. Put the "
                "classes of all into one field of detections."
            )
        ElementTree.SubElement(self.view, "VideoRectangle", {**names, "name": shape_control_name(name)})
        _write_classes(ElementTree.SubElement(self.view, "Labels", names), "Label", name, field, self._hotkeys)

    def _write_relations(self, name: str, field: LabelField) -> None:
        where = f"Label schema, field {name!r}"
        if field.attributes:
            raise LabelSchemaError(f"{where} is of type relations, about which Label Studio asks nothing else.")
        if self.view.find("Relations") is not None:
            raise LabelSchemaError(
                f"{where}: in Label Studio one field of a schema can be of type relations. Give it the classes of all."
            )
        relations = ElementTree.SubElement(self.view, "Relations", name=name)  # only landings use the name
        for index, class_ in enumerate(field.classes):
            value = _checked_value(class_, where)
            ElementTree.SubElement(relations, "Relation", value=value, background=color(index))

    def _show_media(self, media: ProjectMedia) -> None:
        shown = self._show(self._media_type, TAG_OF[SEVERAL.get(self._media_type, self._media_type)].name)
        if media.frame_rate is not None:
            shown.set("frameRate", f"{media.frame_rate:.12g}")
        if self._media_type == "time_series":
            time, *values = media.columns or DEFAULT_COLUMNS
            shown.set("timeColumn", time)
            for column in values:
                ElementTree.SubElement(shown, "Channel", column=column, legend=column)

    def _show(self, key: str, tag: str, own_name: str | None = None) -> ElementTree.Element:
        """Return the tag that shows a key of the item's data. If there is none, make one with a free name."""
        if key not in self._objects:
            if not _DATA_KEY.fullmatch(key):
                raise LabelSchemaError(
                    f"Label Studio cannot show the data key {key!r}. Name it with letters, digits, - and _ only."
                )
            if key in _TAKEN_KEYS:
                raise LabelSchemaError(
                    f"Label Studio cannot show the data key {key!r}: it says something of the item itself. Rename it."
                )
            is_list = key == self._media_type in SEVERAL
            one = SEVERAL[key] if is_list else key
            numbered = itertools.chain([one], (f"{one}_{number}" for number in itertools.count(1)))
            name = own_name or next(name for name in numbered if name not in self._taken)
            self._taken.add(name)
            attributes = OBJECT_TAGS[tag.lower()].attributes
            value = "valueList" if is_list else "value"
            shown = ElementTree.SubElement(self.view, tag, {"name": name, value: f"${key}", **attributes})
            self._objects[key] = shown
        return self._objects[key]

    def _write_field(self, name: str, field: LabelField, to_name: str, shown_by: str) -> None:
        view, hotkeys = self.view, self._hotkeys
        names = {"name": name, "toName": to_name}
        if field.type not in REGION_TYPES:
            ElementTree.SubElement(view, "Header", value=name, size="5")
        if field.type == "scalar":
            ElementTree.SubElement(view, "Number", names)
        elif field.type == "text":
            ElementTree.SubElement(view, "TextArea", names, maxSubmissions="1", editable="true", rows="3")
        elif field.type == "rating":
            ElementTree.SubElement(view, "Rating", names, maxRating=str(field.max))
        elif field.type == "pairwise":
            ElementTree.SubElement(view, "Pairwise", names)
        elif field.type == "ranking":
            control = ElementTree.SubElement(view, "Ranker", names)
            for bucket in field.classes:
                ElementTree.SubElement(control, "Bucket", name=bucket, title=bucket)
        elif field.type in TIMED_TYPES:
            names["choice"] = "single" if field.type == "classification" else "multiple"
            tag, class_, more = ("TimelineLabels", "Label", {}) if field.timed else _CHOICES
            _write_classes(ElementTree.SubElement(view, tag, {**names, **more}), class_, name, field, hotkeys)
        elif field.type == "spans":
            control = ElementTree.SubElement(view, _SPAN_TAGS[shown_by], names)
            _write_classes(control, "Label", name, field, hotkeys)
        elif shown_by == "Video":
            self._write_boxes_of_video(name, field, names)
        else:
            spelling = TAGS[tags_of(OF_FIELD[field.type].name)[1]].name
            control = ElementTree.SubElement(view, f"{spelling}Labels", names)
            if field.type == "polylines":
                control.set("closable", "false")
            _write_classes(control, "Label", name, field, hotkeys)


def _check_field(name: str, field: LabelField) -> None:
    where = f"Label schema, field {name!r}"
    if field.type == OTHER:
        raise LabelSchemaError(f"{where} is of type other, which only reading gives. Pass a labeling config instead.")
    for attribute_name, attribute in field.attributes.items():
        joined = ",".join(attribute.classes)
        if len(attribute.classes) > 1 and (joined in field.classes or joined.split(",") != list(attribute.classes)):
            raise LabelSchemaError(
                f"{where}, attribute {attribute_name!r}: Label Studio separates the classes that it is asked for by "
                "commas, so classes with commas in their names can only be asked for one at a time."
            )


def _write_classes(
    control: ElementTree.Element, tag: str, name: str, field: LabelField, hotkeys: Iterator[str]
) -> None:
    numbers = field.class_numbers or {class_: value for value, class_ in field.mask_targets.items()}
    categories = {class_: str(value) for class_, value in numbers.items()}
    for index, class_ in enumerate(field.classes):
        element = ElementTree.SubElement(control, tag, value=_checked_value(class_, f"Label schema, field {name!r}"))
        if tag == "Label":
            element.set("background", color(index))
        if hotkey := next(hotkeys, None):
            element.set("hotkey", hotkey)
        if class_ in categories:
            element.set("category", categories[class_])


def _write_attribute(
    view: ElementTree.Element, field_name: str, name: str, attribute: LabelAttribute, media_name: str
) -> None:
    where = f"Label schema, field {field_name!r}, attribute {name!r}"
    tag = {"text": "TextArea", "number": "Number"}.get(attribute.type, "Choices")
    condition = {"visibleWhen": "region-selected", "whenTagName": field_name}
    if attribute.classes:
        condition["whenLabelValue"] = ",".join(attribute.classes)
    box = ElementTree.SubElement(view, "View", condition)
    ElementTree.SubElement(box, "Header", value=name, size="6")
    control = ElementTree.SubElement(
        box, tag, {"name": attribute_control_name(field_name, name), "toName": media_name, "perRegion": "true"}
    )
    control.attrib.update(condition)
    if tag == "Choices":
        control.set("choice", "multiple" if attribute.type == "checkbox" else "single")
        control.set(*(("layout", "select") if attribute.type == "select" else ("showInline", "true")))
        for value in attribute.values:
            ElementTree.SubElement(control, "Choice", value=_checked_value(value, where))
    elif tag == "TextArea":
        control.attrib.update(maxSubmissions="1", editable="true", displayMode="region-list")


def _checked_value(value: str, where: str) -> str:
    if re.search(r"\$\w", value):
        raise LabelSchemaError(
            f"{where}: Label Studio would read {value[:60]!r} as a reference to the task's data. "
            "Write the class without $ before a letter or digit."
        )
    return value
