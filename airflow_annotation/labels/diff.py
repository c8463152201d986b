"""Changes of labels from one landing to another: added, changed, deleted, unchanged, or still unreviewed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.labels.arrays import BoolArray, IntArray
from airflow_annotation.labels.tables import JSON_COLUMNS, LABELS, NOT_SUBMITTED

TOLERANCE: Final = 1e-6
"""Difference up to which two numbers count as equal, because tools convert coordinates to percent and back."""

_ORIGIN: Final = frozenset(
    (
        *("project", "item_id", "item_key", "annotation_id", "origin", "ordinal", "label_id", "field", "target"),
        *("track_id", "frame", "tool_frame", "is_keyframe", "label_origin", "raw"),
    )
)
COMPARED: Final = tuple(name for name in LABELS.names if name not in _ORIGIN)
"""The columns with the content of a label. The others say where it came from, and its names and ids."""

DIFFERENCES: Final = pa.schema(
    [
        pa.field("change", pa.string(), nullable=False),
        pa.field("item_key", pa.string(), nullable=False),
        pa.field("field", pa.string(), nullable=False),
        pa.field("label_id", pa.string(), nullable=False),
        pa.field("frame", pa.int32()),
        pa.field("annotator_before", pa.string()),
        pa.field("annotator_after", pa.string()),
        pa.field("columns", pa.list_(pa.string())),
        pa.field("row_before", pa.int64()),
        pa.field("row_after", pa.int64()),
    ]
)
"""``change`` is ``added``, ``changed``, ``deleted``, ``unchanged``, ``unreviewed`` or ``ambiguous``; ``columns`` are
the columns that differ; ``row_before`` and ``row_after`` are the label's rows in the two ``labels`` tables."""

_KEY: Final = ("item_key", "label_id", "field", "frame")
_ANNOTATION: Final = ("project", "annotation_id", "origin")
_NOWHERE: Final = -1
_ROW: Final = "row"


def diff_labels(before: Mapping[str, pa.Table], after: Mapping[str, pa.Table]) -> pa.Table:
    """Compare the labels of two landings: one row for each label, see :data:`DIFFERENCES`.

    Labels are the same if item, label id, field and, in a video, frame agree. Label ids are unique only within an
    annotation. If labels of several people share an id, because they all started from one prediction, the annotator has
    to agree as well. If a label still has no single counterpart, it is ``ambiguous``, on either side; it is never
    guessed.

    Labels of submissions that are drafts or were skipped are left out. A label that is not in ``after`` is
    ``unreviewed`` while nobody has submitted anything for its item there: the item was not opened, or was skipped. It
    is ``deleted`` if somebody did, or if its submission is gone from its project.

    Numbers are compared to within :data:`TOLERANCE`. Scores and other attributes count as parts of a label.

    :param before: tables ``labels`` and ``annotations`` of a landing, as
        :func:`~airflow_annotation.datasets.parquet.read_dataset` returns them. Without ``annotations``, or for
        predictions, the annotators are not known
    :param after: same tables of a later landing, of the same project or another one with the same items. Without
        ``annotations``, labels that are not in ``labels`` are deleted. If it has no labels of predictions, leave their
        ``annotations`` out too, as :func:`diff_predictions` does
    """
    sides = (_submitted_labels(before), _submitted_labels(after))
    annotators = tuple(
        _annotators(labels, tables.get("annotations")) for labels, tables in zip(sides, (before, after), strict=True)
    )
    keys = _codes([[labels[name] for name in _KEY] for labels in sides])
    own_keys = _codes([[pa.chunked_array([pa.array(keys[side])]), annotators[side]] for side in range(2)])
    partners = np.full(len(sides[0]), _NOWHERE)
    _match(keys, partners)
    _match(own_keys, partners)
    found = np.flatnonzero(partners != _NOWHERE)
    rows = (found, partners[found])
    left = [np.setdiff1d(np.arange(len(sides[side])), rows[side]) for side in range(2)]
    ambiguous = [np.isin(keys[side][left[side]], keys[1 - side][left[1 - side]]) for side in range(2)]

    columns = _changed_columns(sides[0].take(pa.array(rows[0])), sides[1].take(pa.array(rows[1])))
    changes = np.concatenate(
        [
            np.where([bool(names) for names in columns], "changed", "unchanged"),
            np.where(ambiguous[0], "ambiguous", _missing(sides[0].take(pa.array(left[0])), after)),
            np.where(ambiguous[1], "ambiguous", "added"),
        ]
    )
    none = [np.full(len(one), _NOWHERE) for one in left]
    places = (np.concatenate([rows[0], left[0], none[1]]), np.concatenate([rows[1], none[0], left[1]]))
    return _table(sides, annotators, places, changes.astype(object), [*columns, *[None] * sum(map(len, left))])


