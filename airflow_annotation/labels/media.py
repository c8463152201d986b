"""The images of an item, and the image of each label.

Most items show one image. Items with several images (pages, views) list them in the column ``media`` of ``items``, each
with its own size, and the ``target`` of a label names its image. ``media_uri``, ``width`` and ``height`` of such an
item are null, because no single value would be true.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

_PAGE: Final = re.compile(r"(.+)\[(\d+)\]", re.DOTALL)


class Medium(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """An image of an item.

    :param target: name within its item, as in labels on it; empty if the item has no other image
    :param uri: URI of the image, None if not known
    :param width: width in pixels, None if not known
    :param height: height in pixels, None if not known
    """

    target: str = ""
    uri: str | None = None
    width: int | None = None
    height: int | None = None


Size = tuple[int | None, int | None]
"""Width and height in pixels, None if not known."""

FindSize = Callable[[str | None], Size]
"""A function that returns the size of the image that a label's ``target`` names."""

_decode: Final = msgspec.json.Decoder(list[Medium]).decode


def page_target(name: str, page: int | None) -> str:
    """Return the target of one of several images that a tag of this name shows. Pages count from 0."""
    return name if page is None else f"{name}[{page}]"


def split_target(target: str) -> tuple[str, int | None]:
    """Return the name and the page of a target, the inverse of :func:`page_target`."""
    found = _PAGE.fullmatch(target)
    return (found[1], int(found[2])) if found else (target, None)


def encode_media(media: Sequence[Medium]) -> str:
    """Return the images of an item in the form of the column ``media``."""
    return msgspec.json.encode(media).decode()


def media_of_items(items: pa.RecordBatch | pa.Table) -> list[list[Medium]]:
    """Return the media of each row of ``items``: one image, or the images that it lists."""
    columns = (items.column(name).to_pylist() for name in ("media", "media_uri", "width", "height"))
    return [
        _decode(several) if several else [Medium("", uri, width, height)]
        for several, uri, width, height in zip(*columns, strict=True)
    ]


def find_medium(media: Sequence[Medium], target: str | None) -> int | None:
    """Return the place of a label's image in the list, None if it is on none of these images.

    :param media: media of the label's item
    :param target: target of the label
    """
    return 0 if len(media) == 1 or target is None else find_target(media, target)


def find_target(media: Sequence[Medium], target: str) -> int | None:
    """Return the place of the image with a target, None if there is none. A target without a page is the first page."""
    name, page = split_target(target)
    same = (name, page_target(name, 0)) if not page else (target,)
    return next((place for place, one in enumerate(media) if one.target in same), None)


def find_asked_media(media: Sequence[Medium], target: str | None) -> list[int]:
    """Return the places in the list of the images that an answer is about.

    An answer about a page is about that page, an answer about a tag is about all pages of the tag, and any other answer
    is about the whole item.

    :param media: media of the answer's item
    :param target: target of the answer
    """
    everything = list(range(len(media)))
    if len(media) == 1 or target is None:
        return everything
    if split_target(target)[1] is not None:
        place = find_target(media, target)
        return everything if place is None else [place]
    return [place for place in everything if split_target(media[place].target)[0] == target] or everything


def label_sizes(labels: pa.RecordBatch, items: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
    """Return the width and height in pixels of each label's image, null if not known.

    :param labels: rows of ``labels`` of one project
    :param items: rows of ``items`` of the same project, which are matched by ``item_id``
    """
    place = pc.index_in(labels.column("item_id"), value_set=items.column("item_id"))
    sizes = [pc.take(items.column(side), place) for side in ("width", "height")]
    several = pc.take(pc.is_valid(items.column("media")), place)
    if not pc.any(several).as_py():
        return sizes[0], sizes[1]
    media = media_of_items(items)
    found: list[Medium | None] = []
    columns = (several.to_pylist(), place.to_pylist(), labels.column("target").to_pylist())
    for is_of_several, row, target in zip(*columns, strict=True):
        at = find_medium(media[row], target) if is_of_several else None
        found.append(None if at is None else media[row][at])
    own = (
        pa.array([None if one is None else one.width for one in found], pa.int32()),
        pa.array([None if one is None else one.height for one in found], pa.int32()),
    )
    several = pc.fill_null(several, False)
    return pc.if_else(several, own[0], sizes[0]), pc.if_else(several, own[1], sizes[1])
