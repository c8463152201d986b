"""Find the field of a FiftyOne dataset for the labels of each field of a project."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from airflow_annotation.datasets.fiftyone.opening import import_fiftyone
from airflow_annotation.datasets.fiftyone.values import FRAMES, field_class, mask_targets
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.fiftyone.documents import CLASS_OF_FIELD, NUMBER, TEMPORAL, TEXT, TYPES_OF_CLASS
from airflow_annotation.labels.fiftyone.merge import can_hold
from airflow_annotation.labels.schema import LabelField, LabelSchema
from airflow_annotation.labels.types import OF_FIELD

_OF_FRAMES = ("Detections", "Polylines", "Keypoints", "Segmentation")
"""Classes of labels that are drawn: in videos, they are in fields of the frames."""


class TargetField(msgspec.Struct, frozen=True, kw_only=True):
    """A field of a FiftyOne dataset.

    :param name: name of the field; that of a field of a video's frames begins with ``frames.``
    :param field: field of the label rows that go there, after any renaming
    :param class_: class of the labels that it holds
    :param attributes: attributes that the project asks about
    :param targets: numbers of the classes in a segmentation
    """

    name: str
    field: str
    class_: str
    attributes: Collection[str] = ()
    targets: Mapping[str, int] = {}

    @property
    def of_frames(self) -> bool:
        """Whether it is a field of a video's frames."""
        return self.name.startswith(FRAMES)


def target_fields(
    dataset: Any, schema: LabelSchema, mapping: Mapping[str, str], media_types: Collection[str] = ()
) -> list[TargetField]:
    """Return the fields that a project's labels go to. Fields that FiftyOne has no label for are left out.

    :param dataset: FiftyOne dataset
    :param schema: label schema of the project
    :param mapping: new names of fields and types
    :param media_types: media types of the project's items; a dataset of groups may have images and videos
    :raises AnnotationError: an existing field holds other labels, or no field can have such a name
    """
    of_videos = dataset.media_type == "video"
    if dataset.media_type == "group":
        kinds = {*dataset.group_media_types.values()}
        of_videos = "video" in kinds and (kinds == {"video"} or "video" in media_types)
    found: dict[str, TargetField] = {}
    for name, field in schema.fields.items():
        for type_, class_ in _types_of(field):
            new = mapping.get(name) or mapping.get(f"type:{type_}") or name
            of_frames = of_videos and class_ in _OF_FRAMES and not new.startswith(FRAMES)
            target = _target(dataset, f"{FRAMES}{new}" if of_frames else new, class_, new, field)
            if not can_hold(target.class_, type_) or field.timed != (target.class_ == TEMPORAL):
                what = f"{type_}, timed" if field.timed else type_
                raise AnnotationError(
                    f"Field {target.name!r} of FiftyOne's dataset {dataset.name!r} holds {target.class_}, which have "
                    f"no place for the labels of field {name!r}, of type {what}: pass another name in "
                    f"field_mapping, such as {{{name!r}: {new + '_labeled'!r}}}."
                )
            found.setdefault(target.name, target)
    return [*found.values()]


def add_fields(dataset: Any, targets: Collection[TargetField]) -> None:
    """Add the missing fields, and for segmentations without classes, the classes by number.

    :raises AnnotationError: FiftyOne does not accept the name of a field
    """
    fiftyone = import_fiftyone()
    plain = {NUMBER: fiftyone.FloatField, TEXT: fiftyone.StringField}
    for target in targets:
        if field_class(dataset, target.name) is None:
            add = dataset.add_frame_field if target.of_frames else dataset.add_sample_field
            kind = plain.get(target.class_, fiftyone.EmbeddedDocumentField)
            holds = {} if target.class_ in plain else {"embedded_doc_type": getattr(fiftyone, target.class_)}
            try:
                add(target.name.removeprefix(FRAMES), kind, **holds)
            except ValueError as error:
                raise AnnotationError(
                    f"FiftyOne takes no field {target.name!r} ({error}): pass another name in field_mapping."
                ) from error
        if target.class_ == "Segmentation" and mask_targets(dataset, target.name) is None and target.targets:
            dataset.mask_targets[target.name] = {number: name for name, number in target.targets.items()}
            dataset.save()


def _types_of(field: LabelField) -> Iterator[tuple[str, str]]:
    """Yield the types of a field's labels, each with the class of a new field for these labels."""
    if field.timed:
        yield OF_FIELD[field.type].name, TEMPORAL
        return
    if field.type in CLASS_OF_FIELD:
        yield OF_FIELD[field.type].name, CLASS_OF_FIELD[field.type]
        return
    for type_ in field.label_types:
        for class_, types in TYPES_OF_CLASS.items():
            if type_ in types and class_ != "Classification":
                yield type_, class_
                break


def _target(dataset: Any, name: str, class_: str, new: str, field: LabelField) -> TargetField:
    targets = mask_targets(dataset, name) or field.mask_targets or dict(enumerate(field.classes, 1))
    return TargetField(
        name=name,
        field=new,
        class_=field_class(dataset, name) or class_,
        attributes=tuple(field.attributes),
        targets={label: number for number, label in targets.items()},
    )
