"""The media of an item for a browser: from the tool through the API server, or from its own address on the web."""

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
"""A URL, and the headers to read it with. There are no headers if the media are not the tool's own."""

LARGEST: Final = 25 << 20
"""Maximum bytes of a file that is sent whole."""

_LARGEST_PART: Final = 2 << 20
"""Maximum bytes of a part. A browser asks for the next part of a sound or a video when it needs it."""

_SMALL: Final = 640
"""Pixels of the longer side of a small image."""

_SMALL_FROM_PIXELS: Final = 40_000_000
"""Maximum number of pixels of an image that is made smaller, since this needs all its pixels in memory."""

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
"""Types of sounds and videos that browsers play, by the suffix that fits the content."""

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class MediaPart(msgspec.Struct, frozen=True):
    """A part of a file, or all of it.

    :param content: bytes of the part
    :param media_type: MIME type of the file
    :param start: number of bytes before the part
    :param size: number of bytes of the file
    """

    content: bytes
    media_type: str
    start: int
    size: int


def find_place(
    hook: AnnotationHook, project_id: str, item_id: str, target: str = "", *, is_in_project: bool = False
) -> MediaPlace:
    """Return the place of an item's media.

    :param hook: hook of the tool
    :param project_id: id of the project
    :param item_id: id of the item
    :param target: which of its images, if it has several
    :param is_in_project: whether the item was just read from the project, so the tool need not look for it there
    :raises MediaError: the tool does not tell the place, or browsers must not be sent there: whoever creates items can
        write any URL, also one of a private network
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
    """Read an image that the tool holds. The API server does not read media from other places.

    :param hook: hook of the tool
    :param place: place of the image, with the tool's headers
    :param is_small: whether to make a large image smaller, so that browsers get it faster
    :raises MediaError: the file is too large, or is not an image
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
        raise MediaError("The media of this item is not an image that the page can show.") from error


def _make_small(image: Image.Image) -> bytes | None:
    """Return a photo as a small JPEG; None if it is small already, too large, or not RGB or gray with 8 bits."""
    from PIL import ImageOps

    if max(image.size) <= _SMALL or image.width * image.height > _SMALL_FROM_PIXELS or image.mode not in {"RGB", "L"}:
        return None
    image.draft(image.mode, (_SMALL, _SMALL))  # decodes a JPEG at a smaller size
    image.thumbnail((_SMALL, _SMALL))
    written = io.BytesIO()
    # Turn the pixels as EXIF says, and write no EXIF, so that browsers show it like the image itself.
    ImageOps.exif_transpose(image).save(written, "JPEG", quality=80, icc_profile=image.info.get("icc_profile"))
    return written.getvalue()


def read_part(hook: AnnotationHook, place: MediaPlace, asked: str | None) -> MediaPart:
    """Read a part of a sound or a video that the tool holds: at most 2 MiB, or the whole file up to 25 MiB.

    :param hook: hook of the tool
    :param place: place of the file, with the tool's headers
    :param asked: header ``Range`` with one range, https://www.rfc-editor.org/rfc/rfc9110#name-range; None for the whole
        file
    :raises MediaError: browsers do not play the file, it has no such range, or the whole file is too large
    """
    with _open(hook, place) as file:
        media_type = _PLAYED_TYPES.get(content_suffix(file) or "")
        if media_type is None:
            raise MediaError("The media of this item is not a sound or video that the page can play.")
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
    """Return the start of the requested range, and the number of its bytes to send.

    :raises MediaError: the file has no such range
    """
    found = _RANGE.fullmatch(asked.strip())
    if found is None or not (found[1] or found[2]):
        raise MediaError("A request asked for several parts of a media file, or for no part.")
    if found[1]:
        start, end = int(found[1]), min(int(found[2]) + 1 if found[2] else size, size)
    else:
        start, end = max(size - int(found[2]), 0), size
    if start >= end:
        raise MediaError("A request asked for a part that the media file does not have.")
    return start, min(end - start, _LARGEST_PART)


def read_beginning(hook: AnnotationHook, place: MediaPlace, most: int) -> tuple[bytes, bool]:
    """Read the beginning of a file that the tool holds. Return it, and whether the file has more bytes.

    :param hook: hook of the tool
    :param place: place of the file, with the tool's headers
    :param most: maximum number of bytes
    """
    with _open(hook, place) as file:
        content = file.read(most + 1)
    return content[:most], len(content) > most


def _open(hook: AnnotationHook, place: MediaPlace) -> closing[BinaryIO]:
    """Open a file that the tool holds. Reads only from the tool, and from the places to which the tool redirects."""
    url, headers = place
    return closing(open_media_in_place(url, headers=headers, find_client=_allowed(hook).client_for))


def _allowed(hook: AnnotationHook) -> AllowedMedia:
    return AllowedMedia(is_own=hook.is_own_url)
