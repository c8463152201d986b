from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk._extensions.label_studio_tools.postprocessing.video import extract_key_frames

from airflow_annotation.labels.label_studio.sequences import (
    KeyFrame,
    Track,
    file_frames,
    frame_times,
    sequence_to_track,
    track_to_sequence,
)
from airflow_annotation.labels.video import fill_segments, hold_segments, interpolate

if TYPE_CHECKING:
    from devtools.label_studio import LabelStudio

percents = st.floats(-10, 110)
rates = st.sampled_from([1.0, 10.0, 12.5, 24.0, 25.0, 24_000 / 1001, 29.97, 30_000 / 1001, 30.0, 60.0, 120.0, 240.0])


@st.composite
def sequences(draw: st.DrawFn) -> list[KeyFrame]:
    frames = draw(st.lists(st.integers(1, 60), unique=True, min_size=1, max_size=8))
    return [
        KeyFrame(
            frame=frame,
            x=draw(percents),
            y=draw(percents),
            width=draw(percents),
            height=draw(percents),
            rotation=draw(st.floats(-360, 720)),
            enabled=draw(st.booleans()),
            time=frame / 24,
        )
        for frame in frames
    ]


def as_result(sequence: list[KeyFrame], frames_count: int) -> dict[str, Any]:
    value = {"framesCount": frames_count, "duration": frames_count / 24, "sequence": msgspec.to_builtins(sequence)}
    return {"type": "videorectangle", "value": value | {"labels": ["car"]}}


def shown(track: Track) -> list[tuple[int, list[float], float, bool]]:
    boxes = (track.bbox * 100).tolist()
    return list(zip(track.tool_frame.tolist(), boxes, track.rotation.tolist(), track.is_keyframe.tolist(), strict=True))


def assert_shown(track: Track, expected: list[dict[str, Any]]) -> None:
    got = shown(track)
    assert [row[0] for row in got] == [entry["frame"] for entry in expected]
    assert [row[3] for row in got] == [not entry.get("auto") for entry in expected]
    for (_, box, rotation, _), entry in zip(got, expected, strict=True):
        numbers = [entry[name] for name in ("x", "y", "width", "height", "rotation")]
        assert [*box, rotation] == pytest.approx(numbers, abs=1e-9)


def interpolated(sequence: list[KeyFrame], frames_count: int) -> list[dict[str, Any]]:
    """Interpolate with the code that the server runs for ``interpolate_key_frames=true``."""
    result: list[Any] = extract_key_frames([as_result(sequence, frames_count)])  # type: ignore[no-untyped-call]  # the SDK has no types
    entries: list[dict[str, Any]] = result[0]["value"]["sequence"]
    return entries


@given(sequences(), st.integers(0, 80))
def test_all_frames_are_those_of_the_servers_own_interpolation(sequence: list[KeyFrame], frames_count: int) -> None:
    assert_shown(sequence_to_track(sequence, frames_count, frames="all"), interpolated(sequence, frames_count))


@given(sequences(), st.integers(0, 80))
def test_what_the_server_has_interpolated_already_reads_the_same(sequence: list[KeyFrame], frames_count: int) -> None:
    exported = interpolated(sequence, frames_count)
    again = msgspec.convert(exported, list[KeyFrame])
    assert_shown(sequence_to_track(again, frames_count, frames="all"), exported)
    assert shown(sequence_to_track(again, frames_count)) == shown(sequence_to_track(sequence, frames_count))


def test_a_live_server_exports_the_same_frames(label_studio: LabelStudio) -> None:
    config = """<View><Video name="video" value="$video"/><VideoRectangle name="box" toName="video"/>
      <Labels name="label" toName="video"><Label value="car"/></Labels></View>"""
    tracks = [
        ([key(3, 10, rotation=350), key(9, 40, rotation=10), key(20, 30, enabled=False), key(26, 0)], 30),
        ([key(5, 5, enabled=False), key(7, 20)], 0),
        ([key(1, 1), key(2, 2), key(12, 50.5, enabled=False)], 40),
    ]
    annotations = []
    for sequence, frames_count in tracks:
        result = as_result(sequence, frames_count) | {"from_name": "box", "to_name": "video"}
        for entry in result["value"]["sequence"]:
            entry["time"] = entry["frame"] / 24
        annotations.append({"result": [result]})
    task = {"data": {"video": "https://example.org/a.mp4"}, "annotations": annotations}
    headers = {"Authorization": f"Token {label_studio.api_key}"}
    with httpx.Client(base_url=label_studio.url, headers=headers, timeout=60) as client:
        project = client.post("/api/projects", json={"title": "key frames", "label_config": config}).json()["id"]
        client.post(f"/api/projects/{project}/import", json=[task]).raise_for_status()
        exported = client.get(f"/api/projects/{project}/export", params={"interpolate_key_frames": "true"}).json()
        client.delete(f"/api/projects/{project}").raise_for_status()
    by_first_x = {
        annotation["result"][0]["value"]["sequence"][0]["x"]: annotation for annotation in exported[0]["annotations"]
    }
    for sequence, frames_count in tracks:
        expected = by_first_x[sequence[0].x]["result"][0]["value"]["sequence"]
        assert_shown(sequence_to_track(sequence, frames_count, frames="all"), expected)


