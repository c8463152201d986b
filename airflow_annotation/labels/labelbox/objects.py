"""Converts the objects and answers of Labelbox's labels to columns of the ``labels`` table.

Objects are grouped by their kind, and the geometries of a group become whole columns. At the end, the rows of all
groups return to the original order. Labelbox counts in pixels, the table in fractions of the media's size.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from statistics import fmean
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.labels.arrays import FloatArray
from airflow_annotation.labels.columns import (
    Columns,
    check_finite,
    class_columns,
    concat_columns,
    mask_columns,
    string_column,
)
from airflow_annotation.labels.labelbox.documents import may_have_own, own_attributes, page_of
from airflow_annotation.labels.labelbox.features import PATH_SEPARATOR, Ontology, Tool
from airflow_annotation.labels.labelbox.kinds import CHOICE_TOOLS, GEOMETRIES, KIND_OF_GEOMETRY
from airflow_annotation.labels.labelbox.mask_files import MaskFetcher, read_masks
from airflow_annotation.labels.labelbox.records import Answer, Choice, Object, Point
from airflow_annotation.labels.mask_budget import DEFAULT_BUDGET, MaskBudget
from airflow_annotation.labels.masks import RLE
from airflow_annotation.labels.submissions import SCORE
from airflow_annotation.labels.types import DIRECTION, OTHER


def read_objects(
    objects: Sequence[Object],
    sizes: FloatArray,
    ontology: Ontology,
    fetch: MaskFetcher | None,
    budget: MaskBudget = DEFAULT_BUDGET,
) -> Columns:
    """Convert objects to columns, with a row for each.

    An object that no rule covers becomes a row of type ``other``, to which the caller adds the raw record.

    :param objects: one or more objects
    :param sizes: width and height of each object's media in pixels, NaN if not known
    :param ontology: ontology of the project
    :param fetch: function that gets the files of masks
    :param budget: limits for the size of a mask
    :raises ValueError: the file of a mask is not an image; the message names it
    """
    has_own = may_have_own({one.annotation_kind for one in objects})
    sizes = _with_pages(objects, sizes) if has_own else sizes
    groups = _group(objects, np.isnan(sizes[:, 0] + sizes[:, 1]))
    read: list[tuple[Sequence[int], Columns]] = []
    for shape, rows in groups.items():
        if shape != OTHER and GEOMETRIES[shape].read is None:
            masks = read_masks([getattr(objects[row], shape) for row in rows], fetch, _budgets(sizes[rows], budget))
            read.extend(_mask_group(shape, rows, masks))
        else:
            read.extend(_shape_group(shape, rows, objects, sizes))
    columns = concat_columns([columns for _, columns in read])
    if len(read) > 1:
        order = pa.array(np.argsort(np.concatenate([rows for rows, _ in read])))
        columns = {name: column.take(order) for name, column in columns.items()}
    columns |= _tool_columns(objects, columns["type"], ontology)
    columns["label_id"] = pa.array([one.feature_id for one in objects], pa.string())
    columns["parent_label_id"] = string_column([one.parent_id for one in objects])
    if has_own:
        pages = [None if one.page_number is None else page_of(one.page_number) for one in objects]
        named = columns.get("target", pa.nulls(len(objects), pa.string()))
        columns["target"] = pc.coalesce(pa.array(pages, pa.string()), named)
    attributes = _attributes_column(objects, columns["type"], ontology)
    if attributes is not None:
        columns["attributes"] = attributes
    return columns


def _with_pages(objects: Sequence[Object], sizes: FloatArray) -> FloatArray:
    """Return the sizes of the objects' media, or of their pages, which Labelbox measures in points."""
    sizes = sizes.copy()
    for row, one in enumerate(objects):
        if one.page_dimensions is not None:
            sizes[row] = one.page_dimensions.width or np.nan, one.page_dimensions.height or np.nan
    return sizes


def take_apart(one: Object) -> list[Object]:
    """Split a polygon of several parts into objects, whose parent is the polygon. Return other objects unchanged."""
    parts = [part for part in one.polygon or () if not isinstance(part, Point)]
    taken = []
    for number, part in enumerate(parts):
        name = f"{one.feature_id}.{number}" if one.feature_id else None
        polygon: list[Point | list[Point]] = [*part]
        taken.append(msgspec.structs.replace(one, polygon=polygon, feature_id=name, parent_id=one.feature_id))
    return taken or [one]


