"""Labelbox's labels of videos and sound: key frames, segments, answers, there and back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_annotation.labels.errors import UnwritableLabelError
from airflow_annotation.labels.labelbox.export import ExportSource, read_export
from airflow_annotation.labels.labelbox.features import Ontology
from airflow_annotation.labels.labelbox.results import results_from_labels
from airflow_annotation.labels.masks import mask_to_rle
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.tables import collect_tables
from tests.labels.labelbox_round_trip import GLOBAL_KEY, HEIGHT, WIDTH, RoundTrip

NORMALIZED: dict[str, Any] = {
    "tools": [
        {
            "tool": "rectangle",
            "name": "objects: car",
            "classifications": [
                {
                    "type": "radio",
                    "name": "seen",
                    "options": [{"label": "yes", "value": "yes"}, {"label": "no", "value": "no"}],
                }
            ],
        },
        {"tool": "polygon", "name": "roof"},
        {"tool": "line", "name": "lane"},
        {"tool": "point", "name": "nose"},
        {"tool": "raster-segmentation", "name": "cells: nucleus"},
    ],
    "classifications": [
        {
            "type": "radio",
            "name": "light",
            "scope": "index",
            "options": [{"label": "red", "value": "red"}, {"label": "green", "value": "green"}],
        },
        {
            "type": "checklist",
            "name": "tags",
            "scope": "index",
            "options": [{"label": "day", "value": "day"}, {"label": "wet", "value": "wet"}],
        },
        {"type": "text", "name": "said", "scope": "index"},
        {"type": "text", "name": "note"},
    ],
}


def shown(kind: str, name: str, **parts: Any) -> dict[str, Any]:
    return {"feature_id": name, "name": name, "annotation_kind": f"Video{kind}", "classifications": [], **parts}


def box(left: float, **parts: Any) -> dict[str, Any]:
    return shown("BoundingBox", "objects: car", **parts) | {
        "feature_id": "car",
        "bounding_box": {"top": 10, "left": left, "height": 20, "width": 50},
    }


def line(annotations: dict[str, Any], **media: Any) -> bytes:
    media = {"width": 1000, "height": 500, "mime_type": "video/mp4", "frame_rate": 25, "frame_count": 600, **media}
    label = {"label_kind": "Video", "id": "l", "annotations": annotations}
    row = {"data_row": {"id": "r"}, "media_attributes": media, "projects": {"p": {"name": "P", "labels": [label]}}}
    return json.dumps(row).encode()


def labels(annotations: dict[str, Any], **settings: Any) -> list[dict[str, Any]]:
    source = ExportSource(
        project="labelbox://x/projects/p",
        project_id="p",
        ontology=Ontology(NORMALIZED),
        item_url="{item_id}",
        fetch_masks=settings.pop("fetch_masks", None),
        options=ReadOptions(frames=settings.pop("frames", "keyframes")),
    )
    rows: list[dict[str, Any]] = collect_tables(read_export([line(annotations, **settings)], source))[
        "labels"
    ].to_pylist()
    keys = {(row["ordinal"], row["frame"]) for row in rows}
    assert len(keys) == len(rows) or any(row["time"] is not None and row["frame"] is None for row in rows)
    return rows


def only(rows: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


MOVING = {
    "frames": {
        "1": {"objects": {"car": box(100)}, "classifications": []},
        "5": {"objects": {"car": box(300)}, "classifications": []},
        "10": {"objects": {"car": box(0)}, "classifications": []},
    },
    "segments": {"car": [[1, 6], [10, 11]]},
    "key_frame_feature_map": {"car": [1, 5, 10]},
}


def test_key_frames_say_how_far_they_reach() -> None:
    rows = labels(MOVING)
    assert only(rows, "tool_frame", "frame", "frame_end", "is_keyframe", "ordinal", "track_id", "label_id") == [
        (1, 0, 3, True, 0, "car", "car"),
        (5, 4, 5, True, 0, "car", "car"),
        (10, 9, 10, True, 0, "car", "car"),
    ]
    assert only(rows, "time", "time_end") == [(0, 0.16), (0.16, 0.24), (0.36, 0.44)]
    assert rows[1]["bbox"] == pytest.approx([0.3, 0.02, 0.05, 0.04])


def test_all_frames_move_in_straight_lines_between_key_frames() -> None:
    rows = labels(MOVING, frames="all")
    assert only(rows, "tool_frame", "is_keyframe") == [
        *((frame, frame in (1, 5)) for frame in range(1, 7)),
        (10, True),
        (11, False),
    ]
    assert [row["bbox"][0] for row in rows] == pytest.approx([0.1, 0.15, 0.2, 0.25, 0.3, 0.3, 0, 0])
    assert all(row["frame_end"] == row["frame"] for row in rows)


def test_a_key_frame_map_may_say_which_frames_a_person_set() -> None:
    marked = MOVING | {"key_frame_feature_map": {"car": {"1": True, "5": False, "10": True}}}
    assert only(labels(marked), "tool_frame", "frame_end") == [(1, 5), (10, 10)]
    assert only(labels(marked, frames="all"), "is_keyframe")[4] == (False,)


def test_a_segment_without_a_key_frame_of_its_own_begins_with_what_holds() -> None:
    held = {
        "frames": {"3": {"objects": {"car": box(100)}}},
        "segments": {"car": [[1, 4], [8, 9]]},
        "key_frame_feature_map": {"car": [3]},
    }
    assert only(labels(held), "tool_frame", "frame_end", "is_keyframe") == [
        (1, 1, False),
        (3, 3, True),
        (8, 8, False),
    ]


def test_a_frame_outside_of_all_segments_is_not_lost() -> None:
    alone = MOVING | {"segments": {"car": [[1, 6]]}}
    assert only(labels(alone, frames="all"), "tool_frame")[-1] == (10,)
    without = MOVING | {"segments": {}}
    assert len(labels(without, frames="all")) == 10


def test_other_shapes_move_and_what_cannot_move_holds() -> None:
    def path(*xs: int) -> list[dict[str, float]]:
        return [{"x": x, "y": 0} for x in xs]

    frames = {
        "1": {
            "objects": {
                "nose": shown("Point", "nose", point={"x": 0, "y": 0}),
                "lane": shown("Polyline", "lane", line=path(0, 100)),
                "roof": shown("Polygon", "roof", polygon=path(0, 100, 200, 0)),
            }
        },
        "3": {
            "objects": {
                "nose": shown("Point", "nose", point={"x": 100, "y": 50}),
                "lane": shown("Polyline", "lane", line=path(200, 300, 400)),
                "roof": shown("Polygon", "roof", polygon=path(100, 300, 300, 100)),
            }
        },
    }
    rows = labels({"frames": frames, "segments": {}, "key_frame_feature_map": {}}, frames="all")
    between = {row["track_id"]: row["points"] for row in rows if row["tool_frame"] == 2}
    assert between["nose"] == [[0.05, 0.05]]
    assert between["lane"] == [[0, 0], [0.1, 0]]
    assert between["roof"] == [[0.05, 0], [0.2, 0], [0.25, 0]]
    assert [row["ordinal"] for row in rows] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_masks_and_answers_hold() -> None:
    mask = np.zeros((500, 1000), np.uint8)
    mask[5, 5] = 255
    rle = mask_to_rle(mask)
    fetched = []

    def fetch(urls: Any, read: Any) -> list[Any]:
        from tests.support.labelbox_rows import png

        fetched.extend(urls)
        return [read(url, png(mask)) for url in urls]

    seen = [{"feature_id": "q", "name": "seen", "radio_answer": {"name": "yes"}}]
    frames = {
        "1": {"objects": {"m": shown("SegmentationMask", "cells: nucleus", mask={"url": "m1"}, feature_id="m")}},
        "2": {"objects": {"car": box(0, classifications=seen)}},
        "4": {
            "objects": {
                "car": box(200),
                "m": shown("SegmentationMask", "cells: nucleus", mask={"url": "m4"}, feature_id="m"),
            }
        },
    }
    rows = labels(
        {
            "frames": frames,
            "segments": {"m": [[1, 5]], "car": [[2, 4]]},
            "key_frame_feature_map": {"m": [1, 4], "car": [2, 4]},
        },
        frames="all",
        fetch_masks=fetch,
    )
    assert sorted(fetched) == ["m1", "m4"]
    assert only(rows[:5], "tool_frame", "is_keyframe", "mask_counts", "type") == [
        (frame, frame in (1, 4), rle.counts, "instance") for frame in range(1, 6)
    ]
    assert only(rows[5:], "tool_frame", "attributes") == [(2, '{"seen":"yes"}'), (3, '{"seen":"yes"}'), (4, None)]


def test_answers_are_a_row_for_each_stretch_in_which_they_are_the_same() -> None:
    def said(name: str, id_: str = "light") -> dict[str, Any]:
        return {"feature_id": id_, "name": "light", "radio_answer": {"feature_id": name, "name": name}}

    annotations = {
        "frames": {
            "7": {"objects": {}, "classifications": [said("red")]},
            "10": {"objects": {}, "classifications": [said("green")]},
            "13": {"objects": {}, "classifications": [said("green")]},
            "18": {"objects": {}, "classifications": [said("green")]},
            "19": {"objects": {}, "classifications": [said("green")]},
        },
        "segments": {"light": [[7, 13], [18, 19]]},
        "key_frame_feature_map": {"light": [7, 10, 13, 18, 19]},
        "classifications": [{"feature_id": "n", "name": "note", "text_answer": {"content": "ok"}}],
    }
    rows = labels(annotations)
    assert only(rows, "ordinal", "type", "label", "tool_frame", "frame", "frame_end", "time", "time_end") == [
        (0, "text", None, None, None, None, None, None),
        (1, "classification", "red", 7, 6, 8, 0.24, 0.36),
        (1, "classification", "green", 10, 9, 12, 0.36, 0.52),
        (1, "classification", "green", 18, 17, 18, 0.68, 0.76),
    ]
    assert only(rows, "is_keyframe", "track_id") == [(None, None), *[(None, "light")] * 3]


def test_sound_is_timed_in_milliseconds() -> None:
    answer = {"feature_id": "s", "name": "said", "text_answer": {"content": "hello"}}
    annotations = {
        "timestamp": {"1500": {"classifications": [answer]}},
        "segments": {"s": [[1500, 2250]]},
        "classifications": [],
    }
    (row,) = labels(annotations, mime_type="audio/mpeg")
    assert (row["text"], row["time"], row["time_end"], row["frame"]) == ("hello", 1.5, 2.25, None)


def test_an_answer_may_be_about_hours_of_a_sound() -> None:
    answer = {"feature_id": "s", "name": "said", "text_answer": {"content": "a long talk"}}
    annotations = {"timestamp": {"1500": {"classifications": [answer]}}, "segments": {"s": [[1500, 7_201_500]]}}
    (row,) = labels(annotations, mime_type="audio/mpeg")
    assert only([row], "type", "text", "time", "time_end") == [("text", "a long talk", 1.5, 7201.5)]


def test_records_in_frames_that_no_rule_covers_are_kept() -> None:
    cuboid = {"feature_id": "c", "name": "crate", "annotation_kind": "VideoCuboid", "cuboid": {"x": 1}}
    rows = labels({"frames": {"2": {"objects": {"c": cuboid, "car": box(0)}}}})
    assert only(rows, "type", "tool_frame") == [("other", 2), ("detection", 2)]
    assert json.loads(rows[0]["raw"]) == cuboid


# There and back


parts = st.floats(0, 0.5).map(lambda number: round(number, 9))
ATTRIBUTES = st.sampled_from([None, '{"seen":"yes"}', '{"seen":"no"}'])


@st.composite
def tracks(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw the key frames of one object."""
    kind = draw(st.sampled_from(["detection", "polyline", "polygon", "keypoint"]))
    field, label = {
        "detection": ("objects", "car"),
        "polyline": ("line", "lane"),
        "polygon": ("polygon", "roof"),
        "keypoint": ("point", "nose"),
    }[kind]
    count = 1 if kind == "keypoint" else draw(st.integers(3, 5))
    rows = []
    frame = draw(st.integers(0, 5))
    for _ in range(draw(st.integers(1, 5))):
        row: dict[str, Any] = {"field": field, "type": kind, "label": label, "frame": frame, "is_keyframe": True}
        row["frame_end"] = frame + draw(st.integers(0, 4))
        frame = row["frame_end"] + 1 + draw(st.sampled_from([0, 0, 3]))
        if kind == "detection":
            row["bbox"] = [draw(parts) for _ in range(4)]
            row["attributes"] = draw(ATTRIBUTES)
        else:
            points = [[draw(parts), draw(parts)] for _ in range(count)]
            row["points"] = [*points[:-1], [points[0][0] + 0.25, 0.75]] if count > 1 else points
        rows.append(row)
    return rows


