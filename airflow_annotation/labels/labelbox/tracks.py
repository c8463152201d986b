"""Converts the rows of one object in a video to the segments of a Labelbox import.

An import has only key frames. The object moves in straight lines between the key frames of one segment, and does not
exist between segments. A row covers its frame, or the frames up to its ``frame_end`` on the way to the next row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_annotation.labels.video import STRAIGHT

Row = Mapping[str, Any]

Segment = list[tuple[int, Row]]
"""Key frames: frame numbers from 1, each with the row of the object there."""


def first_frame(row: Row) -> int:
    """Return the first frame of a row. Labelbox counts the frames of the file from 1."""
    frame: int = row["tool_frame"] if row.get("frame") is None else row["frame"] + 1
    return frame


def last_frame(row: Row) -> int:
    """Return the last frame that a row covers."""
    if row.get("frame_end") is None or row.get("frame") is None:
        return first_frame(row)
    return first_frame(row) + int(row["frame_end"]) - int(row["frame"])


def segments_of(rows: Sequence[Row]) -> list[Segment]:
    """Return the segments in which an object is shown, with only the key frames that they need.

    :param rows: rows of one object, in any order. ``frame_end`` says until when a row holds. Without it, a key frame
        leads to the next key frame, and another row covers only its own frame
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
    """Return whether a row follows from its neighbors. Answers, and paths that change their number of points, hold."""
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
