"""Encodes decoded pictures as image files."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from av import VideoFrame
    from PIL.Image import Transpose

_END_OF_JPEG: Final = b"\xff\xd9"
"""The marker EOI: https://www.w3.org/Graphics/JPEG/itu-t81.pdf, table B.1."""

ImageFormat = Literal["jpeg", "png", "webp"]


class PictureEncoder:
    """Encodes pictures as image files. Any number of threads may use it at once.

    :param image_format: ``jpeg``, ``png`` or ``webp``
    :param quality: quality of JPEG and WebP, 1 to 100
    """

    def __init__(self, image_format: ImageFormat, quality: int) -> None:
        self._format = image_format
        self._quality = quality
        self._local = threading.local()

    def encode(self, picture: VideoFrame, turn: Transpose | None) -> bytes:
        """Return the content of an image file with a picture.

        :param picture: decoded picture
        :param turn: how to turn it; None to leave it as it is
        :raises OSError: the disk with temporary files is full
        """
        from av.video.reformatter import VideoReformatter
        from PIL import Image

        local = self._local
        if not hasattr(local, "reformatter"):
            local.reformatter = VideoReformatter()  # keeps its tables from frame to frame
            local.file = tempfile.TemporaryFile()  # noqa: SIM115 - one for each thread, until it ends
        rgb = local.reformatter.reformat(picture, format="rgb24", src_color_range=int(picture.color_range), threads=1)
        if self._format == "png":
            return _encode_png(rgb if turn is None else _turned(rgb, turn))
        plane = rgb.planes[0]
        image = Image.frombuffer("RGB", (rgb.width, rgb.height), plane, "raw", "RGB", plane.line_size, 1)
        if turn is not None:
            image = image.transpose(turn)
        # Pillow lets other threads work while it encodes JPEG only if it writes to a real file.
        local.file.seek(0)
        image.save(local.file, self._format, quality=self._quality)
        local.file.truncate()
        local.file.seek(0)
        content: bytes = local.file.read()
        if self._format == "jpeg" and not content.endswith(_END_OF_JPEG):
            # Pillow does not notice if the disk is full and takes only a part of the last write.
            raise OSError(
                errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}, where temporary files are", tempfile.gettempdir()
            )
        return content


def _turned(rgb: VideoFrame, turn: Transpose) -> VideoFrame:
    import numpy as np
    from av import VideoFrame as Picture

    image = rgb.to_image()  # type: ignore[no-untyped-call] # PyAV has no types for it
    return Picture.from_ndarray(np.asarray(image.transpose(turn)), format="rgb24")


def _encode_png(picture: VideoFrame) -> bytes:
    """Encode with FFmpeg, which lets other threads work at the same time. Pillow does not when it encodes PNG."""
    from av import CodecContext

    encoder = CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = picture.width, picture.height, picture.format.name
    encoder.time_base = Fraction(1)
    # These take a seventh of the time of the defaults of Pillow and of FFmpeg. The files are an eighth larger.
    encoder.options = {"pred": "mixed", "compression_level": "1"}
    encoder.thread_count = 1
    picture.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode(None)])
