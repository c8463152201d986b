"""Completes a label schema from the schema of existing labels, and from classes for all fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_annotation.labels.errors import LabelSchemaError
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.types import LABEL_TYPES, OF_FIELD


def complete_schema(
    schema: Mapping[str, Any], *, known: LabelSchema | None = None, classes: Sequence[str] = ()
) -> LabelSchema:
    """Return the complete schema of a dictionary that contains only new values.

    A field that already exists takes missing values from the existing field: all values if it is empty, and otherwise
    the values that the dictionary does not have. A field with another type than the existing one takes nothing from it.
    Existing fields that the dictionary does not name are left out.

    :param schema: fields by name, as for :meth:`LabelSchema.from_dict`; an existing field may be empty
    :param known: schema of the existing labels
    :param classes: classes of fields that need classes and name none; they take precedence over the classes of existing
        fields
    :raises LabelSchemaError: a missing value does not exist anywhere, or the result is not a valid schema
    """
    if not isinstance(schema, dict):
        return LabelSchema.from_dict(schema)
    fields = known.to_dict() if known else {}
    given = [classes] if isinstance(classes, str) else list(classes)
    return LabelSchema.from_dict(
        {name: _complete(name, field, fields.get(name), known is not None, given) for name, field in schema.items()}
    )


def _complete(name: str, field: Any, existing: Mapping[str, Any] | None, is_known: bool, classes: Sequence[str]) -> Any:
    if field is not None and not isinstance(field, Mapping):
        return field
    described = dict(field or {})
    if existing is None:
        if "type" not in described and is_known:
            raise LabelSchemaError(
                f"Label schema, field {name!r} has no type, and the labels that exist have no such field to tell it by."
            )
        return _with_classes(described, classes)
    if described.get("type", existing["type"]) not in (existing["type"], _singular(existing["type"])):
        return _with_classes(described, classes)
    return {**existing, **_with_classes({"type": existing["type"], **described}, classes)}


def _singular(field_type: str) -> str:
    return OF_FIELD[field_type].name if field_type in OF_FIELD else field_type


def _with_classes(field: dict[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    type_ = OF_FIELD.get(str(field.get("type"))) or LABEL_TYPES.get(str(field.get("type")))
    lacks = not field.get("classes") and not field.get("mask_targets") and type_ is not None and type_.has_classes
    return {**field, "classes": list(classes)} if classes and lacks else field
