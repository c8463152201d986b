"""Masks in Labelbox's exports and imports, as COCO's RLE."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from airflow_annotation.labels.labelbox.records import Mask
from airflow_annotation.labels.masks import RLE, mask_to_rle, rle_to_mask

T = TypeVar("T")

Colour = tuple[int, int, int]


class MaskFetcher(Protocol):
    """Gets the files at some URLs, and returns what becomes of each of them, in the order of the URLs.

    Raises an error that names the URL of a file that it cannot get.
    """

    def __call__(self, urls: Sequence[str], read: Callable[[str, bytes], T]) -> Iterable[T]:
        """Get files.

        :param urls: where they are
        :param read: what to do with each, given its URL and content, in any thread
        """


def read_masks(masks: Sequence[Mask], fetch: MaskFetcher | None) -> list[RLE]:
    """Return masks of any kind.

    Each file is fetched once, however many objects are in it, and decoded where it is fetched.

    :param masks: the masks
    :param fetch: gets the files, all URLs at once so that it can do so in parallel; not called where there are none
    :raises ValueError: one is no mask, or is in a file and there is nothing to fetch it with; the message names it
    """
    colours: dict[str, dict[Colour | None, None]] = {}
    for mask in masks:
        if mask.url is not None:
            colours.setdefault(mask.url, {})[mask.color_rgb] = None
    if colours and fetch is None:
        raise ValueError(f"The mask {next(iter(colours))!r} is in a file. Pass fetch_masks, which reads such files.")

    def read(url: str, content: bytes) -> list[tuple[Colour | None, RLE]]:
        return list(_read_file(content, list(colours[url]), url))

    files = fetch(list(colours), read) if colours and fetch is not None else ()
    fetched = {(url, colour): rle for url, found in zip(colours, files, strict=True) for colour, rle in found}
    return [fetched[mask.url, mask.color_rgb] if mask.url is not None else _read_inline(mask) for mask in masks]


def rle_to_png(rle: RLE) -> bytes:
    """Return a PNG of one channel, 1 in the mask and 0 elsewhere, which is what imports take."""
    return _png(rle_to_mask(rle).astype(np.uint8))


def rle_to_colour_png(rle: RLE, colour: Colour) -> bytes:
    """Return a PNG with the mask in a colour on black, which is what imports of videos take."""
    return _png(rle_to_mask(rle).astype(np.uint8)[..., None] * np.array(colour, np.uint8))


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _read_file(content: bytes, colours: Sequence[Colour | None], name: str) -> Iterator[tuple[Colour | None, RLE]]:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            painted = image.convert("RGBA") if image.mode in ("P", "PA", "LA", "CMYK") else image
            pixels = np.asarray(painted)
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"The mask {name!r} is no image: {error}.") from error
    for colour in colours:
        yield colour, mask_to_rle(_inside(pixels, colour))


def _inside(pixels: npt.NDArray[Any], colour: Colour | None) -> npt.NDArray[Any]:
    """Return what has the colour, or without one what is neither black nor transparent."""
    if pixels.ndim == 2:
        return pixels if colour is None else pixels == colour[0]
    inside = np.all(pixels[..., :3] == np.array(colour), axis=2) if colour else np.any(pixels[..., :3], axis=2)
    opaque: npt.NDArray[Any] = inside & (pixels[..., 3] != 0) if pixels.shape[2] == 4 else inside
    return opaque


def _read_inline(mask: Mask) -> RLE:
    if mask.png is not None:
        try:
            content = base64.b64decode(mask.png, validate=True)
        except binascii.Error as error:
            raise ValueError(f"The PNG of a mask is not base64: {error}.") from error
        ((_, rle),) = _read_file(content, [mask.color_rgb], f"{mask.png[:30]}…")
        return rle
    if mask.size is None or mask.counts is None:
        raise ValueError("A mask has neither a file nor an image nor RLE.")
    if isinstance(mask.counts, str):
        return RLE(mask.size, mask.counts)
    height, width = mask.size
    if sum(mask.counts) != height * width or min(mask.counts) < 0:
        raise ValueError(f"The counts of a mask are not those of {width} x {height} pixels.")
    encoded = coco_mask.frPyObjects({"size": [height, width], "counts": mask.counts}, height, width)
    return RLE(mask.size, encoded["counts"].decode())
