"""What a media item is, on its way to a labeling tool."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from airflow_annotation.exceptions import MediaError


class Page(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of several images of an item.

    :param media: where the file is: a local path, or a URI
    :param width: pixels as shown, None until probed
    :param height: likewise
    """

    media: str
    width: int | None = None
    height: int | None = None


class MediaItem(msgspec.Struct, frozen=True, kw_only=True):
    """One image, video or other file, several images, or one row of data, for somebody to label.

    :param media: location of the file: a local path, or a URI (``gs://…``, ``s3://…``, ``https://…``); empty for an
        item of several images, and for a row, whose data are what the project shows
    :param pages: the images of an item that shows several, in their order
    :param item_key: the caller's own id of the item, stable across tools, runs and retries
    :param media_type: ``image``, ``video``, ``audio``, ``text``, ...; ``rows`` for a row; empty if it is not known,
        then it is what the project labels
    :param width: width in pixels as shown (after EXIF orientation), None until probed
    :param height: height in pixels as shown (after EXIF orientation), None until probed
    :param frame_count: frames of a video file, None until probed
    :param frame_rate: frames per second of a video file, None until probed
    :param data: other data that the caller attaches; they land in ``items.data``
    """

    media: str = ""
    pages: tuple[Page, ...] = ()
    item_key: str
    media_type: str = "image"
    width: int | None = None
    height: int | None = None
    frame_count: int | None = None
    frame_rate: float | None = None
    data: dict[str, Any] = {}

    @property
    def is_row(self) -> bool:
        """Whether it has no file."""
        return not self.media and not self.pages

    @property
    def files(self) -> tuple[Page, ...]:
        """The item's files: the one that it is, or its several images."""
        return self.pages or ((Page(self.media, self.width, self.height),) if self.media else ())


def check_data(data: Mapping[str, Any], name: str) -> None:
    """Check that the data of an item are what JSON can say.

    :param name: what errors call the item
    :raises MediaError: there are bytes in it, of which an encoder makes other text without a word
    """
    for key, value in data.items():
        if _has_bytes(value):
            raise MediaError(f"Data key {key!r} of {name} holds bytes: leave it out, or pass text.")


def _has_bytes(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_has_bytes, value))
    if isinstance(value, dict):
        return any(map(_has_bytes, value.values()))
    return isinstance(value, (bytes, bytearray))


def key_hash(item_key: str) -> int:
    """Return 64 bits that stand for an item key: millions of keys can be compared without holding the strings."""
    return int.from_bytes(hashlib.blake2b(item_key.encode(errors="surrogatepass"), digest_size=8).digest(), "big")
