"""Video tracks of 2,000 frames against the code that Label Studio interpolates with, in one run."""

# ruff: noqa: T201 - a benchmark prints its table

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from label_studio_sdk._extensions.label_studio_tools.postprocessing.video import extract_key_frames

from airflow_annotation.labels.label_studio.sequences import KeyFrame, sequence_to_track, track_to_sequence
from tests.benchmarks.figures import record

FRAMES, TRACKS, KEY_FRAMES = 2000, 50, 40

pytestmark = pytest.mark.benchmark


def drawn_track(seed: int) -> dict[str, Any]:
    """Return a result as the editor writes it: key frames all over the video, some of which end the object."""
    random = np.random.default_rng(seed)
    frames = np.sort(random.choice(np.arange(1, FRAMES), KEY_FRAMES, replace=False)).tolist()
    sequence = [
        dict(zip(("x", "y", "width", "height"), random.uniform(0, 100, 4).tolist(), strict=True))
        | {"frame": frame, "rotation": float(random.uniform(0, 360)), "time": frame / 24}
        | {"enabled": bool(random.random() < 0.9)}
        for frame in frames
    ]
    value = {"framesCount": FRAMES, "duration": FRAMES / 24, "sequence": sequence, "labels": ["car"]}
    return {"id": str(seed), "type": "videorectangle", "value": value}


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def test_all_frames_of_many_tracks_against_the_sdk() -> None:
    results = [drawn_track(seed) for seed in range(TRACKS)]
    sequences = [msgspec.convert(result["value"]["sequence"], list[KeyFrame]) for result in results]
    theirs, expected = timed(lambda: extract_key_frames(results))  # type: ignore[no-untyped-call]  # the SDK has no types
    ours, tracks = timed(lambda: [sequence_to_track(sequence, FRAMES, frames="all") for sequence in sequences])
    back, written = timed(lambda: [track_to_sequence(track, 24, FRAMES) for track in tracks])

    rows = 0
    for track, result in zip(tracks, expected, strict=True):
        entries = result["value"]["sequence"]
        rows += len(entries)
        assert track.tool_frame.tolist() == [entry["frame"] for entry in entries]
        boxes = [[entry[name] / 100 for name in ("x", "y", "width", "height")] for entry in entries]
        np.testing.assert_allclose(track.bbox, boxes, atol=1e-9)
    assert sum(map(len, written)) <= TRACKS * KEY_FRAMES
    print(f"\n{TRACKS} tracks, {rows:,} frames{'the SDK':>12}{'here':>12}{'times':>8}")
    print(f"{'key frames to all':26}{theirs * 1000:9.1f} ms{ours * 1000:9.1f} ms{theirs / ours:7.1f}x")
    print(f"{'all to key frames':26}{'':12}{back * 1000:9.1f} ms")
    record("key frames to all", {"here": ours, "the SDK": theirs})
    record("all frames to key frames", {"here": back, "key frames to all, by the SDK": theirs})