def write(rows: list[dict[str, Any]], ontology: Ontology) -> list[dict[str, Any]]:
    return results_from_labels(rows, ontology, global_key=GLOBAL_KEY, width=WIDTH, height=HEIGHT)


def assert_same(rows: list[dict[str, Any]], others: list[dict[str, Any]]) -> None:
    names = ("ordinal", "field", "type", "label", "frame", "attributes", "mask_counts")
    assert only(rows, *names) == only(others, *names)
    for row, other in zip(rows, others, strict=True):
        for name in ("bbox", "points"):
            assert (row[name] is None) == (other[name] is None)
            if row[name] is not None:
                assert np.asarray(row[name]) == pytest.approx(np.asarray(other[name]), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.lists(tracks(), min_size=1, max_size=3))
def test_tracks_come_back_the_same(drawn: list[list[dict[str, Any]]]) -> None:
    trip = RoundTrip(NORMALIZED, "VIDEO")
    rows = [{**row, "label_id": f"track-{number}"} for number, track in enumerate(drawn) for row in track]
    exported = trip.export(write(rows, trip.ontology))
    landed, every = trip.labels(exported), trip.labels(exported, frames="all")

    # What lands, with key frames only or with all frames, goes back as the same video.
    for form in (landed, every):
        again = RoundTrip(NORMALIZED, "VIDEO")
        assert_same(again.labels(again.export(write(form, again.ontology)), frames="all"), every)

    # The rows that went in are there, and cover the same frames.
    covered = {(row["label_id"], frame) for row in rows for frame in range(row["frame"], row["frame_end"] + 1)}
    assert len(every) == len(covered)
    by_frame = {(row["ordinal"], row["frame"]): row for row in every}
    appearance = sorted(range(len(drawn)), key=lambda number: drawn[number][0]["frame"])
    for row in rows:
        other = by_frame[appearance.index(int(row["label_id"].removeprefix("track-"))), row["frame"]]
        assert_same(
            [{"bbox": None, "points": None, "mask_counts": None, "attributes": None, **row, "ordinal": 0}],
            [{**other, "ordinal": 0}],
        )