@given(sequences())
def test_keyframes_are_what_a_person_set_in_the_order_of_the_video(sequence: list[KeyFrame]) -> None:
    track = sequence_to_track(sequence, 100)
    ordered = sorted(sequence, key=lambda key: key.frame)
    assert track.tool_frame.tolist() == [key.frame for key in ordered]
    assert track.enabled.tolist() == [key.enabled for key in ordered]
    assert track.is_keyframe.all()


def key(frame: int, x: float = 0, *, rotation: float = 0, enabled: bool = True) -> KeyFrame:
    return KeyFrame(frame=frame, x=x, y=0, width=10, height=10, rotation=rotation, enabled=enabled)


def test_a_rotation_from_350_to_10_goes_through_180_as_in_the_servers_export() -> None:
    track = sequence_to_track([key(1, rotation=350), key(5, rotation=10)], 5, frames="all")
    assert track.rotation.tolist() == [350, 265, 180, 95, 10]


def test_a_disabled_key_frame_is_the_last_one_shown() -> None:
    track = sequence_to_track([key(2), key(4, enabled=False), key(9)], 0, frames="all")
    assert track.tool_frame.tolist() == [2, 3, 4, 9]
    assert track.is_keyframe.tolist() == [True, False, True, True]


def test_the_last_enabled_key_frame_holds_until_the_end_only_if_the_end_is_known() -> None:
    assert sequence_to_track([key(2, 50)], 4, frames="all").bbox[:, 0].tolist() == [0.5, 0.5, 0.5]
    assert sequence_to_track([key(2, 50)], 0, frames="all").tool_frame.tolist() == [2]
    assert sequence_to_track([key(2, 50, enabled=False)], 4, frames="all").tool_frame.tolist() == [2]


def test_of_two_entries_for_one_frame_the_last_counts() -> None:
    assert sequence_to_track([key(2, 50), key(2, 20)]).bbox[:, 0].tolist() == [0.2]


@pytest.mark.parametrize("frames", ["keyframes", "all"])
def test_a_sequence_without_entries_shows_nothing(frames: Any) -> None:
    track = sequence_to_track([], 10, frames=frames)
    assert shown(track) == []
    assert track_to_sequence(track, 24, frames=frames) == []


@given(sequences(), st.integers(0, 80))
def test_all_frames_go_back_to_a_sequence_that_shows_the_same(sequence: list[KeyFrame], frames_count: int) -> None:
    track = sequence_to_track(sequence, frames_count, frames="all")
    back = track_to_sequence(track, 24, frames_count)
    assert len(back) <= len(sequence)
    expected = [
        {"frame": frame, "x": b[0], "y": b[1], "width": b[2], "height": b[3], "rotation": rotation}
        | ({} if is_keyframe else {"auto": True})
        for frame, b, rotation, is_keyframe in shown(track)
    ]
    assert_shown(sequence_to_track(back, frames_count, frames="all"), expected)


@given(sequences())
def test_keyframes_go_back_to_the_sequence_they_came_from(sequence: list[KeyFrame]) -> None:
    back = track_to_sequence(sequence_to_track(sequence), 24, frames="keyframes")
    for got, expected in zip(back, sorted(sequence, key=lambda key: key.frame), strict=True):
        assert (got.frame, got.enabled) == (expected.frame, expected.enabled)
        assert got.time == pytest.approx(expected.frame / 24)
        assert [got.x, got.y, got.width, got.height, got.rotation] == pytest.approx(
            [expected.x, expected.y, expected.width, expected.height, expected.rotation], abs=1e-9
        )


@given(sequences(), st.integers(0, 80))
def test_frames_of_a_model_need_few_key_frames(sequence: list[KeyFrame], frames_count: int) -> None:
    track = sequence_to_track(sequence, frames_count, frames="all")
    from_model = track._replace(is_keyframe=np.zeros(len(track.tool_frame), np.bool_))
    back = track_to_sequence(from_model, 24, frames_count)
    assert len(back) <= len(sequence)
    again = sequence_to_track(back, frames_count, frames="all")
    assert again.tool_frame.tolist() == track.tool_frame.tolist()
    np.testing.assert_allclose(again.bbox, track.bbox, atol=1e-8)
    np.testing.assert_allclose(again.rotation, track.rotation, atol=1e-6)


