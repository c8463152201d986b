"""Frames to image files: against a bare loop of PyAV and Pillow, and against Deep Lake's frame generator, in one run.

Deep Lake's row is there where its package is installed (``pip install deeplake``, which the tests do not need
otherwise); its generator decodes every frame to RGB, and its integration stores them as PNG.
"""

# ruff: noqa: T201 - a benchmark prints its table

from __future__ import annotations

import time
from collections.abc import Callable, Container
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Literal, NamedTuple

import av
import numpy as np
import pytest
from PIL import Image

from airflow_annotation.media.frame_folder import FrameSettings
from airflow_annotation.media.frames import extract_frames
from airflow_annotation.media.items import MediaItem
from airflow_annotation.media.selections import EveryNth, FrameSelection, KeyFrames, Listed
from tests.benchmarks.figures import record
from tests.benchmarks.memory import peak_megabytes

pytestmark = pytest.mark.benchmark

FRAMES, RATE, SIZE = 300, 30, (1280, 720)
AGAINST_DEEP_LAKE = 60
FEW = [50, 200, 201, 290]
Action = Callable[[Path], int]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pan over clouds of noise, 10 seconds of 720p in H.264 with B-frames and a key frame every two seconds."""
    path = tmp_path_factory.mktemp("video") / "pan.mp4"
    noise = np.random.default_rng(5).integers(0, 255, (SIZE[1] // 8, SIZE[0] // 4, 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(noise).resize((SIZE[0] * 2, SIZE[1]), Image.Resampling.BICUBIC))
    with av.open(path, "w") as output:
        stream = output.add_stream(
            "libx264", rate=RATE, options={"preset": "veryfast", "bf": "3", "g": "60", "sc_threshold": "0"}
        )
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.time_base = Fraction(1, RATE)
        for number in range(FRAMES):
            pixels = np.ascontiguousarray(picture[:, 2 * number : 2 * number + SIZE[0]])
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        output.mux(stream.encode(None))
    return path


def bare(video: Path, folder: Path, wanted: Container[int], image_format: str) -> int:
    """Do it in the loop that everybody writes, with all threads that PyAV offers."""
    folder.mkdir(parents=True)
    written = 0
    with av.open(video) as container:
        container.streams.video[0].thread_type = "AUTO"
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                options = {"quality": 95} if image_format == "jpeg" else {}
                frame.to_image().save(folder / f"{number}.{image_format}", **options)
                written += 1
    return written


def here(video: Path, folder: Path, selection: FrameSelection, image_format: Literal["jpeg", "png"]) -> int:
    return extract_frames(
        MediaItem(media=str(video), item_key="pan", media_type="video"),
        lambda: video.open("rb"),
        selection,
        str(folder),
        settings=FrameSettings(selection={}, image_format=image_format),
    ).written


def deep_lake(video: Path, folder: Path) -> int:
    labelbox_utils = pytest.importorskip("deeplake.integrations.labelbox.labelbox_utils")
    folder.mkdir(parents=True)
    written = 0
    for number, pixels in islice(labelbox_utils.frame_generator_(str(video)), AGAINST_DEEP_LAKE):
        Image.fromarray(pixels).save(folder / f"{number}.png")
        written += 1
    return written


class Taken(NamedTuple):
    """Frames, and the least seconds and processor seconds that writing them took."""

    frames: int
    seconds: float
    processor: float


def take_turns(theirs: Action, ours: Action, folder: Path, turns: int) -> tuple[Taken, Taken]:
    results: tuple[list[Taken], list[Taken]] = ([], [])
    for turn in range(turns):
        for name, action, taken in (("theirs", theirs, results[0]), ("ours", ours, results[1])):
            start, processor = time.perf_counter(), time.process_time()
            frames = action(folder / f"{name} {turn}")
            taken.append(Taken(frames, time.perf_counter() - start, time.process_time() - processor))
    best_theirs, best_ours = (Taken(*map(min, zip(*taken, strict=True))) for taken in results)
    assert best_theirs.frames == best_ours.frames
    return best_theirs, best_ours


def header(theirs: str) -> None:
    print(f"\n{'720p, H.264':26}{'frames':>8}{theirs:>12}{'here':>11}{'times':>8}{'processor time':>18}")


def row(name: str, theirs: Taken, ours: Taken) -> None:
    """Print a row, with how many times less the processors worked: others may be using them."""
    rates = f"{theirs.frames / theirs.seconds:10.1f}/s{ours.frames / ours.seconds:9.1f}/s"
    saved = theirs.processor / ours.processor
    print(f"{name:26}{ours.frames:8}{rates}{theirs.seconds / ours.seconds:7.1f}x{saved:16.1f}x less")
    record(name, {"here": ours.seconds, "the other": theirs.seconds})


@pytest.mark.parametrize(
    ("name", "wanted", "selection", "image_format"),
    [
        ("all, JPEG", range(FRAMES), EveryNth(1), "jpeg"),
        ("every 10th, JPEG", range(0, FRAMES, 10), EveryNth(10), "jpeg"),
        ("every 120th, JPEG", range(0, FRAMES, 120), EveryNth(120), "jpeg"),
        ("4 listed, JPEG", FEW, Listed(FEW), "jpeg"),
        ("key frames, JPEG", range(0, FRAMES, 60), KeyFrames(), "jpeg"),
        ("every 10th, PNG", range(0, FRAMES, 10), EveryNth(10), "png"),
    ],
)
def test_frames_a_second_against_a_bare_loop(  # noqa: PLR0917 - pytest passes them by name
    name: str,
    wanted: Container[int],
    selection: FrameSelection,
    image_format: Literal["jpeg", "png"],
    video: Path,
    tmp_path: Path,
) -> None:
    taken = take_turns(
        lambda folder: bare(video, folder, wanted, image_format),
        lambda folder: here(video, folder, selection, image_format),
        tmp_path,
        3,
    )
    header("bare loop")
    row(f"frames, {name}", *taken)


def test_frames_a_second_against_deep_lake(video: Path, tmp_path: Path) -> None:
    taken = take_turns(
        lambda folder: deep_lake(video, folder),
        lambda folder: here(video, folder, Listed([(0, AGAINST_DEEP_LAKE - 1)]), "png"),
        tmp_path,
        2,
    )
    header("Deep Lake")
    row("the first frames, PNG", *taken)


def peak_memory(video: Path, folder: Path, frames: int) -> float:
    """Return the MiB that a process needs at most which writes the first frames of a video and does nothing else."""
    here(video, folder, Listed([(0, frames - 1)]), "jpeg")
    return peak_megabytes()


def test_memory_does_not_grow_with_the_video(video: Path, tmp_path: Path) -> None:
    peaks = {}
    for frames in (FRAMES // 6, FRAMES):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            peaks[frames] = process.submit(peak_memory, video, tmp_path / str(frames), frames).result()
            print(f"\npeak memory for {frames} frames: {peaks[frames]:.0f} MiB", end="")
    record("memory of frames", {"300 frames": peaks[FRAMES], "50 frames": peaks[FRAMES // 6]}, "MB")
    assert peaks[FRAMES] < peaks[FRAMES // 6] + 40
