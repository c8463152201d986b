"""The media of an item as a browser gets it: from the tool by way of the API server, or from where it is on the web."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from airflow_annotation.exceptions import MediaError
from airflow_annotation.hooks.annotation import AnnotationHook
from airflow_annotation.media.access import AllowedMedia
from airflow_annotation.media.content import content_suffix
from airflow_annotation.media.ranges import open_media_in_place

if TYPE_CHECKING:
    from PIL import Image

MediaPlace = tuple[str, Mapping[str, str]]
"""A URL, and the headers to read it with: none where it is not the tool's own."""

LARGEST: Final = 25 << 20
"""Bytes of a file that is given whole."""

_LARGEST_PART: Final = 2 << 20
"""Bytes of one answer: a browser asks for the next part of a sound or a video when it needs it."""

_SMALL: Final = 640
"""Pixels of the longer side of a small image."""

_SMALL_FROM_PIXELS: Final = 40_000_000
"""An image of more pixels is given as it is: to make it small, all of it would be held."""

_IMAGE_TYPES: Final = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}
_PLAYED_TYPES: Final = {
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".m4a": "audio/mp4",
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".mp3": "audio/mpeg",
}
"""What is played, by the suffix that content says."""

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class MediaPart(msgspec.Struct, frozen=True):
    """A part of a file, or all of it.

    :param content: its bytes
    :param media_type: of the file
    :param start: bytes of the file before it
    :param size: bytes of the file
    """

    content: bytes
    media_type: str
    start: int
    size: int


def find_place(
    hook: AnnotationHook, project_id: str, item_id: str, target: str = "", *, is_in_project: bool = False
) -> MediaPlace:
    """Return where the media of an item is.

    :param hook: of the tool
    :param project_id: the project
    :param item_id: the item
    :param target: which of its images, where it has several
    :param is_in_project: the item was just read from the project, so the tool need not look for it there
    :raises MediaError: the tool does not say it, or browsers must not be sent there: whoever makes items may put any
        URL there, one of a private network, too
    """
    find = hook.find_own_copy if is_in_project else hook.find_media
    found = find(project_id, item_id, target)
    if found is None:
        raise MediaError("The tool does not say where the media of this item is.")
    url, headers = found
    if not headers:
        _allowed(hook).check_url(url)
    return url, headers


def read_image(hook: AnnotationHook, place: MediaPlace, *, is_small: bool = False) -> MediaPart:
    """Read an image that the tool holds. Only from the tool itself anything is read.

    :param hook: of the tool
    :param place: where it is, with the tool's headers
    :param is_small: whether a large image may be made smaller, which browsers get faster
    :raises MediaError: it is too large, or it is no image
    """
    from PIL import Image

    content, is_cut = read_beginning(hook, place, LARGEST)
    if is_cut:
        raise MediaError("The media of this item is too large to be shown here.")
    try:
        with Image.open(io.BytesIO(content), formats=list(_IMAGE_TYPES)) as image:
            media_type = _IMAGE_TYPES[image.format or ""]
            if is_small and (made := _make_small(image)):
                content, media_type = made, "image/jpeg"
            return MediaPart(content, media_type, 0, len(content))
    except (OSError, KeyError, Image.DecompressionBombError) as error:
        raise MediaError("The media of this item is no image that is shown here.") from error


def _make_small(image: Image.Image) -> bytes | None:
    """Return a photo as a small JPEG, None where it is small, or anything else than 8 bits of colors or gray."""
    from PIL import ImageOps

    if max(image.size) <= _SMALL or image.width * image.height > _SMALL_FROM_PIXELS or image.mode not in {"RGB", "L"}:
        return None
    image.draft(image.mode, (_SMALL, _SMALL))  # a JPEG is decoded at a smaller size
    image.thumbnail((_SMALL, _SMALL))
    written = io.BytesIO()
    # Turned as its EXIF says, which is not written: browsers show it as they show the image itself.
    ImageOps.exif_transpose(image).save(written, "JPEG", quality=80, icc_profile=image.info.get("icc_profile"))
    return written.getvalue()


def read_part(hook: AnnotationHook, place: MediaPlace, asked: str | None) -> MediaPart:
    """Read a part of a sound or a video that the tool holds, at most 2 MiB of it.

    :param hook: of the tool
    :param place: where it is, with the tool's headers
    :param asked: a header ``Range`` of one range, https://www.rfc-editor.org/rfc/rfc9110#name-range; None for the
        whole file
    :raises MediaError: it is nothing that browsers play, there is no such range, or the whole file is too large
    """
    with _open(hook, place) as file:
        media_type = _PLAYED_TYPES.get(content_suffix(file) or "")
        if media_type is None:
            raise MediaError("The media of this item is no sound or video that is played here.")
        size = file.seek(0, io.SEEK_END)
        if asked is None:
            if size > LARGEST:
                raise MediaError("The media of this item is too large to be shown here.")
            start, length = 0, size
        else:
            start, length = _find_range(asked, size)
        file.seek(start)
        return MediaPart(file.read(length), media_type, start, size)


def _find_range(asked: str, size: int) -> tuple[int, int]:
    """Return where the asked range begins and how many of its bytes are sent.

    :raises MediaError: it is none of this file
    """
    found = _RANGE.fullmatch(asked.strip())
    if found is None or not (found[1] or found[2]):
        raise MediaError("A request asked for several parts of a media file, or for none.")
    if found[1]:
        start, end = int(found[1]), min(int(found[2]) + 1 if found[2] else size, size)
    else:
        start, end = max(size - int(found[2]), 0), size
    if start >= end:
        raise MediaError("A request asked for a part that the media file does not have.")
    return start, min(end - start, _LARGEST_PART)


def read_beginning(hook: AnnotationHook, place: MediaPlace, most: int) -> tuple[bytes, bool]:
    """Read the beginning of a file that the tool holds; return it, and whether the file goes on.

    :param hook: of the tool
    :param place: where it is, with the tool's headers
    :param most: how many bytes are read
    """
    with _open(hook, place) as file:
        content = file.read(most + 1)
    return content[:most], len(content) > most


def _open(hook: AnnotationHook, place: MediaPlace) -> closing[BinaryIO]:
    """Open a file that the tool holds. Only from the tool itself anything is read, and where it redirects to."""
    url, headers = place
    return closing(open_media_in_place(url, headers=headers, find_client=_allowed(hook).client_for))


def _allowed(hook: AnnotationHook) -> AllowedMedia:
    return AllowedMedia(is_own=hook.is_own_url)
