"""Reads Label Studio's JSON export into the three tables.

The bytes are decoded with types and in small portions, so only one portion at a time exists as Python objects. Each
portion becomes whole Arrow columns. The format is described at https://labelstud.io/guide/export.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, Generic, TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from typing_extensions import NamedTuple  # generic, unlike that of Python 3.10

from airflow_annotation.labels.columns import (
    Columns,
    Portion,
    join_portions,
    time_column,
    whole_number,
)
from airflow_annotation.labels.json_repair import repair_json, split_records
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.odd_regions import read_region
from airflow_annotation.labels.label_studio.paragraphs import read_paragraphs
from airflow_annotation.labels.label_studio.rankings import read_rankings
from airflow_annotation.labels.label_studio.regions import Region, read_regions
from airflow_annotation.labels.label_studio.task_data import find_item_key, read_data
from airflow_annotation.labels.label_studio.video import read_videos
from airflow_annotation.labels.lenient import decode_lenient
from airflow_annotation.labels.mask_budget import DEFAULT_BUDGET, MaskBudget
from airflow_annotation.labels.odd_values import OddValues
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.tables import ITEMS, LabelTables, empty_tables
from airflow_annotation.labels.types import OTHER

TOOL: Final = "label_studio"

_PORTION: Final = 100
"""Number of tasks to decode at once: few enough for the processor's cache."""

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class ExportSource:
    """The origin of an export, and the parts of it to read.

    :param project: URI of the project
    :param config: labeling config of the project
    :param item_url: URL at which an item opens in the tool, with ``{item_id}``
    :param run_key: key of the annotation run, if the project has one
    :param options: parts to read; predictions are read if :func:`tables_from_export` gets them
    :param find_email: function that returns a person's e-mail by the id, since the export has only ids
    :param mask_budget: limits for the size of a mask; a larger mask lands as its raw record
    :param odd: counter of the values that columns cannot hold
    """

    project: str
    config: LabelingConfig
    item_url: str
    run_key: str | None = None
    options: ReadOptions = ReadOptions()
    find_email: Callable[[int], str] = str
    mask_budget: MaskBudget = DEFAULT_BUDGET
    odd: OddValues = field(default_factory=OddValues)


class _User(msgspec.Struct, gc=False):
    id: int


class _Submission(msgspec.Struct, Generic[R], gc=False):
    """An annotation, a draft or a prediction, with decoded or raw regions."""

    id: int | None = None
    result: list[R] | None = None
    task: int | None = None
    completed_by: int | _User | None = None
    user: int | str | None = None
    was_cancelled: bool = False
    ground_truth: bool | None = None
    model_version: str | None = None
    score: float | None = None
    lead_time: float | None = None
    created_at: str | None = None
    updated_at: str | None = None


class _Task(msgspec.Struct, Generic[R], gc=False):
    id: int
    data: dict[str, Any] = {}
    annotations: list[_Submission[R]] = []
    drafts: list[int | _Submission[R]] = []
    predictions: list[int | _Submission[R]] = []
    total_predictions: int | None = None
    created_at: str | None = None
    updated_at: str | None = None


_decode_task = msgspec.json.Decoder(_Task[Region]).decode
_decode_task_raw = msgspec.json.Decoder(_Task[msgspec.Raw]).decode
_decode_submission = msgspec.json.Decoder(_Submission[Region]).decode
_decode_submission_raw = msgspec.json.Decoder(_Submission[msgspec.Raw]).decode

_UNREADABLE: Final = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


def tables_from_export(
    data: bytes,
    source: ExportSource,
    *,
    unfinished: Collection[int] = (),
    predictions: Mapping[int, Sequence[msgspec.Raw]] | None = None,
) -> LabelTables:
    """Read an export in Label Studio's JSON format.

    A draft becomes a row of ``annotations`` with the status ``draft``: somebody has begun. Its labels do not land,
    because nobody has submitted them.

    :param data: export, a JSON array of tasks
    :param source: origin of the export
    :param unfinished: ids of the tasks that have submissions and wait for more, which the export does not contain
    :param predictions: JSON of each task's predictions by the task's id, if they are read too, since the export has
        only their ids
    :raises msgspec.DecodeError: the bytes are not such an export
    """
    tasks = split_records(data)
    portions = []
    for start in range(0, len(tasks), _PORTION):
        portion = tasks[start : start + _PORTION]
        try:
            portions.append(_read_portion(portion, predictions or {}, source, unfinished))
        except RecursionError:  # some decoders can read such deep nesting, and others cannot
            portion = [msgspec.Raw(repair_json(raw)) for raw in portion]
            portions.append(_read_portion(portion, predictions or {}, source, unfinished))
    return join_portions(portions, _constants(source)) if portions else empty_tables()


