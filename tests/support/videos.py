"""Videos made for tests, of which every frame shows its own number."""

from __future__ import annotations

import io
import struct
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
BITS = 8
GOP_OF_12 = {"g": "12", "bf": "3", "sc_threshold": "0"}


def picture(number: int, size: tuple[int, int] = (64, 48)) -> Pixels:
    """Return a picture that shows the bits of a number as eight stripes, the lowest one on the left."""
    width, height = size
    stripes = np.minimum(np.arange(width) * BITS // width, BITS - 1)
    row = np.where(number >> stripes & 1, 230, 25).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(row[None, :, None], (height, width, 3)))


def shown_number(image: Image.Image) -> int:
    """Read the number that a picture shows."""
    row = np.asarray(image.convert("L"))[image.height // 2]
    centers = ((np.arange(BITS) + 0.5) * image.width / BITS).astype(int)
    return int(((row[centers] > 128).astype(int) << np.arange(BITS)).sum())


def number_of(frame: av.VideoFrame) -> int:
    """Read the number that a decoded frame shows."""
    return shown_number(frame.to_image())  # type: ignore[no-untyped-call] # PyAV has no types for it


def make_video(
    frames: int = 60,
    *,
    container: str = "mp4",
    codec: str = "libx264",
    size: tuple[int, int] = (64, 48),
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 30),
    pix_fmt: str = "yuv420p",
    codec_options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    cover: bool = False,
    sound: bool = False,
    full_range: bool = False,
    noisy: bool = False,
) -> bytes:
    """Encode numbered frames.

    :param pts: of each frame, in units of ``time_base``
    :param cover: put a stream with one picture before the video, as files with cover art have it
    :param sound: put a second of silence in, which begins at 0
    :param full_range: use all values of a byte, as phones and screen recorders do
    :param noisy: make it hard to compress, for files of some size
    """
    # Not in memory: to move its index to the front, FFmpeg opens the file once more.
    with (
        tempfile.NamedTemporaryFile() as file,
        av.open(file.name, "w", format=container, options=container_options or {}) as output,
    ):
        art = _add_cover(output) if cover else None
        stream: Any = output.add_stream(
            codec, rate=30, options=codec_options or {"g": "12", "bf": "3", "sc_threshold": "0"}
        )
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        stream.time_base = stream.codec_context.time_base = time_base
        if full_range:
            stream.codec_context.color_range = 2
        silence = output.add_stream("aac", rate=8000) if sound else None
        if art:
            blank = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            output.mux([*art.encode(blank), *art.encode(None)])
        for number in range(frames):
            pixels = picture(number, size)
            if noisy:
                pixels = pixels ^ np.random.default_rng(number).integers(0, 16, pixels.shape, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if full_range:
                frame = frame.reformat(format=pix_fmt, dst_color_range="JPEG")
            frame.pts = pts[number] if pts else number
            frame.time_base = time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if silence is not None:
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
            samples.sample_rate = 8000
            output.mux(silence.encode(samples))
            output.mux(silence.encode(None))
        output.close()
        return file.read()


def _add_cover(output: Any) -> Any:
    stream = output.add_stream("mjpeg", rate=1)
    stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj420p"
    stream.disposition = av.stream.Disposition.attached_pic.value
    return stream


def with_matrix(mp4: bytes, a: int, b: int, c: int, d: int) -> bytes:
    """Write a display matrix into the track header of an MP4 file (ISO 14496-12, 16.16 and 2.30 fixed point)."""
    content = bytearray(mp4)
    place = content.index(b"tkhd") + 4 + 40
    one = 1 << 16
    content[place : place + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    return bytes(content)


def with_edit(mp4: bytes, media_time: int) -> bytes:
    """Have the edit list of an MP4 file begin the video later: ``media_time`` in units of the track's time scale."""
    content = bytearray(mp4)
    place = content.index(b"elst") + 4 + 4 + 4
    duration, _ = struct.unpack_from(">Ii", content, place)
    struct.pack_into(">Ii", content, place, duration, media_time)
    return bytes(content)


def decoded(video: bytes) -> list[tuple[int | None, int]]:
    """Decode all frames with PyAV alone: the timestamp of each, and the number that it shows."""
    with av.open(io.BytesIO(video)) as container:
        stream = next(stream for stream in container.streams.video if stream.codec_context.name != "mjpeg")
        return [(frame.pts, number_of(frame)) for frame in container.decode(stream)]