def test_a_sequence_says_nothing_of_what_the_server_adds() -> None:
    written = msgspec.to_builtins(track_to_sequence(sequence_to_track([key(12, 50)]), 24, frames="keyframes"))
    assert written == [
        {"frame": 12, "x": 50.0, "y": 0.0, "width": 10.0, "height": 10.0, "rotation": 0.0, "enabled": True, "time": 0.5}
    ]


# Segments


@st.composite
def segmented(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, int]]]:
    keys = sorted(draw(st.sets(st.integers(1, 40), max_size=6)))
    bounds = sorted(draw(st.sets(st.integers(1, 40), max_size=6)))
    return keys, list(zip(bounds[::2], bounds[1::2], strict=False))


@given(segmented())
def test_segments_fill_as_the_frame_by_frame_definition_does(case: tuple[list[int], list[tuple[int, int]]]) -> None:
    keys, segments = case
    values = np.array([[frame**2, 100.0 - frame] for frame in keys], np.float64).reshape(-1, 2)
    expected = {}
    for start, end in segments:
        inside = [place for place, frame in enumerate(keys) if start <= frame <= end]
        earlier = [place for place, frame in enumerate(keys) if frame < start]
        anchors = inside or earlier[-1:]
        for frame in range(start, end + 1):
            if anchors:
                at = [keys[place] for place in anchors]
                numbers = [np.interp(frame, at, values[anchors, column]) for column in (0, 1)]
                held = max((place for place in anchors if keys[place] <= frame), default=anchors[0])
                expected[frame] = (numbers, held)
    filling = fill_segments(keys, segments)
    assert filling.frames.tolist() == sorted(expected)
    assert filling.before.tolist() == [expected[frame][1] for frame in sorted(expected)]
    np.testing.assert_allclose(
        interpolate(filling, values), np.array([expected[f][0] for f in sorted(expected)]).reshape(-1, 2), atol=1e-9
    )


@given(segmented(), st.integers(1, 10**7))
def test_stretches_are_those_of_the_frames_however_long(
    case: tuple[list[int], list[tuple[int, int]]], scale: int
) -> None:
    keys, segments = case
    filling = fill_segments(keys, segments)
    holding = hold_segments(
        [key * scale for key in keys], [(start * scale, (end + 1) * scale - 1) for start, end in segments]
    )
    held = [
        (frame, key)
        for start, end, key in zip(*(column.tolist() for column in holding), strict=True)
        for frame in range(start // scale, (end + 1) // scale)
    ]
    assert held == list(zip(filling.frames.tolist(), filling.before.tolist(), strict=True))
    assert len(holding.starts) <= len(keys) + 2 * len(segments)


def test_values_do_not_move_across_the_gap_between_two_segments() -> None:
    filling = fill_segments([1, 11], [(1, 3), (10, 12)])
    assert interpolate(filling, np.array([[0.0], [10.0]])).ravel().tolist() == [0, 0, 0, 10, 10, 10]


def test_a_frame_in_two_segments_is_there_once() -> None:
    assert fill_segments([1], [(1, 3), (3, 4)]).frames.tolist() == [1, 2, 3, 4]


# Frames and times


@given(st.integers(1, 200_000), rates)
def test_at_the_files_own_rate_frame_n_of_the_player_is_the_nth_of_the_file(tool_frame: int, rate: float) -> None:
    assert file_frames([tool_frame], rate, rate).tolist() == [tool_frame - 1]


@given(st.integers(1, 100_000), rates, rates)
def test_the_frame_shown_is_on_screen_within_3_ms_of_its_time(tool_frame: int, tool_rate: float, rate: float) -> None:
    frame = file_frames([tool_frame], tool_rate, rate)[0]
    time = frame_times([tool_frame], tool_rate)[0]
    assert frame / rate <= time + 0.003 + 1e-6
    assert (frame + 1) / rate >= time + 0.001 - 1e-6


def test_frames_behind_the_end_of_the_file_show_its_last_one() -> None:
    assert file_frames([1, 10, 11], 10, 10, frame_count=10).tolist() == [0, 9, 9]


def test_a_player_at_24_frames_skips_some_of_a_file_with_30() -> None:
    assert file_frames(range(1, 10), 24, 30).tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 10]
