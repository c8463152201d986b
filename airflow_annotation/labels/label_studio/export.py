"""Label Studio's JSON export as the three tables.

The bytes are decoded typed and in small portions, so that no more than a portion of them is ever alive as Python
objects; each portion becomes whole Arrow columns. The format is described at https://labelstud.io/guide/export.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar, cast

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.labels.columns import Columns, Portion, join_portions, time_column
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.regions import Region, read_regions
from airflow_annotation.labels.label_studio.video import read_videos
from airflow_annotation.labels.schema import OTHER
from airflow_annotation.labels.tables import ITEMS, LabelTables, empty_tables
from airflow_annotation.labels.video import Frames

TOOL: Final = "label_studio"

RESERVED_KEYS: Final[dict[str, type | tuple[type, ...]]] = {
    "item_key": str,
    "media_uri": str,
    "width": int,
    "height": int,
    "frame_count": int,
    "frame_rate": (int, float),
}
"""Keys of a task's data that have columns of their own in ``items``, where they hold what this provider's uploads put
there. What else somebody keeps under such a key stays in ``items.data``."""

_PORTION: Final = 100
"""Tasks that are decoded at a time: few enough to stay in the processor's cache."""

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class ExportSource:
    """Where an export comes from, and what of it is to be read.

    :param project: the project's URI
    :param config: the project's labeling config
    :param item_url: where an item opens in the tool, with ``{item_id}`` in it
    :param run_key: the annotation run's name, if the project has one
    :param annotators: name people by their ``email``, or by the tool's ``id``
    :param find_email: returns a person's e-mail for their id, which is what the export has
    :param annotations: ``all`` submissions, the ``latest`` of each item, or those marked ``ground_truth``. Skipped ones
        are the latest only where there is no other
    :param frames: of objects in videos, the ``keyframes`` that people set, or ``all`` in which they are shown
    :param keep_raw: fill ``labels.raw`` for every row
    """

    project: str
    config: LabelingConfig
    item_url: str
    run_key: str | None = None
    annotators: Literal["email", "id"] = "email"
    find_email: Callable[[int], str] = str
    annotations: Literal["all", "latest", "ground_truth"] = "all"
    frames: Frames = "keyframes"
    keep_raw: bool = False


class _User(msgspec.Struct, gc=False):
    id: int


class _Submission(msgspec.Struct, Generic[R], gc=False):
    """An annotation, a draft or a prediction, with its regions decoded or raw."""

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
    data: dict[str, Any]
    annotations: list[_Submission[R]] = []
    drafts: list[int | _Submission[R]] = []
    predictions: list[int | _Submission[R]] = []
    total_predictions: int | None = None
    created_at: str | None = None
    updated_at: str | None = None


_decode_task = msgspec.json.Decoder(_Task[Region]).decode
_decode_task_raw = msgspec.json.Decoder(_Task[msgspec.Raw]).decode
_decode_region = msgspec.json.Decoder(Region).decode


