"""Converts rows that Label Studio has in one record: the frames of an object, or the ranges of a timeline.

:mod:`airflow_annotation.labels.label_studio.video` converts in the other direction.
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

    :param rows: one or more rows
    :param in_video: whether the rows are frames or ranges of a video; if not, there is one row, or one for each bucket
        of a ranking
    """

    rows: list[Row]
    in_video: bool

    @property
    def record_id(self) -> str:
        """The record's id: the ``track_id`` of an object in a video, otherwise the ``label_id``."""
        row = self.rows[0]
        if row["type"] == "ranking" and row.get("parent_label_id") is not None:
            return str(row["parent_label_id"])
        id_: str = row["label_id"] if not self.in_video or row.get("track_id") is None else row["track_id"]
        return id_


def group_rows(rows: Iterable[Row], config: LabelingConfig) -> Collection[Group]:
    """Group the rows by record, in the order of each record's first row.

    :param rows: rows of one annotation
    :param config: labeling config of the project to which they go
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
    """Return the player's frame, from 1, with which a row begins; None if the row has no frame or time.

    ``time`` takes precedence over ``tool_frame``, because ``tool_frame`` counts as the row's original player did.
    """
    if row.get("time") is not None:
        return 1 + round(float(row["time"]) * tool_frame_rate)
    frame: int | None = row.get("tool_frame")
    return frame


def sequence_of(
    rows: Sequence[tuple[int, Row]], tool_frame_rate: float, duration: float | None = None
) -> dict[str, Any]:
    """Return the ``value`` of a record that shows an object in its frames.

    If all rows are key frames, or a row covers more than its frame (``time_end``), each row becomes a key frame. It
    leads to the next one, unless the object disappears before: its attribute ``enabled`` is false, or its ``time_end``
    is before the next one. Otherwise, the rows are all frames in which the object is shown.

    :param rows: rows, each with the player's frame; of several rows for one frame, the last counts
    :param tool_frame_rate: frame rate of the player, in frames per second
    :param duration: duration of the video in seconds. If it is not known, only the player knows until which frame the
        last key frame holds, and the value says only that the video has that key frame
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
    # The server refuses boxes in a video if its length is missing.
    last = steps[-1].frame
    length = length or {"framesCount": last, "duration": last / tool_frame_rate}
    return {**length, "sequence": [msgspec.to_builtins(key) for key in keys]}


def path_sequence_of(
    rows: Sequence[tuple[int, Row]], tool_frame_rate: float, duration: float | None = None
) -> dict[str, Any]:
    """Return the ``value`` of a record that shows a path in its frames, see :func:`sequence_of`.

    The vertices of each key frame are numbered, so that each vertex moves to the one with the same number.
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
    """Return the frames of the rows, and whether each row leads to the next one."""
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
    """Yield the frames of a path from which its other frames follow.

    :param frames_count: last frame of the video, if known: a path that is shown until there needs no end
    """
    for place, step in enumerate(steps):
        before = steps[place - 1] if place and steps[place - 1].frame == step.frame - 1 else None
        after = steps[place + 1] if place + 1 < len(steps) and steps[place + 1].frame == step.frame + 1 else None
        ends = after is None and not step.frame >= frames_count > 0
        if step.row.get("is_keyframe") is True or before is None or after is None or not _between(before, step, after):
            yield step._replace(enabled=not ends)


def _between(before: _Step, step: _Step, after: _Step) -> bool:
    """Return whether a path is the middle between its neighbors, so that it can be left out."""
    paths = [np.array(one.row["points"], np.float64) for one in (before, step, after)]
    if len({path.shape for path in paths}) > 1 or len({one.row["type"] for one in (before, step, after)}) > 1:
        return False
    return bool(np.abs(paths[1] - (paths[0] + paths[2]) / 2).max(initial=0) <= STRAIGHT)


def _length(steps: Sequence[_Step], tool_frame_rate: float, duration: float | None) -> dict[str, float]:
    """Return the length of the video, if known."""
    if duration is None:
        return {}
    return {"framesCount": max(round(duration * tool_frame_rate), steps[-1].frame), "duration": duration}


def ranges_of(rows: Sequence[tuple[int, Row]], tool_frame_rate: float) -> list[dict[str, int]]:
    """Return the ``ranges`` of a timeline. A row without ``time_end`` covers one frame.

    :param rows: rows, each with the player's frame with which it begins
    :param tool_frame_rate: frame rate of the player, in frames per second
    """
    ends = [row.get("time_end") for _, row in rows]
    return [
        {"start": start, "end": start if end is None else max(start, round(end * tool_frame_rate))}
        for (start, _), end in zip(rows, ends, strict=True)
    ]


def shared_attributes(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Return the attributes of a record of many rows, None if they differ from row to row.

    ``enabled`` is left out if it is false, because it belongs to single key frames. Of several scores, the best counts.
    """
    said = [attributes_of(row) for row in rows]
    scores = [attributes.pop("score") for attributes in said if "score" in attributes]
    for attributes in said:
        if attributes.get(ENABLED) is False:
            del attributes[ENABLED]
    if any(attributes != said[0] for attributes in said):
        return None
    return {**said[0], "score": max(scores)} if scores else said[0]
