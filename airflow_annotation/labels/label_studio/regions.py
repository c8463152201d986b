"""Converts the records of a Label Studio ``result`` to columns of the ``labels`` table.

Each record has the ``type`` of the tag that made it. Records are grouped by type, and the values of a group are decoded
at once into whole columns. At the end, the rows of all groups return to the original order. The format is described at
https://labelstud.io/guide/task_format.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.labels.arrays import IntArray
from airflow_annotation.labels.columns import Columns, class_columns, concat_columns, string_column
from airflow_annotation.labels.label_studio.answer_values import NOTE, read_answer
from airflow_annotation.labels.label_studio.controls import RELATION, Control, LabelingConfig
from airflow_annotation.labels.label_studio.tags import PATH_SPANS, READERS, SHAPES, TIME_RANGES
from airflow_annotation.labels.label_studio.values import PAGE, Pictures, ValueReader
from airflow_annotation.labels.mask_budget import DEFAULT_BUDGET, MaskBudget
from airflow_annotation.labels.media import page_target
from airflow_annotation.labels.types import OTHER

Controls = Mapping[str, Control | None]

_LASTING_MEDIA: Final = ("audio", "video")
_PAIRWISE: Final = "pairwise"
_TAXONOMY_SPAN: Final = "taxonomy of text"
"""Name of the group of text taxonomies, whose records have the type of answers about the item."""
_MASK: Final = "instance"


class Region(msgspec.Struct, gc=False):
    """One record of a result. Each answer about a shape is a record of its own with the shape's id."""

    type: str = ""
    value: msgspec.Raw = msgspec.Raw(b"null")
    id: str | int | None = None
    from_name: str = ""
    to_name: str = ""
    original_width: float | None = None
    original_height: float | None = None
    item_index: int | None = None
    origin: str | None = None
    parent_id: str | None = msgspec.field(name="parentID", default=None)
    score: float | None = None
    from_id: str | None = None
    to_id: str | None = None
    direction: str | None = None
    labels: list[str] | None = None
    meta: dict[str, Any] | None = None


class LabelRows(NamedTuple):
    """The label rows of some regions.

    :param regions: position of each row's region
    :param columns: columns that come from regions, by name
    """

    regions: IntArray
    columns: Columns


def read_regions(
    regions: Sequence[Region], owners: IntArray, config: LabelingConfig, budget: MaskBudget = DEFAULT_BUDGET
) -> LabelRows:
    """Convert regions to label rows.

    A region that no rule covers becomes a row of type ``other``, to which the caller adds the raw record.

    :param regions: records of any number of results, one result after the other
    :param owners: number of each record's result
    :param config: labeling config of the project
    :param budget: limits for the size of a mask
    """
    controls = {name: config.find_control(name) for name in {region.from_name for region in regions}}
    rows: IntArray = np.arange(len(regions))
    answers = _Answers({}, {})
    if any(control is not None and (control.attribute or control.tag == "labels") for control in controls.values()):
        answers, joined = _join_answers(regions, owners.tolist(), controls)
        rows = np.setdiff1d(rows, joined)
        regions = [regions[row] for row in rows.tolist()]
    columns = _read_values(regions, _Project(controls, config, budget))
    columns["label_id"] = _label_ids(regions)
    columns["parent_label_id"] = string_column([region.parent_id or None for region in regions])
    columns["field"] = _fields(regions, controls, config.relation_field)
    columns["target"] = _targets(regions, columns.pop(PAGE, None))
    columns["label_origin"] = string_column([region.origin for region in regions])
    _add_answers(columns, rows.tolist(), regions, answers)
    _add_point_indexes(columns, owners[rows].tolist(), regions, controls)
    return LabelRows(rows, columns)


def _label_ids(regions: Sequence[Region]) -> pa.Array:
    """Return the regions' ids, null for a region without one. The id of a relation consists of its ends."""
    ids = [region.id for region in regions]
    try:
        column = pa.array(ids, pa.string())
    except pa.ArrowTypeError:
        column = pa.array([None if id_ is None else str(id_) for id_ in ids], pa.string())
    if not column.null_count:
        return column
    ends = [f"{region.from_id}-{region.to_id}" if region.type == RELATION else None for region in regions]
    return pc.coalesce(column, pa.array(ends, pa.string()))


def _fields(regions: Sequence[Region], controls: Controls, relation_field: str) -> pa.Array:
    """Return the fields of the regions' controls. Without a control, the type stands for the field."""
    names = {name: control.field if control else name for name, control in controls.items()}
    if all(names.values()):
        return _by_control(names, regions)
    unnamed = {RELATION: relation_field}
    return string_column([names[region.from_name] or unnamed.get(region.type, region.type) for region in regions])


