"""Rows of the ``labels`` table that Label Studio has in one record: the frames of an object, the ranges of a timeline.

The other direction of :mod:`airflow_annotation.labels.label_studio.video`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.video import ENABLED
from airflow_annotation.labels.video import Frames, Track, track_to_sequence

Row = Mapping[str, Any]

VIDEO_TAGS: Final = {
    "detection": "videorectangle",
    "classification": "timelinelabels",
    "classifications": "timelinelabels",
}
"""For each type of label the tag whose records are of many rows."""


class Group(NamedTuple):
    """The rows of one record.

    :param rows: at least one
    :param in_video: whether they are frames or ranges of a video; if not, there is one row
    """

    rows: list[Row]
    in_video: bool

    @property
    def record_id(self) -> str:
        """The record's id: the ``track_id`` of an object in a video, else the ``label_id``."""
        row = self.rows[0]
        id_: str = row["label_id"] if not self.in_video or row.get("track_id") is None else row["track_id"]
        return id_


def group_rows(rows: Iterable[Row], config: LabelingConfig) -> Collection[Group]:
    """Put the rows of one record together, in the order of the first of each.

    :param rows: of one annotation
    :param config: the labeling config of the project that they go to
    """
    fields = {(control.field, control.tag) for control in config.controls.values() if control.attribute is None}
    groups: dict[object, Group] = {}
    for place, row in enumerate(rows):
        says_when = any(row.get(name) is not None for name in ("track_id", "tool_frame", "time"))
        group = Group([row], says_when and (row["field"], VIDEO_TAGS.get(row["type"])) in fields)
        key = (row["field"], row["type"], group.record_id) if group.in_video else place
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
    :param duration: of the video, in seconds; where it is not known, nobody but the player knows up to which frame the
        last key frame holds
    """
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
    frames = sorted(by_frame)
    ordered = [by_frame[frame] for frame in frames]
    track = Track(
        np.array(frames, np.int64),
        np.array([row["bbox"] for row in ordered], np.float64),
        np.array([row.get("rotation") or 0.0 for row in ordered], np.float64),
        np.array([row.get("is_keyframe") is True for row in ordered], np.bool_),
        np.array([frame not in last_shown for frame in frames], np.bool_),
    )
    given: Frames = "keyframes" if leads else "all"
    length = {}
    if duration is not None:
        length = {"framesCount": max(round(duration * tool_frame_rate), frames[-1]), "duration": duration}
    keys = track_to_sequence(track, tool_frame_rate, int(length.get("framesCount", 0)), frames=given)
    return {**length, "sequence": [msgspec.to_builtins(key) for key in keys]}


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


def attributes_of(row: Row) -> dict[str, Any]:
    """Return a row's attributes."""
    return msgspec.json.decode(row.get("attributes") or "{}", type=dict[str, Any])


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
