"""Computes the frames between key frames. The tools' packages count frames as each tool does."""

from __future__ import annotations

import math
from collections.abc import MutableMapping
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from airflow_annotation.labels.arrays import FloatArray, IntArray

Frames = Literal["keyframes", "all"]

MAX_FRAMES: Final = 1 << 19
"""Largest number of frames of one object, which is five hours at 29 frames per second. An object with more frames lands
as its raw record, since a few bytes can claim billions of frames."""

STRAIGHT: Final = 1e-12
"""Largest distance of an interpolated place from the middle of its neighbors, as a fraction of media or full turn."""

_BLUR: Final = 0.001
"""Largest difference, in seconds, of a time from the begin of its frame, since people and databases round to ms."""


class Filling(NamedTuple):
    """The frames in which an object is shown, each with the key frames before and after it.

    :param frames: frame numbers, ascending
    :param before: index of the key frame before each frame, whose values hold until the next one
    :param after: index of the key frame to which the values move; the same as ``before`` if there is none
    :param weight: share of the way to ``after``, 0..1
    """

    frames: IntArray
    before: IntArray
    after: IntArray
    weight: FloatArray


class Holding(NamedTuple):
    """The stretches of frames in which a value holds.

    :param starts: first frame of each stretch, ascending
    :param ends: last frame of each stretch; the next one may follow at once
    :param keys: index of the key frame whose value holds in each stretch
    """

    starts: IntArray
    ends: IntArray
    keys: IntArray


def fill_segments(keyframes: npt.ArrayLike, segments: npt.ArrayLike) -> Filling:
    """Find the frames in which an object is shown, from its key frames and its segments.

    Values move between the key frames of one segment, and stay constant before the first and after the last of them. In
    a segment without a key frame, the last value before it holds; without such a value, the segment has no frames.

    :param keyframes: frame numbers, ascending, each one once
    :param segments: array of shape (segments, 2): first and last frame of each; a frame in two segments counts once
    :raises ValueError: there are more than :data:`MAX_FRAMES` frames, or a frame number that no column can hold
    """
    keys, starts, ends = _read_numbers(keyframes, segments)
    if np.maximum(ends - starts + 1, 0).sum() > MAX_FRAMES:
        raise ValueError(f"An object is shown in more than {MAX_FRAMES:,} frames.")
    last = np.searchsorted(keys, ends, side="right") - 1
    first = np.minimum(np.searchsorted(keys, starts), last)
    lengths = np.where(last < 0, 0, np.maximum(ends - starts + 1, 0))
    nth = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    frames, places = np.unique(np.repeat(starts, lengths) + nth, return_index=True)
    first, last = np.repeat(first, lengths)[places], np.repeat(last, lengths)[places]
    at = np.searchsorted(keys, frames, side="right") - 1
    before = np.minimum(np.maximum(at, first), last)
    after = np.minimum(np.maximum(at + 1, first), last)
    distance = np.maximum(keys[after] - keys[before], 1)
    return Filling(frames, before, after, np.where(after > before, (frames - keys[before]) / distance, 0.0))


def hold_segments(keyframes: npt.ArrayLike, segments: npt.ArrayLike) -> Holding:
    """Find the stretches of frames in which a constant value holds, like the frames of :func:`fill_segments`.

    A stretch costs as much as a frame, regardless of its length: an hour of sound has millions of milliseconds.

    :param keyframes: frame numbers, ascending, each one once
    :param segments: array of shape (segments, 2): first and last frame of each
    :raises ValueError: there are more than :data:`MAX_FRAMES` stretches, or a frame number that no column can hold
    """
    keys, starts, ends = _read_numbers(keyframes, segments)
    # Nothing changes between two of these places, so all frames between them can count as one.
    places = np.unique(np.concatenate([keys, starts, ends + 1]))
    ranks = [np.searchsorted(places, numbers) for numbers in (keys, starts, ends + 1)]
    filling = fill_segments(ranks[0], np.column_stack([ranks[1], ranks[2] - 1]))
    return Holding(places[filling.frames], np.append(places, 0)[filling.frames + 1] - 1, filling.before)


def _read_numbers(keyframes: npt.ArrayLike, segments: npt.ArrayLike) -> tuple[IntArray, IntArray, IntArray]:
    """Return the key frames, and the first and the last frames of segments."""
    try:
        keys = np.asarray(keyframes, np.int64)
        starts, ends = np.asarray(segments, np.int64).reshape(-1, 2).T
    except OverflowError as error:
        raise ValueError("A frame's number is too large.") from error
    if max((np.abs(numbers).max(initial=0) for numbers in (keys, starts, ends)), default=0) >= 1 << 31:
        raise ValueError("A frame's number is too large.")
    return keys, starts, ends


def interpolate(filling: Filling, values: FloatArray) -> FloatArray:
    """Return numbers for each frame, which move in a straight line from key frame to key frame.

    Values that cannot move (masks, answers, paths whose number of points changes) stay constant:
    ``values[filling.before]``.

    :param values: array of shape (key frames, numbers)
    """
    start = values[filling.before]
    return start + (values[filling.after] - start) * filling.weight[:, None]


def fill_times(row: MutableMapping[str, Any], frame_rate: float | None) -> None:
    """Fill in ``frame`` from ``time``, or ``time`` from ``frame``, and likewise ``frame_end`` and ``time_end``.

    ``frame`` counts the file's frames from 0, and ``time`` is the time in seconds when it begins. ``frame_end`` is the
    last frame, and ``time_end`` the time when it ends.

    :param row: row of the ``labels`` table; its existing values stay
    :param frame_rate: frame rate of the file, in frames per second; None if not known, which fills in nothing
    """
    if not frame_rate:
        return
    frame, time = row.get("frame"), row.get("time")
    if frame is not None and time is None:
        row["time"] = frame / frame_rate
    elif time is not None and frame is None:
        row["frame"] = math.floor((time + _BLUR) * frame_rate)
    last, end = row.get("frame_end"), row.get("time_end")
    if last is not None and end is None:
        row["time_end"] = (last + 1) / frame_rate
    elif end is not None and last is None and row.get("frame") is not None:
        row["frame_end"] = max(row["frame"], math.ceil((end - _BLUR) * frame_rate) - 1)
