"""The ``sequence`` of a tracked object in Label Studio's videos, and the player's frame numbers.

The player counts frames from 1, at the frame rate of the labeling config (the ``Video`` tag's ``frameRate``, by default
24), independent of the file's own rate.
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
"""Step in seconds: to show a frame, Label Studio's player seeks to the next step after the frame's begin."""

_FRAME_MAX: Final = 1 << 31
"""A number that columns of frames cannot hold, so that larger numbers cause an error there."""


class KeyFrame(msgspec.Struct, kw_only=True):
    """One entry of the ``sequence`` of Label Studio's video rectangles.

    :param frame: number of the frame from 1, at the labeling config's frame rate
    :param x: percent of the media's width
    :param y: percent of the media's height
    :param width: percent of the media's width
    :param height: percent of the media's height
    :param rotation: degrees clockwise about the top left corner
    :param enabled: whether the object is shown from here to the next key frame
    :param time: time in seconds: ``frame`` divided by the labeling config's frame rate, as the editor writes it
    :param auto: true if the server has interpolated the entry, otherwise left out
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

    :param tool_frame: frame numbers from 1, ascending
    :param bbox: array of shape (frames, 4): x, y, width, height, each 0..1
    :param rotation: degrees clockwise about the top left corner
    :param is_keyframe: whether a person set the frame
    :param enabled: for key frames, whether the frames up to the next key frame are filled; true for all others
    """

    tool_frame: IntArray
    bbox: FloatArray
    rotation: FloatArray
    is_keyframe: BoolArray
    enabled: BoolArray


def sequence_to_track(sequence: Sequence[KeyFrame], frames_count: int = 0, frames: Frames = "keyframes") -> Track:
    """Read a video rectangle's ``sequence``, in any order.

    Between key frames, boxes and rotations move in straight lines if the earlier key frame is enabled, as in the
    server's export with ``interpolate_key_frames``: from 350 to 10 degrees through 180. (The editor shows rotations
    that differ by more than half a turn the short way.) After a disabled key frame, the object is not shown until the
    next one. If the last key frame of all is enabled, it holds until ``frames_count``. Of several entries for one
    frame, the last counts.

    :param frames_count: ``framesCount`` of the region: the last frame of the video
    :param frames: ``keyframes`` returns the key frames that a person set, ``all`` every frame in which the object is
        shown
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
    """Find the frames in which an object is shown, from the key frames of its ``sequence``.

    :param tool_frame: numbers of one or more key frames, ascending
    :param enabled: for each key frame, whether the object is shown from there to the next one
    :param frames_count: last frame of the video, until which an enabled last key frame holds
    """
    # A segment begins with the first key frame or after a disabled one, and ends with the next disabled one.
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

    :param track: track, whose ``enabled`` is read only for key frames
    :param tool_frame_rate: frame rate of the labeling config, in frames per second
    :param frames_count: last frame of the video; a track that is shown until there needs no key frame at the end
    :param frames: meaning of the track's rows. With ``keyframes``, each row becomes a key frame. With ``all``, the rows
        are all frames in which the object is shown. Then rows become key frames if they are marked as such, if the
        object appears or disappears there, or if it leaves the straight line. The other rows follow from these
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
    """Return the rows from which the others follow, and whether each of them leads to the next one."""
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
    """Return the times in seconds at which frames of the tool begin.

    The first frame begins at 0. (Label Studio's editor writes the time of the frame's end, ``frame / frameRate``, as
    ``time`` into a sequence.)

    :param tool_frame: frame numbers from 1
    :param tool_frame_rate: frame rate at which the tool counts, in frames per second
    """
    return (np.asarray(tool_frame, np.float64) - 1) / tool_frame_rate


def file_frames(
    tool_frame: npt.ArrayLike, tool_frame_rate: float, frame_rate: float, frame_count: int | None = None
) -> IntArray:
    """Return the frames of the file, from 0, that Label Studio's player shows for its own frame numbers.

    To show frame n, the player seeks to ``(n - 1) / frameRate``, rounded to a step of 2 ms, plus one step
    (``VideoCanvas.goToFrame`` of Label Studio 1.23; before the feature flag ``improve_video_frame_seek_precision`` the
    player used ``n / frameRate``, one frame later). The browser shows the frame that began last. If both rates are
    equal and below 300 frames per second, that is frame n - 1.

    :param tool_frame: frame numbers from 1
    :param tool_frame_rate: frame rate of the labeling config, in frames per second
    :param frame_rate: constant frame rate of the file, in frames per second
    :param frame_count: number of frames of the file; the player's last frames may be after its end and show the last
        frame
    """
    step = np.floor(frame_times(tool_frame, tool_frame_rate) / _SEEK_STEP + 0.5) + 1
    frames = np.floor(step * _SEEK_STEP * frame_rate)
    last = _FRAME_MAX if frame_count is None else max(frame_count - 1, 0)
    return np.clip(frames, 0, last).astype(np.int64)
