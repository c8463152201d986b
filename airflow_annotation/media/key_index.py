"""An index of a project's items by their keys, in few bytes per item."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np

from airflow_annotation.labels.media import Size
from airflow_annotation.media.items import key_hash

_ROW: Final = np.dtype(
    [
        ("key", "u8"),
        ("id", "u8"),
        ("width", "i4"),
        ("height", "i4"),
        ("frame_rate", "f8"),
        ("milliseconds", "i4"),
        ("page_count", "i4"),
        ("first_page", "i8"),
    ]
)


class KnownItem(NamedTuple):
    """An item of a project, and what the tool knows about its media.

    :param id: the tool's id, or a hash of it
    :param width: width in pixels
    :param height: height in pixels
    :param frame_rate: frames per second
    :param duration: duration in seconds
    :param pages: width and height of each image, if the item shows several
    """

    id: int
    width: int | None = None
    height: int | None = None
    frame_rate: float | None = None
    duration: float | None = None
    pages: tuple[Size, ...] = ()


class KeyIndex:
    """Finds items by the hashes of their keys. Millions of items fit in memory, however long their keys are.

    :param items: items, each with the hash of its key; if two have the same key, the first one is found
    """

    def __init__(self, items: Iterable[tuple[int, KnownItem]]) -> None:
        self._sides = array("i")  # width and height of each page, one after the other
        unordered = np.fromiter((self._row(key, item) for key, item in items), _ROW)
        self._rows = unordered[np.argsort(unordered["key"], kind="stable")]

    def find(self, key: str) -> KnownItem | None:
        """Return the item with this key, None if there is none."""
        wanted = np.uint64(key_hash(key))
        place = int(np.searchsorted(self._rows["key"], wanted))
        if place == len(self._rows) or self._rows["key"][place] != wanted:
            return None
        _, id_, width, height, frame_rate, milliseconds, page_count, first_page = self._rows[place].item()
        sides = [side or None for side in self._sides[2 * first_page : 2 * (first_page + page_count)]]
        pages = tuple(zip(sides[::2], sides[1::2], strict=True))
        return KnownItem(id_, width or None, height or None, frame_rate or None, milliseconds / 1000 or None, pages)

    def _row(self, key: int, item: KnownItem) -> tuple[int | float, ...]:
        milliseconds = round(min(1000 * (item.duration or 0), 2**31 - 1))  # the duration may be infinite
        size = item.width or 0, item.height or 0
        first_page = len(self._sides) // 2
        self._sides.extend(side or 0 for page in item.pages for side in page)
        return key, item.id, *size, item.frame_rate or 0.0, milliseconds, len(item.pages), first_page