class _Entry(NamedTuple, Generic[R]):
    """A row of ``annotations``: a submission, the place of its item in the portion, and the regions that land."""

    item: int
    annotation_id: str
    origin: str
    status: str
    submission: _Submission[R]
    regions: list[R]


def _read_portion(
    raw_tasks: Sequence[msgspec.Raw],
    predictions: Mapping[int, Sequence[msgspec.Raw]],
    source: ExportSource,
    unfinished: Collection[int],
) -> Portion:
    records = _Records(raw_tasks, predictions, source)
    tasks = records.tasks
    entries = [entry for index, task in enumerate(tasks) for entry in _entries(index, task, source)]
    counts = [len(entry.regions) for entry in entries]
    owners = np.repeat(np.arange(len(entries)), counts)
    regions = list(chain.from_iterable([entry.regions for entry in entries]))
    read = read_rankings(read_regions(regions, owners, source.config, source.mask_budget), regions, source.config)
    data = [tasks[entry.item].data for entry in entries]
    read = read_paragraphs(read, regions, lambda region: data[owners[region]], source.config)
    if source.config.has_video:
        read = read_videos(read, regions, lambda region: data[owners[region]], source.config, source.options.frames)
    rows, labels = read
    others = pc.equal(labels["type"], OTHER)
    if source.options.keep_raw or pc.any(others).as_py():
        texts = list(records.regions())
        raw = pa.array([texts[row] for row in rows.tolist()], pa.string())
        labels["raw"] = raw if source.options.keep_raw else pc.if_else(others, raw, None)
    return Portion(
        _item_columns(tasks, source, unfinished),
        _annotation_columns(entries, source),
        np.array([entry.item for entry in entries], dtype=np.int64),
        labels,
        owners[rows],
    )


class _Records:
    """The tasks of a portion, decoded and as raw records of the export."""

    def __init__(
        self,
        raw_tasks: Sequence[msgspec.Raw],
        predictions: Mapping[int, Sequence[msgspec.Raw]],
        source: ExportSource,
    ) -> None:
        self._source = source
        read = [self._read(raw, _Task, _decode_task) for raw in raw_tasks]
        self.tasks: list[_Task[Region]] = [task for task, _ in read]
        self._raw = [raw for _, raw in read]
        self._raw_predictions: list[list[bytes]] = []
        for task in self.tasks if predictions else ():
            read = [self._read(raw, _Submission, _decode_submission) for raw in predictions.get(task.id, ())]
            task.predictions = [prediction for prediction, _ in read]
            self._raw_predictions.append([raw for _, raw in read])

    def regions(self) -> Iterator[str]:
        """Yield the raw records of all regions that land, in the order of the regions."""
        for place, raw in enumerate(self._raw):
            task = _decode_task_raw(raw)
            if self._raw_predictions:
                task.predictions = [_decode_submission_raw(prediction) for prediction in self._raw_predictions[place]]
            for entry in _entries(0, task, self._source):
                yield from (bytes(record).decode() for record in entry.regions)

    def _read(self, raw: bytes, type_: Any, decode: Callable[[bytes], Any]) -> tuple[Any, bytes]:
        """Return a task or a prediction, and its JSON, raw or repaired."""
        try:
            return decode(raw), raw
        except _UNREADABLE:
            pass
        repaired = decode_lenient(repair_json(raw), type_[msgspec.Raw], self._source.odd.note)
        raw = msgspec.json.encode(repaired)
        submissions = (
            [repaired] if type_ is _Submission else [*repaired.annotations, *repaired.drafts, *repaired.predictions]
        )
        for submission in submissions:
            if not isinstance(submission, int):
                submission.result = [read_region(record) for record in submission.result or ()]
        return repaired, raw


def _entries(item: int, task: _Task[R], source: ExportSource) -> Iterator[_Entry[R]]:
    for place, submission in enumerate(_chosen(task.annotations, source)):
        status = "skipped" if submission.was_cancelled else "submitted"
        yield _Entry(item, _id_of(submission, task, place), "person", status, submission, submission.result or [])
    for place, draft in enumerate(task.drafts if source.options.annotations == "all" else ()):
        if not isinstance(draft, int):
            yield _Entry(item, f"draft-{_id_of(draft, task, place)}", "person", "draft", draft, [])
    for place, prediction in enumerate(task.predictions):
        if not isinstance(prediction, int):
            id_ = _id_of(prediction, task, place)
            yield _Entry(item, id_, "prediction", "submitted", prediction, prediction.result or [])


def _id_of(submission: _Submission[R], task: _Task[R], place: int) -> str:
    """Return a submission's id. Without an id, its place in the task stands for it."""
    return f"{task.id}.{place}" if submission.id is None else str(submission.id)


