"""Reads Labelbox's export into the three tables.

Lines are decoded with types and in small portions, so only one portion at a time exists as Python objects. Each portion
becomes whole Arrow columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.labels.arrays import FloatArray, IntArray
from airflow_annotation.labels.columns import (
    Columns,
    Portion,
    concat_columns,
    join_portions,
    string_column,
    time_column,
)
from airflow_annotation.labels.json_repair import repair_json
from airflow_annotation.labels.labelbox.features import Ontology
from airflow_annotation.labels.labelbox.items import REVIEW_STATUSES, frame_rate, item_columns, item_sizes
from airflow_annotation.labels.labelbox.lines import decode_rows, raw_records
from airflow_annotation.labels.labelbox.mask_files import MaskFetcher
from airflow_annotation.labels.labelbox.objects import read_answers, read_objects, take_apart
from airflow_annotation.labels.labelbox.records import (
    Answer,
    LabelDetails,
    Object,
    PerformanceDetails,
    Point,
    Project,
    TypedLabel,
    TypedRow,
)
from airflow_annotation.labels.labelbox.video import Shown, read_timeline, without_content
from airflow_annotation.labels.mask_budget import DEFAULT_BUDGET, MaskBudget
from airflow_annotation.labels.odd_values import OddValues
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.labels.types import OTHER
from airflow_annotation.labels.video import Frames

TOOL: Final = "labelbox"

_PORTION: Final = 100
"""Number of data rows to decode at once: few enough for the processor's cache."""

_BATCH_LABELS: Final = 100_000
"""Number of rows of ``labels`` at which a batch ends, even with few items, since videos have many rows."""

_MILLISECONDS: Final = 1000


@dataclass(frozen=True, kw_only=True)
class ExportSource:
    """The origin of an export, and the parts of it to read.

    :param project: URI of the project
    :param project_id: id of the project, since an export may have labels of other projects
    :param ontology: ontology of the project
    :param item_url: URL at which an item opens in the tool, with ``{item_id}``
    :param run_key: key of the annotation run, if the project has one
    :param media_type: media type of items for which the export has none
    :param namespace: namespace of the global keys, see :mod:`airflow_annotation.labels.labelbox.keys`
    :param annotator: function that returns the landed name of a person for the e-mail in the export
    :param benchmarks: ids of the labels that are ground truth, in addition to the export's own information, which
        exists only if other labels of the same item were compared with them
    :param options: parts to read; predictions are those of model runs, if the export has them
    :param fetch_masks: function that gets the files of masks
    :param mask_budget: limits for the size of a mask; a larger mask lands as its raw record
    :param odd: counter of the values that columns cannot hold
    """

    project: str
    project_id: str
    ontology: Ontology
    item_url: str
    run_key: str | None = None
    media_type: str = "unknown"
    namespace: str = ""
    annotator: Callable[[str], str] = str
    benchmarks: frozenset[str] = frozenset()
    options: ReadOptions = ReadOptions()
    fetch_masks: MaskFetcher | None = None
    mask_budget: MaskBudget = DEFAULT_BUDGET
    odd: OddValues = field(default_factory=OddValues)


def read_export(chunks: Iterable[bytes], source: ExportSource, *, batch_items: int = 1000) -> Iterator[LabelTables]:
    """Read an export, and yield batches of whole items.

    :param chunks: export as newline-delimited JSON, in pieces of any size
    :param source: origin of the export
    :param batch_items: largest number of items in a batch; a batch of long videos has fewer
    :raises ValueError: a line is not a data row, or a mask cannot be read; the message names it
    """
    portions: list[Portion] = []
    items = labels = 0
    for lines in _portions(chunks, min(_PORTION, batch_items)):
        try:
            portion = _read_portion(lines, source)
        except RecursionError:  # some decoders can read such deep nesting, and others cannot
            portion = _read_portion([repair_json(line) for line in lines], source)
        portions.append(portion)
        items += len(lines)
        labels += len(portion.label_annotations)
        if items + _PORTION > batch_items or labels >= _BATCH_LABELS:
            yield join_portions(portions, _constants(source))
            portions, items, labels = [], 0, 0
    if portions:
        yield join_portions(portions, _constants(source))