def tables_from_export(
    data: bytes,
    source: ExportSource,
    *,
    unfinished: Collection[int] = (),
    predictions: Mapping[int, Sequence[msgspec.Raw]] | None = None,
) -> LabelTables:
    """Read an export in Label Studio's JSON format.

    A draft is a row of ``annotations`` with the status ``draft``: somebody has begun. Its labels are not submitted and
    do not land.

    :param data: the export, a JSON array of tasks
    :param source: where it comes from
    :param unfinished: ids of the tasks that have submissions and wait for more, which the export does not say
    :param predictions: the JSON of each task's predictions, by its id, where they are to be read too: the export has
        their ids only
    :raises msgspec.DecodeError: the bytes are no such export
    """
    tasks = msgspec.json.decode(data, type=list[msgspec.Raw])
    portions = [
        _read_portion(tasks[start : start + _PORTION], predictions or {}, source, unfinished)
        for start in range(0, len(tasks), _PORTION)
    ]
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
    tasks = [_read_task(raw) for raw in raw_tasks]
    if predictions:
        for task in tasks:
            task.predictions = [_read_submission(raw) for raw in predictions.get(task.id, ())]
    entries = [entry for index, task in enumerate(tasks) for entry in _entries(index, task, source)]
    counts = [len(entry.regions) for entry in entries]
    owners = np.repeat(np.arange(len(entries)), counts)
    regions = list(chain.from_iterable([entry.regions for entry in entries]))
    read = read_regions(regions, owners, source.config)
    if source.config.has_video:
        data = [tasks[entry.item].data for entry in entries]
        read = read_videos(read, regions, lambda region: data[owners[region]], source.config, source.frames)
    rows, labels = read
    others = pc.equal(labels["type"], OTHER)
    if source.keep_raw or pc.any(others).as_py():
        records = list(_raw_records(raw_tasks, predictions, source))
        raw = pa.array([records[row] for row in rows.tolist()], pa.string())
        labels["raw"] = raw if source.keep_raw else pc.if_else(others, raw, None)
    return Portion(
        _item_columns(tasks, source, unfinished),
        _annotation_columns(entries, source),
        np.array([entry.item for entry in entries], dtype=np.int64),
        labels,
        owners[rows],
    )


def _read_task(raw: msgspec.Raw) -> _Task[Region]:
    """Decode a task; a region that is no such record becomes one of no type, whose raw record lands."""
    try:
        return _decode_task(raw)
    except msgspec.ValidationError:
        task = cast("_Task[Any]", _decode_task_raw(raw))
        for submission in chain(task.annotations, task.drafts, task.predictions):
            if not isinstance(submission, int):
                submission.result = [_read_region(record) for record in submission.result or ()]
        return task


def _read_submission(raw: msgspec.Raw) -> _Submission[Region]:
    try:
        return msgspec.json.decode(raw, type=_Submission[Region])
    except msgspec.ValidationError:
        submission = cast("_Submission[Any]", msgspec.json.decode(raw, type=_Submission[msgspec.Raw]))
        submission.result = [_read_region(record) for record in submission.result or ()]
        return submission


def _read_region(record: msgspec.Raw) -> Region:
    try:
        return _decode_region(record)
    except msgspec.ValidationError:
        return Region()


def _raw_records(
    raw_tasks: Sequence[msgspec.Raw], predictions: Mapping[int, Sequence[msgspec.Raw]], source: ExportSource
) -> Iterator[str]:
    """Yield the records of all regions that land as they stand in the export, in the order of the regions."""
    for raw in raw_tasks:
        task = _decode_task_raw(raw)
        task.predictions = [
            msgspec.json.decode(prediction, type=_Submission[msgspec.Raw])
            for prediction in predictions.get(task.id, ())
        ]
        for entry in _entries(0, task, source):
            yield from (bytes(record).decode() for record in entry.regions)


def _entries(item: int, task: _Task[R], source: ExportSource) -> Iterator[_Entry[R]]:
    for submission in _chosen(task.annotations, source):
        status = "skipped" if submission.was_cancelled else "submitted"
        yield _Entry(item, str(submission.id), "person", status, submission, submission.result or [])
    for draft in task.drafts if source.annotations == "all" else ():
        if not isinstance(draft, int):
            yield _Entry(item, f"draft-{draft.id}", "person", "draft", draft, [])
    for prediction in task.predictions:
        if not isinstance(prediction, int):
            yield _Entry(item, str(prediction.id), "prediction", "submitted", prediction, prediction.result or [])


def _chosen(submissions: list[_Submission[R]], source: ExportSource) -> list[_Submission[R]]:
    if source.annotations == "ground_truth":
        return [submission for submission in submissions if submission.ground_truth]
    if source.annotations == "latest" and len(submissions) > 1:
        return [max(submissions, key=lambda one: (not one.was_cancelled, one.updated_at or "", one.id or 0))]
    return submissions


# Columns


def _constants(source: ExportSource) -> dict[str, str | None]:
    media_type = next((media.media_type for media in source.config.objects.values()), "unknown")
    return {"project": source.project, "tool": TOOL, "run_key": source.run_key, "media_type": media_type}