def _group(objects: Sequence[Object], unsized: npt.NDArray[np.bool_]) -> dict[str, Sequence[int]]:
    """Return the row numbers of the objects of each shape, ``other`` for objects without a shape."""
    kinds = {one.annotation_kind for one in objects}
    if len(kinds) == 1 and not unsized.any():
        (kind,) = kinds
        shape = next((name for name, geometry in GEOMETRIES.items() if kind and kind == geometry.kind), OTHER)
        if shape != OTHER and None not in map(attrgetter(shape), objects):
            return {shape: range(len(objects))}
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for row, one in enumerate(objects):
        shape = _shape_of(one)
        lacking = (one.page_number is not None and one.page_dimensions is None) or (
            shape != OTHER and GEOMETRIES[shape].is_flat and unsized[row]
        )
        lacking |= shape == "polygon" and not all(isinstance(point, Point) for point in one.polygon or ())
        groups[OTHER if lacking else shape].append(row)
    return dict(groups)


def _budgets(sizes: FloatArray, budget: MaskBudget) -> list[MaskBudget]:
    return [budget if np.isnan(width + height) else budget.of_item(width, height) for width, height in sizes.tolist()]


def _mask_group(
    shape: str, rows: Sequence[int], masks: Sequence[RLE | None]
) -> Iterator[tuple[Sequence[int], Columns]]:
    """Yield the row numbers of readable masks with their columns, and the row numbers of the others."""
    read = [(row, mask) for row, mask in zip(rows, masks, strict=True) if mask is not None]
    odd = [row for row, mask in zip(rows, masks, strict=True) if mask is None]
    columns = mask_columns([mask for _, mask in read])
    yield [row for row, _ in read], {"type": pa.repeat(GEOMETRIES[shape].type, len(read)), **columns}
    if odd:
        yield odd, {"type": pa.repeat(OTHER, len(odd))}


def _shape_group(
    shape: str, rows: Sequence[int], objects: Sequence[Object], sizes: FloatArray
) -> Iterator[tuple[Sequence[int], Columns]]:
    """Yield the row numbers of a group with their columns, and the row numbers of objects that no column can hold."""
    odd: Sequence[int] = rows
    if shape != OTHER:
        try:
            yield rows, _shape_columns(shape, rows, objects, sizes)
            odd = ()
        except (ValueError, OverflowError):
            fit = [row for row in rows if _fits(shape, row, objects, sizes)]
            odd = sorted(set(rows) - set(fit))
            yield fit, _shape_columns(shape, fit, objects, sizes)
    if odd:
        yield odd, {"type": pa.repeat(OTHER, len(odd))}


def _shape_columns(shape: str, rows: Sequence[int], objects: Sequence[Object], sizes: FloatArray) -> Columns:
    read = GEOMETRIES[shape].read
    if read is None:
        raise ValueError(f"{shape} is read from files.")
    with np.errstate(all="ignore"):
        columns = read([getattr(objects[row], shape) for row in rows], sizes[rows])
    check_finite(columns)
    return {"type": pa.repeat(GEOMETRIES[shape].type, len(rows)), **columns}


def _fits(shape: str, row: int, objects: Sequence[Object], sizes: FloatArray) -> bool:
    try:
        _shape_columns(shape, [row], objects, sizes)
    except (ValueError, OverflowError):
        return False
    return True


def _tool_columns(objects: Sequence[Object], types: pa.Array, ontology: Ontology) -> Columns:
    """Return the columns that follow from the tool: field, class, and whether masks are instances or a segmentation."""
    names = [one.feature_schema_id or one.name for one in objects]
    encoded = pa.array(names, pa.string()).dictionary_encode()
    tools = []
    for name in encoded.dictionary.to_pylist():
        one = objects[names.index(name)]
        tool = ontology.find_tool(one.feature_schema_id, one.name)
        kind = KIND_OF_GEOMETRY.get(_shape_of(one)) or one.annotation_kind or OTHER
        unknown = Tool(kind=kind, name=one.name, field=kind, label=one.name)
        if kind in CHOICE_TOOLS:
            unknown = msgspec.structs.replace(unknown, field=one.name, label="")
        tools.append(tool or unknown)
    columns = {
        "field": pa.array([tool.field for tool in tools], pa.string()).take(encoded.indices),
        "label": pa.array([tool.label or None for tool in tools], pa.string()).take(encoded.indices),
    }
    segmented = [tool.mask_target is not None for tool in tools]
    if any(segmented):
        painted = pc.and_(pc.equal(types, "instance"), pa.array(segmented).take(encoded.indices))
        columns["type"] = pc.if_else(painted, "segmentation", types)
    return columns


def _shape_of(one: Object) -> str:
    return next((name for name in GEOMETRIES if getattr(one, name) is not None), OTHER)


# Answers