def _portions(chunks: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    lines: list[bytes] = []
    rest: list[bytes] = []
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        rest.append(first)
        if others:
            lines.append(b"".join(rest))
            lines.extend(others[:-1])
            rest = [others[-1]]
            lines = [line for line in lines if line.strip()]
            while len(lines) >= size:
                yield lines[:size]
                lines = lines[size:]
    last = b"".join(rest)
    if last.strip():
        lines.append(last)
    if lines:
        yield lines


def _constants(source: ExportSource) -> dict[str, str | None]:
    return {"project": source.project, "tool": TOOL, "run_key": source.run_key}


class _Content(NamedTuple):
    """The landed content of a label.

    :param sources: records of the export from which ``objects`` and ``answers`` come
    :param shown: time in which each of them holds, None for all the time; empty for an item without a duration
    :param rate: frames (or milliseconds) per second
    :param first_timed: ordinal of the first feature that holds only for some time
    """

    objects: Sequence[Object] = ()
    answers: Sequence[Answer] = ()
    sources: Sequence[Object | Answer] = ()
    shown: Sequence[Shown[Any] | None] = ()
    rate: float | None = None
    first_timed: int = 0


class _Entry(NamedTuple):
    """A row of ``annotations``: a Labelbox label, and the place of its item in the portion."""

    item: int
    label: TypedLabel
    content: _Content
    origin: str = "person"
    status: str = "submitted"
    ground_truth: bool = False
    model_version: str | None = None


def _read_portion(lines: Sequence[bytes], source: ExportSource) -> Portion:
    lines = list(lines)
    rows = decode_rows(lines, source.odd.note)
    projects = [row.projects.get(source.project_id) or Project() for row in rows]
    entries = [
        entry
        for item, (row, project) in enumerate(zip(rows, projects, strict=True))
        for entry in _entries(item, row, project, source)
    ]
    annotation_items = np.array([entry.item for entry in entries], dtype=np.int64)
    owners, labels = _label_columns(entries, item_sizes(rows)[annotation_items], source)
    others = pc.equal(labels["type"], OTHER)
    if source.options.keep_raw or pc.any(others).as_py():
        records: dict[int, str] = {}
        for row, line in zip(rows, lines, strict=True):
            records |= raw_records(row, line)
        raw = pa.array([records[id(one)] for entry in entries for one in entry.content.sources], pa.string())
        labels["raw"] = raw if source.options.keep_raw else pc.if_else(others, raw, None)
    items = item_columns(rows, projects, source.item_url, source.media_type, source.namespace, odd=source.odd)
    return Portion(items, _annotation_columns(entries, source), annotation_items, labels, owners)


# Entries


def _entries(item: int, row: TypedRow, project: Project[Object, Answer], source: ExportSource) -> Iterator[_Entry]:
    truths = source.benchmarks
    compared = [
        label.performance_details.benchmark_reference_label for label in project.labels if label.performance_details
    ]
    if compared.count(None) < len(compared):
        truths = truths.union(filter(None, compared))
    details, rate = project.project_details, frame_rate(row)
    status = REVIEW_STATUSES.get(details.workflow_status or "", "submitted") if details else "submitted"
    for label in _chosen(project.labels, truths, source):
        yield _Entry(
            item,
            label,
            _read_content(label, rate, source.options.frames),
            status="skipped" if label.skipped else status,
            ground_truth=label.id in truths,
        )
    for experiment in row.experiments.values() if source.options.include_predictions else ():
        for run in experiment.runs.values():
            version = "/".join(name for name in (experiment.name, run.name) if name)
            for label in run.predictions:
                content = _read_content(label, rate, source.options.frames)
                yield _Entry(item, label, content, origin="prediction", model_version=version)


def _chosen(labels: Sequence[TypedLabel], truths: frozenset[str], source: ExportSource) -> Sequence[TypedLabel]:
    if source.options.annotations == "ground_truth":
        return [label for label in labels if label.id in truths]
    if source.options.annotations == "latest" and len(labels) > 1:
        return [max(labels, key=_recency)]
    return labels


def _recency(label: TypedLabel) -> tuple[bool, str]:
    details = label.label_details or LabelDetails()
    return not label.skipped, details.updated_at or details.created_at or ""


def _read_content(label: TypedLabel, rate: float | None, wanted: Frames) -> _Content:
    annotations = label.annotations
    if annotations is None:
        return _Content()
    objects = [*annotations.objects, *annotations.relationships] if annotations.relationships else annotations.objects
    answers = annotations.classifications
    sources = objects
    polygons = [one.polygon for one in objects if one.polygon]
    if polygons and any(not isinstance(polygon[0], Point) for polygon in polygons):
        parts = [(one, part) for one in objects for part in take_apart(one)]
        sources, objects = [one for one, _ in parts], [part for _, part in parts]
    frames = annotations.frames
    if annotations.timestamp and not frames:
        frames, rate = annotations.timestamp, _MILLISECONDS
    if not frames:
        return _Content(objects, answers, [*sources, *answers] if answers else sources)
    timeline = read_timeline(frames, annotations, wanted)
    sources = [*sources, *timeline.odd_objects]
    objects = [*objects, *map(without_content, timeline.odd_objects)]
    answer_sources = [*answers, *timeline.odd_answers]
    answers = [*answers, *map(without_content, timeline.odd_answers)]
    sources = [*sources, *(one.source for one in timeline.objects)]
    return _Content(
        [*objects, *(one.record for one in timeline.objects)],
        [*answers, *(one.record for one in timeline.answers)],
        [*sources, *answer_sources, *(one.source for one in timeline.answers)],
        [*[None] * len(objects), *timeline.objects, *[None] * len(answers), *timeline.answers],
        rate,
        first_timed=len(objects) + len(answers),
    )


# Columns


def _label_columns(entries: Sequence[_Entry], sizes: FloatArray, source: ExportSource) -> tuple[IntArray, Columns]:
    """Return the place of each label's entry, and the columns of all labels."""
    contents = [entry.content for entry in entries]
    objects = list(chain.from_iterable([content.objects for content in contents]))
    answers = list(chain.from_iterable([content.answers for content in contents]))
    places = np.arange(len(entries))
    object_owners = np.repeat(places, [len(content.objects) for content in contents])
    answer_owners = np.repeat(places, [len(content.answers) for content in contents])
    parts = []
    if objects:
        parts.append(
            read_objects(objects, sizes[object_owners], source.ontology, source.fetch_masks, source.mask_budget)
        )
    if answers:
        parts.append(read_answers(answers, source.ontology))
    if not parts:
        return object_owners, {"type": pa.array([], pa.string()), "label_id": pa.array([], pa.string())}
    columns = concat_columns(parts)
    owners: IntArray = np.concatenate([object_owners, answer_owners])
    if len(parts) > 1:
        order = np.argsort(owners, kind="stable")
        owners = owners[order]
        columns = {name: column.take(pa.array(order)) for name, column in columns.items()}
    if any(content.shown for content in contents):
        columns |= _time_columns(contents)
    return owners, columns


def _time_columns(contents: Sequence[_Content]) -> Columns:
    """Return the columns of times in which labels hold, null for all the time."""
    rows: list[dict[str, Any]] = []
    for content in contents:
        if not content.shown:
            rows.extend({} for _ in chain(content.objects, content.answers))
        untimed = count()
        for shown in content.shown:
            if shown is None:
                rows.append({"ordinal": next(untimed)})
            elif content.rate == _MILLISECONDS:
                start, end = shown.start / _MILLISECONDS, shown.end / _MILLISECONDS
                rows.append({"ordinal": content.first_timed + shown.ordinal, "time": start, "time_end": end})
            else:
                ordinal = content.first_timed + shown.ordinal
                rows.append({"ordinal": ordinal, **_frame_row(shown, content.rate)})
    types = {"ordinal": pa.int32(), "is_keyframe": pa.bool_(), "track_id": pa.string()}
    types |= dict.fromkeys(("tool_frame", "frame", "frame_end"), pa.int32())
    types |= dict.fromkeys(("time", "time_end"), pa.float64())
    return {name: pa.array([row.get(name) for row in rows], type_) for name, type_ in types.items()}


def _frame_row(shown: Shown[Any], rate: float | None) -> dict[str, Any]:
    """Return the columns of a row's track, frames and times. Labelbox counts the frames of the file from 1."""
    return {
        "track_id": shown.source.feature_id,
        "tool_frame": shown.start,
        "frame": shown.start - 1,
        "frame_end": shown.end - 1,
        "time": _seconds(shown.start - 1, rate),
        "time_end": _seconds(shown.end, rate),
        "is_keyframe": shown.is_keyframe,
    }


def _seconds(frames: int, rate: float | None) -> float | None:
    seconds = frames / rate if rate else math.inf
    return seconds if math.isfinite(seconds) else None


def _annotation_columns(entries: Sequence[_Entry], source: ExportSource) -> Columns:
    details = [entry.label.label_details or LabelDetails() for entry in entries]
    performances = [entry.label.performance_details or PerformanceDetails() for entry in entries]
    people = {one.created_by: source.annotator(one.created_by) for one in details if one.created_by is not None}
    return {
        "annotation_id": pa.array([entry.label.id for entry in entries], pa.string()),
        "origin": string_column([entry.origin for entry in entries]),
        "annotator": string_column([people.get(one.created_by or "") for one in details]),
        "model_version": string_column([entry.model_version for entry in entries]),
        "status": string_column([entry.status for entry in entries]),
        "ground_truth": pa.array([entry.ground_truth for entry in entries], pa.bool_()),
        "lead_time": pa.array([one.seconds_to_create for one in performances], pa.float64()),
        "created_at": time_column([one.created_at for one in details], "created_at", source.odd),
        "updated_at": time_column([one.updated_at for one in details], "updated_at", source.odd),
    }
