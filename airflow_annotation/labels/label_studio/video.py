"""Converts Label Studio's records about videos, which have many frames, to rows of the ``labels`` table.

A ``videorectangle`` or ``videovector`` becomes a row for each of its frames, and ``timelinelabels`` become a row for
each range. The formats are described at https://labelstud.io/tags/videorectangle and
https://labelstud.io/tags/timelinelabels, and by ``VideoVectorValue`` of the label-studio-sdk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.labels.arrays import BoolArray, FloatArray, IntArray
from airflow_annotation.labels.columns import (
    Columns,
    bbox_column,
    check_finite,
    class_columns,
    concat_columns,
    points_column,
    positive_number,
    whole_number,
)
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.media_objects import DEFAULT_FRAME_RATE
from airflow_annotation.labels.label_studio.regions import LabelRows, Region
from airflow_annotation.labels.label_studio.sequences import (
    KeyFrame,
    file_frames,
    fill_sequence,
    frame_times,
    sequence_to_track,
)
from airflow_annotation.labels.label_studio.values import Vertex, check_path
from airflow_annotation.labels.video import Frames

ENABLED: Final = "enabled"
"""Attribute of a key frame that is false if the object is not shown between it and the next key frame."""


_NOT_EMPTY: Final = msgspec.Meta(min_length=1)
"""Constraint of lists that must have entries, since a record without entries would become no row."""


class _VideoRectangle(msgspec.Struct, gc=False):
    sequence: Annotated[list[KeyFrame], _NOT_EMPTY]
    frames_count: float | None = msgspec.field(name="framesCount", default=None)
    classes: list[str] | None = msgspec.field(name="labels", default=None)


class _PathKeyFrame(msgspec.Struct, gc=False):
    frame: int
    vertices: list[Vertex]
    closed: bool | None = False
    enabled: bool = True


class _VideoVector(msgspec.Struct, gc=False):
    sequence: Annotated[list[_PathKeyFrame], _NOT_EMPTY]
    frames_count: float | None = msgspec.field(name="framesCount", default=None)
    labels: list[str] | None = None
    own_labels: list[str] | None = msgspec.field(name="videovectorlabels", default=None)

    def __post_init__(self) -> None:
        """Refuse paths with branches or curves."""
        for key in self.sequence:
            check_path(key.vertices)

    @property
    def classes(self) -> list[str] | None:
        """The classes, of the tag itself or of a ``Labels`` tag on the same media."""
        return self.own_labels if self.own_labels is not None else self.labels


class _Range(msgspec.Struct, gc=False):
    start: int
    end: int


class _Timeline(msgspec.Struct, gc=False):
    ranges: Annotated[list[_Range], _NOT_EMPTY]
    classes: list[str] | None = msgspec.field(name="timelinelabels", default=None)


_DECODERS: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    "videorectangle": msgspec.json.Decoder(_VideoRectangle),
    "timelinelabels": msgspec.json.Decoder(_Timeline),
    "videovector": msgspec.json.Decoder(_VideoVector),
    "videovectorlabels": msgspec.json.Decoder(_VideoVector),
}


def read_videos(
    rows: LabelRows,
    regions: Sequence[Region],
    find_data: Callable[[int], Mapping[str, Any]],
    config: LabelingConfig,
    frames: Frames,
) -> LabelRows:
    """Replace the row of each region of a video by rows of its frames or ranges.

    :param rows: rows of the regions; those of videos have the type ``other``, and keep it if their values are invalid
    :param regions: records of the regions
    :param find_data: function that returns the data of a region's task, by the position of the region
    :param config: labeling config of the project
    :param frames: frames of objects: the ``keyframes`` that people set, or ``all`` frames in which they are shown. For
        an object without such key frames, all frames are returned in any case
    """
    places: list[int] = []
    classes: list[list[str] | None] = []
    parts: list[Columns] = []
    for place, position in enumerate(rows.regions.tolist()):
        region = regions[position]
        decoder = _DECODERS.get(region.type)
        if decoder is None:
            continue
        try:
            value = decoder.decode(region.value)
            parts.append(_columns(value, region, _clock(region, find_data(position), config), frames))
        except (ValueError, OverflowError):  # also for values that no column can hold
            continue
        places.append(place)
        classes.append(value.classes)
    if not places:
        return rows
    nth = np.repeat(np.arange(len(places)), [len(part["type"]) for part in parts])
    replaced = np.array(places)[nth]
    kept = np.setdiff1d(np.arange(len(rows.regions)), places)
    columns = _take(rows.columns, replaced) | concat_columns(parts)
    for name, given in _take(class_columns(classes), nth).items():
        columns[name] = pc.coalesce(columns[name], given) if name in columns else given
    _add_disabled(columns)
    order = np.argsort(np.concatenate([kept, replaced]), kind="stable")
    return LabelRows(
        rows.regions[np.concatenate([kept, replaced])[order]],
        _take(concat_columns([_take(rows.columns, kept), columns]), order),
    )


def _take(columns: Columns, rows: IntArray) -> Columns:
    indices = pa.array(rows)
    return {name: column.take(indices) for name, column in columns.items()}


# Columns


def _columns(value: Any, region: Region, clock: _Clock, frames: Frames) -> Columns:
    with np.errstate(all="ignore"):
        if isinstance(value, _Timeline):
            columns = _range_columns(value, clock)
        elif isinstance(value, _VideoVector):
            columns = _path_columns(value, region, clock, frames)
        else:
            columns = _frame_columns(value, region, clock, frames)
    check_finite(columns)
    return columns


class _Clock(NamedTuple):
    """Frame rates and number of frames of a video.

    :param tool_frame_rate: frame rate of the player, in frames per second
    :param frame_rate: frame rate of the file, None if not known
    :param frame_count: number of frames of the file, None if not known
    """

    tool_frame_rate: float
    frame_rate: float | None
    frame_count: int | None

    def times(self, tool_frame: IntArray) -> pa.Array:
        """Return the times in seconds at which frames of the tool begin."""
        return pa.array(frame_times(tool_frame, self.tool_frame_rate))

    def file_frames(self, tool_frame: IntArray) -> pa.Array:
        """Return frames of the file, null if its rate is not known."""
        if self.frame_rate is None:
            return pa.nulls(len(tool_frame), pa.int32())
        return pa.array(file_frames(tool_frame, self.tool_frame_rate, self.frame_rate, self.frame_count), pa.int32())


def _clock(region: Region, data: Mapping[str, Any], config: LabelingConfig) -> _Clock:
    media = config.find_object(region.to_name)
    rate, count = data.get("frame_rate"), data.get("frame_count")
    return _Clock(
        DEFAULT_FRAME_RATE if media is None else media.find_frame_rate(data),
        positive_number(rate),
        whole_number(count, 1) if isinstance(count, int) else None,
    )


def _frame_columns(value: _VideoRectangle, region: Region, clock: _Clock, frames: Frames) -> Columns:
    has_key_frames = any(key.auto is not True for key in value.sequence)
    track = sequence_to_track(value.sequence, int(value.frames_count or 0), frames if has_key_frames else "all")
    return {
        "type": pa.repeat("detection", len(track.tool_frame)),
        "bbox": bbox_column(track.bbox.ravel()),
        "rotation": pa.array(track.rotation),
        **_shown_columns(region, clock, track.tool_frame, track.is_keyframe, track.enabled),
    }


def _path_columns(value: _VideoVector, region: Region, clock: _Clock, frames: Frames) -> Columns:
    latest = {key.frame: key for key in value.sequence}
    keys = [latest[frame] for frame in sorted(latest)]
    tool_frame = np.array([key.frame for key in keys], np.int64)
    enabled = np.array([key.enabled for key in keys], np.bool_)
    before: IntArray = np.arange(len(keys))
    after = before
    weight: FloatArray = np.zeros(len(keys))
    if frames == "all":
        tool_frame, before, after, weight = fill_sequence(tool_frame, enabled, int(value.frames_count or 0))
    is_keyframe = tool_frame == np.array([key.frame for key in keys])[before]
    steps = zip(before.tolist(), after.tolist(), weight.tolist(), strict=True)
    paths = [_path_between(keys[start].vertices, keys[end].vertices, way) for start, end, way in steps]
    numbers = np.concatenate(paths).ravel() / 100
    types = ["polygon" if keys[start].closed else "polyline" for start in before.tolist()]
    return {
        "type": pa.array(types, pa.string()),
        "points": points_column(numbers, [len(path) for path in paths]),
        **_shown_columns(region, clock, tool_frame, is_keyframe, ~is_keyframe | enabled[before]),
    }


def _path_between(before: Sequence[Vertex], after: Sequence[Vertex], weight: float) -> FloatArray:
    """Return the path between one key frame and the next, as the player shows it.

    A vertex moves toward the next key frame's vertex with the same id, and stays in place if there is none.

    :param weight: share of the way to the next key frame, 0..1
    """
    here: FloatArray = np.array([(vertex.x, vertex.y) for vertex in before], np.float64).reshape(-1, 2)
    if not weight:
        return here
    places = {vertex.id: (vertex.x, vertex.y) for vertex in after}
    there = np.array([places.get(vertex.id, (vertex.x, vertex.y)) for vertex in before]).reshape(-1, 2)
    here += (there - here) * weight
    return here


def _shown_columns(
    region: Region, clock: _Clock, tool_frame: IntArray, is_keyframe: BoolArray, enabled: BoolArray
) -> Columns:
    """Return the columns that say which frame of which object each row is."""
    track_id = pa.scalar(None if region.id is None else str(region.id), pa.string())
    return {
        "track_id": pa.repeat(track_id, len(tool_frame)),
        "tool_frame": pa.array(tool_frame, pa.int32()),
        "frame": clock.file_frames(tool_frame),
        "time": clock.times(tool_frame),
        "is_keyframe": pa.array(is_keyframe),
        ENABLED: pa.array(enabled),
    }


def _range_columns(value: _Timeline, clock: _Clock) -> Columns:
    start = np.array([range_.start for range_ in value.ranges], np.int64)
    end = np.array([range_.end for range_ in value.ranges], np.int64)
    return {
        "type": pa.repeat("classification", len(start)),
        "tool_frame": pa.array(start, pa.int32()),
        "frame": clock.file_frames(start),
        "frame_end": clock.file_frames(end),
        "time": clock.times(start),
        "time_end": clock.times(end + 1),
    }


def _add_disabled(columns: Columns) -> None:
    """Mark the key frames after which the object disappears, in their attributes."""
    enabled = columns.pop(ENABLED, None)
    if enabled is None or enabled.false_count == 0:
        return
    attributes = columns.get("attributes", pa.nulls(len(enabled), pa.string())).to_pylist()
    for row in np.flatnonzero(~enabled.fill_null(True).to_numpy(zero_copy_only=False)).tolist():
        said = msgspec.json.decode(attributes[row] or "{}")
        attributes[row] = msgspec.json.encode({**said, ENABLED: False}).decode()
    columns["attributes"] = pa.array(attributes, pa.string())
