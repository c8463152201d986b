"""Merges people's work into a field of FiftyOne: adds, edits and deletes labels, and leaves all else unchanged."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
import numpy as np

from airflow_annotation.labels.diff import TOLERANCE
from airflow_annotation.labels.errors import LabelRowError
from airflow_annotation.labels.fiftyone.documents import (
    ELEMENTS,
    LISTS,
    NUMBER,
    TEMPORAL,
    TEXT,
    TYPES_OF_CLASS,
    Array,
    Document,
    document_id,
    elements_of,
    id_of,
    read_mask,
    resize_mask,
    write_mask,
)
from airflow_annotation.labels.fiftyone.elements import (
    Group,
    attribute_name,
    attributes_of,
    content_of,
    group_rows,
    segmentation_mask,
)
from airflow_annotation.labels.fiftyone.rows import ROTATION, Asked, rows_of
from airflow_annotation.labels.submissions import Row

Deletions = Literal["known", "all", "none"]

ADDED: Final = "added"
EDITED: Final = "edited"
DELETED: Final = "deleted"
UNCHANGED: Final = "unchanged"

_FIELD_TYPE: Final = {"instance": "instances", "polygon": "polygons", "polyline": "polylines"}
_OF_PARTS: Final = ("Polylines", "Keypoints")
_COMPARED: Final = ("label", "point_index", "bbox", ROTATION, "points", "mask_size", "mask_counts", "number", "frame")


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A field of a sample, or of a frame, to which labels go.

    :param class_: class of the field: a class of FiftyOne, ``number`` or ``text``
    :param scope: names within which the ids of labels are unique
    :param size: width and height of the image in pixels, None if not known
    :param mask_targets: numbers of the classes in a segmentation
    :param attributes: names of the attributes that the project asks about
    :param indices: FiftyOne's number of each track of a video
    """

    class_: str
    scope: tuple[str, ...]
    size: tuple[int, int] | None = None
    mask_targets: Mapping[str, int] = {}
    attributes: Collection[str] = ()
    indices: Mapping[str, int] = {}


class Merged(msgspec.Struct, frozen=True):
    """The result of a merge.

    :param value: new value of the field: a document, a plain value, or None
    :param changes: number of labels by change
    :param ids: ids of the labels that the submission has
    """

    value: Any
    changes: Counter[str]
    ids: frozenset[str]


def merge_field(
    value: Any,
    rows: Sequence[Row],
    place: Place,
    *,
    given: Sequence[Row] = (),
    known: Collection[str] = (),
    deletions: Deletions = "known",
) -> Merged:
    """Return a field's value after a submission is merged into it.

    A label of the submission matches a label of the field if their ids or tracks agree, or else if their contents are
    equal. In ``Classifications``, labels match by class. An unchanged label stays exactly as it is. In an edited label,
    the class, the place, and the attributes that the project asks about are replaced; all else stays, also the
    confidence. If the tool got only a part of a label, such as the first of its shapes, and people left that part
    unchanged, the label stays as well.

    :param value: value of the field: a label's document, a plain value, or None
    :param rows: rows of the submission for this field, of types that the field can hold
    :param place: the field
    :param given: rows of this field that the tool got, and from which people started
    :param known: ids of the labels that the tool has had, from :attr:`Merged.ids` or :func:`known_ids`
    :param deletions: labels to delete if the submission does not have them: those that the tool has had (``known``),
        ``all``, or ``none``
    :raises LabelRowError: rows lack a value that FiftyOne's class needs
    """
    if place.class_ in (NUMBER, TEXT):
        return _merge_plain(value, rows, place, known, deletions)
    if place.class_ == "Segmentation":
        return _merge_segmentation(value, rows, place, known, deletions)
    groups = _groups(rows, place)
    if place.class_ not in LISTS:
        groups = groups[-1:]
    before = elements_of(value)
    partners = _match(before, groups, place)
    started = {group.key: group for group in _groups(given, place)}
    changes: Counter[str] = Counter()
    after: list[Document] = []
    ids: set[str] = set()
    taken = {id_of(element) for element in before}
    for number, element in enumerate(before):
        group = partners.get(number)
        if group is None:
            goes = deletions == "all" or (deletions == "known" and id_of(element) in known)
            changes[DELETED if goes else UNCHANGED] += 1
            if not goes:
                after.append(element)
            continue
        edited = element
        if not _is_part_as_given(element, group, started.get(group.key), place):
            edited = _edit(element, group, place)
        changes[UNCHANGED if edited == element else EDITED] += 1
        after.append(edited)
        ids.add(id_of(element))
    matched = {id(group) for group in partners.values()}
    for group in groups:
        if id(group) in matched:
            continue
        new_id = _free_id(group, place, taken)
        taken.add(new_id)
        ids.add(new_id)
        changes[ADDED] += 1
        after.append(_new(new_id, group, place))
    return Merged(_container(value, after, place), changes, frozenset(ids))


