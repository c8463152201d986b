"""Rows of the ``labels`` table that Label Studio has in one record: the frames of an object, the ranges of a timeline.

The other direction of :mod:`airflow_annotation.labels.label_studio.video`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.sequences import Track, track_to_sequence
from airflow_annotation.labels.label_studio.tags import tags_of
from airflow_annotation.labels.label_studio.values import path_vertices
from airflow_annotation.labels.label_studio.video import ENABLED
from airflow_annotation.labels.submissions import attributes_of
from airflow_annotation.labels.video import STRAIGHT, Frames

Row = Mapping[str, Any]


class Group(NamedTuple):
    """The rows of one record.

    :param rows: at least one
    :param in_video: whether they are frames or ranges of a video; if not, there is one row, or one for each bucket of
        a ranking
    """

    rows: list[Row]
    in_video: bool

    @property
    def record_id(self) -> str:
        """The record's id: the ``track_id`` of an object in a video, else the ``label_id``."""
        row = self.rows[0]
        if row["type"] == "ranking" and row.get("parent_label_id") is not None:
            return str(row["parent_label_id"])
        id_: str = row["label_id"] if not self.in_video or row.get("track_id") is None else row["track_id"]
        return id_


def group_rows(rows: Iterable[Row], config: LabelingConfig) -> Collection[Group]:
    """Put the rows of one record together, in the order of the first of each.

    :param rows: of one annotation
    :param config: the labeling config of the project that they go to
    """
    fields = {(control.field, control.tag) for control in config.controls.values() if control.attribute is None}
    with_buckets = {
        control.field for control in config.controls.values() if control.tag == "ranker" and control.classes
    }
    groups: dict[object, Group] = {}
    for place, row in enumerate(rows):
        says_when = any(row.get(name) is not None for name in ("track_id", "tool_frame", "time", "frame"))
        tags = tags_of(row["type"], in_video=True)
        group = Group([row], says_when and any((row["field"], tag) in fields for tag in tags))
        key: object = (row["field"], tags, group.record_id) if group.in_video else place
        if row["type"] == "ranking" and (row.get("parent_label_id") is not None or row["field"] in with_buckets):
            key = (row["field"], row.get("target"), row.get("parent_label_id"))
        if key in groups:
            groups[key].rows.append(row)
        else:
            groups[key] = group
    return groups.values()


def find_tool_frame(row: Row, tool_frame_rate: float) -> int | None:
    """Return the frame, from 1, that a row begins with as the player counts; None if the row does not say.

    The row's ``tool_frame`` was counted by the player that it is from, so its ``time`` is better.
    """
    if row.get("time") is not None:
        return 1 + round(float(row["time"]) * tool_frame_rate)
    frame: int | None = row.get("tool_frame")
    return frame


def sequence_of(
    rows: Sequence[tuple[int, Row]], tool_frame_rate: float, duration: float | None = None
) -> dict[str, Any]:
    """Return the ``value`` that shows an object in its frames.

    Where all rows are key frames, or a row speaks for more than its frame (``time_end``), each becomes a key frame and
    leads to the next one, unless the object disappears before: its attributes say that it is not ``enabled``, or its
    ``time_end`` is before the next one. Else the rows are all frames in which the object is shown.

    :param rows: each with its frame as the player counts; of several for one frame the last counts
    :param tool_frame_rate: the player's
    :param duration: of the video, in seconds; where it is not known, only the player knows up to which frame the last
        key frame holds, and the value says no more than that the video has that one
    """
    steps, leads = _steps(rows, tool_frame_rate)
    ordered = [step.row for step in steps]
    track = Track(
        np.array([step.frame for step in steps], np.int64),
        np.array([row["bbox"] for row in ordered], np.float64),
        np.array([row.get("rotation") or 0.0 for row in ordered], np.float64),
        np.array([row.get("is_keyframe") is True for row in ordered], np.bool_),
        np.array([step.enabled for step in steps], np.bool_),
    )
    length = _length(steps, tool_frame_rate, duration)
    frames: Frames = "keyframes" if leads else "all"
    keys = track_to_sequence(track, tool_frame_rate, int(length.get("framesCount", 0)), frames=frames)
    # The server refuses boxes in videos without a length.
    last = steps[-1].frame
    length = length or {"framesCount": last, "duration": last / tool_frame_rate}
    return {**length, "sequence": [msgspec.to_builtins(key) for key in keys]}


