"""Options of a dataset: labels, classes and splits."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Literal

import msgspec
import pyarrow as pa

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats.splits import check_splits
from airflow_annotation.labels.consensus import ConsensusOptions
from airflow_annotation.labels.schema import LabelField, LabelSchema
from airflow_annotation.labels.types import CLASSIFICATION_TYPES, OTHER

log = logging.getLogger(__name__)


class DatasetOptions(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options of every format.

    :param label_fields: the fields that the dataset is made from; by default all fields that its format can hold
    :param classes: the classes in their order. By default they are the label schema's, in the order of its numbers for
        them (Label Studio's ``category``), else sorted. You may add names that no label has yet, so that numbers stay
        the same later
    :param unknown_classes: what to do with labels of other classes, or without a class, and with points of an object
        that are not among its format's ``keypoints``: fail with an ``error``, or ``drop`` them, which is counted in the
        log and in ``left_out`` of the task's result
    :param splits: share of the items in each split, ``{"train": 0.8, "val": 0.2}``, by the hash of ``item_key``, so
        that an item keeps its split when others are added; or the source of each item's split: a column of ``items``,
        or ``data.<key>``. Without it, all items are in ``train``
    :param annotations: which labels an item has, if several people submitted some: those of the ``latest`` submission,
        of ``all``, of those marked ``ground_truth``, or their ``consensus``. Drafts and skipped submissions never count
    :param consensus: options of a consensus, see :class:`~airflow_annotation.labels.consensus.ConsensusOptions`
    :param include_predictions: for items without submissions, take the latest prediction
    :param include_unlabeled: keep items without submissions, as items without labels. Items that somebody submitted
        without labels are kept in any case
    """

    label_fields: list[str] | None = None
    classes: list[str] | None = None
    unknown_classes: Literal["error", "drop"] = "error"
    splits: dict[str, float] | str | None = None
    annotations: Literal["latest", "all", "ground_truth", "consensus"] = "latest"
    consensus: ConsensusOptions = ConsensusOptions()
    include_predictions: bool = False
    include_unlabeled: bool = False

    def __post_init__(self) -> None:
        """Check options beyond their types."""
        check_splits(self.splits)
        if self.annotations != "consensus" and self.consensus != ConsensusOptions():
            raise AnnotationError("consensus is for annotations='consensus'.")
        for name, values in (("classes", self.classes), ("label_fields", self.label_fields)):
            if values is not None and (not values or len(set(values)) < len(values)):
                raise AnnotationError(f"{name} is a list of names, each one once, not {values}.")

    @property
    def class_names(self) -> list[str] | None:
        """The requested classes, in their order."""
        return self.classes


