from __future__ import annotations

import io
import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from airflow_annotation.exceptions import MediaError
from airflow_annotation.media.probe import MediaProbe, probe_media


def encoded(size: tuple[int, int], image_format: str, orientation: int | None = None) -> io.BytesIO:
    file = io.BytesIO()
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.new("RGB", size, (200, 30, 60)).save(file, image_format, exif=exif)
    file.seek(0)
    return file


def video(container: str, codec: str, *, frames: int, rate: int, size: tuple[int, int]) -> io.BytesIO:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.time_base = Fraction(1, rate)
        for number in range(frames):
            pixels = np.full((size[1], size[0], 3), number * 3, dtype=np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        output.mux(stream.encode(None))
    file.seek(0)
    return file


@given(
    width=st.integers(1, 80),
    height=st.integers(1, 80),
    image_format=st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"]),
)
def test_an_image_is_as_large_as_it_was_made(width: int, height: int, image_format: str) -> None:
    probe = probe_media(encoded((width, height), image_format), "a", "image")
    assert probe == MediaProbe(mime_type=f"image/{image_format.lower()}", width=width, height=height)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_the_one_shown_after_the_turn_that_exif_asks_for(orientation: int, image_format: str) -> None:
    probe = probe_media(encoded((40, 30), image_format, orientation), "a", "image")
    assert (probe.width, probe.height) == ((40, 30) if orientation < 5 else (30, 40))
    assert probe.orientation == orientation


def test_an_image_is_known_by_its_content_and_not_by_its_name() -> None:
    assert probe_media(encoded((4, 4), "JPEG"), "a.png", "image").mime_type == "image/jpeg"


def test_an_svg_has_no_size_in_pixels() -> None:
    file = io.BytesIO(b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>')
    assert probe_media(file, "a.svg", "image") == MediaProbe(mime_type="image/svg+xml")


def test_no_more_than_the_headers_of_an_image_are_read() -> None:
    class CountingFile(io.BytesIO):
        read_bytes = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.read_bytes += len(data)
            return data

    noise = np.random.default_rng(7).integers(0, 255, (1000, 1000, 3), dtype=np.uint8)
    for image_format in ("JPEG", "PNG"):
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, image_format)
        file = CountingFile(buffer.getvalue())
        probe_media(file, "noise", "image")
        assert file.read_bytes < 100_000 < len(buffer.getvalue())


@given(st.binary(max_size=400), st.sampled_from(["image", "video"]))
def test_bytes_that_are_no_media_are_an_error_that_names_the_file(content: bytes, media_type: str) -> None:
    with pytest.raises(MediaError, match=r"some\.file"):
        probe_media(io.BytesIO(content), "some.file", media_type)


@given(st.integers(0, 700), st.binary(min_size=1, max_size=8))
def test_a_broken_image_is_an_error_or_an_image_but_nothing_else(offset: int, damage: bytes) -> None:
    content = bytearray(encoded((16, 16), "JPEG", 6).getvalue())
    content[offset : offset + len(damage)] = damage
    try:
        probe_media(io.BytesIO(bytes(content)), "some.file", "image")
    except MediaError as error:
        assert "some.file" in str(error)  # noqa: PT017 - either way is right


@pytest.mark.parametrize(("container", "codec"), [("mp4", "libx264"), ("webm", "libvpx")])
def test_a_video_says_its_size_its_frames_and_their_rate(container: str, codec: str) -> None:
    file = video(container, codec, frames=30, rate=15, size=(64, 48))
    assert probe_media(file, f"a.{container}", "video") == MediaProbe(
        mime_type=f"video/{container}", width=64, height=48, frame_count=30, frame_rate=15.0, duration=2.0
    )


def test_a_video_that_is_stored_on_its_side_has_the_size_that_is_shown() -> None:
    content = bytearray(video("mp4", "libx264", frames=3, rate=3, size=(64, 48)).getvalue())
    # The track header's matrix, ISO 14496-12: 40 bytes into the box, 16.16 and 2.30 fixed point.
    matrix = content.index(b"tkhd") + 4 + 40
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    probe = probe_media(io.BytesIO(bytes(content)), "phone.mp4", "video")
    assert (probe.width, probe.height) == (48, 64)


def test_an_image_is_no_video_to_label() -> None:
    with pytest.raises(MediaError, match=r"sound\.mp4"):
        probe_media(io.BytesIO(b"RIFF\x24\x00\x00\x00WAVEfmt "), "sound.mp4", "video")
