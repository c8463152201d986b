from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_annotation.labels.tables import LABELS
from airflow_annotation.labels.video_frames import (
    FRAMES,
    FrameKey,
    frame_item_key,
    labeled_frames,
    labels_to_frames,
    labels_to_video,
    parse_frame_item_key,
)

REQUIRED = {
    "project": "label-studio://tool/projects/1",
    "item_id": "1",
    "annotation_id": "1",
    "origin": "person",
    "ordinal": 0,
    "label_id": "a",
    "field": "objects",
    "type": "detection",
}


def label_table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist([{**REQUIRED, **row} for row in rows], schema=LABELS)


def frame_table(frames: dict[str, list[int]]) -> pa.Table:
    rows = [
        {
            "item_key": frame_item_key(video_key, frame),
            "video_key": video_key,
            "frame": frame,
            "pts": frame * 512,
            "time": frame / 30,
            "width": 64,
            "height": 48,
            "is_keyframe": frame % 12 == 0,
            "file": f"/frames/{frame:08d}.jpg",
        }
        for video_key, numbers in frames.items()
        for frame in numbers
    ]
    return pa.Table.from_pylist(rows, schema=FRAMES)


@given(st.text(), st.integers(0, 2**31 - 1))
def test_the_item_key_of_a_frame_leads_back_to_its_video(video_key: str, frame: int) -> None:
    assert parse_frame_item_key(frame_item_key(video_key, frame)) == FrameKey(video_key, frame)


@pytest.mark.parametrize(
    "item_key", ["s3://a/b.mp4", "a.mp4#frame=", "a.mp4#frame=x", "a.mp4#frame=-1", "a#frame=²", ""]
)
def test_other_item_keys_are_of_no_frame(item_key: str) -> None:
    assert parse_frame_item_key(item_key) is None


def test_labels_on_frames_come_to_stand_on_the_timeline() -> None:
    frames = frame_table({"a.mp4": [0, 30], "b.mp4": [30]})
    labels = label_table(
        {"item_key": "b.mp4#frame=30", "bbox": [0.1, 0.2, 0.3, 0.4], "label": "car"},
        {"item_key": "photo.jpg", "label": "person"},
        {"item_key": "a.mp4#frame=30"},
        {"item_key": "a.mp4#frame=31"},
    )
    landed = labels_to_video(labels, frames)
    assert landed.schema.equals(LABELS)
    rows = landed.select(["item_key", "frame", "time", "is_keyframe", "label", "bbox"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("b.mp4", 30, 1.0, True, "car", [0.1, 0.2, 0.3, 0.4]),
        ("photo.jpg", None, None, None, "person", None),
        ("a.mp4", 30, 1.0, True, None, None),
        ("a.mp4#frame=31", None, None, None, None, None),
    ]


def test_labels_on_a_video_come_to_each_of_its_frames_that_they_span() -> None:
    frames = frame_table({"b.mp4": [12, 0, 6], "a.mp4": [5, 6, 7]})
    labels = label_table(
        {"item_key": "b.mp4", "label": "span", "frame": 3, "frame_end": 12, "time": 0.1, "time_end": 0.4},
        {"item_key": "a.mp4", "label": "box", "frame": 6, "track_id": "t"},
        {"item_key": "a.mp4", "label": "not extracted", "frame": 8},
        {"item_key": "a.mp4", "label": "whole video"},
        {"item_key": "c.mp4", "label": "another video", "frame": 6},
    )
    landed = labels_to_frames(labels, frames)
    assert landed.schema.equals(LABELS)
    rows = landed.select(["label", "item_key", "frame", "frame_end", "time", "time_end", "track_id"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("span", "b.mp4#frame=6", 6, None, 6 / 30, None, None),
        ("span", "b.mp4#frame=12", 12, None, 12 / 30, None, None),
        ("box", "a.mp4#frame=6", 6, None, 6 / 30, None, "t"),
    ]


spans = st.tuples(st.sampled_from(["a.mp4", "b.mp4", "c.mp4"]), st.integers(0, 20), st.integers(0, 5) | st.none())


@given(
    st.fixed_dictionaries({key: st.lists(st.integers(0, 25), unique=True) for key in ("a.mp4", "b.mp4")}),
    st.lists(spans, max_size=8),
)
def test_a_label_is_on_exactly_the_extracted_frames_of_its_span(
    frames: dict[str, list[int]], labels: list[tuple[str, int, int | None]]
) -> None:
    rows = [
        {"item_key": key, "frame": first, "frame_end": None if length is None else first + length, "ordinal": place}
        for place, (key, first, length) in enumerate(labels)
    ]
    landed = labels_to_frames(label_table(*rows), frame_table(frames))
    expected = [
        (place, frame_item_key(key, frame))
        for place, (key, first, length) in enumerate(labels)
        for frame in sorted(frames.get(key, []))
        if first <= frame <= first + (length or 0)
    ]
    assert list(zip(landed["ordinal"].to_pylist(), landed["item_key"].to_pylist(), strict=True)) == expected
    back = labels_to_video(landed, frame_table(frames))
    assert [(row["item_key"], row["frame"]) for row in back.to_pylist()] == [
        (parse_frame_item_key(key).video_key, parse_frame_item_key(key).frame)  # type: ignore[union-attr]  # are frames
        for _, key in expected
    ]


def test_the_labeled_frames_of_a_video_are_those_of_its_labels() -> None:
    labels = label_table(
        {"item_key": "a.mp4", "frame": 4, "tool_frame": 5},
        {"item_key": "b.mp4", "frame": 1, "tool_frame": 2},
        {"item_key": "a.mp4", "frame": 10, "frame_end": 20, "tool_frame": 11},
        {"item_key": "a.mp4"},
    )
    assert labeled_frames(labels.to_batches(), "a.mp4") == [(4, 4), (10, 20)]
    assert labeled_frames(labels.to_batches(), "c.mp4") == []


def test_labels_whose_frames_nobody_knows_are_an_error() -> None:
    labels = label_table({"item_key": "a.mp4", "tool_frame": 5})
    with pytest.raises(ValueError, match=r"'a\.mp4' have frame numbers of the labeling tool only"):
        labeled_frames(labels.to_batches(), "a.mp4")
    assert labeled_frames(labels.to_batches(), "b.mp4") == []