@settings(max_examples=20, deadline=None)
@given(st.lists(tracks(), min_size=1, max_size=3))
def test_interpolating_agrees_with_an_export_of_interpolated_frames(drawn: list[list[dict[str, Any]]]) -> None:
    trip = RoundTrip(NORMALIZED, "VIDEO")
    rows = [{**row, "label_id": f"track-{number}"} for number, track in enumerate(drawn) for row in track]
    lines = write(rows, trip.ontology)
    ours, theirs = (
        trip.labels(trip.export(lines, interpolated=interpolated), frames="all") for interpolated in (False, True)
    )
    assert_same(ours, theirs)
    assert only(ours, "is_keyframe") == only(theirs, "is_keyframe")
    ours, theirs = (trip.labels(trip.export(lines, interpolated=interpolated)) for interpolated in (False, True))
    assert_same(ours, theirs)


def test_a_segment_that_follows_another_at_once_is_not_led_to() -> None:
    held = {
        "frames": {"1": {"objects": {"car": box(100)}}, "6": {"objects": {"car": box(200)}}},
        "segments": {"car": [[1, 5], [6, 8]]},
        "key_frame_feature_map": {"car": [1, 6]},
    }
    rows = labels(held)
    assert only(rows, "tool_frame", "frame_end", "is_keyframe") == [(1, 3, True), (5, 4, False), (6, 7, True)]
    every = labels(held, frames="all")
    assert [row["bbox"][0] for row in every] == pytest.approx([0.1] * 5 + [0.2] * 3)
    for form in (rows, every):
        (one,) = write(form, Ontology(NORMALIZED))
        (segment,) = one["segments"]
        assert [key["frame"] for key in segment["keyframes"]] == [1, 5, 6, 8]