def known_ids(value: Any, rows: Sequence[Row], place: Place) -> frozenset[str]:
    """Return the ids of a field's labels for the rows that the tool got."""
    if place.class_ in (NUMBER, TEXT, "Segmentation"):
        return frozenset(_only_id(value) if rows else ())
    groups = _groups(rows, place)
    found = _match(elements_of(value), groups, place)
    before = elements_of(value)
    return frozenset(document_id(group.key, *place.scope) for group in groups) | {id_of(before[n]) for n in found}


def can_hold(class_: str, type_: str) -> bool:
    """Return whether a field of FiftyOne can hold labels of a type."""
    return type_ in TYPES_OF_CLASS.get(class_, ())


def _groups(rows: Sequence[Row], place: Place) -> list[Group]:
    if place.class_ in ("Classifications", TEMPORAL):
        # The answer to a question with several choices is one row, with one score for all of them.
        shared = {} if place.class_ == TEMPORAL else {"attributes": None}
        rows = [
            {**row, "label": name, "labels": None, **shared}
            for row in rows
            for name in row.get("labels") or [row["label"]]
        ]
    if place.class_ == TEMPORAL and any(row.get("frame") is None for row in rows):
        raise LabelRowError("an answer about a stretch of a video has no frame: its file's frame rate is not known.")
    return group_rows(rows)


def _free_id(group: Group, place: Place, taken: Collection[str]) -> str:
    """Return an id for a new label: its own, unless another label has it, such as another stretch of one region."""
    new_id = document_id(group.key, *place.scope)
    number = 0
    while new_id in taken:
        again = ("again", *((str(number),) if number else ()))
        new_id = document_id(f"{group.key}\n{group.label}", *place.scope, *again)
        number += 1
    return new_id


def _match(before: Sequence[Document], groups: Sequence[Group], place: Place) -> dict[int, Group]:
    """Return the matching label of the submission for each label of the field that has one."""
    if place.class_ not in LISTS:
        return {0: groups[0]} if before and groups else {}
    partners: dict[int, Group] = {}
    left = list(groups)

    def take(number: int, found: Group | None) -> None:
        if found is not None:
            partners[number] = found
            left[:] = [group for group in left if group is not found]

    if place.class_ == "Classifications":
        for number, element in enumerate(before):
            take(number, next((group for group in left if group.label == element.get("label")), None))
        return partners
    by_id = {document_id(group.key, *place.scope): group for group in reversed(groups)}
    for number, element in enumerate(before):
        take(number, by_id.pop(id_of(element), None))
    tracks = {index: track for track, index in place.indices.items()}
    for number, element in enumerate(before):
        if number not in partners and left:
            track = tracks.get(element.get("index", -1))
            take(number, next((group for group in left if track and group.rows[0].get("track_id") == track), None))
        if number not in partners:
            read = _reader(element)
            take(number, next((group for group in left if _says_same(read, group, place)), None))
    return partners


def _reader(element: Document) -> Callable[[Asked], list[Row]]:
    """Return a function that reads the rows of a label, and reads them only once for each kind of question."""
    return functools.cache(lambda asked: [*rows_of(element, "", asked)])


def _says_same(read: Callable[[Asked], list[Row]], group: Group, place: Place) -> bool:
    return group.type != "ellipse" and _same_rows(read(_asked(group, place)), group.rows)


def _is_renamed(read: Callable[[Asked], list[Row]], group: Group, place: Place) -> bool:
    """Return whether a label has only another class, in the same place. Then the place stays exactly as it is."""
    if group.type == "ellipse":
        return False
    rows = read(_asked(group, place))
    is_other = all(row.get("label") != group.label for row in rows)
    return is_other and _same_rows([{**row, "label": group.label} for row in rows], group.rows)


def _asked(group: Group, place: Place) -> Asked:
    return Asked(label_type=_FIELD_TYPE.get(group.type), size=place.size or _mask_size(group))


def _is_part_as_given(element: Document, group: Group, started: Group | None, place: Place) -> bool:
    """Return whether the tool got only a part of a label, and people left that part unchanged."""
    if started is None or place.class_ not in _OF_PARTS or not _same_rows(started.rows, group.rows):
        return False
    # Equal contents are not the question: people may have gone back to the given label after a merge of another state.
    return len([*rows_of(element, "", Asked())]) > len(group.rows)


def _same_rows(some: Sequence[Row], others: Sequence[Row]) -> bool:
    return len(some) == len(others) and all(map(_same_row, some, others))