def _chosen(submissions: list[_Submission[R]], source: ExportSource) -> list[_Submission[R]]:
    if source.options.annotations == "ground_truth":
        return [submission for submission in submissions if submission.ground_truth]
    if source.options.annotations == "latest" and len(submissions) > 1:
        return [max(submissions, key=lambda one: (not one.was_cancelled, one.updated_at or "", one.id or 0))]
    return submissions


# Columns


def _constants(source: ExportSource) -> dict[str, str | None]:
    media_type = next((media.media_type for media in source.config.main_objects), "unknown")
    return {"project": source.project, "tool": TOOL, "run_key": source.run_key, "media_type": media_type}


def _item_columns(tasks: Sequence[_Task[Region]], source: ExportSource, unfinished: Collection[int]) -> Columns:
    facts = [read_data(task.data, _regions(task), source.config, source.odd) for task in tasks]
    ids = [str(task.id) for task in tasks]
    columns = {
        name: pa.array([fact.get(name) for fact in facts], ITEMS.field(name).type)
        for name in ("media_uri", "width", "height", "media", "frame_count", "frame_rate", "data")
    }
    keys = [find_item_key(task.data, source.config) or id_ for task, id_ in zip(tasks, ids, strict=True)]
    statuses = [_status_of(task, unfinished) for task in tasks]
    totals = [whole_number(task.total_predictions) for task in tasks]
    # The server's own count may be wrong, see hooks/label_studio/item_states.py.
    counts_read = source.options.include_predictions
    predictions = [
        len(task.predictions) if total is None or (total and counts_read) else total
        for task, total in zip(tasks, totals, strict=True)
    ]
    return columns | {
        "item_id": pa.array(ids, pa.string()),
        "item_key": pa.array(keys, pa.string()),
        "status": pa.array(statuses, pa.string()),
        "annotation_count": pa.array([len(task.annotations) for task in tasks], pa.int32()),
        "prediction_count": pa.array(predictions, pa.int32()),
        "created_at": time_column([task.created_at for task in tasks], "created_at", source.odd),
        "updated_at": time_column([_last_change(task) for task in tasks], "updated_at", source.odd),
        "item_url": pa.array([source.item_url.format(item_id=id_) for id_ in ids], pa.string()),
    }


def _regions(task: _Task[Region]) -> Iterator[Region]:
    for submission in chain(task.annotations, task.predictions):
        if not isinstance(submission, int):
            yield from submission.result or ()


def item_status(submitted: int, skipped: int, *, unfinished: bool) -> str:
    """Return an item's ``status``.

    :param submitted: its annotations, without skipped ones
    :param skipped: its skipped annotations
    :param unfinished: whether it waits for more submissions
    """
    if not submitted:
        return "skipped" if skipped else "unlabeled"
    return "partial" if unfinished else "labeled"


def _status_of(task: _Task[Region], unfinished: Collection[int]) -> str:
    skipped = sum([submission.was_cancelled for submission in task.annotations])
    return item_status(len(task.annotations) - skipped, skipped, unfinished=task.id in unfinished)


def latest(times: Iterable[str | None]) -> str | None:
    """Return the latest of some times in Label Studio's form: all in UTC, some without fractions of a second."""
    return max(filter(None, times), key=lambda time: time.rstrip("Z"), default=None)


def _last_change(task: _Task[Region]) -> str | None:
    """Return the time of an item's last change. Drafts and predictions do not change the task's own time."""
    parts = [one for one in (*task.drafts, *task.predictions) if not isinstance(one, int)]
    return latest([task.updated_at, *(part.updated_at for part in parts)]) if parts else task.updated_at


def _annotation_columns(entries: Sequence[_Entry[Region]], source: ExportSource) -> Columns:
    submissions = [entry.submission for entry in entries]
    return {
        "annotation_id": pa.array([entry.annotation_id for entry in entries], pa.string()),
        "origin": pa.array([entry.origin for entry in entries], pa.string()),
        "annotator": pa.array([_annotator(one, source) for one in submissions], pa.string()),
        "model_version": pa.array([one.model_version for one in submissions], pa.string()),
        "score": pa.array([one.score for one in submissions], pa.float64()),
        "status": pa.array([entry.status for entry in entries], pa.string()),
        "ground_truth": pa.array([one.ground_truth for one in submissions], pa.bool_()),
        "lead_time": pa.array([one.lead_time for one in submissions], pa.float64()),
        "created_at": time_column([one.created_at for one in submissions], "created_at", source.odd),
        "updated_at": time_column([one.updated_at for one in submissions], "updated_at", source.odd),
    }


def _annotator(submission: _Submission[R], source: ExportSource) -> str | None:
    user = submission.completed_by if submission.completed_by is not None else submission.user
    if isinstance(user, str):  # drafts have the e-mail, and no id
        return user if source.options.annotators == "email" else None
    if isinstance(user, _User):
        user = user.id
    return user if user is None else source.find_email(user) if source.options.annotators == "email" else str(user)