def test_masks_of_videos_come_back_to_the_pixel() -> None:
    trip = RoundTrip(NORMALIZED, "VIDEO")
    row = {"field": "cells", "type": "instance", "label": "nucleus", "label_id": "m", "mask_size": [HEIGHT, WIDTH]}
    masks = []
    for corner in (10, 50):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[corner : corner + 20, 3:9] = 1
        masks.append(mask_to_rle(mask).counts)
    rows = [
        {**row, "frame": 2, "frame_end": 4, "mask_counts": masks[0]},
        {**row, "frame": 5, "mask_counts": masks[1]},
        {**row, "frame": 9, "mask_counts": masks[1]},
    ]
    landed = trip.labels(trip.export(write(rows, trip.ontology)), frames="all")
    assert only(landed, "frame", "mask_counts") == [
        *((frame, masks[0]) for frame in (2, 3, 4)),
        (5, masks[1]),
        (9, masks[1]),
    ]
    with pytest.raises(UnwritableLabelError, match="attributes"):
        write([{**rows[0], "attributes": '{"a": 1}'}], trip.ontology)


def test_answers_of_frames_come_back_the_same() -> None:
    trip = RoundTrip(NORMALIZED, "VIDEO")
    light = {"field": "light", "type": "classification", "label_id": "light"}
    tags = {"field": "tags", "type": "classifications", "label_id": "tags", "label": "day", "labels": ["day", "wet"]}
    rows = [
        {**light, "label": "red", "frame": 0, "frame_end": 9},
        {**light, "label": "green", "frame": 10, "frame_end": 12},
        {**light, "label": "red", "frame": 20, "frame_end": 20},
        {**tags, "frame": 3, "frame_end": 30},
    ]
    lines = write(rows, trip.ontology)
    assert [one.get("frames") for one in lines] == [
        [{"start": 1, "end": 10}, {"start": 21, "end": 21}],
        [{"start": 11, "end": 13}],
        [{"start": 4, "end": 31}],
    ]
    assert len({one["uuid"] for one in lines}) == 3
    landed = trip.labels(trip.export(lines))
    names = ("field", "label", "labels", "frame", "frame_end")
    assert sorted(only(landed, *names), key=str) == sorted(
        only([{"labels": None, **row} for row in rows], *names), key=str
    )