class ImageOptions(DatasetOptions, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Further options of every format of images.

    :param loose_keypoints: what to do with keypoints that belong to no object, if the format holds only points of
        objects: fail with an ``error``, or ``drop`` them, which is counted
    :param video_frames: which frames of videos are images: ``all`` frames with objects, or the ``keyframes`` in which
        somebody has set one. With both, an image has all objects of its frame, including those between key frames
    :param image_root: the folder of the media, where readers find them under their own names; see
        :class:`~airflow_annotation.formats.image_names.ImageNames`
    :param frame_suffix: suffix of the file names of videos' frames
    """

    loose_keypoints: Literal["error", "drop"] = "error"
    video_frames: Literal["all", "keyframes"] = "all"
    image_root: str | None = None
    frame_suffix: str = ".jpg"


def unknown_class(item_key: str, type_: str, label_id: str, class_: str | None) -> AnnotationError:
    """Return the error for a label whose class is not in the dataset."""
    what = "no class" if class_ is None else f"the class {class_!r}, which the dataset does not have"
    return AnnotationError(
        f"Item {item_key!r} has a label ({type_} {label_id!r}) of {what}: add it to classes, choose label_fields, or "
        'leave such labels out with unknown_classes="drop".'
    )


class DatasetClasses(msgspec.Struct, frozen=True, dict=True):
    """The classes of a dataset.

    :param names: names of the classes, in order
    :param numbers: numbers of the classes, in the same order, if the label schema has numbers
    :param keypoints: names of an object's points, in the order of the skeleton
    :param keypoint_classes: classes of the fields that points are drawn in
    :param keypoints_class: class of points that belong to no object that is a label itself
    :param mask_targets: pixel values that the label schema gives to classes
    :param stuff: classes that only fields of type ``segmentation`` have, which ask for areas, not for objects
    :param answers: fields whose answers are about the whole image, and whether each has several answers
    """

    names: tuple[str, ...]
    numbers: tuple[int, ...] = ()
    keypoints: tuple[str, ...] = ()
    keypoint_classes: frozenset[str] = frozenset()
    keypoints_class: str | None = None
    mask_targets: dict[str, int] = {}
    answers: dict[str, bool] = {}
    stuff: frozenset[str] = frozenset()

    @cached_property
    def index(self) -> dict[str | None, int]:
        """Index of each class."""
        return {name: place for place, name in enumerate(self.names)}

    @cached_property
    def column(self) -> pa.Array:
        """The names, for Arrow to look up."""
        return pa.array(self.names, pa.string())


def rename_fields(schema: LabelSchema, field_mapping: Mapping[str, str]) -> LabelSchema:
    """Return the schema with the names of fields in a landing. Merged fields have the classes of all their fields.

    :param schema: label schema of the project
    :param field_mapping: new names of fields, by their names in the schema
    """
    fields: dict[str, LabelField] = {}
    for name, field in schema.fields.items():
        new_name = field_mapping.get(name, name)
        if new_name in fields:
            first = fields[new_name]
            fields[new_name] = msgspec.structs.replace(
                first,
                classes=tuple(dict.fromkeys((*first.classes, *field.classes))),
                class_numbers=_given_numbers([first, field]),
                mask_targets={},
            )
        else:
            fields[new_name] = field
    return LabelSchema(fields)


def check_label_fields(options: DatasetOptions, schema: LabelSchema) -> None:
    """Check that a label schema, if it is known, has the requested fields.

    :raises AnnotationError: the schema does not have one of them
    """
    if schema.fields and (unknown := sorted(set(options.label_fields or ()) - set(schema.fields))):
        raise AnnotationError(
            f"label_fields names {', '.join(map(repr, unknown))}, but the label schema has only "
            f"{', '.join(map(repr, schema.fields))}."
        )


def find_classes(
    options: DatasetOptions,
    schema: LabelSchema,
    field_types: Collection[str],
    types: Collection[str],
    keypoints: list[str] | None = None,
) -> DatasetClasses:
    """Return the classes of a dataset.

    :param options: options of the dataset
    :param schema: label schema
    :param field_types: types of fields that its format can hold
    :param types: types of labels that its format can hold
    :param keypoints: names of an object's points; by default the classes of the keypoints field
    :raises AnnotationError: the schema has no classes, and none are given
    """
    fields = {
        name: field
        for name, field in schema.fields.items()
        if (name in options.label_fields if options.label_fields is not None else _has_objects(field, types))
        and field.type in (*field_types, OTHER)
    }
    skeletons = [name for name, field in fields.items() if field.type == "keypoints"]
    named = [name for name in fields if name not in skeletons] or skeletons
    numbers = {} if options.class_names else _class_numbers([fields[name] for name in named])
    names = options.class_names or sorted({class_ for name in named for class_ in fields[name].classes})
    names = sorted(names, key=numbers.__getitem__) if numbers else names
    answers = {
        name: field.type == "classifications"
        for name, field in schema.fields.items()
        if field.type in CLASSIFICATION_TYPES and (options.label_fields is None or name in options.label_fields)
    }
    if not names and not answers:
        raise AnnotationError(
            "The label schema does not say which classes the labels have that this format takes "
            f"({', '.join(field_types)}): give classes."
        )
    if len(skeletons) > 1 and keypoints is None:
        raise AnnotationError(
            f"The fields {', '.join(map(repr, skeletons))} have keypoints: choose one in label_fields, or name the "
            "points in keypoints."
        )
    points = tuple(keypoints or (fields[skeletons[0]].classes if skeletons else ()))
    areas, others = (
        {class_ for field in fields.values() if (field.type == "segmentation") is is_area for class_ in field.classes}
        for is_area in (True, False)
    )
    mask_targets = {class_: value for field in fields.values() for value, class_ in field.mask_targets.items()}
    return DatasetClasses(
        names=tuple(names),
        numbers=tuple(map(numbers.__getitem__, names)) if numbers else (),
        keypoints=points,
        keypoint_classes=frozenset(class_ for name in skeletons for class_ in fields[name].classes),
        keypoints_class=skeletons[0] if skeletons else None,
        mask_targets=mask_targets,
        answers=answers,
        stuff=frozenset(areas - others),
    )


def _class_numbers(fields: Sequence[LabelField]) -> dict[str, int]:
    """Return the numbers of classes, if the fields have some and agree. Classes without a number come last."""
    numbers = _given_numbers(fields)
    if numbers:
        others = sorted({class_ for field in fields for class_ in field.classes} - numbers.keys())
        numbers |= {class_: number for number, class_ in enumerate(others, max(numbers.values()) + 1)}
    return numbers


def _given_numbers(fields: Sequence[LabelField]) -> dict[str, int]:
    """Return the numbers that fields give to classes, none if the fields do not agree."""
    pairs = {
        pair
        for field in fields
        for pair in (field.class_numbers or {class_: value for value, class_ in field.mask_targets.items()}).items()
    }
    numbers = dict(pairs)
    if len(numbers) < len(pairs) or len(set(numbers.values())) < len(pairs):
        log.warning("Fields number their classes differently, so classes are sorted by name: give classes.")
        return {}
    return numbers


def _has_objects(field: LabelField, types: Collection[str]) -> bool:
    """Return whether a field's labels can be objects of a dataset: answers and spans of text cannot."""
    return field.type != OTHER or any(type_ in types for type_ in field.label_types)
