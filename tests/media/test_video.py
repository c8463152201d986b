from __future__ import annotations

import io
from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.media.content import content_suffix
from airflow_annotation.media.selections import EveryNth, FrameSelection, FramesPerSecond, KeyFrames, Listed
from airflow_annotation.media.video import Frame, Stop, open_video
from tests.support.videos import decoded, make_video, number_of, with_edit

FASTSTART = {"movflags": "faststart"}
UNEVEN = [0, 1, 2, 30, 31, 33, 60, 200, 201, 202, 203, 300, 301, 310, 320, 330, 340, 345, 346, 400]
VIDEOS: dict[str, bytes] = {
    "b_frames": make_video(codec_options={"g": "12", "bf": "3"}),
    "open_gop": make_video(codec_options={"g": "12", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}),
    "hevc": make_video(codec="libx265", codec_options={"x265-params": "keyint=20:bframes=3:log-level=none"}),
    "long_gops": make_video(200, codec_options={"g": "50", "bf": "3", "sc_threshold": "0"}),
    "uneven": make_video(len(UNEVEN) * 5, pts=[i // 20 * 450 + UNEVEN[i % 20] for i in range(len(UNEVEN) * 5)]),
    "starts_late": make_video(pts=[30 + number for number in range(60)]),
    "sound_before_video": make_video(pts=[15 + number for number in range(60)], sound=True),
    "fragmented": make_video(container_options={"movflags": "frag_keyframe+empty_moov"}),
    "edit_list": with_edit(make_video(), 512 * 17),
    "matroska": make_video(container="matroska"),
    "webm_vp8": make_video(container="webm", codec="libvpx", codec_options={"g": "12", "auto-alt-ref": "1"}),
    "webm_vp9": make_video(container="webm", codec="libvpx-vp9", codec_options={"g": "12", "cpu-used": "8"}),
    "avi": make_video(container="avi", codec="mpeg4", codec_options={"g": "12"}),
    "transport_stream": make_video(container="mpegts"),
    "odd_size": make_video(size=(63, 47), pix_fmt="yuv444p"),
    "cover": make_video(cover=True),
}
"""Encoded once for the module: each test reads bytes of its own."""


def read(video: bytes, selection: FrameSelection) -> tuple[list[Frame], Stop | None]:
    with open_video(io.BytesIO(video), "a video") as reader:
        return list(reader.read_frames(selection)), reader.stopped


def numbers(frames: list[int | tuple[int, int]]) -> list[int]:
    return sorted({n for f in frames for n in (range(f[0], f[1] + 1) if isinstance(f, tuple) else [f])})


def seen(frames: Iterable[Frame]) -> list[tuple[int, int | None, int]]:
    return [(frame.index, frame.pts, number_of(frame.picture)) for frame in frames]


@pytest.mark.parametrize("name", VIDEOS)
def test_every_selection_gives_the_frames_that_decoding_everything_gives(name: str) -> None:
    video = VIDEOS[name]
    everything = [(index, *frame) for index, frame in enumerate(decoded(video))]
    last = len(everything) - 1
    listed = [3, last, 5, last - 20, last - 19]
    assert len(everything) >= 43
    for selection, expected in (
        (EveryNth(1), everything),
        (EveryNth(7), everything[::7]),
        (EveryNth(25), everything[::25]),
        (Listed(listed), [everything[index] for index in sorted(listed)]),
        (Listed([(last - 5, last)]), everything[-6:]),
    ):
        frames, stopped = read(video, selection)
        assert seen(frames) == expected
        assert stopped is None


@pytest.mark.parametrize("name", VIDEOS)
def test_key_frames_are_those_among_all_frames(name: str) -> None:
    everything, _ = read(VIDEOS[name], EveryNth(1))
    frames, stopped = read(VIDEOS[name], KeyFrames())
    assert seen(frames) == seen(frame for frame in everything if frame.is_keyframe)
    assert [frame.time for frame in frames] == [frame.time for frame in everything if frame.is_keyframe]
    assert len(frames) > 1
    assert stopped is None


@pytest.mark.parametrize("name", VIDEOS)
@pytest.mark.parametrize("fps", ["30", "10", "30000/1001", "0.7"])
def test_frames_per_second_takes_the_first_frame_of_each_tick(name: str, fps: str) -> None:
    everything, _ = read(VIDEOS[name], EveryNth(1))
    expected, taken = [], -1
    for frame in everything:
        assert frame.time is not None
        tick = int(frame.time * Fraction(fps))
        if taken < 0 or frame.time * Fraction(fps) >= taken + 1:
            expected.append(frame.index)
            taken = tick
    frames, _ = read(VIDEOS[name], FramesPerSecond(fps))
    assert [frame.index for frame in frames] == expected


def test_a_frame_a_second_of_an_even_video_is_each_thirtieth() -> None:
    frames, _ = read(VIDEOS["long_gops"], FramesPerSecond(1))
    assert [(frame.index, frame.time) for frame in frames] == [(30 * n, Fraction(n)) for n in range(7)]


@settings(max_examples=40)
@given(
    st.sampled_from(["long_gops", "open_gop", "uneven", "edit_list", "hevc"]),
    st.lists(st.integers(0, 42) | st.tuples(st.integers(0, 20), st.integers(20, 42)), max_size=6),
)
def test_any_listed_frames_are_read_wherever_they_lie(name: str, wanted: list[int | tuple[int, int]]) -> None:
    everything = decoded(VIDEOS[name])
    indexes = sorted(
        {n for item in wanted for n in (range(item[0], item[1] + 1) if isinstance(item, tuple) else [item])}
    )
    frames, stopped = read(VIDEOS[name], Listed(wanted))
    assert seen(frames) == [(index, *everything[index]) for index in indexes]
    assert stopped is None


def test_time_begins_where_a_player_begins() -> None:
    firsts = {"starts_late": Fraction(0), "sound_before_video": Fraction(1, 2), "transport_stream": Fraction(0)}
    for name, first in firsts.items():
        frames, _ = read(VIDEOS[name], Listed([0, 3]))
        assert [frame.time for frame in frames] == [first, first + Fraction(1, 10)]


def test_few_frames_of_a_long_video_are_found_without_decoding_it() -> None:
    class CountingSelection(Listed):
        asked = 0

        def takes(self, index: int, time: Fraction | None) -> bool:
            self.asked += 1
            return super().takes(index, time)

    selection = CountingSelection([110, 199])
    frames, _ = read(VIDEOS["long_gops"], selection)
    assert [number for *_, number in seen(frames)] == [110, 199]
    assert selection.asked <= 1 + 11 + 50


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_video_that_is_cut_off_gives_the_frames_before_and_says_where_it_stopped(container: str) -> None:
    options = FASTSTART if container == "mp4" else None
    video = make_video(200, container=container, container_options=options, size=(160, 120))
    everything = [(index, *frame) for index, frame in enumerate(decoded(video))]
    cut = video[: len(video) * 6 // 10]
    frames, stopped = read(cut, EveryNth(1))
    assert stopped is not None
    assert stopped.index == len(frames)
    assert 60 < len(frames) < 180
    assert seen(frames) == everything[: len(frames)]
    for selection in (KeyFrames(), Listed([0, 30, 199]), EveryNth(30), FramesPerSecond(1)):
        some, stopped = read(cut, selection)
        assert stopped is not None, selection
        assert set(seen(some)) <= set(everything)


def test_a_damaged_video_never_gives_a_frame_under_the_number_of_another() -> None:
    video = VIDEOS["long_gops"]
    everything = set(enumerate(number for _, number in decoded(video)))
    begin = video.index(b"mdat")
    for place in range(begin + 900, len(video) - 3000, 997):
        damaged = bytearray(video)
        damaged[place : place + 60] = bytes(60)
        frames, stopped = read(bytes(damaged), EveryNth(1))
        # The last frames before the fault may show some of it: decoders conceal what they can.
        numbered = {(index, number) for index, _, number in seen(frames)}
        assert len(numbered - everything) <= 60, place
        if stopped:
            assert stopped.index == len(frames)


@given(st.binary(max_size=300).filter(lambda content: content_suffix(io.BytesIO(content)) is None))
def test_bytes_that_are_no_video_are_an_error(content: bytes) -> None:
    with pytest.raises(MediaError, match="a video"), open_video(io.BytesIO(content), "a video"):
        pass


@pytest.mark.parametrize("selection", [lambda: EveryNth(0), lambda: FramesPerSecond("x"), lambda: FramesPerSecond(-1)])
def test_a_selection_that_cannot_be_meant_is_an_error(selection: type[FrameSelection]) -> None:
    with pytest.raises(AnnotationError):
        selection()


@given(st.lists(st.integers(0, 30) | st.tuples(st.integers(0, 30), st.integers(0, 9)).map(lambda t: (t[0], sum(t)))))
def test_listed_frames_are_ranges_without_overlap(frames: list[int | tuple[int, int]]) -> None:
    ranges = Listed(frames).ranges
    assert [n for first, last in ranges for n in range(first, last + 1)] == numbers(frames)
    assert all(second[0] > first[1] + 1 for first, second in pairwise(ranges))


def test_a_title_in_an_odd_encoding_does_no_harm() -> None:
    titled = io.BytesIO()
    with av.open(io.BytesIO(VIDEOS["b_frames"])) as video, av.open(titled, "w", format="mp4") as written:
        written.metadata["title"] = "TITLE"
        stream = written.add_stream_from_template(video.streams.video[0])
        for packet in video.demux(video.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                written.mux(packet)
    assert titled.getvalue().count(b"TITLE") == 1
    frames, _ = read(titled.getvalue().replace(b"TITLE", b"\xffITLE"), Listed([3]))
    assert [number for _, _, number in seen(frames)] == [3]
