"""Reads the bit stream of brush strokes, which :func:`airflow_annotation.labels.masks.brush_to_rle` describes."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from airflow_annotation.labels.arrays import IntArray

UIntArray = npt.NDArray[np.uint32]

HEADER_BITS: Final = 53
_CHUNK_BYTES: Final = 1 << 14


def pixel_toggles(data: npt.NDArray[np.uint8], total: int, value_bits: int, sizes: IntArray) -> IntArray:
    """Return the pixels at which the alpha channel of a brush RLE goes from 0 to more, or back to 0.

    :param data: bytes of the stream
    :param total: number of values that the stream announces
    :param value_bits: number of bits of a value
    :param sizes: the four possible sizes of a block's length field, in bits
    :raises ValueError: the stream is cut off or damaged
    """
    # The 32 bits from each byte on contain a block's head that begins at any bit of that byte: at most 7 + 3 + 16 bits.
    padded = np.concatenate([data, np.zeros(3, np.uint8)])
    windows = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(padded, 4)).view(">u4").ravel()
    windows = windows.astype(np.uint32)

    places = _block_places(windows, value_bits, sizes)
    is_run, size, length = _block_heads(windows[places >> 3] << (places & 7).astype(np.uint32), sizes)
    size, length = size.astype(np.int64), length.astype(np.int64)
    ends = np.cumsum(length)
    count = int(np.searchsorted(ends, total)) + 1
    if count > len(ends) or ends[count - 1] != total:
        raise ValueError(f"The brush RLE does not hold the {total} values that it announces: it is cut off or damaged.")
    places, is_run, size, length = places[:count], is_run[:count], size[:count], length[:count]

    # One row for each written value: its place in the image, and its place in the stream.
    written = np.where(is_run, 1, length)
    nth = np.arange(written.sum()) - np.repeat(np.cumsum(written) - written, written)
    starts = np.repeat(ends[:count] - length, written) + nth
    places = np.repeat(places + 3 + size, written) + nth * value_bits
    if places[-1] + value_bits > len(data) * 8:
        raise ValueError(f"The brush RLE does not hold the {total} values that it announces: it is cut off.")
    values = windows[places >> 3] << (places & 7).astype(np.uint32) >> np.uint32(32 - value_bits)

    # Alpha is the last of the four channels, so a value from place s on is also the alpha of the pixels from s // 4 on.
    pixels = starts // 4
    seen = np.diff(pixels, append=total // 4) > 0
    painted = values[seen] > 0
    toggles: IntArray = pixels[seen][np.diff(painted, prepend=False)]
    return toggles


def _block_places(windows: UIntArray, value_bits: int, sizes: IntArray) -> IntArray:
    """Return the bit at which each block begins."""
    # Only a block's head tells where the block ends. So the code first computes, for every bit at once, the length of a
    # block that would begin there. Then it goes from block to block to find the real ones. It does this in chunks, to
    # limit the memory.
    found = []
    place = HEADER_BITS
    for start in range(0, len(windows), _CHUNK_BYTES):
        first, chunk = start * 8, windows[start : start + _CHUNK_BYTES]
        if place >= first + len(chunk) * 8:
            continue
        heads = (chunk[:, None] << np.arange(8, dtype=np.uint32)).ravel()
        is_run, size, length = _block_heads(heads, sizes)
        steps = (np.where(is_run, 1, length) * value_bits + size + 3).data
        places = []
        at, end = place - first, len(steps)
        while at < end:
            places.append(at)
            at += steps[at]
        found.append(np.array(places) + first)
        place = at + first
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _block_heads(heads: UIntArray, sizes: IntArray) -> tuple[npt.NDArray[np.bool_], UIntArray, UIntArray]:
    """Read heads of blocks, 32 bits each: whether they are runs, the bits of their length fields, and their lengths."""
    size = sizes.astype(np.uint32)[heads >> 29 & 3]
    return heads >> 31 == 1, size, (heads << 3 >> (32 - size)) + 1
