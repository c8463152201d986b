"""The columns of a Deep Lake dataset that hold labels, and the labels of a row as its cells.

A row is an image, or a frame of a video. Each field of the label schema is a column. Further columns hold the other
data of the field's objects, in the same order. This module does not need Deep Lake.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from airflow_annotation.datasets.deep_lake import Kind, LakeColumn, empty_cell
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.masks import RLE, rle_to_mask
from airflow_annotation.labels.schema import LabelAttribute, LabelField, LabelSchema
from airflow_annotation.labels.submissions import attributes_of
from airflow_annotation.labels.types import CLASSIFICATION_TYPES, LABEL_TYPES, OF_FIELD

Cells = dict[str, Any]
Row = Mapping[str, Any]

UNKNOWN_CLASS: Final = -1
"""Value in columns of classes for an object without a class."""

_OF_NEED: Final[dict[str, Kind]] = {
    "bbox": "boxes",
    "points": "polygons",
    "mask_size": "masks",
    "number": "number",
    "text": "text",
}
_SHAPES: Final = frozenset({"boxes", "polygons", "points", "masks"})
_SUFFIXES: Final = ("_labels", "_rotation", "_other")
_LEFT_OUT: Final = frozenset({"project", "item_id", "item_key", "raw"})
"""Columns of ``labels`` that a JSON cell leaves out, because the row has them or because they are long."""


def kind_of_type(label_type: str) -> Kind:
    """Return the kind of a field's column, by the type of the field's labels."""
    if label_type in CLASSIFICATION_TYPES:
        return "classes"
    if label_type == "keypoint":
        return "points"
    known = LABEL_TYPES.get(label_type)
    return _OF_NEED.get(known.needs[0], "json") if known and known.needs else "json"


def renamed(schema: LabelSchema, field_mapping: Mapping[str, str]) -> dict[str, list[LabelField]]:
    """Return the fields of a schema by the names under which they land; several fields may land under one name."""
    fields: dict[str, list[LabelField]] = {}
    for name, field in schema.fields.items():
        of_type = field_mapping.get(f"type:{OF_FIELD[field.type].name}") if field.type in OF_FIELD else None
        fields.setdefault(field_mapping.get(name) or of_type or name, []).append(field)
    return fields


class LabelColumns:
    """The columns of labels. Labels that fit in none of them add further columns.

    :param columns: columns by name
    """

    def __init__(self, columns: Mapping[str, LakeColumn]) -> None:
        self._kinds: dict[str, Kind] = {name: column.kind for name, column in columns.items()}
        self._classes = {
            name: {class_: place for place, class_ in enumerate(column.classes)}
            for name, column in columns.items()
            if column.kind == "classes"
        }

    @classmethod
    def of_schema(cls, schema: LabelSchema, field_mapping: Mapping[str, str]) -> LabelColumns:
        """Return the columns for a label schema.

        :param schema: label schema of the project
        :param field_mapping: new names of fields, see ``landing.shaping``
        :raises AnnotationError: two columns would have the same name, or merged fields hold different kinds of values
        """
        columns: dict[str, LakeColumn] = {}

        def add(name: str, column: LakeColumn) -> None:
            if name in columns:
                raise AnnotationError(
                    f"Two columns of the Deep Lake dataset would be named {name!r}: give a field another name with "
                    "field_mapping."
                )
            columns[name] = column

        renamed_fields = renamed(schema, field_mapping)
        for name, fields in renamed_fields.items():
            if any(f"{name}{suffix}" in renamed_fields for suffix in _SUFFIXES):
                raise AnnotationError(
                    f"The names of columns that come with the field {name!r} ({', '.join(_SUFFIXES)} added) are those "
                    "of other fields: give one of them another name with field_mapping."
                )
            kinds = {_kind_of_field(field) for field in fields}
            if len(kinds) > 1:
                raise AnnotationError(
                    f"The fields that field_mapping names {name!r} hold {' and '.join(sorted(kinds))}, which cannot be "
                    "in one column of a Deep Lake dataset: give them different names."
                )
            (kind,) = kinds
            classes = tuple(dict.fromkeys(class_ for field in fields for class_ in field.classes))
            add(name, LakeColumn(kind, classes if kind == "classes" else ()))
            if kind in _SHAPES:
                add(f"{name}_labels", LakeColumn("classes", classes))
            attributes: dict[str, LabelAttribute] = {}
            for field in fields:
                attributes |= field.attributes
            for attribute_name, attribute in attributes.items():
                add(f"{name}/{attribute_name}", _column_of_attribute(attribute))
        return cls(columns)

    @property
    def extent(self) -> tuple[int, int]:
        """Number of columns and number of classes, which can only grow."""
        return len(self._kinds), sum(map(len, self._classes.values()))

    @property
    def columns(self) -> dict[str, LakeColumn]:
        """All columns by name, including those that labels have added."""
        return {name: LakeColumn(kind, tuple(self._classes.get(name, ()))) for name, kind in self._kinds.items()}

    def cells(self, labels: Iterable[Row], size: tuple[int, int] | None) -> Cells:
        """Return the cells of a row, for all columns.

        :param labels: rows of the ``labels`` table on this image or frame, with the names under which fields land
        :param size: height and width of the picture in pixels, None if unknown
        """
        of_fields: dict[str, list[Row]] = defaultdict(list)
        for label in labels:
            of_fields[label["field"]].append(label)
        found: Cells = {}
        for field, rows in of_fields.items():
            kind = self._kinds.setdefault(field, kind_of_type(rows[0]["type"]))
            fitting = [row for row in rows if kind_of_type(row["type"]) == kind]
            others = [row for row in rows if kind_of_type(row["type"]) != kind]
            if fitting:
                found |= self._field_cells(field, kind, fitting, size)
            if others:
                self._kinds.setdefault(f"{field}_other", "json")
                found[f"{field}_other"] = _encode(others)
        return {name: found.get(name, empty_cell(kind)) for name, kind in self._kinds.items()}

    def _field_cells(self, field: str, kind: Kind, rows: Sequence[Row], size: tuple[int, int] | None) -> Cells:
        cells: Cells = {}
        if kind == "json":
            return {field: _encode(rows)}
        if kind == "classes":
            cells[field] = self._places(field, [class_ for row in rows for class_ in row["labels"] or [row["label"]]])
        elif kind in ("number", "text"):
            cells[field] = rows[-1][kind]
        else:
            cells[field] = _shapes(kind, rows, size)
            cells[f"{field}_labels"] = self._places(f"{field}_labels", [row["label"] for row in rows])
        if kind == "boxes" and any(row["rotation"] for row in rows):
            self._kinds.setdefault(f"{field}_rotation", "numbers")
            cells[f"{field}_rotation"] = np.array([row["rotation"] or 0.0 for row in rows], np.float32)
        return cells | self._attribute_cells(field, rows)

    def _attribute_cells(self, field: str, rows: Sequence[Row]) -> Cells:
        said = [attributes_of(row) for row in rows]
        cells: Cells = {}
        for name in dict.fromkeys(name for one in said for name in one):
            column, answers = f"{field}/{name}", [one.get(name) for one in said]
            kind = self._kinds.setdefault(column, "json")
            if kind == "classes":
                cells[column] = self._places(column, answers)
            elif kind == "numbers":
                cells[column] = np.array([_number(answer) for answer in answers], np.float32)
            else:
                cells[column] = json.dumps(answers, ensure_ascii=False)
        return cells

    def _places(self, column: str, classes: Iterable[Any]) -> Any:
        """Return the indexes of classes in the column's list; missing classes are added at its end."""
        self._kinds.setdefault(column, "classes")
        known = self._classes.setdefault(column, {})
        places = [UNKNOWN_CLASS if class_ is None else known.setdefault(str(class_), len(known)) for class_ in classes]
        return np.array(places, np.int32)


