"""Converts masks: Label Studio's brush strokes and bitmasks, and COCO's RLE, which the ``labels`` table has.

A mask consists of all painted pixels. In Label Studio's alpha channels, every pixel whose alpha is not 0 belongs to the
mask, as in its editor.

This module does not loop over pixels. It works with the *toggles* of a mask: the places, in the order of a scan, at
which it goes from off to on and from on to off (it is off before the first). Brush strokes are scanned row by row,
COCO's RLE column by column. :func:`transpose_toggles` converts one to the other; its cost grows with the mask's
outline, not with its area.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from airflow_annotation.labels.arrays import IntArray
from airflow_annotation.labels.brush_stream import HEADER_BITS, pixel_toggles
from airflow_annotation.labels.mask_budget import DEFAULT_BUDGET, MaskBudget
from airflow_annotation.labels.png import encode_png, opaque, read_png

_LENGTH_BITS: Final = np.array([3, 4, 8, 16])
_DATA_URL: Final = "data:image/png;base64,"


class RLE(NamedTuple):
    """A mask of a whole frame as COCO's compressed RLE, in the columns ``mask_size`` and ``mask_counts``.

    :param size: height and width in pixels
    :param counts: lengths of the runs, column by column, of which the first is off, packed as in pycocotools
    """

    size: tuple[int, int]
    counts: str


def mask_to_rle(mask: npt.NDArray[np.generic]) -> RLE:
    """Encode an array of shape (height, width). All values except 0 are in the mask."""
    if mask.ndim != 2 or not mask.size:
        raise ValueError(f"A mask has height and width, this one has the shape {mask.shape}.")
    encoded = coco_mask.encode(np.asfortranarray(mask != 0).view(np.uint8))
    height, width = mask.shape
    return RLE((height, width), encoded["counts"].decode())


def check_rle(rle: RLE, budget: MaskBudget) -> RLE:
    """Check a mask that another program has encoded, and return it.

    :raises ValueError: the counts do not fit the mask's size, or the mask is beyond the budget
    """
    height, width = rle.size
    budget.check_size(width, height)
    budget.check_toggles(len(rle.counts))
    _counts(rle)
    return rle


def rle_to_mask(rle: RLE) -> npt.NDArray[np.bool_]:
    """Decode a mask to an array of shape (height, width).

    :raises ValueError: the counts are not those of a mask of this size
    """
    counts = _counts(rle)
    height, width = rle.size
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape((width, height)).T


def columns_of(rle: RLE, left: int, width: int) -> RLE:
    """Return some columns of a mask as a separate mask."""
    height = rle.size[0]
    first, last = left * height, (left + width) * height
    toggles = rle_to_toggles(rle)
    before = int(np.searchsorted(toggles, first, side="right"))
    inside = toggles[before : np.searchsorted(toggles, last)]
    return toggles_to_rle((np.concatenate([[first], inside]) if before % 2 else inside) - first, width, height)


def rle_area(rle: RLE) -> int:
    """Count the pixels in the mask."""
    return int(_counts(rle)[1::2].sum())


def rle_bbox(rle: RLE) -> list[float]:
    """Return the smallest box around the mask: x, y, width, height in pixels; all 0 for an empty mask."""
    box: list[float] = coco_mask.toBbox(_coco(rle)).tolist()
    return box


def rle_iou(one: RLE, other: RLE) -> float:
    """Return the intersection over the union of two masks, 0 if their sizes differ.

    For two empty masks, it is 1.
    """
    if one.size != other.size:
        return 0.0
    if not rle_area(one) and not rle_area(other):
        return 1.0
    return float(coco_mask.iou([_coco(one)], [_coco(other)], [0])[0, 0])


def merge_rles(rles: Sequence[RLE]) -> RLE:
    """Return the union of masks, which have one size."""
    sizes = {rle.size for rle in rles}
    if len(sizes) != 1:
        raise ValueError(f"Only masks of one size can be merged, these have {sorted(sizes) or 'none'}.")
    merged = coco_mask.merge([_coco(rle) for rle in rles])
    return RLE(rles[0].size, merged["counts"].decode())


# Brush strokes


def brush_to_rle(brush: Sequence[int], width: int, height: int, budget: MaskBudget = DEFAULT_BUDGET) -> RLE:
    """Convert the ``rle`` of one of Label Studio's brush regions.

    The format is that of https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack for the RGBA pixels of the
    image. It is a stream of bits that begins with the number of values (32 bits), the number of bits of a value minus
    one (5 bits), and four sizes minus one (4 bits each). Then blocks follow: one bit that is set for a run and not for
    literals, two bits that choose a size, the length minus one in a field of this size, and one value for a run or
    ``length`` values for literals.

    :param brush: bytes as numbers
    :param width: ``original_width`` of the region, in pixels
    :param height: ``original_height`` of the region, in pixels
    :param budget: limits for the size of the mask
    :raises ValueError: the bytes are not such a stream, do not fit the image's size, or are beyond the budget
    """
    budget.check_size(width, height)
    budget.check_toggles(len(brush))
    try:
        data = np.frombuffer(bytes(brush), np.uint8)
    except (TypeError, ValueError) as error:
        raise ValueError("A brush RLE is a list of bytes, numbers from 0 to 255.") from error
    if len(data) * 8 < HEADER_BITS:
        raise ValueError(f"A brush RLE of {len(data)} bytes is too short to have a header.")
    total = int.from_bytes(data[:4].tobytes(), "big")
    settings = int.from_bytes(data[4:7].tobytes(), "big") >> 3
    value_bits = (settings >> 16) + 1
    sizes = np.array([(settings >> shift & 15) + 1 for shift in (12, 8, 4, 0)])
    if total != width * height * 4:
        raise ValueError(
            f"The brush RLE has {total} values, an image of {width} x {height} pixels has {width * height * 4}."
        )
    if value_bits > 8:
        raise ValueError(f"The brush RLE has values of {value_bits} bits, colors have 8.")
    pixels = pixel_toggles(data, total, value_bits, sizes)
    return toggles_to_rle(transpose_toggles(pixels, width, height, budget), width, height)


def rle_to_brush(rle: RLE) -> list[int]:
    """Convert a mask to the ``rle`` of a brush region, with all four channels 255 in the mask and 0 elsewhere.

    :raises ValueError: the counts are not those of a mask of this size, or the image has more than 2**30 pixels, which
        the format cannot say
    """
    height, width = rle.size
    total = width * height * 4
    if total >= 1 << 32:
        raise ValueError(f"A brush RLE cannot hold {width} x {height} pixels.")
    toggles = transpose_toggles(rle_to_toggles(rle), height, width)
    runs = np.diff(toggles * 4, prepend=0, append=total)
    values = (np.arange(len(runs)) % 2 * 255)[runs > 0]
    runs = runs[runs > 0]
    # A block holds at most 65,536 values, so a longer run consists of several full blocks and a rest.
    blocks = -(-runs // 65_536)
    lengths = np.full(blocks.sum(), 65_536)
    lengths[np.cumsum(blocks) - 1] = runs - (blocks - 1) * 65_536
    # The length field has the smallest sufficient number of bits.
    choices = np.searchsorted(1 << _LENGTH_BITS, lengths)
    bits = _LENGTH_BITS[choices]
    codes = (4 + choices << bits + 8) | (lengths - 1 << 8) | np.repeat(values, blocks)
    header = total << 21 | 7 << 16 | 2 << 12 | 3 << 8 | 7 << 4 | 15
    codes = np.concatenate([[header], codes])
    bits = np.concatenate([[HEADER_BITS], bits + 11])
    shifts = np.repeat(np.cumsum(bits), bits) - 1 - np.arange(bits.sum())
    brush: list[int] = np.packbits((np.repeat(codes, bits) >> shifts & 1).astype(np.uint8)).tolist()
    return brush


# Bitmasks


def bitmask_to_rle(data_url: str, budget: MaskBudget = DEFAULT_BUDGET) -> RLE:
    """Convert the ``imageDataURL`` of one of Label Studio's bitmask regions, a PNG whose alpha channel is the mask.

    As in the editor, all pixels of an image without transparency are in the mask.

    :param budget: limits for the size of the mask
    :raises ValueError: this is not a data URL of a PNG image, or the image is beyond the budget
    """
    if not data_url.startswith(_DATA_URL):
        raise ValueError(f"A bitmask is a PNG as a data URL ({_DATA_URL}…), this one begins with {data_url[:30]!r}.")
    try:
        header, strips = read_png(base64.b64decode(data_url[len(_DATA_URL) :], validate=True), budget)
        encoder = MaskEncoder(header.width, header.height, budget)
        for samples in strips:
            encoder.add(opaque(samples, header))
        return encoder.finish()
    except ValueError as error:
        raise ValueError(f"The PNG in a bitmask's data URL cannot be read: {error}") from error


class MaskEncoder:
    """Encodes a mask that comes in strips of rows.

    :param width: width of the mask in pixels
    :param height: height of the mask in pixels
    :param budget: limits for the size of the mask
    """

    def __init__(self, width: int, height: int, budget: MaskBudget = DEFAULT_BUDGET) -> None:
        self._size = width, height
        self._budget = budget
        self._toggles: list[IntArray] = []
        self._count = self._place = 0
        self._is_on = False

    def add(self, strip: npt.NDArray[np.bool_]) -> None:
        """Add a strip, an array of shape (rows, width).

        :raises ValueError: the mask is beyond the budget
        """
        pixels = strip.ravel()
        toggles = np.flatnonzero(pixels[1:] != pixels[:-1]) + (self._place + 1)
        if pixels[0] != self._is_on:
            toggles = np.concatenate([[self._place], toggles])
        self._is_on = bool(pixels[-1])
        self._place += len(pixels)
        self._count += len(toggles)
        self._budget.check_toggles(self._count)
        self._toggles.append(toggles)

    def finish(self) -> RLE:
        """Return the mask.

        :raises ValueError: it is beyond the budget
        """
        toggles = transpose_toggles(np.concatenate(self._toggles), *self._size, self._budget)
        return toggles_to_rle(toggles, *self._size)


def rle_to_bitmask(rle: RLE) -> str:
    """Convert a mask to the ``imageDataURL`` of a bitmask region: black pixels on a transparent background."""
    from PIL import Image

    height, width = rle.size
    image = Image.frombytes("P", (width, height), rle_to_mask(rle).tobytes())
    image.putpalette(bytes(6))
    return _DATA_URL + base64.b64encode(encode_png(image, bits=1, transparency=0)).decode()


# Toggles


def transpose_toggles(toggles: IntArray, line: int, lines: int, budget: MaskBudget | None = None) -> IntArray:
    """Return the toggles of a mask in the other scan order: by columns if these are by rows, or by rows.

    :param toggles: toggles, ascending
    :param line: length of a line in the toggles' scan order, in pixels
    :param lines: number of lines
    :param budget: limits for the size of a mask from elsewhere
    """
    total = line * lines
    if len(toggles) % 2:
        toggles = np.append(toggles, total)
    edges = _edges_across(toggles, line)
    lengths = edges[1::2] - edges[::2]
    if budget is not None:
        budget.check_toggles(int(lengths.sum()))
    places = np.arange(lengths.sum()) + np.repeat(edges[::2] - (np.cumsum(lengths) - lengths), lengths)
    across, along = np.divmod(places, line)
    # A run that ends with one line and begins with the next continues: both toggles are at one place.
    toggles = _odd(np.sort(along * lines + across))
    return toggles[:-1] if len(toggles) and toggles[-1] == total else toggles


def _edges_across(toggles: IntArray, line: int) -> IntArray:
    """Return begin and end of each stretch in which a mask differs from itself one line before.

    A place differs from its neighbor in the line before if the mask differs there from the mask that is moved by one
    line. These places, up to one line after the last, are the toggles of the other order.
    """
    return _odd(np.sort(np.concatenate([toggles, toggles + line]), kind="stable"))


def outline_length(rle: RLE) -> int:
    """Return the number of pieces of a mask's outline: the ends of its runs in columns and of its runs in rows."""
    toggles = rle_to_toggles(rle)
    if len(toggles) % 2:
        toggles = np.append(toggles, rle.size[0] * rle.size[1])
    edges = _edges_across(toggles, rle.size[0])
    return len(toggles) + int((edges[1::2] - edges[::2]).sum())


