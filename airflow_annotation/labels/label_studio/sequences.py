"""Label Studio's videos: the ``sequence`` of a tracked object, and the player's frame numbers.

Its frames count from 1, at the frame rate of the labeling config (the ``Video`` tag's ``frameRate``, 24 unless set),
whatever the file's own rate is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from airflow_annotation.labels.arrays import BoolArray, FloatArray, IntArray
from airflow_annotation.labels.video import STRAIGHT, Filling, Frames, fill_segments, interpolate

_SEEK_STEP: Final = 0.002
"""Seconds: Label Studio's player seeks to the next of these steps behind the time at which a frame begins."""

_FRAME_MAX: Final = 1 << 31
"""More than columns of frames hold, so that what is beyond it is noticed there."""


class KeyFrame(msgspec.Struct, kw_only=True):
    """One entry of the ``sequence`` of Label Studio's video rectangles.

    :param frame: counts from 1, at the labeling config's frame rate
    :param x: percent of the media's width
    :param y: percent of the media's height
    :param width: percent of the media's width
    :param height: percent of the media's height
    :param rotation: degrees clockwise about the top left corner
    :param enabled: whether the object is shown from here to the next key frame
    :param time: ``frame`` divided by the labeling config's frame rate, as the editor writes it
    :param auto: true where the server has interpolated, otherwise left out
    """

    frame: int
    x: float
    y: float
    width: float
    height: float
    rotation: float = 0.0
    enabled: bool = True
    time: float | msgspec.UnsetType = msgspec.UNSET
    auto: bool | msgspec.UnsetType = msgspec.UNSET


class Track(NamedTuple):
    """The frames of one object, one row each.

    :param tool_frame: ascending, from 1
    :param bbox: array of shape (frames, 4): x, y, width, height, each 0..1
    :param rotation: degrees clockwise about the top left corner
    :param is_keyframe: set by a person
    :param enabled: for key frames, whether the frames up to the next key frame are filled; true for all others
    """

    tool_frame: IntArray
    bbox: FloatArray
    rotation: FloatArray
    is_keyframe: BoolArray
    enabled: BoolArray


def sequence_to_track(sequence: Sequence[KeyFrame], frames_count: int = 0, frames: Frames = "keyframes") -> Track:
    """Read a video rectangle's ``sequence``, in any order.

    Between key frames, boxes and rotations move in straight lines while the earlier one is enabled, as the server's
    export has it with ``interpolate_key_frames``: from 350 to 10 degrees by way of 180. (The editor shows rotations
    that differ by more than half a turn the short way round.) A disabled key frame is the last one shown. Where the
    last key frame of all is enabled, it holds until ``frames_count``. Of several entries for one frame the last counts.

    :param frames_count: ``framesCount`` of the region: the last frame of the video
    :param frames: ``keyframes`` returns those that a person set, ``all`` every frame that the object is shown in
    """
    latest = {key.frame: key for key in sequence}
    keys = [latest[frame] for frame in sorted(latest)]
    numbers = np.array([(key.x, key.y, key.width, key.height, key.rotation) for key in keys], np.float64)
    numbers = numbers.reshape(-1, 5) / (100, 100, 100, 100, 1)
    tool_frame = np.array([key.frame for key in keys], np.int64)
    enabled = np.array([key.enabled for key in keys], np.bool_)
    is_keyframe = np.array([key.auto is not True for key in keys], np.bool_)
    if frames == "keyframes" or not keys:
        tool_frame, numbers, enabled = tool_frame[is_keyframe], numbers[is_keyframe], enabled[is_keyframe]
        return Track(tool_frame, numbers[:, :4], numbers[:, 4], np.ones(len(tool_frame), np.bool_), enabled)

    filling = fill_sequence(tool_frame, enabled, frames_count)
    filled = interpolate(filling, numbers)
    is_entry = filling.frames == tool_frame[filling.before]
    return Track(
        filling.frames,
        filled[:, :4],
        filled[:, 4],
        is_entry & is_keyframe[filling.before],
        ~is_entry | enabled[filling.before],
    )


def fill_sequence(tool_frame: IntArray, enabled: BoolArray, frames_count: int) -> Filling:
    """Find the frames that an object is shown in, from the key frames of its ``sequence``.

    :param tool_frame: of the key frames, ascending; at least one
    :param enabled: of each, whether the object is shown from there to the next one
    :param frames_count: the last frame of the video, until which a last key frame holds that is enabled
    """
    # A segment begins with a key frame that the one before does not lead to, and ends with the next disabled one.
    begins = np.flatnonzero(np.concatenate([[True], ~enabled[:-1]]))
    ends = np.flatnonzero(np.concatenate([~enabled[:-1], [True]]))
    last = tool_frame[ends]
    if enabled[-1]:
        last[-1] = max(frames_count, last[-1])
    return fill_segments(tool_frame, np.column_stack([tool_frame[begins], last]))


