from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from airflow_annotation.exceptions import MediaError
from airflow_annotation.media.exif import open_without_orientation

ORIENTATION = 0x0112
MAKE = 0x010F
DESCRIPTION = 0x010E
DATE_TIME = 0x0132


def photo(orientation: int | None, kind: str = "JPEG", **more: Any) -> bytes:
    """Return a picture of 64 x 32 pixels whose quarters differ."""
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:16, :32], pixels[:16, 32:], pixels[16:, :32] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    exif = Image.Exif()
    exif[MAKE] = "Camera"
    if orientation is not None:
        exif[ORIENTATION] = orientation
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, kind, exif=exif, **more)
    return written.getvalue()


def rewritten(content: bytes, *, turned: bool) -> bytes:
    with open_without_orientation(lambda: io.BytesIO(content), "the image", turned=turned) as file:
        return file.read()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("turned", [True, False])
def test_every_reader_has_the_same_pixels(kind: str, orientation: int, turned: bool) -> None:
    cv2 = pytest.importorskip("cv2")
    content = photo(orientation, kind)
    written = rewritten(content, turned=turned)
    with Image.open(io.BytesIO(content)) as before, Image.open(io.BytesIO(written)) as after:
        assert after.format == kind
        assert ORIENTATION not in after.getexif()
        assert after.getexif()[MAKE] == "Camera"
        expected = np.asarray((ImageOps.exif_transpose(before) if turned else before).convert("RGB")).astype(int)
        pixels = np.asarray(after.convert("RGB")).astype(int)
    read = cv2.cvtColor(cv2.imdecode(np.frombuffer(written, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    tolerance = 4 if kind == "JPEG" else 0
    assert pixels.shape == expected.shape == read.shape
    assert np.abs(pixels - expected).mean() <= tolerance
    assert np.abs(read.astype(int) - expected).mean() <= tolerance


@pytest.mark.parametrize("content", [photo(None), photo(1), photo(6, "TIFF"), b"<svg/>", b""])
def test_what_exif_does_not_turn_is_left_as_it_is(content: bytes) -> None:
    assert rewritten(content, turned=True) == content


def test_a_broken_image_is_named() -> None:
    content = photo(6, quality=100)
    with pytest.raises(MediaError, match="the image cannot be written without its EXIF orientation"):
        rewritten(content[: len(content) // 2], turned=True)


def test_a_photo_loses_next_to_nothing() -> None:
    path = Path(__file__).parents[2] / "demo" / "photos" / "cat.jpg"
    with Image.open(path) as image:
        exif = image.getexif()
        exif[ORIENTATION] = 6
        content = io.BytesIO()
        image.save(content, "JPEG", exif=exif, quality=90)
    written = rewritten(content.getvalue(), turned=True)
    with Image.open(content) as before, Image.open(io.BytesIO(written)) as after:
        turned = ImageOps.exif_transpose(before)
        assert after.size == turned.size == before.size[::-1]
        difference = np.asarray(after).astype(int) - np.asarray(turned).astype(int)
    assert np.abs(difference).mean() < 2
    assert 0.7 < len(written) / len(content.getvalue()) < 1.3


@pytest.mark.parametrize("type_", [10, 12])
def test_an_odd_exif_block_is_an_error_of_its_image(type_: int) -> None:
    """A description is text, type 2 of https://www.cipa.jp/std/documents/e/DC-X008-Translation-2019-E.pdf."""
    exif = Image.Exif()
    exif[ORIENTATION], exif[DESCRIPTION], exif[DATE_TIME] = 6, "desc", "2020:01:01 00:00:00" * 9
    block = exif.tobytes()
    text = DESCRIPTION.to_bytes(2, "big") + b"\0\2"
    assert text in block
    written = io.BytesIO()
    odd = block.replace(text, DESCRIPTION.to_bytes(2, "big") + bytes([0, type_]))
    Image.new("RGB", (16, 8)).save(written, "JPEG", exif=odd)
    with pytest.raises(MediaError, match="the image cannot be written without its EXIF orientation"):
        rewritten(written.getvalue(), turned=True)