def _by_control(values: Mapping[str, str], regions: Sequence[Region]) -> pa.Array:
    """Return the value of each region's control. Most projects have only one control."""
    if len(set(values.values())) == 1:
        return pa.repeat(next(iter(values.values())), len(regions))
    return pa.array([values[region.from_name] for region in regions], pa.string())


def _targets(regions: Sequence[Region], own_pages: pa.Array | None) -> pa.Array:
    """Return the names of the media, with the page's number if one tag shows several. A pair is about two media."""
    names = [None if region.type == _PAIRWISE else region.to_name or None for region in regions]
    pages = [region.item_index for region in regions]
    if own_pages is not None:
        pages = [page if own is None else own for page, own in zip(pages, own_pages.to_pylist(), strict=True)]
    if pages.count(None) == len(pages):
        return string_column(names)
    return string_column([name and page_target(name, page) for name, page in zip(names, pages, strict=True)])


# Values


class _Project(NamedTuple):
    """Properties of all regions of a project.

    :param controls: controls by their names in regions
    :param budget: limits for the size of a mask
    """

    controls: Controls
    config: LabelingConfig
    budget: MaskBudget


class _Group(NamedTuple):
    """The regions of one type: their row numbers and columns."""

    rows: Sequence[int]
    columns: Columns


def _read_values(regions: Sequence[Region], project: _Project) -> Columns:
    labels_text = {name for name, control in project.controls.items() if control is not None and control.labels_text}
    types, to_names = {region.type for region in regions}, {region.to_name for region in regions}
    kinds = {(type_, to_name) for type_ in types for to_name in to_names}
    if len(kinds) > 1 or labels_text:
        rows_by_kind: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for row, region in enumerate(regions):
            is_span = region.type == "taxonomy" and region.from_name in labels_text
            rows_by_kind[_TAXONOMY_SPAN if is_span else region.type, region.to_name].append(row)
        groups = [
            group
            for kind, rows in rows_by_kind.items()
            for group in _read_kind(kind, rows, [regions[row] for row in rows], project)
        ]
    else:
        groups = [group for kind in kinds for group in _read_kind(kind, range(len(regions)), regions, project)]
    columns = concat_columns([group.columns for group in groups])
    if len(groups) > 1:
        order = pa.array(np.argsort(np.concatenate([group.rows for group in groups])))
        columns = {name: column.take(order) for name, column in columns.items()}
    columns.setdefault("type", pa.array([], pa.string()))
    return columns


def _read_kind(
    kind: tuple[str, str], rows: Sequence[int], regions: Sequence[Region], project: _Project
) -> Iterator[_Group]:
    """Yield groups of the regions: those whose values fit their type, and those that land as raw records."""
    type_, to_name = kind
    if type_ == RELATION:
        yield _Group(rows, _relation_columns(regions))
        return
    media = project.config.find_object(to_name)
    lasting = type_ == "labels" and media is not None and media.media_type in _LASTING_MEDIA
    reader = TIME_RANGES if lasting else PATH_SPANS if type_ == _TAXONOMY_SPAN else READERS.get(type_)
    if reader is None:
        yield _Group(rows, {"type": pa.repeat(OTHER, len(rows))})
        return
    if reader.type != _MASK:  # masks are decoded one by one, so that none is decoded twice
        try:
            yield _Group(rows, _value_columns(reader, regions, project))
        except ValueError:
            pass
        else:
            return
    for row, region in zip(rows, regions, strict=True):
        columns = _try_value(reader, region, project)
        yield _Group([row], {"type": pa.repeat(OTHER, 1)} if columns is None else columns)


def _try_value(reader: ValueReader, region: Region, project: _Project) -> Columns | None:
    """Return the columns of a region, None if its value does not fit its type."""
    try:
        return _value_columns(reader, [region], project)
    except ValueError:
        return None


def _value_columns(reader: ValueReader, regions: Sequence[Region], project: _Project) -> Columns:
    columns = reader.read([region.value for region in regions], Pictures(regions, project.budget))
    if "type" not in columns:
        types = {name: _field_type(reader.type, control) for name, control in project.controls.items()}
        columns["type"] = _by_control(types, regions)
    return columns


def _field_type(type_: str, control: Control | None) -> str:
    """Return the type of a control's labels, for records that do not contain it."""
    if type_ == "classification" and control is not None and control.takes_several:
        return "classifications"
    if type_ == "instance" and control is not None and control.numbers_classes:
        return "segmentation"
    return type_


