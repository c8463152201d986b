"""Completes and checks the rows of a submission: the last step before a tool's package writes them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from airflow_annotation.labels.cells import plain_value
from airflow_annotation.labels.errors import LabelRowError
from airflow_annotation.labels.mask_budget import DEFAULT_BUDGET, MaskBudget
from airflow_annotation.labels.masks import RLE, check_rle
from airflow_annotation.labels.media import FindSize
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.submissions import SCORE, Row, Submission
from airflow_annotation.labels.types import LABEL_TYPES, LISTS_NO_CLASSES, OF_FIELD, OTHER
from airflow_annotation.labels.video import fill_times

_NUMBERS: Final = (SCORE, "number", "rotation", "time", "time_end")
_COUNTS: Final = ("frame", "frame_end", "tool_frame", "time", "time_end", "span_start", "span_end")
"""Columns that count from 0."""

_COUNT_MAX: Final = (1 << 31) - 1

_PLACE: Final = ("bbox", "points", "mask_counts", "span_start", "span_end", "time", "time_end", "target")
"""Columns with the place of a label. Two rows with one place may be answers of two fields about one region."""

_WHEN: Final = ("frame", "tool_frame", "time")


def complete_labels(
    submission: Submission,
    schema: LabelSchema,
    *,
    coordinates: str = "relative",
    frame_rate: float | None = None,
    find_size: FindSize = lambda _: (None, None),
    mask_budget: MaskBudget = DEFAULT_BUDGET,
) -> list[Row]:
    """Return a submission's rows with everything that a tool needs.

    A missing ``type`` becomes the type of the field. A missing ``label_id`` becomes a generated id, which is the same
    each time. A keypoint of several points becomes a row for each point, as it lands: ``point_index`` counts them, and
    ``parent_label_id`` is the id of its parent, or else of the row. If ``frame`` or ``time`` is missing, it follows
    from the other. ``label_origin`` is left out, because in the tool the label comes from this upload.

    :param submission: submission with the rows
    :param schema: label schema of the project
    :param coordinates: unit of ``bbox`` and ``points``: ``relative``, or ``pixels`` of the media
    :param frame_rate: frame rate of a video file, in frames per second
    :param find_size: function that returns the width and height in pixels of the media that a label's ``target`` names
    :param mask_budget: limits for the size of a mask
    :raises LabelRowError: a row could not be read, lacks a column that its type needs, or has the ``label_id`` of
        another row; its field is not in the schema; or its coordinates are in pixels and the size of its media is not
        known
    """
    if submission.problem is not None:
        raise LabelRowError(submission.problem)
    rows: list[Row] = []
    for number, given in enumerate(submission.labels):
        where = f"Label {given.get('label_id') or number} of field {given['field']!r}"
        _check_field(given, schema, where)
        row = {**given, "type": given.get("type") or _type_of(given["field"], schema, where), "label_origin": None}
        if row.get("label_id") is None:
            row["label_id"] = hashlib.blake2b(f"{submission.item_key}\n{number}".encode(), digest_size=5).hexdigest()
        if row.get("label") is None and row.get("labels") and row["type"] not in LISTS_NO_CLASSES:
            row["label"] = row["labels"][0]
        size = find_size(row.get("target"))
        _check(row, where, *size, mask_budget)
        if coordinates == "pixels":
            _make_relative(row, where, *size)
        attributes = _read_attributes(row.get("attributes"), where)
        if row.get(SCORE) is not None:
            attributes[SCORE] = row[SCORE]
        if not isinstance(attributes.get(SCORE, 0), (int, float)):
            raise LabelRowError(f"{where} has the score {attributes[SCORE]!r}, which is no number.")
        _check_order(row, attributes, where)
        row["attributes"] = _document(attributes, where) if attributes else None
        fill_times(row, frame_rate)
        rows.append(row)
    _check_ids(rows)
    _check_ends(rows)
    return _apart(rows)


def _check_field(row: Row, schema: LabelSchema, where: str) -> None:
    """Check that a row is not an answer about another row's label, which belongs into the attributes of that row.

    :raises LabelRowError: it is such an answer
    """
    name = row["field"]
    if name in schema.fields or row.get("type") == OTHER:
        return
    owners = {
        owner: name.removeprefix(f"{owner}.")
        for owner, field in schema.fields.items()
        if name.removeprefix(f"{owner}.") in field.attributes
    }
    if owners:
        attribute = next(iter(owners.values()))
        raise LabelRowError(
            f"{where}: the project asks {attribute!r} about each label of field {' or '.join(map(repr, owners))}. Put "
            f"the answer under {attribute!r} into the attributes of that label's row."
        )


def _check(row: Row, where: str, width: int | None, height: int | None, mask_budget: MaskBudget) -> None:
    """Check that a row has the columns that its type needs, with valid values.

    :raises LabelRowError: it does not
    """
    needs = LABEL_TYPES[row["type"]].needs if row["type"] in LABEL_TYPES else ()
    missing = [name for name in needs if row.get(name) is None and not (name == "label" and row.get("labels"))]
    if missing:
        raise LabelRowError(f"{where} is of type {row['type']} and has no {missing[0]}.")
    if row.get("bbox") is not None and not _has_numbers(row["bbox"], 4):
        raise LabelRowError(f"{where} has the bbox {row['bbox']}: it takes x, y, width and height.")
    if row.get("points") is not None and not row["points"]:
        raise LabelRowError(f"{where} has no point in its points.")
    if not all(_has_numbers(point, 2) for point in row.get("points") or ()):
        raise LabelRowError(f"{where} has a point that is not x and y.")
    if None in (row.get("labels") or ()):
        raise LabelRowError(f"{where} has a class without a name in its labels.")
    for name in _NUMBERS:
        if row.get(name) is not None and not math.isfinite(row[name]):
            raise LabelRowError(f"{where} has the {name} {row[name]}, which is no finite number.")
    for name in _COUNTS:
        if row.get(name) is not None and not 0 <= row[name] <= _COUNT_MAX:
            raise LabelRowError(f"{where} has the {name} {row[name]}: it counts from 0 to {_COUNT_MAX}.")
    if row.get("mask_size") is not None or row.get("mask_counts") is not None:
        _check_mask(row, where, width, height, mask_budget)
    if row["type"] == OTHER and not isinstance(_read_json(row["raw"], "a raw that is", where), dict):
        raise LabelRowError(f"{where} has a raw that is not a JSON object.")


def _check_order(row: Row, attributes: Mapping[str, Any], where: str) -> None:
    """Check that a label does not end before it starts.

    :raises LabelRowError: it does not
    """
    # In a dialogue, start and end of a span each count the characters of their own paragraph.
    several_counts = attributes.get("start") != attributes.get("end")
    for start, end in (("span_start", "span_end"), ("time", "time_end"), ("frame", "frame_end")):
        if None in (row.get(start), row.get(end)) or (start == "span_start" and several_counts):
            continue
        if row[end] < row[start]:
            raise LabelRowError(f"{where} ends before it starts: its {start} is {row[start]}, its {end} {row[end]}.")


def _check_mask(row: Row, where: str, width: int | None, height: int | None, budget: MaskBudget) -> None:
    size = row.get("mask_size")
    if size is None or row.get("mask_counts") is None or not _has_numbers(size, 2):
        raise LabelRowError(f"{where} has a mask without mask_size, which is height and width, and mask_counts.")
    mask_height, mask_width = size
    if width and height and (mask_width, mask_height) != (width, height):
        raise LabelRowError(
            f"{where}: its mask has the size {mask_width} x {mask_height}, its media {width} x {height}."
        )
    try:
        check_rle(RLE((mask_height, mask_width), row["mask_counts"]), budget)
    except ValueError as error:
        raise LabelRowError(f"{where} has a broken mask: {error}") from error


def _read_attributes(document: str | None, where: str) -> dict[str, Any]:
    attributes = plain_value(_read_json(document or "{}", "attributes that are", where))
    if attributes is not None and not isinstance(attributes, dict):
        raise LabelRowError(f"{where} has attributes that are not a JSON object.")
    return attributes or {}


def _document(attributes: Mapping[str, Any], where: str) -> str:
    try:
        return json.dumps(attributes, allow_nan=False)
    except ValueError as error:
        raise LabelRowError(f"{where} has attributes with a number that is not finite.") from error


def _read_json(document: str, what: str, where: str) -> Any:
    try:
        return json.loads(document)
    except (ValueError, RecursionError) as error:
        raise LabelRowError(f"{where} has {what} not JSON: {error}.") from error


def _has_numbers(numbers: Sequence[float | None] | None, count: int) -> bool:
    return numbers is not None and len(numbers) == count and None not in numbers


def _make_relative(row: Row, where: str, width: int | None, height: int | None) -> None:
    if not row.get("bbox") and not row.get("points"):
        return
    if not width or not height:
        raise LabelRowError(f"{where} is in pixels, and the width and height of its media are not known.")
    if row.get("bbox"):
        row["bbox"] = [length / side for length, side in zip(row["bbox"], (width, height) * 2, strict=True)]
    if row.get("points"):
        row["points"] = [[x / width, y / height] for x, y in row["points"]]


def _type_of(field: str, schema: LabelSchema, where: str) -> str:
    if field not in schema.fields:
        raise LabelRowError(
            f"{where}: the project has no such field. Its fields: {', '.join(schema.fields) or 'none'}."
        )
    type_ = schema.fields[field].type
    if type_ not in OF_FIELD:
        raise LabelRowError(f"{where} has no type, and the field does not tell it.")
    return OF_FIELD[type_].name


def _check_ids(rows: Sequence[Row]) -> None:
    """Check label ids. Two labels may share an id only as frames of a video, or if two fields class one region.

    :raises LabelRowError: two labels share an id
    """
    seen: dict[str, Row] = {}
    for row in rows:
        other = seen.setdefault(row["label_id"], row)
        if other is row or (_says_when(row) and _says_when(other)):
            continue
        if row["field"] == other["field"] or any(row.get(name) != other.get(name) for name in _PLACE):
            raise LabelRowError(
                f"Two labels have the label_id {row['label_id']!r}, of the fields {other['field']!r} and "
                f"{row['field']!r}. Give each its own, or none."
            )


def _check_ends(rows: Sequence[Row]) -> None:
    """Check that relations are between labels of the submission, which are named by label id, track id or parent.

    :raises LabelRowError: a relation is with a label that the submission does not have
    """
    relations = [row for row in rows if row["type"] == "relation"]
    ids = {row.get(name) for row in (rows if relations else ()) for name in ("label_id", "track_id", "parent_label_id")}
    for row in relations:
        for name in ("from_label_id", "to_label_id"):
            if row[name] not in ids:
                raise LabelRowError(
                    f"Label {row['label_id']!r} of field {row['field']!r} has the {name} {row[name]!r}, which no label "
                    "of the item has."
                )


def _says_when(row: Mapping[str, Any]) -> bool:
    return any(row.get(name) is not None for name in _WHEN)


def _apart(rows: Sequence[Row]) -> list[Row]:
    """Return a row for each point of a keypoint. A relation with a keypoint of several points goes to the first one."""
    several = {row["label_id"] for row in rows if row["type"] == "keypoint" and len(row["points"]) > 1}
    if not several:
        return [*rows]
    apart: list[Row] = []
    for row in rows:
        ends = {name: f"{row[name]}.0" for name in ("from_label_id", "to_label_id") if row.get(name) in several}
        if row["type"] != "keypoint" or len(row["points"]) == 1:
            apart.append({**row, **ends})
            continue
        shared = {**row, "parent_label_id": row.get("parent_label_id") or row["label_id"]}
        apart += [
            {**shared, "label_id": f"{row['label_id']}.{index}", "point_index": index, "points": [point]}
            for index, point in enumerate(row["points"])
        ]
    return apart
