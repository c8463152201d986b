"""Reads PNG images in strips of rows, so that a large image needs no more memory than a small one.

Pillow decodes whole images, and 20 kB of PNG can be a gigabyte of pixels. This module cuts the compressed rows into
strips. Each strip becomes a small PNG of bytes that Pillow decodes, regardless of the meaning of these bytes in the
image. The format: https://www.w3.org/TR/png-3/.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from airflow_annotation.labels.mask_budget import MaskBudget, MaskBudgetError

if TYPE_CHECKING:
    from PIL import Image

Samples = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_STRIP_BYTES: Final = 1 << 22
_ROW_BYTES: Final = 1 << 24
WHOLE_PIXELS: Final = 1 << 24
"""Largest number of pixels of an image that is decoded as a whole."""

GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6
_HEADER: Final = struct.Struct(">IIBBBBB")
_CHANNELS: Final = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGBA: 4}
_COLOR_OF_BYTES: Final = {1: GRAY, 2: GRAY_ALPHA, 3: RGB, 4: RGBA}
"""Pillow's image mode with 8 bits per channel, by the bytes of a pixel, since filters use the byte one pixel before."""


class PngHeader(NamedTuple):
    """The header of a PNG.

    :param depth: number of bits of a sample
    :param color: color type
    :param palette: array of shape (colors, 4), with alpha as the last channel; None without a palette
    :param transparent: sample of each channel that means transparent, if there is one
    """

    width: int
    height: int
    depth: int
    color: int
    palette: npt.NDArray[np.uint8] | None
    transparent: tuple[int, ...] | None


def encode_png(image: Image.Image, **options: int) -> bytes:
    """Encode a Pillow image as the content of a PNG file.

    :param options: options of ``Image.save``
    """
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def read_png(content: bytes, budget: MaskBudget) -> tuple[PngHeader, Iterator[Samples]]:
    """Return the header of a PNG, and an iterator of its samples in strips, arrays of shape (rows, width, channels).

    Samples are unchanged: they are indexes if there is a palette, and have the depth of the file. Images that are
    interlaced, or have pixels of 6 or 8 bytes, are read as RGBA of 8 bits, and the header says so.

    :param content: content of the file
    :param budget: limits for the size of the image
    :raises ValueError: it is too large, not a PNG, or damaged; this may also happen while strips are read
    """
    if not content.startswith(SIGNATURE):
        raise ValueError("This is no PNG.")
    chunks = list(_chunks(content))
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != _HEADER.size:
        raise ValueError("The PNG has no header.")
    width, height, depth, color, _, _, interlace = _HEADER.unpack(chunks[0][1])
    budget.check_size(width, height)
    if color not in _CHANNELS or depth not in (1, 2, 4, 8, 16) or (depth < 8 and _CHANNELS[color] > 1):
        raise ValueError(f"The PNG has samples of {depth} bits and the color type {color}, which is unknown.")
    named = dict(reversed(chunks))
    header = PngHeader(width, height, depth, color, _read_palette(named, color), _read_transparent(named, color))
    if interlace or _pixel_bytes(header) not in _COLOR_OF_BYTES:
        return header._replace(depth=8, color=RGBA), _whole(content, header)
    return header, _strips(b"".join(chunk for name, chunk in chunks if name == b"IDAT"), header)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = len(SIGNATURE)
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        name, chunk = content[place + 4 : place + 8], content[place + 8 : place + 8 + length]
        check = content[place + 8 + length : place + 12 + length]
        if len(check) < 4 or zlib.crc32(chunk, zlib.crc32(name)) != int.from_bytes(check, "big"):
            raise ValueError("The PNG is cut off or damaged.")
        yield name, chunk
        if name == b"IEND":
            return
        place += 12 + length