def _kind_of_field(field: LabelField) -> Kind:
    types = [OF_FIELD[field.type].name] if field.type in OF_FIELD else field.label_types
    kinds = {kind_of_type(type_) for type_ in types}
    return kinds.pop() if len(kinds) == 1 else "json"


def _column_of_attribute(attribute: LabelAttribute) -> LakeColumn:
    if attribute.type in ("radio", "select"):
        return LakeColumn("classes", attribute.values)
    return LakeColumn("numbers" if attribute.type == "number" else "json")


def _number(answer: Any) -> float:
    return float(answer) if isinstance(answer, (int, float)) else np.nan


def _encode(rows: Iterable[Row]) -> str:
    kept = [{name: value for name, value in row.items() if value is not None and name not in _LEFT_OUT} for row in rows]
    return json.dumps(kept, ensure_ascii=False)


def _shapes(kind: Kind, rows: Sequence[Row], size: tuple[int, int] | None) -> Any:
    if kind == "boxes":
        return np.array([row["bbox"] for row in rows], np.float32)
    if kind == "polygons":
        return [np.array(row["points"], np.float32) for row in rows]
    if kind == "points":
        return np.array([row["points"][0] for row in rows], np.float32)
    masks = [RLE((row["mask_size"][0], row["mask_size"][1]), row["mask_counts"]) for row in rows]
    return np.stack([_sized(rle_to_mask(mask), size or masks[0].size) for mask in masks], axis=-1)


def _sized(mask: Any, size: tuple[int, int]) -> Any:
    """Return a mask in the size of its picture, since masks of tools may have another size."""
    if mask.shape == size:
        return mask
    rows, columns = ((np.arange(to) + 0.5) * of // to for to, of in zip(size, mask.shape, strict=True))
    return mask[np.ix_(rows.astype(np.int64), columns.astype(np.int64))]