def diff_predictions(landing: Mapping[str, pa.Table]) -> pa.Table:
    """Compare predictions with what people made of them: one row for each label, see :func:`diff_labels`.

    :param landing: the tables ``labels`` and ``annotations`` of a landing with ``include_predictions=True``
    """
    before, after = (
        {name: landing[name].filter(pc.field("origin") == origin) for name in ("labels", "annotations")}
        for origin in ("prediction", "person")
    )
    return diff_labels(before, {**landing, **after})


def _missing(rows: pa.Table, after: Mapping[str, pa.Table]) -> npt.NDArray[Any]:
    """Return for each label that is not in the later landing whether it is ``deleted`` or ``unreviewed``."""
    annotations = after.get("annotations")
    if annotations is None:
        return np.full(len(rows), "deleted")
    counts = annotations.filter(pc.invert(_is_in(annotations["status"], pa.array(NOT_SUBMITTED))))
    deleted = _is_in(rows["item_key"], counts["item_key"])
    theirs, ours = _codes([[table[name] for name in _ANNOTATION] for table in (annotations, rows)])
    projects = pa.chunked_array(
        [chunk for name in ("items", "annotations") if name in after for chunk in after[name]["project"].chunks],
        pa.string(),
    )
    gone = pc.and_(pc.equal(rows["origin"], "person"), _is_in(rows["project"], projects))
    gone = pc.and_(gone, pa.array(~np.isin(ours, theirs)))
    return np.where(pc.or_(deleted, gone).to_numpy(), "deleted", "unreviewed")


def _submitted_labels(tables: Mapping[str, pa.Table]) -> pa.Table:
    """Return the labels with their row numbers in the table, without those of drafts and skipped submissions."""
    labels, annotations = _with_all_columns(tables["labels"]), tables.get("annotations")
    labels = labels.append_column(_ROW, pa.array(np.arange(len(labels))))
    if annotations is None:
        return labels
    annotations = annotations.filter(_is_in(annotations["status"], pa.array(NOT_SUBMITTED)))
    ours, theirs = _codes([[table[name] for name in _ANNOTATION] for table in (labels, annotations)])
    return labels.filter(pa.array(~np.isin(ours, theirs))).combine_chunks()


def _is_in(column: pa.ChunkedArray, values: Any) -> pa.ChunkedArray:
    return pc.is_in(column, value_set=values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values)


def _with_all_columns(labels: pa.Table) -> pa.Table:
    """Return labels with the columns and types of the ``labels`` table. A missing rotation becomes 0 degrees."""
    columns = {
        field.name: labels[field.name].cast(field.type)
        if field.name in labels.column_names
        else pa.nulls(len(labels), field.type)
        for field in LABELS
    }
    return pa.table({**columns, "rotation": pc.fill_null(columns["rotation"], 0.0)}).combine_chunks()


def _annotators(labels: pa.Table, annotations: pa.Table | None) -> pa.ChunkedArray:
    """Return the annotator of each label, null if not known."""
    if annotations is None:
        return pa.chunked_array([pa.nulls(len(labels), pa.string())])
    ours, theirs = _codes([[table[name] for name in _ANNOTATION] for table in (labels, annotations)])
    place = pc.index_in(pa.array(ours), value_set=pa.array(theirs))
    return annotations["annotator"].take(place)


def _codes(sides: Sequence[Sequence[pa.ChunkedArray]]) -> tuple[IntArray, IntArray]:
    """Number the rows of two tables: rows that are equal in all columns get the same number. Nulls are equal."""
    length = len(sides[0][0])
    codes = np.zeros(length + len(sides[1][0]), np.int64)
    for columns in zip(*sides, strict=True):
        both = _whole(pa.chunked_array([chunk for column in columns for chunk in column.chunks], columns[0].type))
        indices = both.dictionary_encode("encode").indices.to_numpy(zero_copy_only=False)
        _, codes = np.unique(codes * (indices.max(initial=0) + 1) + indices, return_inverse=True)
    return codes[:length], codes[length:]


