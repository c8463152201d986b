"""Frames of videos as separate items, and moving labels between these frames and the timeline of the video."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.labels.arrays import IntArray
from airflow_annotation.labels.errors import LabelError

_SEPARATOR: Final = "#frame="

FRAMES: Final = pa.schema(
    [
        pa.field("item_key", pa.string(), nullable=False),
        pa.field("video_key", pa.string(), nullable=False),
        pa.field("frame", pa.int32(), nullable=False),
        pa.field("pts", pa.int64()),
        pa.field("time", pa.float64()),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("is_keyframe", pa.bool_(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
    ]
)
"""The frames table: one row for each frame that was extracted.

``item_key`` is the key of the frame, ``video_key`` the item key of its video. ``frame`` counts the video's frames from
0, in the order of display. ``pts`` is the presentation timestamp in units of the stream's ``time_base``, which the
table's metadata has; ``time`` is in seconds, from the zero of a player. ``width`` and ``height`` are the image's
pixels, after the rotation that the video specifies. ``file`` is the image's path or URI.
"""


class FrameKey(NamedTuple):
    """A frame of a video, by the video's key and the frame's number."""

    video_key: str
    frame: int


def frame_item_key(video_key: str, frame: int) -> str:
    """Return the item key of a frame: ``<video key>#frame=<index>``."""
    return f"{video_key}{_SEPARATOR}{frame}"


def parse_frame_item_key(item_key: str) -> FrameKey | None:
    """Return the video key and the frame of an item key, None if it is not the item key of a frame."""
    video_key, separator, frame = item_key.rpartition(_SEPARATOR)
    return FrameKey(video_key, int(frame)) if separator and frame.isascii() and frame.isdecimal() else None


def labeled_frames(labels: Iterable[pa.RecordBatch], video_key: str) -> list[tuple[int, int]]:
    """Return the first and last frame of each label on a video, from its ``labels`` rows.

    :param labels: rows with at least ``item_key``, ``frame``, ``frame_end`` and ``tool_frame``
    :raises LabelError: labels have frames of the tool for which the video's own frames are not known
    """
    found: list[tuple[int, int]] = []
    for batch in labels:
        rows = batch.filter(pc.equal(batch["item_key"], video_key))
        known = rows.filter(pc.is_valid(rows["frame"]))
        if rows["frame"].null_count > rows["tool_frame"].null_count:
            raise LabelError(
                f"Labels on {video_key!r} have frame numbers of the labeling tool only: the frame rate of the file was "
                "not known when they were landed. Upload the video with its frame_rate, and land the labels again."
            )
        ends = pc.coalesce(known["frame_end"], known["frame"])
        found += zip(known["frame"].to_pylist(), ends.to_pylist(), strict=True)
    return found


def labels_to_video(labels: pa.Table, frames: pa.Table) -> pa.Table:
    """Put labels on frames onto the timeline of their videos.

    Rows on a frame get the video's ``item_key``, and the frame's ``frame`` and ``time``. They are key frames, because
    somebody looked at exactly this picture. ``item_id`` stays that of the frame in the tool. Other rows stay as they
    are.

    :param labels: rows with the columns of the ``labels`` table
    :param frames: the frames tables of the videos, :data:`FRAMES`
    """
    place = pc.index_in(labels["item_key"], value_set=frames["item_key"].combine_chunks())
    joined = pc.is_valid(place)
    values = {
        "item_key": frames["video_key"].take(place),
        "frame": frames["frame"].take(place),
        "time": frames["time"].take(place),
        "is_keyframe": pa.scalar(True),
    }
    return _with_columns(labels, {name: pc.if_else(joined, value, labels[name]) for name, value in values.items()})


def labels_to_frames(labels: pa.Table, frames: pa.Table) -> pa.Table:
    """Put labels on videos onto their extracted frames.

    A row becomes one row for each extracted frame between its ``frame`` and its ``frame_end``, with the frame's
    ``item_key``, ``frame`` and ``time``. Rows on other frames, on other videos, and on a video as a whole are left out.
    Labels that landed only on key frames are only on those frames.

    :param labels: rows with the columns of the ``labels`` table
    :param frames: the frames tables of the videos, :data:`FRAMES`
    """
    videos = pc.unique(frames["video_key"].combine_chunks())
    on_video = pc.and_(pc.is_in(labels["item_key"], value_set=videos), pc.is_valid(labels["frame"]))
    rows = labels.filter(on_video)

    known = _places(frames["video_key"], frames["frame"], videos)
    order = np.argsort(known)
    begin = np.searchsorted(known[order], _places(rows["item_key"], rows["frame"], videos))
    last = pc.coalesce(rows["frame_end"], rows["frame"])
    counts = np.searchsorted(known[order], _places(rows["item_key"], last, videos), side="right") - begin
    counts = np.maximum(counts, 0)
    nth = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    frames = frames.take(pa.array(order[np.repeat(begin, counts) + nth]))
    rows = rows.take(pa.array(np.repeat(np.arange(rows.num_rows), counts)))
    nulls = pa.nulls(rows.num_rows)
    values = {"item_key": frames["item_key"], "frame": frames["frame"], "frame_end": nulls}
    return _with_columns(rows, {**values, "time": frames["time"], "time_end": nulls})


def _places(video_keys: pa.ChunkedArray, frames: pa.ChunkedArray, videos: pa.Array) -> IntArray:
    """Return one number for video and frame, with the same order as both."""
    video = pc.index_in(video_keys, value_set=videos).to_numpy().astype(np.int64)
    place: IntArray = (video << 32) + frames.to_numpy()
    return place


def _with_columns(table: pa.Table, columns: dict[str, pa.ChunkedArray]) -> pa.Table:
    for name, values in columns.items():
        index = table.schema.get_field_index(name)
        field = table.schema.field(index)
        table = table.set_column(index, field, pc.cast(values, field.type))
    return table
