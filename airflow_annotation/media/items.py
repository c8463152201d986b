"""Media items: what tasks upload to a labeling tool."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from airflow_annotation.exceptions import MediaError


class Page(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of several images of an item.

    :param media: local path or URI of the file
    :param width: width in pixels as shown, None until probed
    :param height: height in pixels as shown, None until probed
    """

    media: str
    width: int | None = None
    height: int | None = None


class MediaItem(msgspec.Struct, frozen=True, kw_only=True):
    """What people see and label together: an image, video or other file, several images, or a row of data.

    :param media: location of the file: a local path, or a URI (``gs://…``, ``s3://…``, ``https://…``); empty for an
        item of several images, and for a row, of which the project shows the data
    :param pages: the images of an item that shows several, in their order
    :param item_key: the caller's own name for the item, the same across tools, runs and retries
    :param media_type: ``image``, ``video``, ``audio``, ``text``, ...; ``rows`` for a row; empty if it is not known,
        which means the kind that the project labels
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
        """Whether the item has no file."""
        return not self.media and not self.pages

    @property
    def files(self) -> tuple[Page, ...]:
        """The item's one file or its several images; empty for a row."""
        return self.pages or ((Page(self.media, self.width, self.height),) if self.media else ())


def check_data(data: Mapping[str, Any], name: str) -> None:
    """Check that JSON can represent the data of an item.

    :param data: data of the item
    :param name: name of the item in errors
    :raises MediaError: the data contain bytes, which an encoder would silently turn into other text
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
    """Return a hash of an item key, 64 bits, to compare millions of keys without holding the strings."""
    return int.from_bytes(hashlib.blake2b(item_key.encode(errors="surrogatepass"), digest_size=8).digest(), "big")
