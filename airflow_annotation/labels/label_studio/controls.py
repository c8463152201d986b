"""Reads a labeling config: its controls and media, and the label schema's field for each result.

Any labeling config can be read, also a hand-written one. The tags are described at https://labelstud.io/tags/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Final, TypeVar
from xml.etree import ElementTree

import msgspec

from airflow_annotation.labels.errors import LabelSchemaError
from airflow_annotation.labels.label_studio.answer_values import join_path
from airflow_annotation.labels.label_studio.media_objects import DATA_KEY, MediaObject, read_media
from airflow_annotation.labels.label_studio.tags import SHAPES
from airflow_annotation.labels.media import split_target
from airflow_annotation.labels.media_types import FILES
from airflow_annotation.labels.types import DEFAULT_RATING, RATING_MAX

ATTRIBUTE_TAGS: Final = ("choices", "taxonomy", "textarea", "number", "rating", "datetime")
"""Tags that can ask a question about each region."""

RELATION: Final = "relation"
"""Type of the records of relations, and the name of their field if the config names none."""

T = TypeVar("T")

_BESIDE: Final = frozenset({"text", "html", "list"})
"""Types of media that may appear in addition to the item's own media."""


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """A tag that people label with.

    :param name: name in ``from_name`` of results; contains the index flag if a ``Repeater`` repeats the control
    :param tag: name of the tag in lower case
    :param attributes: own attributes of the tag, with names in lower case
    :param to_names: names of the media that it labels
    :param field: schema field of its results
    :param attribute: name of the attribute, for a question about each region; None for other controls
    :param asked_for: fields that a question about each region is about; empty for all
    :param asked_for_classes: classes that a question about each region is about, as in the config; empty for all
    :param classes: classes to choose from, as in results, each with its ``category`` if the config numbers them
    """

    name: str
    tag: str
    attributes: dict[str, str]
    to_names: tuple[str, ...]
    field: str
    attribute: str | None = None
    asked_for: tuple[str, ...] = ()
    asked_for_classes: str = ""
    classes: dict[str, str] = {}

    @property
    def is_shape(self) -> bool:
        """Whether it draws regions, with or without classes of its own."""
        return self.tag.removesuffix("labels") in SHAPES

    @property
    def takes_several(self) -> bool:
        """Whether people can choose several classes at once."""
        return self.tag == "taxonomy" or self.attributes.get("choice") == "multiple"

    @property
    def best_rating(self) -> int:
        """The best possible rating."""
        best = self.attributes.get("maxrating", "")
        return int(best) if best.isdecimal() and 1 < int(best) <= RATING_MAX else DEFAULT_RATING

    @property
    def labels_text(self) -> bool:
        """Whether it is a taxonomy for parts of a text, and not for the whole item."""
        return self.tag == "taxonomy" and self.attributes.get("labeling", "").lower() == "true"

    @property
    def numbers_classes(self) -> bool:
        """Whether each class has a number, its ``category``, which distinguishes segmentation from instances."""
        return bool(self.classes) and all(category.isdecimal() for category in self.classes.values())


class Relations(msgspec.Struct, frozen=True, kw_only=True):
    """The tag with the classes of relations between labels.

    :param field: schema field of the relations
    :param classes: classes to choose from
    """

    field: str
    classes: tuple[str, ...]


