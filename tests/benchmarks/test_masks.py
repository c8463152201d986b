"""Masks against the decoder and encoder of Label Studio's SDK, in one run."""

# ruff: noqa: T201 - a benchmark prints its table

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from label_studio_sdk.converter.brush import decode_rle, mask2rle
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from airflow_annotation.labels.masks import RLE, brush_to_rle, mask_to_rle, outline_length, rle_to_brush, rle_to_mask
from airflow_annotation.labels.outlines import rle_to_polygons
from tests.benchmarks.figures import record

pytestmark = pytest.mark.benchmark


def strokes(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Paint an alpha channel as the editor's brush does: thick lines, round joints, soft edges."""
    image = Image.new("L", (width * 2, height * 2))
    draw = ImageDraw.Draw(image)
    random = np.random.default_rng(height)
    for _ in range(4):
        corners = [tuple(corner) for corner in (random.random((6, 2)) * (width * 2, height * 2)).tolist()]
        draw.line(corners, fill=255, width=width // 16, joint="curve")
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def seconds(action: Callable[[], Any]) -> float:
    """Return the least time of three."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def with_the_sdk(brush: list[int], height: int, width: int) -> RLE:
    """Decode with the SDK and encode the alpha channel with pycocotools."""
    values = decode_rle(brush)
    alpha = np.asarray(values).reshape(height, width, 4)[:, :, 3]
    encoded = coco_mask.encode(np.asfortranarray(alpha > 0).view(np.uint8))
    return RLE((height, width), encoded["counts"].decode())


def with_the_sdk_back(rle: RLE) -> list[int]:
    """Decode with pycocotools and encode with the SDK."""
    mask = coco_mask.decode({"size": list(rle.size), "counts": rle.counts.encode()})
    brush: list[int] = mask2rle(mask * 255)  # type: ignore[no-untyped-call]  # the SDK has no types
    return brush


def test_brush_strokes_against_the_sdk() -> None:
    print(f"\n{'brush strokes':24}{'bytes':>9}{'the SDK':>12}{'here':>12}{'times':>8}")
    for height, width in ((480, 640), (2160, 3840)):
        alpha = strokes(height, width)
        brush = mask2rle(alpha)  # type: ignore[no-untyped-call]  # the SDK has no types
        rle = brush_to_rle(brush, width, height)
        assert rle == with_the_sdk(brush, height, width) == mask_to_rle(alpha)
        assert np.array_equal(rle_to_mask(rle), alpha > 0)
        written = rle_to_brush(rle)
        assert with_the_sdk(written, height, width) == rle
        for name, size, theirs, ours in (
            (
                "to RLE",
                len(brush),
                seconds(lambda: with_the_sdk(brush, height, width)),  # noqa: B023 called at once
                seconds(lambda: brush_to_rle(brush, width, height)),  # noqa: B023 called at once
            ),
            (
                "from RLE",
                len(written),
                seconds(lambda: with_the_sdk_back(rle)),  # noqa: B023 called at once
                seconds(lambda: rle_to_brush(rle)),  # noqa: B023 called at once
            ),
        ):
            row = f"{width} x {height}, {name}"
            print(f"{row:24}{size:9}{theirs * 1000:9.1f} ms{ours * 1000:9.1f} ms{theirs / ours:7.1f}x")
            record(f"brush strokes of {row}", {"here": ours, "the SDK": theirs})


def test_outlines_against_opencv() -> None:
    """OpenCV's go through the middles of pixels, and join what touches at a corner."""
    cv2 = pytest.importorskip("cv2")
    masks = {
        "strokes of 1920 x 1080": strokes(1080, 1920) > 0,
        "a checkerboard of 250 x 250": np.indices((250, 250)).sum(axis=0) % 2 == 0,
        "a checkerboard of 1000 x 1000": np.indices((1000, 1000)).sum(axis=0) % 2 == 0,
    }
    print(f"\n{'outlines of':32}{'edges':>10}{'OpenCV':>12}{'here':>12}{'times':>8}{'an edge':>12}")
    for name, mask in masks.items():
        rle = mask_to_rle(mask)
        length = outline_length(rle)
        ours = seconds(lambda: rle_to_polygons(rle))  # noqa: B023 called at once
        row = f"{name:32}{length:>10,}"
        if length < 1 << 20:  # OpenCV's takes minutes
            pixels = mask.astype(np.uint8)
            theirs = seconds(lambda: cv2.findContours(pixels, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE))  # noqa: B023
            row += f"{theirs * 1000:9.1f} ms{ours * 1000:9.1f} ms{theirs / ours:7.1f}x"
            record(f"outlines of {name}", {"here": ours, "OpenCV": theirs})
        else:
            row += f"{'':12}{ours * 1000:9.1f} ms{'':8}"
        print(f"{row}{ours / length * 1e6:9.2f} us")