def _item_columns(tasks: Sequence[_Task[Region]], source: ExportSource, unfinished: Collection[int]) -> Columns:
    media_keys = [media.data_key for media in source.config.objects.values()]
    facts = [_read_data(task, media_keys) for task in tasks]
    ids = [str(task.id) for task in tasks]
    columns = {
        name: pa.array([fact.get(name) for fact in facts], ITEMS.field(name).type)
        for name in ("media_uri", "width", "height", "frame_count", "frame_rate", "data")
    }
    keys = [fact.get("item_key") or fact.get("media_uri") or id_ for fact, id_ in zip(facts, ids, strict=True)]
    statuses = [_status_of(task, unfinished) for task in tasks]
    predictions = [
        len(task.predictions) if task.total_predictions is None else task.total_predictions for task in tasks
    ]
    return columns | {
        "item_id": pa.array(ids, pa.string()),
        "item_key": pa.array(keys, pa.string()),
        "status": pa.array(statuses, pa.string()),
        "annotation_count": pa.array([len(task.annotations) for task in tasks], pa.int32()),
        "prediction_count": pa.array(predictions, pa.int32()),
        "created_at": time_column([task.created_at for task in tasks]),
        "updated_at": time_column([_last_change(task) for task in tasks]),
        "item_url": pa.array([source.item_url.format(item_id=id_) for id_ in ids], pa.string()),
    }


def _read_data(task: _Task[Region], media_keys: Sequence[str]) -> dict[str, Any]:
    """Take from a task's data what has columns of its own; what is left is what the caller attached."""
    facts: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in task.data.items():
        known = RESERVED_KEYS.get(name)
        (rest if known is None or not isinstance(value, known) else facts)[name] = value
    media_key = next((key for key in media_keys if key in rest), None)
    if media_key is not None and isinstance(rest[media_key], str):
        media = rest.pop(media_key)
        facts.setdefault("media_uri", media)
    if "width" not in facts or "height" not in facts:
        submissions = (one for one in chain(task.annotations, task.predictions) if not isinstance(one, int))
        regions = chain.from_iterable(submission.result or () for submission in submissions)
        seen = next((region for region in regions if region.original_width and region.original_height), None)
        if seen is not None:
            facts |= {"width": round(seen.original_width or 0), "height": round(seen.original_height or 0)}
    facts["data"] = msgspec.json.encode(rest).decode() if rest else "{}"
    return facts


def item_status(submitted: int, skipped: int, *, unfinished: bool) -> str:
    """Return an item's ``status``.

    :param submitted: its annotations, but for the skipped ones
    :param skipped: its skipped ones
    :param unfinished: whether it waits for more
    """
    if not submitted:
        return "skipped" if skipped else "unlabeled"
    return "partial" if unfinished else "labeled"


def _status_of(task: _Task[Region], unfinished: Collection[int]) -> str:
    skipped = sum(submission.was_cancelled for submission in task.annotations)
    return item_status(len(task.annotations) - skipped, skipped, unfinished=task.id in unfinished)


def latest(times: Iterable[str | None]) -> str | None:
    """Return the latest of some times as Label Studio writes them: all in UTC, some without a fraction of a second."""
    return max(filter(None, times), key=lambda time: time.rstrip("Z"), default=None)


def _last_change(task: _Task[Region]) -> str | None:
    """Return when something of the item changed: drafts and predictions don't move the task's own time."""
    parts = [one for one in chain(task.drafts, task.predictions) if not isinstance(one, int)]
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
        "created_at": time_column([one.created_at for one in submissions]),
        "updated_at": time_column([one.updated_at for one in submissions]),
    }


def _annotator(submission: _Submission[R], source: ExportSource) -> str | None:
    user = submission.completed_by if submission.completed_by is not None else submission.user
    if isinstance(user, str):  # drafts have the e-mail, and no id to stand for it
        return user if source.annotators == "email" else None
    if isinstance(user, _User):
        user = user.id
    return user if user is None else source.find_email(user) if source.annotators == "email" else str(user)
