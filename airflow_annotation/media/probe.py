"""What a media file says of itself: its format, its size in pixels, its frames."""

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
"""EXIF's tag for how to turn the stored pixels; 5 to 8 are quarter turns, https://exiftool.org/TagNames/EXIF.html."""

_VIDEO_CONTAINERS: Final = {MP4: "video/mp4", MATROSKA: "video/webm"}


class MediaProbe(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says of itself.

    :param mime_type: of the content, whatever the file's name says; ``application/octet-stream`` where unknown
    :param width: pixels as shown, after the turn that EXIF or the video's display matrix asks for
    :param height: likewise
    :param frame_count: frames of the video
    :param frame_rate: its average frames per second
    :param duration: its seconds, None where its headers do not say
    :param orientation: EXIF's, of an image: 1 as stored, 2 to 8 mirrored or turned; None where it does not say
    """

    mime_type: str
    width: int | None = None
    height: int | None = None
    frame_count: int | None = None
    frame_rate: float | None = None
    duration: float | None = None
    orientation: int | None = None


def probe_media(file: BinaryIO, name: str, media_type: str) -> MediaProbe:
    """Read the headers of an image or video, and decode a video's first frame. Of sound and PDFs, read the first bytes.

    No more of the file is read than that (:func:`~airflow_annotation.media.ranges.open_media_in_place` fetches no more,
    then), but for videos whose headers do not have the number of frames, such as WebM: their frames are counted.

    :param file: at its beginning, seekable; it is left anywhere
    :param name: the file's name, for errors
    :param media_type: ``image``, ``video``, ``audio``, ...
    :raises MediaError: the file is not what ``media_type`` says; the message names it
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
        # Pillow decodes the whole of a PNG to find EXIF data behind its pixels, where few put it.
        orientation = image.getexif().get(_ORIENTATION) if image.format != "PNG" or "exif" in image.info else None
    except (SyntaxError, ValueError, KeyError, TypeError, OSError, struct.error):
        orientation = None  # browsers, too, show an image with broken EXIF data as it is stored
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