def _relation_columns(regions: Sequence[Region]) -> Columns:
    labels = [region.labels or [] for region in regions]
    directions = [
        None if region.direction is None else msgspec.json.encode({"direction": region.direction}).decode()
        for region in regions
    ]
    return {
        "type": pa.repeat(RELATION, len(regions)),
        "label": pa.array([names[0] if names else None for names in labels], pa.string()),
        "labels": pa.array([names if len(names) > 1 else None for names in labels], pa.list_(pa.string())),
        "from_label_id": pa.array([region.from_id for region in regions], pa.string()),
        "to_label_id": pa.array([region.to_id for region in regions], pa.string()),
        "attributes": pa.array(directions, pa.string()),
    }


# Answers about regions


class _Answers(NamedTuple):
    """Answers about regions that are drawn in another record, by the position of that record.

    :param attributes: answers of attributes
    :param classes: classes that a ``Labels`` tag gave to shapes without classes
    """

    attributes: dict[int, dict[str, Any]]
    classes: dict[int, list[str]]


def _join_answers(regions: Sequence[Region], owners: Sequence[int], controls: Controls) -> tuple[_Answers, list[int]]:
    """Find the records that only add answers to another record of the same owner and id, and their positions."""
    described: dict[tuple[int, str | int | None], int] = {}
    classes: list[int] = []
    attributes: list[int] = []
    for row, region in enumerate(regions):
        control = controls[region.from_name]
        if region.id is None or control is None or not (control.attribute or control.tag == "labels"):
            described.setdefault((owners[row], region.id), row)
        else:
            (attributes if control.attribute else classes).append(row)
    answers, joined = _Answers({}, {}), []
    for row in (*classes, *attributes):
        region, control = regions[row], controls[regions[row].from_name]
        shape = described.setdefault((owners[row], region.id), row)
        answer = read_answer(region.type, region.value) if shape != row else None
        if control is None or answer is None:
            continue
        joined.append(row)
        if control.attribute is None and regions[shape].type in SHAPES and shape not in answers.classes:
            answers.classes[shape] = [str(class_) for class_ in answer]
        else:
            value = answer if control.takes_several or len(answer) != 1 else answer[0]
            answers.attributes.setdefault(shape, {})[control.attribute or control.field] = value
    return answers, joined


def _add_answers(columns: Columns, rows: Sequence[int], regions: Sequence[Region], answers: _Answers) -> None:
    """Add the answers to the rows of their regions. A region's score becomes an attribute, since it has no column."""
    if answers.classes:
        classes = [answers.classes.get(row) for row in rows]
        given = class_columns(classes)
        for name in ("label", "labels"):
            if name in given and name in columns:
                columns[name] = pc.coalesce(given[name], columns[name])
            elif name in given:
                columns[name] = given[name]
    scores = [region.score for region in regions]
    notes = [_note_of(region.meta) if region.meta else None for region in regions]  # most have none
    if not answers.attributes and scores.count(None) == notes.count(None) == len(scores):
        return
    places = columns["attributes"].to_pylist() if "attributes" in columns else [None] * len(rows)
    documents = []
    for row, score, note, said in zip(rows, scores, notes, places, strict=True):
        attributes = {} if said is None else msgspec.json.decode(said, type=dict[str, Any])
        if score is not None:
            attributes["score"] = score
        if note is not None:
            attributes[NOTE] = note
        attributes |= answers.attributes.get(row, {})
        documents.append(msgspec.json.encode(attributes).decode() if attributes else None)
    columns["attributes"] = pa.array(documents, pa.string())


def _note_of(meta: dict[str, Any]) -> str | None:
    """Return the note about a region that answers no question."""
    text = meta.get("text")
    lines = text if isinstance(text, list) else [text]
    return "\n".join(line for line in lines if isinstance(line, str) and line) or None


def _add_point_indexes(columns: Columns, owners: Sequence[int], regions: Sequence[Region], controls: Controls) -> None:
    """Number the keypoints of each parent: as the config orders their classes if these all differ, else in order."""
    groups: defaultdict[tuple[int, str, str], list[int]] = defaultdict(list)
    for row, region in enumerate(regions if "points" in columns else ()):
        if region.parent_id and region.type in ("keypoint", "keypointlabels"):
            groups[owners[row], region.parent_id, region.from_name].append(row)
    if not groups:
        return
    indexes: list[int | None] = [None] * len(regions)
    labels = columns["label"].to_pylist()
    for (_, _, from_name), rows in groups.items():
        control = controls[from_name]
        skeleton = {class_: index for index, class_ in enumerate(control.classes)} if control else {}
        classes = [labels[row] for row in rows]
        named = len(set(classes)) == len(rows) and len(skeleton) > 1 and skeleton.keys() >= set(classes)
        for place, row in enumerate(rows):
            indexes[row] = skeleton[labels[row]] if named else place
    columns["point_index"] = pa.array(indexes, pa.int32())
