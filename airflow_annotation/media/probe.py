"""What a media file says of itself: its format, its size in pixels, its frames."""

from __future__ import annotations

import mimetypes
import struct
from typing import BinaryIO, Final
from xml.etree import ElementTree

import msgspec

from airflow_annotation.exceptions import MediaError

_ORIENTATION: Final = 0x0112
"""EXIF's tag for how to turn the stored pixels; 5 to 8 are quarter turns, https://exiftool.org/TagNames/EXIF.html."""

_VIDEO_CONTAINERS: Final = {"mov,mp4,m4a,3gp,3g2,mj2": "video/mp4", "matroska,webm": "video/webm"}


class MediaProbe(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says of itself.

    :param mime_type: of the content, whatever the file's name says; ``application/octet-stream`` where unknown
    :param width: pixels as shown, after the turn that EXIF or the video's display matrix asks for
    :param height: likewise
    :param frame_count: frames of the video
    :param frame_rate: its average frames per second
    """

    mime_type: str
    width: int | None = None
    height: int | None = None
    frame_count: int | None = None
    frame_rate: float | None = None


def probe_media(file: BinaryIO, name: str, media_type: str) -> MediaProbe:
    """Read the headers of an image or video; no image is decoded. Other media are told by their name only.

    :param file: at its beginning, seekable; it is left anywhere
    :param name: the file's name, for errors
    :param media_type: ``image``, ``video``, ``audio``, ...
    :raises MediaError: the file is not what ``media_type`` says; the message names it
    """
    if media_type == "image":
        return _probe_image(file, name)
    if media_type == "video":
        return _probe_video(file, name)
    return MediaProbe(mime_type=mimetypes.guess_type(name)[0] or "application/octet-stream")


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
        # Pillow decodes the whole of a PNG to find EXIF data behind its pixels, where few put it.
        orientation = image.getexif().get(_ORIENTATION) if image.format != "PNG" or "exif" in image.info else None
    except (SyntaxError, ValueError, KeyError, TypeError, OSError, struct.error):
        orientation = None  # browsers, too, show an image with broken EXIF data as it is stored
    if orientation in {5, 6, 7, 8}:
        width, height = height, width
    mime_type = "image/jpeg" if image.format == "MPO" else Image.MIME.get(image.format or "")
    return MediaProbe(mime_type=mime_type or "application/octet-stream", width=width, height=height)


def _is_svg(file: BinaryIO) -> bool:
    file.seek(0)
    try:
        _, root = next(ElementTree.iterparse(file, events=("start",)))  # noqa: S314 - no more than the root is parsed
    except (ElementTree.ParseError, StopIteration):
        return False
    return root.tag in {"svg", "{http://www.w3.org/2000/svg}svg"}


def _probe_video(file: BinaryIO, name: str) -> MediaProbe:
    import av

    try:
        with av.open(file, metadata_errors="ignore") as container:
            if not container.streams.video:
                raise MediaError(f"{name} has no video in it.")
            stream = container.streams.video[0]
            frame = next(container.decode(stream))
            width, height = frame.width, frame.height
            if frame.rotation % 180:
                width, height = height, width
            frame_rate = stream.average_rate or stream.guessed_rate
            frame_count = stream.frames
            if not frame_count:  # WebM does not say
                container.seek(0)
                frame_count = sum(1 for packet in container.demux(stream) if packet.size)
            container_type = _VIDEO_CONTAINERS.get(container.format.name)
    except (av.FFmpegError, StopIteration) as error:
        raise MediaError(f"{name} is not a video, or of a format that FFmpeg does not read.") from error
    return MediaProbe(
        mime_type=mimetypes.guess_type(name)[0] or container_type or "application/octet-stream",
        width=width,
        height=height,
        frame_count=frame_count,
        frame_rate=float(frame_rate) if frame_rate else None,
    )
