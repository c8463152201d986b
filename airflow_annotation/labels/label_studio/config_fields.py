"""Converts the controls of a labeling config to fields of a label schema."""

from __future__ import annotations

from airflow_annotation.labels.label_studio.controls import Control, LabelingConfig
from airflow_annotation.labels.label_studio.tags import SHAPES, find_tag
from airflow_annotation.labels.schema import LabelAttribute, LabelField
from airflow_annotation.labels.types import CLASSIFICATION_TYPES, LABEL_TYPES, OF_FIELD, OTHER, TIMED_TYPES


def read_field(control: Control, config: LabelingConfig) -> LabelField:
    """Return the field of a label schema that a control asks for.

    :param control: control that is not a question about regions
    :param config: labeling config of the control
    """
    classes = tuple(control.classes)
    label_types = _label_types(control, config)
    type_, tag = _field_type(label_types), ""
    mask_targets: dict[int, str] = {}
    if type_ == "instances" and control.numbers_classes:
        mask_targets = {int(category): class_ for class_, category in control.classes.items()}
        type_ = "segmentation"
    numbers = {
        class_: int(category)
        for class_, category in control.classes.items()
        if category.isdecimal() and len(category) < 10  # numbers that a schema takes and that fit in 32 bits
    }
    targets = config.targets_of(control)
    if type_ == OTHER or (OF_FIELD[type_].has_classes and not classes) or (type_ == "pairwise" and len(targets) != 2):
        type_, tag = OTHER, control.tag
    attributes = {
        asked.attribute: _read_attribute(asked, classes)
        for asked in config.controls.values()
        if asked.attribute is not None
        and (control.is_shape or control.tag.endswith("labels") or control.tag == "chat")
        and (control.name in asked.asked_for if asked.asked_for else set(asked.to_names) & set(control.to_names))
    }
    return LabelField(
        type=type_,
        classes=classes,
        attributes=attributes,
        mask_targets=mask_targets,
        class_numbers={} if mask_targets or len(set(numbers.values())) < len(numbers) else numbers,
        max=control.best_rating if type_ == "rating" else 0,
        targets=targets,
        context=config.context_of(control),
        timed=control.tag == "timelinelabels" and type_ in TIMED_TYPES,
        tag=tag,
        label_types=tuple(label_types) if type_ == OTHER else (),
    )


def _label_types(control: Control, config: LabelingConfig) -> list[str]:
    """Return the types of the labels that a control makes, nothing if its tag is unknown."""
    shapes = {
        SHAPES[shape.tag].types[0]
        for shape in config.controls.values()
        if control.tag == "labels" and shape.tag in SHAPES and shape.field == control.name
    }
    tag = find_tag(control.tag)
    if shapes or tag is None:
        return sorted(shapes)
    if control.labels_text:
        return ["span"]
    if tag.types[0] in CLASSIFICATION_TYPES:
        return ["classifications" if control.takes_several else "classification"]
    return [tag.types[0]]


def _field_type(label_types: list[str]) -> str:
    types = {LABEL_TYPES[type_].field_type for type_ in label_types}
    return types.pop() or OTHER if len(types) == 1 else OTHER


def _read_attribute(asked: Control, field_classes: tuple[str, ...]) -> LabelAttribute:
    type_ = {"number": "number", "rating": "number", "taxonomy": "checkbox"}.get(asked.tag, "text")
    if asked.tag == "choices":
        type_ = "select" if asked.attributes.get("layout") == "select" else "radio"
        type_ = "checkbox" if asked.attributes.get("choice") == "multiple" else type_
    condition = asked.asked_for_classes
    classes = (condition,) if condition in field_classes else tuple(condition.split(","))
    return LabelAttribute(
        type=type_, values=tuple(asked.classes), classes=tuple(class_ for class_ in classes if class_ in field_classes)
    )