def _same_row(one: Row, other: Row) -> bool:
    for name in _COMPARED:
        values = one.get(name), other.get(name)
        if name == ROTATION:
            values = values[0] or 0.0, values[1] or 0.0
        if name == "frame":
            if one.get("frame_end") is not None and _stretch(one) != _stretch(other):
                return False
            continue
        if name in ("bbox", ROTATION, "points", "number"):
            if (values[0] is None) != (values[1] is None):
                return False
            if values[0] is not None and not _close(*values):
                return False
        elif values[0] != values[1]:
            return False
    return True


def _stretch(row: Row) -> tuple[int, int]:
    """Return the first and the last frame of an answer about a stretch of a video."""
    return row["frame"], row["frame"] if row.get("frame_end") is None else row["frame_end"]


def _close(one: Any, other: Any) -> bool:
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_close, one, other))
    return bool(abs(one - other) <= TOLERANCE)


def _mask_size(group: Group) -> tuple[int, int] | None:
    size = group.rows[0].get("mask_size")
    return None if size is None else (size[1], size[0])


def _edit(element: Document, group: Group, place: Place) -> Document:
    edited = dict(element)
    read = _reader(element)
    if _is_renamed(read, group, place):
        edited["label"] = group.label
    elif not _says_same(read, group, place):
        edited |= content_of(group, place.size, element)
        if "mask" in edited and group.type == "instance":
            edited.pop("mask_path", None)
    attributes, _ = attributes_of(group.rows)
    for name in map(attribute_name, place.attributes):
        attributes.setdefault(name, None)
    for name, answer in attributes.items():
        if answer != edited.get(name):
            edited[name] = answer
    return edited


def _new(new_id: str, group: Group, place: Place) -> Document:
    attributes, score = attributes_of(group.rows)
    document: Document = {
        "_id": new_id,
        "_cls": ELEMENTS.get(place.class_, place.class_),
        "tags": [],
        **content_of(group, place.size, None),
        **{name: answer for name, answer in attributes.items() if answer is not None},
    }
    if score is not None:
        document["confidence"] = score
    row = group.rows[0]
    if row.get("track_id") in place.indices:
        document["index"] = place.indices[row["track_id"]]
    if row.get("is_keyframe") is not None:
        document["keyframe"] = row["is_keyframe"]
    return document


def _container(value: Any, elements: list[Document], place: Place) -> Any:
    key = LISTS.get(place.class_)
    if key is None:
        return elements[0] if elements else None
    return {**(value or {"_cls": place.class_}), key: elements}


def _merge_plain(value: Any, rows: Sequence[Row], place: Place, known: Collection[str], deletions: Deletions) -> Merged:
    if not rows:
        return _without(value, known, deletions)
    row = rows[-1]
    new = row["number"] if place.class_ == NUMBER else row["text"] if row["type"] == "text" else row["label"]
    if isinstance(value, int) and float(new).is_integer():
        new = int(new)
    same = _close(value, new) if place.class_ == NUMBER and value is not None else value == new
    change = ADDED if value is None else UNCHANGED if same else EDITED
    return Merged(value if same else new, Counter({change: 1}), _only_id(new))


def _merge_segmentation(
    value: Any, rows: Sequence[Row], place: Place, known: Collection[str], deletions: Deletions
) -> Merged:
    if not rows:
        return _without(value, known, deletions)
    mask = segmentation_mask(rows, place.mask_targets, value)
    if value is None:
        new_id = document_id("segmentation", *place.scope)
        document = {"_id": new_id, "_cls": "Segmentation", "tags": [], "mask": write_mask(mask)}
        return Merged(document, Counter({ADDED: 1}), _only_id(document))
    if value.get("mask") is not None and _is_same_mask(read_mask(value["mask"]), mask):
        return Merged(value, Counter({UNCHANGED: 1}), _only_id(value))
    edited = {**value, "mask": write_mask(mask)}
    edited.pop("mask_path", None)
    return Merged(edited, Counter({EDITED: 1}), _only_id(value))


def _is_same_mask(before: Array, mask: Array) -> bool:
    """Return whether a mask came back unchanged, also if it was uploaded in another size."""
    height, width = mask.shape
    return before.ndim == 2 and np.array_equal(resize_mask(before, width, height), mask)


def _without(value: Any, known: Collection[str], deletions: Deletions) -> Merged:
    """Return the result for a field of one value about which the submission says nothing."""
    if value is None:
        return Merged(None, Counter(), frozenset())
    goes = deletions == "all" or (deletions == "known" and not _only_id(value).isdisjoint(known))
    return Merged(None if goes else value, Counter({DELETED if goes else UNCHANGED: 1}), frozenset())


def _only_id(value: Any) -> frozenset[str]:
    """Return the id that stands for the single value of a field among the ids of labels."""
    if value is None:
        return frozenset()
    return frozenset((id_of(value),)) if isinstance(value, Mapping) else frozenset(("value",))