class LabelingConfig:
    """The controls and media of a labeling config, in its order.

    :param xml: the labeling config
    :raises LabelSchemaError: it is not well-formed XML
    """

    def __init__(self, xml: str) -> None:
        try:
            root = ElementTree.fromstring(xml)  # nosec B314 # noqa: S314 - expat itself limits entities
        except ElementTree.ParseError as error:
            raise LabelSchemaError(f"The labeling config is not well-formed XML: {error}.") from error
        elements = list(_walk(root, {}))
        tags = [(element, attributes) for element, attributes in elements if "name" in attributes]
        targets = {
            name for _, attributes in tags for name in attributes.get("toname", "").split(",") if "toname" in attributes
        }
        self.objects = {
            attributes["name"]: media
            for element, attributes in tags
            if ("toname" not in attributes or element.tag.lower() == "chat")
            and (media := read_media(element, attributes, targets))
        }
        controls = [
            (element, {"toname": attributes["name"], **attributes})
            for element, attributes in tags
            if "toname" in attributes or element.tag.lower() == "chat"
        ]
        self.data_tags = _find_data_tags(root)
        self.controls = {
            attributes["name"]: _read_control(element, attributes, _labels_beside(attributes, controls))
            for element, attributes in controls
        }
        flags = {attributes["name"]: attributes["indexflag"] for _, attributes in tags if "indexflag" in attributes}
        relations = (element for element, _ in elements if element.tag.lower() == "relations")
        self.relations = next(map(_read_relations, relations), None)
        """The tag with the classes of relations; None if the config has none."""
        self._flags = flags
        self._images = [media for media in self.objects.values() if media.media_type == "image"]
        self._repeated_controls = list(_repeated(self.controls, flags))
        self._repeated_objects = list(_repeated(self.objects, flags))
        self._shown_with = self._find_shown_with([attributes["name"] for _, attributes in tags], targets)

    @cached_property
    def main_objects(self) -> list[MediaObject]:
        """The media in the order in which they qualify to stand for the item.

        Files come before media inside the data. Texts come last, because they may only explain other media.
        """
        return sorted(
            self.objects.values(), key=lambda media: (media.media_type not in FILES, media.media_type in _BESIDE)
        )

    def is_main(self, media: MediaObject) -> bool:
        """Return whether media stand for the item, so that fields about them need no target."""
        if len(self.objects) == 1:
            return True
        stands_alone = media.media_type not in _BESIDE or media.data_key == media.media_type
        return stands_alone and media is self.main_objects[0]

    def targets_of(self, control: Control) -> tuple[str, ...]:
        """Return the data keys that a control is about; nothing if it is about the item's media."""
        shown = [media for name in control.to_names if (media := self.find_object(name)) is not None]
        names_all = control.tag in ("pairwise", "ranker") or any(media.tag.lower() == "chat" for media in shown)
        if not names_all and len(shown) == 1 and self.is_main(shown[0]):
            return ()
        return tuple(dict.fromkeys(media.data_key for media in shown))

    def context_of(self, control: Control) -> tuple[str, ...]:
        """Return the data keys of texts that people see before a control, and about which nothing is asked."""
        return tuple(self._shown_with.get(control.field, ()))

    def _find_shown_with(self, names: list[str], targets: set[str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        waiting: list[str] = []
        for name in names:
            media, control = self.objects.get(name), self.controls.get(name)
            if media is not None and media.media_type == "text" and name not in targets and not self.is_main(media):
                waiting.append(media.data_key)
            elif control is not None and control.attribute is None and waiting:
                found.setdefault(control.field, []).extend(waiting)
                waiting = []
        return found

    def list_images(self, data: Mapping[str, Any]) -> list[tuple[str, str | None]]:
        """Return the images that a task shows: their targets and their URIs, None if the data have none.

        :param data: data of the task
        """
        return [shown for media in self._images for shown in media.list_shown(data)]

    @cached_property
    def may_show_several(self) -> bool:
        """Whether the config lets a task show several images."""
        return len(self._images) > 1 or any(media.repeat or media.is_list for media in self._images)

    @cached_property
    def several_images(self) -> MediaObject | None:
        """The tag that can show an item of several images that this provider uploads; None if there is none."""
        return next((media for media in self._images if media.shows_several), None)

    def page_number(self, target: str | None) -> int | None:
        """Return the number, from 0, of a label's image among the images of one tag; None for another target.

        :param target: target of the label; without a page or without a target, it is the first image
        """
        media = self.several_images
        name, page = split_target(target or "")
        if media is None or (target and self.find_object(name) is not media):
            return None
        if media.repeat is None:
            return page or 0
        numbered = _name_pattern(media.name, media.repeat.flag).fullmatch(name)
        return int(numbered[1]) if numbered and numbered.groups() else 0

    def is_main_image(self, target: str | None) -> bool:
        """Return whether a label is on the first of a task's images, or on no image."""
        name, page = split_target(target or "")
        shown = self.find_object(name)
        if shown is None or shown.media_type != "image":
            return True
        first = self._images[0]
        own_name = first.name.replace(first.repeat.flag, "0") if first.repeat else first.name
        return name == own_name and not page

    def first_target(self, control: Control) -> str:
        """Return the target of the first media that a control labels."""
        name = control.to_names[0]
        return name.replace(self._flags[name], "0") if name in self._flags else name

    def repeated_name(self, name: str, target: str) -> str:
        """Return the name in results of a tag that a ``Repeater`` repeats, for one of the repeated media.

        :param name: name of the tag in the config; returned unchanged if nothing repeats it
        :param target: name of the media that the tag is about, such as ``image_1``
        """
        flag = self._flags.get(name)
        for media in self.objects.values() if flag else ():
            numbered = _name_pattern(media.name, self._flags.get(media.name, "")).fullmatch(split_target(target)[0])
            if flag and numbered and numbered.groups():
                return name.replace(flag, numbered[1])
        return name

    @property
    def relation_field(self) -> str:
        """The field of relations, whose records name no control."""
        return self.relations.field if self.relations is not None else RELATION

    @cached_property
    def has_video(self) -> bool:
        """Whether the config shows videos."""
        return any(media.media_type == "video" for media in self.objects.values())

    def find_control(self, from_name: str) -> Control | None:
        """Return the control of results with this ``from_name``, None if the config has none."""
        if from_name in self.controls:
            return self.controls[from_name]
        return next((control for name, control in self._repeated_controls if name.fullmatch(from_name)), None)

    def find_object(self, to_name: str) -> MediaObject | None:
        """Return the media of results with this ``to_name``, None if the config has none."""
        if to_name in self.objects:
            return self.objects[to_name]
        return next((media for name, media in self._repeated_objects if name.fullmatch(to_name)), None)


def _find_data_tags(root: ElementTree.Element) -> dict[str, str]:
    """Return the keys of a task's data that tags name, each with the first tag that names it."""
    found: dict[str, str] = {}
    for element in root.iter():
        for name, value in element.attrib.items():
            for key in DATA_KEY.findall(value):
                found.setdefault(key, f'<{element.tag} {name}="{value}">')
    return found


def _walk(
    element: ElementTree.Element, inherited: dict[str, str]
) -> Iterator[tuple[ElementTree.Element, dict[str, str]]]:
    """Yield each element with its attributes. Names are in lower case, because Label Studio ignores case.

    The conditions of a surrounding ``View`` and the index flag of a ``Repeater`` apply to all elements inside.
    """
    waiting = [(element, inherited)]  # not a recursion: Views may be nested to any depth
    while waiting:
        element, inherited = waiting.pop()
        own = {name.lower(): value for name, value in element.attrib.items()}
        if own.get("visiblewhen", "").startswith("choice-"):  # whenTagName then names another question
            own.pop("whentagname", None)
        if element.tag.lower() == "repeater":
            inherited = {**inherited, "indexflag": own.get("indexflag", "{{idx}}"), "repeaton": own.get("on", "")}
        yield element, {**inherited, **own}
        inherited = {**inherited, **{name: own[name] for name in ("whentagname", "whenlabelvalue") if name in own}}
        waiting.extend((child, inherited) for child in reversed(element))


def _repeated(tags: Mapping[str, T], flags: Mapping[str, str]) -> Iterator[tuple[re.Pattern[str], T]]:
    """Yield the tags that a ``Repeater`` repeats, with a pattern of their names, where the flag becomes a number."""
    for name, tag in tags.items():
        if name in flags:
            yield _name_pattern(name, flags[name]), tag


def _name_pattern(name: str, flag: str) -> re.Pattern[str]:
    """Return a pattern that matches the repeated names of a tag. Its first group is the number."""
    before, found, after = name.partition(flag) if flag else (name, "", "")
    if not found:
        return re.compile(re.escape(name))
    return re.compile(f"{re.escape(before)}(\\d+){re.escape(after).replace(re.escape(flag), '[0-9]+')}")


def _labels_beside(attributes: dict[str, str], controls: list[tuple[ElementTree.Element, dict[str, str]]]) -> list[str]:
    """Return the names of ``Labels`` tags on the same media, which give classes to shapes."""
    return [
        other["name"]
        for element, other in controls
        if element.tag.lower() == "labels" and other["toname"] == attributes["toname"]
    ]


def _read_control(element: ElementTree.Element, attributes: dict[str, str], labels_beside: list[str]) -> Control:
    tag, name = element.tag.lower(), attributes["name"]
    field = name.replace(attributes.get("indexflag", ""), "").strip("_-. ") if "indexflag" in attributes else name
    if tag in SHAPES and len(labels_beside) == 1:
        field = labels_beside[0]
    asked_for: tuple[str, ...] = ()
    attribute = None
    if attributes.get("perregion", "").lower() == "true" and tag in ATTRIBUTE_TAGS:
        asked_for = tuple(filter(None, attributes.get("whentagname", "").split(",")))
        attribute = next((field[len(owner) + 1 :] for owner in asked_for if field.startswith(f"{owner}.")), field)
    return Control(
        name=name,
        tag=tag,
        attributes=attributes,
        to_names=tuple(attributes["toname"].split(",")),
        field=field,
        attribute=attribute,
        asked_for=asked_for,
        asked_for_classes=attributes.get("whenlabelvalue", ""),
        classes=_read_classes(element, tag == "taxonomy" or attributes.get("allownested", "").lower() == "true"),
    )


def _read_relations(element: ElementTree.Element) -> Relations:
    """Read a ``Relations`` tag. Its name is optional, and only gives the field."""
    own = {name.lower(): value for name, value in element.attrib.items()}
    classes = [child.get("alias") or child.get("value") for child in element if child.tag.lower() == "relation"]
    return Relations(field=own.get("name") or RELATION, classes=tuple(dict.fromkeys(filter(None, classes))))


def _read_classes(element: ElementTree.Element, have_paths: bool) -> dict[str, str]:
    """Return the classes as in results, each with its category, in the order of ``model_index`` if given.

    ``$key`` takes classes from the task's data, which are not known here.

    :param have_paths: whether results contain the path of each class
    """
    found: dict[str, str] = {}
    indexes: list[str] = []
    waiting: list[tuple[ElementTree.Element, tuple[str, ...]]] = [(child, ()) for child in reversed(element)]
    while waiting:
        child, path = waiting.pop()
        if child.tag.lower() in ("label", "choice", "bucket"):
            attributes = {name.lower(): value for name, value in child.attrib.items()}
            class_ = attributes.get("alias") or attributes.get("value") or attributes.get("name") or ""
            path = (*path, class_)
            name = join_path(path) if have_paths or len(path) > 1 else class_
            if class_ and not DATA_KEY.fullmatch(class_) and name not in found:
                found[name] = attributes.get("category", "")
                indexes.append(attributes.get("model_index", ""))
        waiting.extend((below, path) for below in reversed(child))
    if len(set(indexes)) == len(found) and all(index.isdecimal() for index in indexes):
        places = dict(zip(found, map(int, indexes), strict=True))
        return {name: found[name] for name in sorted(found, key=places.__getitem__)}
    return found
