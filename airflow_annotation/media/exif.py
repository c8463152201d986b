"""Images without an EXIF orientation, so that every reader has the pixels that people labeled."""

from __future__ import annotations

import io
import shutil
from contextlib import closing
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from airflow_annotation.exceptions import MediaError

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

_ORIENTATION: Final = 0x0112
_IN_MEMORY_BYTES: Final = 8 << 20
_FORMATS: Final = {"JPEG": "JPEG", "MPO": "JPEG", "PNG": "PNG", "WEBP": "WEBP"}
"""Formats whose readers differ about the orientation; Pillow reads the first picture of an MPO."""


def open_without_orientation(open_file: Callable[[], BinaryIO], name: str, *, turned: bool) -> BinaryIO:
    """Open an image, as it is where EXIF does not turn it, else encoded again without the orientation.

    JPEG is encoded with the file's own quantization. Other files than JPEG, PNG and WebP are left as they are, and so
    are moving images.

    :param open_file: opens the file
    :param name: the file's, for errors
    :param turned: whether the pixels are turned as EXIF says, or stay as they are stored
    :raises MediaError: the image is broken
    """
    from PIL import Image, UnidentifiedImageError

    file = cast("BinaryIO", SpooledTemporaryFile(_IN_MEMORY_BYTES))  # noqa: SIM115 - the caller closes it
    with closing(open_file()) as opened:
        shutil.copyfileobj(opened, file)
    file.seek(0)
    try:
        with Image.open(file) as image:
            has_one_picture = image.format == "MPO" or getattr(image, "n_frames", 1) == 1
            if image.format in _FORMATS and has_one_picture and image.getexif().get(_ORIENTATION, 1) in range(2, 9):
                return _encode(image, turned=turned)
    except UnidentifiedImageError:
        pass  # SVG, and what is no image
    # Of odd EXIF blocks Pillow raises what it happens to run into: TypeError, struct.error, AttributeError.
    except Exception as error:
        file.close()
        raise MediaError(f"{name} cannot be written without its EXIF orientation: {error}") from error
    file.seek(0)
    return file


def _encode(image: Image.Image, *, turned: bool) -> BinaryIO:
    from PIL import ImageOps, JpegImagePlugin

    kind = _FORMATS[str(image.format)]
    more: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    if kind == "JPEG":
        # Pillow's types do not say that a JPEG has its quantization.
        more = {"qtables": cast("Any", image).quantization, "subsampling": max(JpegImagePlugin.get_sampling(image), 0)}
    profile = image.info.get("icc_profile")
    picture = ImageOps.exif_transpose(image) if turned else image
    exif = image.getexif()
    exif.pop(_ORIENTATION, None)
    encoded = io.BytesIO()
    # What PNG has as text may hold the orientation too (XMP), so nothing else is taken over.
    picture.info = {name: value for name, value in picture.info.items() if name in ("transparency", "dpi", "gamma")}
    picture.save(encoded, kind, exif=exif.tobytes(), icc_profile=profile, **more)
    encoded.seek(0)
    return encoded