def _match(keys: tuple[IntArray, IntArray], partners: IntArray) -> None:
    """Add pairs of rows to ``partners``: rows without a partner whose key occurs once on each side."""
    rows = (np.flatnonzero(partners == _NOWHERE), np.setdiff1d(np.arange(len(keys[1])), partners))
    unique = []
    for side in range(2):
        values, first, counts = np.unique(keys[side][rows[side]], return_index=True, return_counts=True)
        unique.append((values[counts == 1], rows[side][first[counts == 1]]))
    _, before, after = np.intersect1d(unique[0][0], unique[1][0], assume_unique=True, return_indices=True)
    partners[unique[0][1][before]] = unique[1][1][after]


# What changed


def _changed_columns(before: pa.Table, after: pa.Table) -> list[list[str]]:
    """Return the columns in which the rows of two tables differ, for each row."""
    differs = np.column_stack(
        [_differs(before[name], after[name], is_json=name in JSON_COLUMNS["labels"]) for name in COMPARED]
    )
    names = np.array(COMPARED, object)
    columns: list[list[str]] = [[] for _ in range(len(before))]
    for row in np.flatnonzero(differs.any(axis=1)).tolist():
        columns[row] = names[differs[row]].tolist()
    return columns


def _differs(before: pa.ChunkedArray, after: pa.ChunkedArray, *, is_json: bool) -> BoolArray:
    if before.null_count == after.null_count == len(before):
        return np.zeros(len(before), np.bool_)
    differs = _arrays_differ(_whole(before), _whole(after))
    if is_json:
        for row in np.flatnonzero(differs).tolist():
            differs[row] = json.loads(before[row].as_py() or "{}") != json.loads(after[row].as_py() or "{}")
    return differs


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _arrays_differ(before: pa.Array, after: pa.Array) -> BoolArray:
    """Return for each row whether two columns differ: in null, in length, or in a value by more than the tolerance."""
    missing = before.is_null().to_numpy(zero_copy_only=False), after.is_null().to_numpy(zero_copy_only=False)
    differs: BoolArray = missing[0] != missing[1]
    if pa.types.is_list(before.type):
        lengths = [
            pc.fill_null(pc.list_value_length(side), 0).to_numpy(zero_copy_only=False) for side in (before, after)
        ]
        differs |= lengths[0] != lengths[1]
        same = pa.array(~differs)
        before, after = before.filter(same), after.filter(same)
        rows = np.repeat(np.flatnonzero(~differs), lengths[0][~differs])
        differs[rows[_arrays_differ(before.flatten(), after.flatten())]] = True
        return differs
    both = ~missing[0] & ~missing[1]
    before, after = before.filter(pa.array(both)), after.filter(pa.array(both))
    if pa.types.is_floating(before.type):
        numbers = before.to_numpy(zero_copy_only=False), after.to_numpy(zero_copy_only=False)
        differs[both] = ~np.isclose(numbers[0], numbers[1], rtol=0, atol=TOLERANCE, equal_nan=True)
    else:
        differs[both] = pc.not_equal(before, after).to_numpy(zero_copy_only=False)
    return differs


def _table(
    sides: Sequence[pa.Table],
    annotators: Sequence[pa.ChunkedArray],
    places: Sequence[IntArray],
    changes: npt.NDArray[np.object_],
    columns: Sequence[list[str] | None],
) -> pa.Table:
    rows = [pa.array(place, mask=place == _NOWHERE) for place in places]
    taken = [side.take(place) for side, place in zip(sides, rows, strict=True)]
    values: dict[str, Any] = {
        name: pc.coalesce(taken[0][name], taken[1][name]) for name in ("item_key", "field", "label_id", "frame")
    }
    values |= {
        "change": pa.array(changes, pa.string()),
        "annotator_before": annotators[0].take(rows[0]),
        "annotator_after": annotators[1].take(rows[1]),
        "columns": pa.array(columns, pa.list_(pa.string())),
        "row_before": taken[0][_ROW],
        "row_after": taken[1][_ROW],
    }
    return pa.table({name: values[name] for name in DIFFERENCES.names}).cast(DIFFERENCES)
