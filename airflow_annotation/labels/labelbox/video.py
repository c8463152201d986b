"""Converts key frames and segments of Labelbox's videos and sounds to rows of the ``labels`` table.

An export has the objects and answers of key frames, the segments in which each feature exists, and the frames that a
person set. An export with interpolated frames has all frames, which are then taken unchanged. Boxes, points, lines and
polygons move in straight lines from key frame to key frame. Masks and answers stay constant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np
from typing_extensions import NamedTuple  # generic, unlike that of Python 3.10

from airflow_annotation.labels.arrays import FloatArray
from airflow_annotation.labels.labelbox.records import Annotations, Answer, Box, Frame, Object, Point
from airflow_annotation.labels.video import Filling, Frames, fill_segments, hold_segments, interpolate

R = TypeVar("R", Object, Answer)


class Shown(NamedTuple, Generic[R]):
    """A record and the time in which it holds, in frames from 1 or in milliseconds.

    :param record: record that holds
    :param source: record of the export from which it comes
    :param ordinal: number of the feature in the label
    :param start: first frame
    :param end: last frame in which it holds
    :param is_keyframe: whether a person set it at ``start``; None for answers
    """

    record: R
    source: R
    ordinal: int
    start: int
    end: int
    is_keyframe: bool | None


class Timeline(NamedTuple):
    """The rows of a label on media with a duration.

    :param odd_objects: records of objects whose frame numbers no column can hold, or that are shown in too many frames
    :param odd_answers: records of answers with the same problem
    """

    objects: list[Shown[Object]]
    answers: list[Shown[Answer]]
    odd_objects: list[Object]
    odd_answers: list[Answer]


def without_content(record: R) -> R:
    """Return a record without a kind, with the name and the ids of another record."""
    return type(record)(feature_id=record.feature_id, feature_schema_id=record.feature_schema_id, name=record.name)


def read_timeline(
    frames: Mapping[int, Frame[Object, Answer]], annotations: Annotations[Object, Answer], wanted: Frames
) -> Timeline:
    """Return the records of a label, each with the time in which it holds.

    With only key frames, an object also has a row for the beginning of each segment, even if it has no key frame there.
    Each row covers the frames until the next one. An answer has a row for each stretch of frames in which it is the
    same.

    :param frames: frames of the label, or its times
    :param annotations: annotations of the label
    :param wanted: only ``keyframes`` of objects, or ``all`` frames in which an object exists
    """
    objects: dict[str, dict[int, Object]] = {}
    answers: dict[str, dict[int, Answer]] = {}
    for number in sorted(frames):
        for feature_id, one in frames[number].objects.items():
            objects.setdefault(feature_id, {})[number] = one
        for place, answer in enumerate(frames[number].classifications):
            answers.setdefault(answer.feature_id or f"{number}.{place}", {})[number] = answer
    timeline = Timeline([], [], [], [])
    for ordinal, (feature_id, records) in enumerate(objects.items()):
        try:
            timeline.objects.extend(_show_object(records, annotations, feature_id, wanted, ordinal))
        except (ValueError, OverflowError):  # noqa: PERF203
            timeline.odd_objects.extend(records.values())
    for ordinal, (feature_id, said) in enumerate(answers.items(), len(objects)):
        try:
            timeline.answers.extend(_show_answer(said, annotations, feature_id, ordinal))
        except (ValueError, OverflowError):  # noqa: PERF203
            timeline.odd_answers.extend(said.values())
    return timeline


def _segments(
    records: Mapping[int, Any], annotations: Annotations[Object, Answer], feature_id: str
) -> list[tuple[int, int]]:
    """Return the segments of a feature. A frame with the feature outside of its segments is a segment of its own."""
    segments = annotations.segments.get(feature_id)
    if segments is None:
        return [(min(records), max(records))]
    return [
        *segments,
        *((frame, frame) for frame in records if not any(start <= frame <= end for start, end in segments)),
    ]


def _show_object(
    records: Mapping[int, Object],
    annotations: Annotations[Object, Answer],
    feature_id: str,
    wanted: Frames,
    ordinal: int,
) -> list[Shown[Object]]:
    filling = fill_segments(list(records), _segments(records, annotations, feature_id))
    named = annotations.key_frame_feature_map.get(feature_id, list(records))
    keys = [frame for frame, is_key in named.items() if is_key] if isinstance(named, dict) else named
    is_key = np.isin(filling.frames, keys)
    ends = filling.frames
    if wanted == "keyframes" and len(ends):
        begins = np.diff(filling.frames, prepend=-1) > 1
        begins[0] = True
        # If a segment holds its last key frame and the next segment follows at once, the object does not move straight
        # there.
        held = (filling.before == filling.after) & (np.diff(filling.before, append=filling.before[-1]) > 0)
        kept = np.flatnonzero(is_key | begins | (held & ~np.append(begins[1:], True)))
        ends = filling.frames[np.append(kept[1:] - 1, len(filling.frames) - 1)]
        filling = Filling(filling.frames[kept], filling.before[kept], filling.after[kept], filling.weight[kept])
        is_key = is_key[kept]
    anchors = list(records.values())
    places = zip(
        _move(anchors, filling), filling.before.tolist(), filling.frames.tolist(), ends.tolist(), is_key, strict=True
    )
    return [
        Shown(record, anchors[before], ordinal, start, end, bool(key)) for record, before, start, end, key in places
    ]


def _show_answer(
    records: Mapping[int, Answer], annotations: Annotations[Object, Answer], feature_id: str, ordinal: int
) -> list[Shown[Answer]]:
    holding = hold_segments(list(records), _segments(records, annotations, feature_id))
    anchors = list(records.values())
    said = [_content(anchor) for anchor in anchors]
    same = [0]
    for before, after in pairwise(said):
        same.append(same[-1] + (before != after))
    changes = np.diff(np.array(same)[holding.keys], prepend=-1) != 0
    changes[1:] |= holding.starts[1:] > holding.ends[:-1] + 1
    firsts = np.flatnonzero(changes)
    lasts = [*(firsts[1:] - 1), len(changes) - 1]
    return [
        Shown(anchor, anchor, ordinal, int(holding.starts[first]), int(holding.ends[last]), None)
        for first, last in zip(firsts, lasts, strict=False)
        for anchor in [anchors[holding.keys[first]]]
    ]


def _content(answer: Answer) -> Any:
    """Return the content of an answer without its ids, which may differ from frame to frame."""
    if answer.text is not None:
        return answer.name, answer.text.content, [_content(further) for further in answer.text.classifications]
    choices = answer.checklist if answer.radio is None else [answer.radio]
    chosen = {choice.name: [_content(further) for further in choice.classifications] for choice in choices or ()}
    return answer.name, chosen


# Movement


def _move(anchors: Sequence[Object], filling: Filling) -> list[Object]:
    """Return the object in each frame."""
    numbers = [_numbers(anchor) for anchor in anchors]
    lengths = np.array([len(one) for one in numbers])
    shapes = [_shape(anchor) for anchor in anchors]
    steady = np.array([shapes[i] == shapes[j] for i, j in zip(filling.before, filling.after, strict=True)], np.bool_)
    moving = (filling.weight > 0) & (lengths[filling.before] == lengths[filling.after]) & steady
    moving &= lengths[filling.before] > 0
    if not moving.any():
        return [anchors[before] for before in filling.before.tolist()]
    table = np.zeros((len(anchors), lengths.max()))
    for row, one in zip(table, numbers, strict=True):
        row[: len(one)] = one
    filled = interpolate(filling, table)
    places = zip(filling.before.tolist(), moving.tolist(), filled, strict=True)
    return [
        _with_numbers(anchors[before], row[: lengths[before]]) if is_moving else anchors[before]
        for before, is_moving, row in places
    ]


def _shape(one: Object) -> str | None:
    return next((name for name in ("bounding_box", "polygon", "line", "point") if getattr(one, name) is not None), None)


def _numbers(one: Object) -> list[float]:
    """Return the numbers that move, nothing for a polygon with several parts."""
    box = one.bounding_box
    if box is not None:
        return [box.left, box.top, box.width, box.height]
    points = one.polygon or one.line or ([one.point] if one.point else [])
    if not all(isinstance(point, Point) for point in points):
        return []
    return [number for point in points for number in (point.x, point.y)]  # type: ignore[union-attr]  # checked above


def _with_numbers(one: Object, numbers: FloatArray) -> Object:
    values: list[float] = numbers.tolist()
    if one.bounding_box is not None:
        return msgspec.structs.replace(one, bounding_box=Box(*values))
    points = [Point(x, y) for x, y in zip(values[::2], values[1::2], strict=True)]
    if one.point is not None:
        return msgspec.structs.replace(one, point=points[0])
    return msgspec.structs.replace(one, **{"polygon" if one.polygon is not None else "line": points})
