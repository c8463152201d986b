"""Converts masks in Labelbox's exports and imports from and to COCO's RLE."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from airflow_annotation.labels.labelbox.records import Mask
from airflow_annotation.labels.mask_budget import DEFAULT_BUDGET, MaskBudget, MaskBudgetError
from airflow_annotation.labels.masks import RLE, MaskEncoder, check_rle, mask_to_rle, rle_to_mask, toggles_to_rle
from airflow_annotation.labels.png import (
    RGBA,
    SIGNATURE,
    WHOLE_PIXELS,
    PngHeader,
    Samples,
    colored,
    encode_png,
    read_png,
)

T = TypeVar("T")

Color = tuple[int, int, int]


class MaskFetcher(Protocol):
    """Gets the files at some URLs, and returns the result for each of them, in the order of the URLs.

    If it cannot get a file, it raises an error that names the URL.
    """

    def __call__(self, urls: Sequence[str], read: Callable[[str, bytes], T]) -> Iterable[T]:
        """Get files.

        :param urls: URLs of the files
        :param read: function that gets the URL and the content of each file, in any thread, and returns the result
        """


def read_masks(
    masks: Sequence[Mask], fetch: MaskFetcher | None, budgets: Sequence[MaskBudget] | None = None
) -> list[RLE | None]:
    """Return masks of any kind, None for masks that are damaged or beyond their budget.

    Each file is fetched once, even if it has many objects, and decoded in the thread that fetched it.

    :param masks: records of the masks
    :param fetch: function that gets the files. It gets all URLs at once, so that it can work in parallel. It is not
        called without URLs
    :param budgets: limits for the size of each mask
    :raises ValueError: a file is not an image, or there is no ``fetch`` for it; the message names it
    """
    budgets = budgets or [DEFAULT_BUDGET] * len(masks)
    colors: dict[str, dict[Color | None, None]] = {}
    allowed: dict[str, MaskBudget] = {}
    for mask, budget in zip(masks, budgets, strict=True):
        if mask.url is not None:
            colors.setdefault(mask.url, {})[mask.color_rgb] = None
            allowed.setdefault(mask.url, budget)
    if colors and fetch is None:
        raise ValueError(f"The mask {next(iter(colors))!r} is in a file. Pass fetch_masks, which reads such files.")

    def read(url: str, content: bytes) -> list[tuple[Color | None, RLE | None]]:
        return _read_file(content, list(colors[url]), url, allowed[url])

    files = fetch(list(colors), read) if colors and fetch is not None else ()
    fetched = {(url, color): rle for url, found in zip(colors, files, strict=True) for color, rle in found}
    return [
        fetched[mask.url, mask.color_rgb] if mask.url is not None else _read_inline(mask, budget)
        for mask, budget in zip(masks, budgets, strict=True)
    ]


def rle_to_png(rle: RLE) -> bytes:
    """Return a PNG of one channel, 1 in the mask and 0 elsewhere, for imports."""
    return _png(rle_to_mask(rle).astype(np.uint8))


def rle_to_color_png(rle: RLE, color: Color) -> bytes:
    """Return a PNG with the mask in a color on black, for imports of videos."""
    return _png(rle_to_mask(rle).astype(np.uint8)[..., None] * np.array(color, np.uint8))


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    from PIL import Image

    return encode_png(Image.fromarray(pixels))


def _read_file(
    content: bytes, colors: Sequence[Color | None], name: str, budget: MaskBudget
) -> list[tuple[Color | None, RLE | None]]:
    if budget.is_spent:
        return [(color, None) for color in colors]
    if not content.startswith(SIGNATURE):
        return _read_other_image(content, colors, name, budget)
    try:
        header, strips = read_png(content, budget)
        return list(zip(colors, _color_rles(strips, header, colors, budget), strict=True))
    except ValueError:
        return [(color, None) for color in colors]


def _color_rles(
    strips: Iterable[Samples], header: PngHeader, colors: Sequence[Color | None], budget: MaskBudget
) -> list[RLE]:
    encoders = [MaskEncoder(header.width, header.height, budget) for _ in colors]
    for samples in strips:
        for color, encoder in zip(colors, encoders, strict=True):
            encoder.add(colored(samples, header, color))
    return [encoder.finish() for encoder in encoders]


def _read_other_image(
    content: bytes, colors: Sequence[Color | None], name: str, budget: MaskBudget
) -> list[tuple[Color | None, RLE | None]]:
    """Read an image of another format as a whole, so its allowed size is smaller than that of a PNG."""
    from PIL import Image

    header = PngHeader(1, 1, 8, RGBA, None, None)
    try:
        with Image.open(io.BytesIO(content)) as image:
            MaskBudget(min(budget.pixels, WHOLE_PIXELS)).check_size(*image.size)
            pixels = np.asarray(image.convert("RGBA"))
    except (MaskBudgetError, Image.DecompressionBombError):
        return [(color, None) for color in colors]
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"The mask {name!r} is no image: {error}.") from error
    return [(color, mask_to_rle(colored(pixels, header, color))) for color in colors]


def _read_inline(mask: Mask, budget: MaskBudget) -> RLE | None:
    try:
        if mask.png is not None:
            header, strips = read_png(base64.b64decode(mask.png, validate=True), budget)
            return _color_rles(strips, header, [mask.color_rgb], budget)[0]
        if mask.size is None or mask.counts is None:
            return None
        if isinstance(mask.counts, str):
            return check_rle(RLE(mask.size, mask.counts), budget)
        height, width = mask.size
        budget.check_size(width, height)
        budget.check_toggles(len(mask.counts))
        if sum(mask.counts) != height * width or min(mask.counts) < 0:
            return None
        return toggles_to_rle(np.cumsum(mask.counts[:-1]), width, height)
    except ValueError:
        return None