def read_answers(answers: Sequence[Answer], ontology: Ontology) -> Columns:
    """Convert answers to questions about items to columns, with a row for each.

    :param answers: one or more answers
    :param ontology: ontology of the project
    """
    rows = [_read_answer(answer, ontology) for answer in answers]
    columns = class_columns([row.classes for row in rows])
    columns |= {
        "type": string_column([row.type for row in rows]),
        "field": string_column([row.field for row in rows]),
        "number": pa.array([row.number for row in rows], pa.float64()),
        "text": pa.array([row.text for row in rows], pa.string()),
        "label_id": pa.array([answer.feature_id for answer in answers], pa.string()),
        "target": string_column([answer.message_id for answer in answers]),
    }
    columns["attributes"] = pa.array([_document(row.attributes) for row in rows], pa.string())
    return columns


class _AnswerRow(msgspec.Struct):
    type: str
    field: str
    classes: list[str] | None = None
    number: float | None = None
    text: str | None = None
    attributes: dict[str, Any] = {}


def _read_answer(answer: Answer, ontology: Ontology) -> _AnswerRow:
    field = ontology.find_field(answer.feature_schema_id, answer.name) or answer.name or OTHER
    value, attributes = _read_value(answer, "", ontology)
    score = _score(answer)
    if score is not None:
        attributes = {SCORE: score, **attributes}
    if isinstance(value, list):
        return _AnswerRow("classifications", field, classes=value, attributes=attributes)
    if isinstance(value, float):
        return _AnswerRow("scalar", field, number=value, attributes=attributes)
    if answer.radio is not None and ontology.is_rating(answer.feature_schema_id, answer.name):
        rating = _read_number(answer.radio.name)
        if rating is not None:
            return _AnswerRow("rating", field, number=rating, attributes=attributes)
    if answer.radio is not None:
        return _AnswerRow("classification", field, classes=[answer.radio.name], attributes=attributes)
    return _AnswerRow(OTHER if value is None else "text", field, text=value, attributes=attributes)


def _score(answer: Answer) -> float | None:
    """Return a model's confidence in an answer: the mean for several choices."""
    choices = [answer.radio] if answer.radio is not None else answer.checklist or []
    said = [choice.confidence for choice in choices if choice.confidence is not None]
    if said:
        return fmean(said)
    return answer.confidence if answer.text is None or answer.text.confidence is None else answer.text.confidence


def _read_value(answer: Answer, path: str, ontology: Ontology) -> tuple[str | float | list[str] | None, dict[str, Any]]:
    """Return an answer, and the answers that it led to, by path."""
    choices: Sequence[Choice] = [answer.radio] if answer.radio is not None else answer.checklist or ()
    further: dict[str, Any] = {}
    for choice in choices:
        below = PATH_SEPARATOR.join([*([path] if path else []), *([choice.name] if choice.name else []), ""])
        further |= read_attributes(choice.classifications, ontology, below)
    if answer.radio is not None:
        return answer.radio.name, further
    if answer.checklist is not None:
        return [choice.name for choice in answer.checklist], further
    if answer.text is None:
        return None, {}
    further = read_attributes(answer.text.classifications, ontology, path + PATH_SEPARATOR if path else "")
    if ontology.is_number(answer.feature_schema_id, answer.name):
        number = _read_number(answer.text.content)
        return answer.text.content if number is None else number, further
    return answer.text.content, further


def _read_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def read_attributes(answers: Iterable[Answer], ontology: Ontology, path: str = "") -> dict[str, Any]:
    """Return answers by the names of their questions.

    The name of an answer that another one led to is its path: question, answer, question. If the first question is
    about the item, its answer is a row of its own, and the path begins with that answer.
    """
    read: dict[str, Any] = {}
    for answer in answers:
        name = path + answer.name
        value, further = _read_value(answer, name, ontology)
        read |= {name: value, **further}
    return read


def _attributes_column(objects: Sequence[Object], types: pa.Array, ontology: Ontology) -> pa.Array | None:
    answered = any(map(attrgetter("classifications"), objects))
    scored = set(map(attrgetter("confidence"), objects)) != {None}
    has_own = may_have_own({one.annotation_kind for one in objects})
    own = [own_attributes(one) if has_own else {} for one in objects]
    if not answered and not scored and not any(own) and not pc.any(pc.equal(types, "relation")).as_py():
        return None
    documents = []
    for one, said in zip(objects, own, strict=True):
        attributes = read_attributes(one.classifications, ontology) | said
        if one.confidence is not None:
            attributes = {SCORE: one.confidence, **attributes}
        if one.unidirectional_relationship is not None:
            attributes[DIRECTION] = "right"
        if one.bidirectional_relationship is not None:
            attributes[DIRECTION] = "bi"
        documents.append(_document(attributes))
    return pa.array(documents, pa.string())


def _document(attributes: dict[str, Any]) -> str | None:
    return msgspec.json.encode(attributes).decode() if attributes else None
