"""Rows of one object in a video as the segments of a Labelbox import.

An import has key frames only: the object moves in straight lines between those of one segment, and is not there between
segments. A row speaks for its frame, or up to its ``frame_end`` on the way to the next row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_annotation.labels.video import STRAIGHT

Row = Mapping[str, Any]

Segment = list[tuple[int, Row]]
"""Key frames, by frames from 1, and the row that says what is shown there."""


def first_frame(row: Row) -> int:
    """Return the frame that a row begins with; Labelbox counts the frames of the file from 1."""
    frame: int = row["tool_frame"] if row.get("frame") is None else row["frame"] + 1
    return frame


def last_frame(row: Row) -> int:
    """Return the last frame that a row speaks for."""
    if row.get("frame_end") is None or row.get("frame") is None:
        return first_frame(row)
    return first_frame(row) + int(row["frame_end"]) - int(row["frame"])


def segments_of(rows: Sequence[Row]) -> list[Segment]:
    """Return the segments in which an object is shown, with no more key frames than they need.

    :param rows: of one object, in any order; with ``frame_end`` they say where it disappears. Without it, rows that are
        key frames lead to the next one, and others speak for their frame alone
    """
    runs: list[list[Row]] = []
    for row in sorted(rows, key=first_frame):
        if runs and first_frame(row) <= _reach(runs[-1][-1], row) + 1:
            runs[-1].append(row)
        else:
            runs.append([row])
    return [_segment(run) for run in runs]


def _reach(row: Row, following: Row) -> int:
    if row.get("frame_end") is None and row.get("is_keyframe") and following.get("is_keyframe"):
        return first_frame(following)
    return last_frame(row)


def _segment(run: Sequence[Row]) -> Segment:
    segment = [
        (first_frame(row), row)
        for place, row in enumerate(run)
        if row.get("is_keyframe") is not False
        or place in (0, len(run) - 1)
        or last_frame(row) > first_frame(row)
        or not _is_straight(run[place - 1], row, run[place + 1])
    ]
    end, last = last_frame(run[-1]), run[-1]
    return [*segment, (end, last)] if end > segment[-1][0] else segment


def _is_straight(before: Row, row: Row, after: Row) -> bool:
    """Return whether a row follows from its neighbors. Answers and paths whose number of points changes hold."""
    if before.get("attributes") != row.get("attributes"):
        return False
    start, middle, end = (_numbers(one) for one in (before, row, after))
    if len(start) != len(end):
        return start == middle
    weight = (first_frame(row) - first_frame(before)) / (first_frame(after) - first_frame(before))
    expected = [one + (other - one) * weight for one, other in zip(start, end, strict=True)]
    return len(middle) == len(expected) and all(
        abs(one - other) <= STRAIGHT for one, other in zip(middle, expected, strict=True)
    )


def _numbers(row: Row) -> list[float]:
    return list(row.get("bbox") or [number for point in row.get("points") or () for number in point])