def _read_palette(chunks: dict[bytes, bytes], color: int) -> npt.NDArray[np.uint8] | None:
    if color != PALETTE:
        return None
    colors = np.frombuffer(chunks.get(b"PLTE", b""), np.uint8)
    if not len(colors) or len(colors) % 3:
        raise ValueError("The PNG has no palette.")
    palette = np.full((256, 4), 255, np.uint8)
    palette[:, :3] = 0
    count = min(len(colors) // 3, 256)
    palette[:count, :3] = colors.reshape(-1, 3)[:count]
    alpha = np.frombuffer(chunks.get(b"tRNS", b""), np.uint8)[:256]
    palette[: len(alpha), 3] = alpha
    return palette


def _read_transparent(chunks: dict[bytes, bytes], color: int) -> tuple[int, ...] | None:
    known = chunks.get(b"tRNS", b"")
    if color not in (GRAY, RGB) or len(known) != 2 * _CHANNELS[color]:
        return None
    return struct.unpack(f">{_CHANNELS[color]}H", known)


def _pixel_bytes(header: PngHeader) -> int:
    return max(_CHANNELS[header.color] * header.depth // 8, 1)


def _strips(data: bytes, header: PngHeader) -> Iterator[Samples]:
    pixel_bytes = _pixel_bytes(header)
    row_bytes = (header.width * _CHANNELS[header.color] * header.depth + 7) // 8
    if row_bytes > _ROW_BYTES:
        raise MaskBudgetError(f"The PNG has rows of {row_bytes:,} bytes.")
    rows_at_once = max(1, _STRIP_BYTES // max(row_bytes, header.width))
    rows = _inflate(data, (row_bytes + 1) * rows_at_once)
    last = bytes(row_bytes)
    for start in range(0, header.height, rows_at_once):
        count = min(rows_at_once, header.height - start)
        filtered = next(rows, b"")[: count * (row_bytes + 1)]
        if len(filtered) < count * (row_bytes + 1):
            raise ValueError("The PNG is cut off or damaged.")
        plain = _unfilter(b"\0" + last + filtered, count + 1, row_bytes, pixel_bytes)[1:]
        last = plain[-1].tobytes()
        yield _samples(plain, header)


def _inflate(data: bytes, size: int) -> Iterator[bytes]:
    """Yield the decompressed bytes in pieces of one size, and the rest at the end."""
    inflater = zlib.decompressobj()
    piece = b""
    while True:
        try:
            more = inflater.decompress(data, size - len(piece))
        except zlib.error as error:
            raise ValueError(f"The PNG is damaged: {error}.") from error
        data = inflater.unconsumed_tail
        piece += more
        if len(piece) == size:
            yield piece
            piece = b""
        elif not more:
            break
    yield piece


def _unfilter(rows: bytes, height: int, row_bytes: int, pixel_bytes: int) -> npt.NDArray[np.uint8]:
    """Return the unfiltered bytes of filtered rows, which Pillow decodes as a PNG of only these rows."""
    from PIL import Image

    head = _HEADER.pack(row_bytes // pixel_bytes, height, 8, _COLOR_OF_BYTES[pixel_bytes], 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b""))
    content = SIGNATURE + b"".join(
        len(chunk).to_bytes(4, "big") + name + chunk + zlib.crc32(chunk, zlib.crc32(name)).to_bytes(4, "big")
        for name, chunk in chunks
    )
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            return np.asarray(image).reshape(height, row_bytes)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"The PNG is damaged: {error}.") from error


def _samples(rows: npt.NDArray[np.uint8], header: PngHeader) -> Samples:
    channels = _CHANNELS[header.color]
    if header.depth == 16:
        wide: npt.NDArray[np.uint16] = np.ascontiguousarray(rows).view(">u2").astype(np.uint16)
        return wide.reshape(len(rows), header.width, channels)
    if header.depth < 8:
        shifts = np.arange(8 - header.depth, -1, -header.depth, dtype=np.uint8)
        samples = rows[:, :, None] >> shifts & np.uint8((1 << header.depth) - 1)
        rows = samples.reshape(len(rows), -1)[:, : header.width]
    return rows.reshape(len(rows), header.width, channels)


def _whole(content: bytes, header: PngHeader) -> Iterator[Samples]:
    if header.width * header.height > WHOLE_PIXELS:
        raise MaskBudgetError(f"An interlaced PNG of {header.width} x {header.height} pixels is too large.")
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            pixels = np.asarray(image.convert("RGBA"))
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"The PNG cannot be read: {error}.") from error
    rows = max(1, _STRIP_BYTES // (4 * header.width))
    yield from (pixels[start : start + rows] for start in range(0, header.height, rows))


def opaque(samples: Samples, header: PngHeader) -> npt.NDArray[np.bool_]:
    """Return which pixels of a strip are not fully transparent."""
    seen: npt.NDArray[np.bool_]
    if header.color in (RGBA, GRAY_ALPHA):
        return np.not_equal(samples[..., -1], 0)
    if header.palette is not None:
        seen = (header.palette[:, 3] != 0)[samples[..., 0]]
        return seen
    if header.transparent is not None:
        seen = np.any(samples != np.array(header.transparent, np.uint16), axis=2)
        return seen
    return np.ones(samples.shape[:2], np.bool_)


def colored(samples: Samples, header: PngHeader, color: tuple[int, int, int] | None) -> npt.NDArray[np.bool_]:
    """Return which pixels of a strip have a given color; without a color, which are neither black nor transparent.

    For a gray image, the first channel of the color counts.
    """
    if header.color == GRAY:
        scale = {2: 85, 4: 17}.get(header.depth, 1)
        gray = samples[..., 0].astype(np.uint16) * scale
        return np.not_equal(gray, 0) if color is None else np.equal(gray, color[0])
    if header.palette is not None:
        samples = header.palette[samples[..., 0]]
    elif header.color == GRAY_ALPHA:
        samples = samples[..., [0, 0, 0, 1]]
    if color is None:
        inside = (samples[..., 0] | samples[..., 1] | samples[..., 2]) != 0
    else:
        inside = (samples[..., 0] == color[0]) & (samples[..., 1] == color[1]) & (samples[..., 2] == color[2])
    seen: npt.NDArray[np.bool_] = inside & (samples[..., 3] != 0) if samples.shape[2] == 4 else inside
    return seen