def path_sequence_of(
    rows: Sequence[tuple[int, Row]], tool_frame_rate: float, duration: float | None = None
) -> dict[str, Any]:
    """Return the ``value`` that shows a path in its frames; see :func:`sequence_of`.

    The vertices of each key frame are numbered, so that each moves to the one with its number.
    """
    steps, leads = _steps(rows, tool_frame_rate)
    length = _length(steps, tool_frame_rate, duration)
    if not leads:
        steps = list(_needed_steps(steps, int(length.get("framesCount", 0))))
    sequence = [
        {
            "frame": step.frame,
            "enabled": step.enabled,
            "time": step.frame / tool_frame_rate,
            "vertices": path_vertices(step.row),
            "closed": step.row["type"] == "polygon",
        }
        for step in steps
    ]
    return {**length, "sequence": sequence}


class _Step(NamedTuple):
    """A frame of an object, and whether the object is still shown after it."""

    frame: int
    row: Row
    enabled: bool


def _steps(rows: Sequence[tuple[int, Row]], tool_frame_rate: float) -> tuple[list[_Step], bool]:
    """Return the frames that rows speak of, and whether each row leads to the next one."""
    by_frame = dict(rows)
    leads = all(row.get("is_keyframe") is True for row in by_frame.values())
    last_shown = {frame for frame, row in by_frame.items() if attributes_of(row).get(ENABLED) is False}
    starts = sorted(by_frame)
    for frame, following in zip(starts, [*starts[1:], math.inf], strict=True):
        row = by_frame[frame]
        if row.get("time_end") is not None:
            end = max(frame, round(row["time_end"] * tool_frame_rate))
            leads = leads or end > frame
            if end + 1 < following:
                by_frame[end] = row
                last_shown.add(end)
    return [_Step(frame, by_frame[frame], frame not in last_shown) for frame in sorted(by_frame)], leads


def _needed_steps(steps: Sequence[_Step], frames_count: int) -> Iterator[_Step]:
    """Yield those of all frames in which a path is shown that the others follow from.

    :param frames_count: the last frame of the video, where it is known: up to there the path needs no end
    """
    for place, step in enumerate(steps):
        before = steps[place - 1] if place and steps[place - 1].frame == step.frame - 1 else None
        after = steps[place + 1] if place + 1 < len(steps) and steps[place + 1].frame == step.frame + 1 else None
        ends = after is None and not step.frame >= frames_count > 0
        if step.row.get("is_keyframe") is True or before is None or after is None or not _between(before, step, after):
            yield step._replace(enabled=not ends)


def _between(before: _Step, step: _Step, after: _Step) -> bool:
    """Whether a path is half way between its neighbors, so that it need not be said."""
    paths = [np.array(one.row["points"], np.float64) for one in (before, step, after)]
    if len({path.shape for path in paths}) > 1 or len({one.row["type"] for one in (before, step, after)}) > 1:
        return False
    return bool(np.abs(paths[1] - (paths[0] + paths[2]) / 2).max(initial=0) <= STRAIGHT)


def _length(steps: Sequence[_Step], tool_frame_rate: float, duration: float | None) -> dict[str, float]:
    """Return how long the video is, as far as that is known."""
    if duration is None:
        return {}
    return {"framesCount": max(round(duration * tool_frame_rate), steps[-1].frame), "duration": duration}


def ranges_of(rows: Sequence[tuple[int, Row]], tool_frame_rate: float) -> list[dict[str, int]]:
    """Return the ``ranges`` of a timeline; a row without ``time_end`` is of one frame.

    :param rows: each with the player's frame that it begins with
    :param tool_frame_rate: the player's
    """
    ends = [row.get("time_end") for _, row in rows]
    return [
        {"start": start, "end": start if end is None else max(start, round(end * tool_frame_rate))}
        for (start, _), end in zip(rows, ends, strict=True)
    ]


def shared_attributes(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Return the attributes of a record of many rows, None where they differ from row to row.

    Whether it is enabled is a key frame's own, and of several scores the best one counts.
    """
    said = [attributes_of(row) for row in rows]
    scores = [attributes.pop("score") for attributes in said if "score" in attributes]
    for attributes in said:
        if attributes.get(ENABLED) is False:
            del attributes[ENABLED]
    if any(attributes != said[0] for attributes in said):
        return None
    return {**said[0], "score": max(scores)} if scores else said[0]
