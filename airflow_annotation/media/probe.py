"""Reads what a media file says about itself: its format, its size in pixels, its frames."""

from __future__ import annotations

import mimetypes
import struct
from typing import BinaryIO, Final
from xml.etree import ElementTree

import msgspec

from airflow_annotation.exceptions import MediaError
from airflow_annotation.labels.media_types import MEDIA_TYPES
from airflow_annotation.media.content import content_suffix
from airflow_annotation.media.orientation import shown_size, transposition
from airflow_annotation.media.video import MATROSKA, MP4, open_video

_ORIENTATION: Final = 0x0112
"""EXIF's tag for the orientation; 5 to 8 are quarter turns: https://exiftool.org/TagNames/EXIF.html."""

_VIDEO_CONTAINERS: Final = {MP4: "video/mp4", MATROSKA: "video/webm"}


class MediaProbe(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says about itself.

    :param mime_type: MIME type of the file: of an image by its content, of a sound by its content or else its name, of
        a video by its name or else its content; ``application/octet-stream`` if unknown
    :param width: width in pixels as shown, after the turn that EXIF or the video's display matrix asks for
    :param height: height in pixels as shown
    :param frame_count: number of frames of a video
    :param frame_rate: average frames per second of a video
    :param duration: duration of a video in seconds, None if its headers do not say it
    :param orientation: EXIF orientation of an image: 1 is as stored, 2 to 8 are mirrored or turned; None if it has none
    """

    mime_type: str
    width: int | None = None
    height: int | None = None
    frame_count: int | None = None
    frame_rate: float | None = None
    duration: float | None = None
    orientation: int | None = None


def probe_media(file: BinaryIO, name: str, media_type: str) -> MediaProbe:
    """Read the headers of an image or video, and decode a video's first frame. Of other files, read the first bytes.

    No more of the file is read, so :func:`~airflow_annotation.media.ranges.open_media_in_place` fetches no more. The
    exception are videos whose headers lack the number of frames, such as WebM: they are read to the end to count it.

    :param file: seekable file at its beginning; afterwards its position is undefined
    :param name: name of the file in errors
    :param media_type: kind of the media: ``image``, ``video``, ``audio``, ...
    :raises MediaError: the file is not what ``media_type`` says; the message names the file
    """
    if media_type == "image":
        return _probe_image(file, name)
    if media_type == "video":
        return _probe_video(file, name)
    suffix = content_suffix(file)
    if media_type == "pdf" and suffix != ".pdf":
        raise MediaError(f"{name} is not a PDF.")
    if media_type == "audio":
        mime_type = mimetypes.guess_type(f"content{suffix}")[0] or mimetypes.guess_type(name)[0]
    else:
        mime_type = (
            MEDIA_TYPES[media_type].mime_types[0] if media_type in MEDIA_TYPES else mimetypes.guess_type(name)[0]
        )
    return MediaProbe(mime_type=mime_type or "application/octet-stream")


def _probe_image(file: BinaryIO, name: str) -> MediaProbe:
    from PIL import Image

    try:
        image = Image.open(file)
    except Image.DecompressionBombError as error:
        raise MediaError(f"{name} has more pixels than Pillow opens (PIL.Image.MAX_IMAGE_PIXELS): {error}") from error
    except (OSError, ValueError) as error:
        if _is_svg(file):
            return MediaProbe(mime_type="image/svg+xml")
        raise MediaError(f"{name} is not an image, or of a format that Pillow does not read.") from error
    width, height = image.size
    try:
        # Pillow would decode a whole PNG to look for EXIF data after the pixels, which few files have there.
        orientation = image.getexif().get(_ORIENTATION) if image.format != "PNG" or "exif" in image.info else None
    except (SyntaxError, ValueError, KeyError, TypeError, OSError, struct.error):
        orientation = None  # browsers, too, ignore broken EXIF data
    if orientation in {5, 6, 7, 8}:
        width, height = height, width
    mime_type = "image/jpeg" if image.format == "MPO" else Image.MIME.get(image.format or "")
    return MediaProbe(
        mime_type=mime_type or "application/octet-stream", width=width, height=height, orientation=orientation
    )


def _is_svg(file: BinaryIO) -> bool:
    file.seek(0)
    try:
        _, root = next(ElementTree.iterparse(file, events=("start",)))  # nosec B314 # noqa: S314 - no more than the root
    except (ElementTree.ParseError, StopIteration):
        return False
    return root.tag in {"svg", "{http://www.w3.org/2000/svg}svg"}


def _probe_video(file: BinaryIO, name: str) -> MediaProbe:
    import av

    with open_video(file, name) as reader:
        frame_count = reader.frame_count
        picture = None
        packets = 0
        try:
            for packet in reader.container.demux(reader.stream):
                if picture is None:
                    picture = next(iter(packet.decode()), None)
                packets += bool(packet.size) and not packet.is_discard
                if picture and frame_count:
                    break
        except av.FFmpegError as error:
            if picture is None:
                raise MediaError(f"{name} is not a video, or of a format that FFmpeg does not read.") from error
        if picture is None:
            raise MediaError(f"{name} has no frame that can be decoded.")
        width, height = shown_size(picture, transposition(picture))
        mime_type = mimetypes.guess_type(name)[0] or _VIDEO_CONTAINERS.get(reader.container.format.name)
        return MediaProbe(
            mime_type=mime_type or "application/octet-stream",
            width=width,
            height=height,
            frame_count=frame_count or packets,
            frame_rate=reader.frame_rate,
            duration=reader.duration,
        )
