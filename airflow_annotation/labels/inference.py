"""Infers the label schema from existing labels."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.labels.errors import LabelSchemaError
from airflow_annotation.labels.submissions import SCORE
from airflow_annotation.labels.types import (
    DEFAULT_RATING,
    DIRECTION,
    LABEL_TYPES,
    LISTS_NO_CLASSES,
    OTHER,
    PLACE_ATTRIBUTES,
    RATING_MAX,
    TIMED_TYPES,
    WITHOUT_CLASSES,
)

RADIO_VALUES_MAX: Final = 20
"""Largest number of different answers with which an attribute of strings counts as a choice, not as free text."""

_MIXED: Final = {
    frozenset({"classification", "classifications"}): "classifications",
    frozenset({"polygon", "polyline"}): "polylines",
}
"""The type of a field whose labels have several types. A polyline can be closed, so it can be a polygon."""

_NO_QUESTIONS: Final[dict[str, tuple[str, ...]]] = {
    "span": PLACE_ATTRIBUTES,
    "message": ("createdAt",),
    "ranking": ("models",),
    "relation": (DIRECTION,),
}
"""Attributes, by type of label, that only contain a place or a time."""

_PAGE_SIZE: Final = "page_size"


class _Seen(msgspec.Struct):
    """The properties found in the labels of a field."""

    types: set[str] = msgspec.field(default_factory=set)
    classes: set[str] = msgspec.field(default_factory=set)
    attributes: dict[str, set[Any]] = msgspec.field(default_factory=dict)
    several: set[str] = msgspec.field(default_factory=set)
    timed: bool = False
    best: int = DEFAULT_RATING


def infer_label_schema(labels: pa.Table | Iterable[pa.RecordBatch]) -> dict[str, Any]:
    """Return the dictionary of a label schema. The order of the rows does not change it.

    Fields, classes and values are sorted, because their original order is not known. ``segmentation`` gets mask targets
    from 1 on in that order. An attribute is a ``number``, a ``checkbox`` if it has a list of values anywhere, a
    ``radio`` of its strings, or a ``text`` if it has more than :data:`RADIO_VALUES_MAX` strings. Labels that no single
    type of this package describes give a field of type ``other``.

    :param labels: rows of the ``labels`` table, as a table or in batches; columns other than ``field`` and ``type`` may
        be missing
    :raises LabelSchemaError: ``field`` or ``type`` is missing
    """
    fields: dict[str, _Seen] = {}
    for batch in labels.to_batches() if isinstance(labels, pa.Table) else labels:
        _look_at(pa.table(batch), fields)
    return {name: _describe(fields[name]) for name in sorted(fields) if fields[name].types}


def _look_at(labels: pa.Table, fields: dict[str, _Seen]) -> None:
    for column in ("field", "type"):
        if column not in labels.column_names:
            raise LabelSchemaError(
                f"The labels have no column {column!r}, so that no label schema can be told from them."
            )
    # Look at each kind of row once: there are many rows, but few fields, types, classes and attributes.
    for column in ("label", "attributes"):
        names = ["field", "type", *([column] if column in labels.column_names else [])]
        for row in labels.select(names).group_by(names).aggregate([]).to_pylist():
            if row["field"] is None or row["type"] is None:
                continue
            seen = fields.setdefault(row["field"], _Seen())
            seen.types.add(row["type"])
            if row["type"] not in WITHOUT_CLASSES and row.get("label") is not None:
                seen.classes.add(row["label"])
            attributes = json.loads(row.get("attributes") or "{}")
            for name in (SCORE, _PAGE_SIZE, *_NO_QUESTIONS.get(row["type"], ())):
                attributes.pop(name, None)
            _add_attributes(attributes, seen)
    _look_for_times(labels, fields)
    if "number" in labels.column_names:
        _add_ratings(labels, fields)
    if "labels" in labels.column_names:
        several = labels.filter(labels["labels"].is_valid()).select(["field", "type", "labels"])
        for row in several.to_pylist():
            if row["field"] in fields and row["type"] not in LISTS_NO_CLASSES:
                fields[row["field"]].classes.update(row["labels"])


def _look_for_times(labels: pa.Table, fields: dict[str, _Seen]) -> None:
    for column in {"frame", "tool_frame", "time"}.intersection(labels.column_names):
        held = labels.filter(labels[column].is_valid()).group_by(["field", "type"]).aggregate([])
        for row in held.to_pylist():
            if row["field"] in fields:
                fields[row["field"]].timed |= row["type"] in TIMED_TYPES


def _add_ratings(labels: pa.Table, fields: dict[str, _Seen]) -> None:
    ratings = labels.filter(pc.equal(labels["type"], "rating")).group_by("field").aggregate([("number", "max")])
    for row in ratings.to_pylist():
        if row["field"] in fields and row["number_max"] is not None:
            fields[row["field"]].best = max(fields[row["field"]].best, math.ceil(row["number_max"]))


def _add_attributes(attributes: dict[str, Any], seen: _Seen) -> None:
    for name, answer in attributes.items():
        if answer is None:
            continue
        if isinstance(answer, list):
            seen.several.add(name)
        values = [
            value if isinstance(value, (str, int, float)) else json.dumps(value)
            for value in (answer if isinstance(answer, list) else [answer])
        ]
        seen.attributes.setdefault(name, set()).update(values)


def _describe(seen: _Seen) -> dict[str, Any]:
    first = LABEL_TYPES.get(min(seen.types))
    one = first.field_type if first is not None and len(seen.types) == 1 else None
    type_ = one or _MIXED.get(frozenset(seen.types), OTHER)
    field: dict[str, Any] = {"type": type_}
    if type_ == OTHER:
        field["tag"] = ", ".join(sorted(seen.types))
        field["label_types"] = sorted(seen.types)
    if type_ == "rating":
        field["max"] = min(seen.best, RATING_MAX)
    if seen.timed and type_ in TIMED_TYPES:
        field["timed"] = True
    classes = sorted(seen.classes)
    if type_ == "segmentation":
        field["mask_targets"] = dict(enumerate(classes, 1))
    elif classes:
        field["classes"] = classes
    if seen.attributes:
        field["attributes"] = {
            name: _describe_attribute(seen.attributes[name], several=name in seen.several)
            for name in sorted(seen.attributes)
        }
    return field


def _describe_attribute(values: set[Any], *, several: bool) -> dict[str, Any]:
    strings = sorted(value for value in values if isinstance(value, str))
    if several:
        return {"type": "checkbox", "values": strings}
    if not strings and not any(isinstance(value, bool) for value in values):
        return {"type": "number"}
    if len(strings) < len(values) or len(strings) > RADIO_VALUES_MAX or any(not value.strip() for value in strings):
        return {"type": "text"}
    return {"type": "radio", "values": strings}