def test_written_answers_of_frames_are_one_line() -> None:
    said = {"field": "said", "type": "text", "label_id": "said"}
    rows = [{**said, "text": "hi", "frame": 0, "frame_end": 4}, {**said, "text": "bye", "frame": 7}]
    (one,) = write(rows, Ontology(NORMALIZED))
    assert one["answer"] == [
        {"value": "hi", "frames": [{"start": 1, "end": 5}]},
        {"value": "bye", "frames": [{"start": 8, "end": 8}]},
    ]


def test_rows_without_an_end_are_key_frames_or_single_frames() -> None:
    nose = {"field": "point", "type": "keypoint", "label": "nose", "label_id": "n"}
    rows = [{**nose, "frame": frame, "points": [[frame / 10, 0]]} for frame in (0, 1, 2, 5)]
    (one,) = write(rows, Ontology(NORMALIZED))
    assert [[key["frame"] for key in segment["keyframes"]] for segment in one["segments"]] == [[1, 2, 3], [6]]
    (one,) = write([{**row, "is_keyframe": True} for row in rows], Ontology(NORMALIZED))
    assert [[key["frame"] for key in segment["keyframes"]] for segment in one["segments"]] == [[1, 2, 3, 6]]


def moments(rows: list[dict[str, Any]], trip: RoundTrip) -> list[dict[str, Any]]:
    identified = [{"label_id": f"l{number}", **row} for number, row in enumerate(rows)]
    return results_from_labels(identified, trip.ontology, global_key=GLOBAL_KEY, in_sound=True)


def test_answers_about_moments_of_a_sound_come_back() -> None:
    trip = RoundTrip(NORMALIZED, "AUDIO")
    rows: list[dict[str, Any]] = [
        {"field": "light", "type": "classification", "label": "red", "time": 0.5, "time_end": 1.25},
        {"field": "light", "type": "classification", "label": "green", "time": 1.25, "time_end": 2.0},
        {"field": "light", "type": "classification", "label": "red", "time": 3.0, "time_end": 4.0},
        {"field": "tags", "type": "classifications", "labels": ["day", "wet"], "time": 0.0, "time_end": 1.0},
        {"field": "said", "type": "text", "text": "Hello", "time": 0.001, "time_end": 0.002},
        {"field": "note", "type": "text", "text": "all of it"},
    ]
    lines = moments(rows, trip)
    assert [line["answer"] for line in lines if line["name"] == "said"] == [
        [{"value": "Hello", "frames": [{"start": 1, "end": 2}]}]
    ]
    assert len({line["uuid"] for line in lines}) == len(lines) == 5  # a radio has a line for each of its answers
    landed = trip.labels(trip.export(lines))
    found = {(row["field"], row["label"] or row["text"], row["time"], row["time_end"]) for row in landed}
    assert found == {
        ("light", "red", 0.5, 1.25),
        ("light", "red", 3.0, 4.0),
        ("light", "green", 1.25, 2.0),
        ("tags", "day", 0.0, 1.0),
        ("tags", "wet", 0.0, 1.0),
        ("said", "Hello", 0.001, 0.002),
        ("note", "all of it", None, None),
    }


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"field": "note", "type": "text", "text": "x"}, "the project asks it of whole sounds: make the field timed"),
        ({"field": "light", "type": "classification", "label": "blue"}, "answers 'light' with 'blue'"),
        ({"field": "said", "type": "text", "text": "x", "attributes": '{"loud": 1}'}, "has attributes"),
    ],
)
def test_moments_that_labelbox_does_not_ask_about_are_refused(row: dict[str, Any], message: str) -> None:
    with pytest.raises(UnwritableLabelError, match=message):
        moments([{**row, "time": 1.0}], RoundTrip(NORMALIZED, "AUDIO"))