def _odd(places: IntArray) -> IntArray:
    """Return each place that occurs an odd number of times in an ascending array, since two toggles cancel out."""
    first = np.flatnonzero(np.diff(places, prepend=-1))
    times = np.diff(first, append=len(places))
    single: IntArray = places[first[times % 2 == 1]]
    return single


def rle_to_toggles(rle: RLE) -> IntArray:
    """Return the places at which the mask goes on and off, counted column by column. The first goes on."""
    counts = _counts(rle)
    # Other programs may write runs of length 0, whose two ends are not toggles.
    toggles: IntArray = _odd(np.cumsum(counts)[:-1])
    return toggles[: np.searchsorted(toggles, counts.sum())]


def toggles_to_rle(toggles: IntArray, width: int, height: int) -> RLE:
    """Return the mask with these toggles, which are ascending and counted column by column."""
    counts = np.diff(toggles, prepend=0, append=width * height)
    encoded = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return RLE((height, width), encoded["counts"].decode())


def _counts(rle: RLE) -> IntArray:
    """Unpack the counts, like pycocotools' ``rleFrString``, which does not check its input."""
    height, width = rle.size
    digits = np.frombuffer(rle.counts.encode(), np.uint8).astype(np.int64) - 48
    last = np.flatnonzero(digits & 32 == 0)
    if not len(digits) or digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        raise ValueError(f"The mask of {width} x {height} pixels has counts that are not COCO's compressed RLE.")
    # Groups of five bits, the lowest first. 32 in a digit means that more follow; 16 in the last, that it is negative.
    first = np.concatenate([[0], last[:-1] + 1])
    shifts = 5 * (np.arange(len(digits)) - np.repeat(first, last + 1 - first))
    counts = np.add.reduceat((digits & 31) << shifts, first)
    counts -= np.where(digits[last] & 16, 32 << shifts[last], 0)
    # From the fourth count on, each is the difference to the count two places before.
    counts[1::2] = np.cumsum(counts[1::2])
    counts[2::2] = np.cumsum(counts[2::2])
    if counts.min() < 0 or counts.sum() != width * height:
        raise ValueError(f"The counts of the mask are not those of {width} x {height} pixels.")
    return counts


def _coco(rle: RLE) -> dict[str, object]:
    """Check a mask, and return it for pycocotools, without runs of length 0, which it miscounts in boxes."""
    height, width = rle.size
    return {"size": [height, width], "counts": toggles_to_rle(rle_to_toggles(rle), width, height).counts.encode()}