def track_to_sequence(
    track: Track, tool_frame_rate: float, frames_count: int = 0, frames: Frames = "all"
) -> list[KeyFrame]:
    """Return the ``sequence`` that shows a track, the inverse of :func:`sequence_to_track`.

    :param track: its ``enabled`` is read for key frames only
    :param tool_frame_rate: the labeling config's
    :param frames_count: the last frame of the video; a track that is shown until there needs no key frame at the end
    :param frames: what the rows of the track are. With ``keyframes`` each one becomes a key frame. With ``all`` they
        are every frame that the object is shown in: rows are key frames where they say so, where the object appears
        and disappears, and where it leaves the straight line; the others follow from these.
    """
    kept: IntArray | slice
    if frames == "keyframes" or not len(track.tool_frame):
        kept, enabled = slice(None), track.enabled
    else:
        kept, enabled = _needed(track, frames_count)
    boxes = (track.bbox[kept] * 100).tolist()
    rows = zip(track.tool_frame[kept].tolist(), boxes, track.rotation[kept].tolist(), enabled.tolist(), strict=True)
    return [
        KeyFrame(
            frame=frame,
            x=box[0],
            y=box[1],
            width=box[2],
            height=box[3],
            rotation=rotation,
            enabled=shown,
            time=frame / tool_frame_rate,
        )
        for frame, box, rotation, shown in rows
    ]


def _needed(track: Track, frames_count: int) -> tuple[IntArray, BoolArray]:
    """Return the rows that the others follow from, and whether each of them leads to the next one."""
    gaps = (np.diff(track.tool_frame) > 1) | (track.is_keyframe & ~track.enabled)[:-1]
    begins, ends = np.concatenate([[True], gaps]), np.concatenate([gaps, [True]])
    numbers = np.column_stack([track.bbox, track.rotation / 360])
    middle = (numbers[:-2] + numbers[2:]) / 2
    bends = np.concatenate([[True], np.abs(numbers[1:-1] - middle).max(axis=1) > STRAIGHT, [True]])
    kept: IntArray = np.flatnonzero(track.is_keyframe | begins | ends | bends[: len(begins)])
    enabled = ~ends[kept]
    if len(kept) > 1 and track.tool_frame[-1] >= frames_count > 0 and not begins[-1] and not track.is_keyframe[-1]:
        held = np.abs(numbers[kept[-1]] - numbers[kept[-2]]).max() <= STRAIGHT
        kept, enabled = (kept[:-1], enabled[:-1]) if held else (kept, enabled)
    return kept, enabled


# Frame numbers and times


def frame_times(tool_frame: npt.ArrayLike, tool_frame_rate: float) -> FloatArray:
    """Return the seconds at which frames of the tool begin.

    The first frame begins at 0. (The ``time`` that Label Studio's editor writes into a sequence is that of the frame's
    end, ``frame / frameRate``.)

    :param tool_frame: frame numbers from 1
    :param tool_frame_rate: the rate at which the tool counts
    """
    return (np.asarray(tool_frame, np.float64) - 1) / tool_frame_rate


def file_frames(
    tool_frame: npt.ArrayLike, tool_frame_rate: float, frame_rate: float, frame_count: int | None = None
) -> IntArray:
    """Return the frames of the file, from 0, that Label Studio's player shows for its own frame numbers.

    To show frame n the player seeks to ``(n - 1) / frameRate``, rounded to a step of 2 ms, and one step on
    (``VideoCanvas.goToFrame`` of Label Studio 1.23; before the feature flag ``improve_video_frame_seek_precision`` it
    sought to ``n / frameRate``, one frame later). The browser shows the frame that began last. With equal rates below
    300 a second, that is frame n - 1.

    :param tool_frame: frame numbers from 1
    :param tool_frame_rate: the labeling config's
    :param frame_rate: the file's own, constant
    :param frame_count: of the file; the player's last frames may lie behind its end and show the last one
    """
    step = np.floor(frame_times(tool_frame, tool_frame_rate) / _SEEK_STEP + 0.5) + 1
    frames = np.floor(step * _SEEK_STEP * frame_rate)
    last = _FRAME_MAX if frame_count is None else max(frame_count - 1, 0)
    return np.clip(frames, 0, last).astype(np.int64)
