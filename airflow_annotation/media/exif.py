"""Removes the EXIF orientation of images, so that every reader has the pixels that people labeled."""

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
"""Formats whose readers differ about the orientation, and the formats to write. Of an MPO, the first picture counts."""


def open_without_orientation(
    open_file: Callable[[], BinaryIO],
    name: str,
    *,
    turned: bool,
    before_decoding: Callable[[Image.Image], None] | None = None,
) -> BinaryIO:
    """Open an image. If EXIF turns it, it is encoded again without the orientation; otherwise it is unchanged.

    JPEG is encoded with the file's own quantization. Moving images, and files of other formats than JPEG, PNG and WebP,
    are unchanged.

    :param open_file: function that opens the file
    :param name: name of the file in errors
    :param turned: whether to turn the pixels as EXIF says; if not, they stay as they are stored
    :param before_decoding: function that is called when the file is here and the image's size is known
    :raises MediaError: the image is broken
    """
    from PIL import Image, UnidentifiedImageError

    file = cast("BinaryIO", SpooledTemporaryFile(_IN_MEMORY_BYTES))  # noqa: SIM115 - the caller closes it
    with closing(open_file()) as opened:
        shutil.copyfileobj(opened, file)
    file.seek(0)
    try:
        with Image.open(file) as image:
            if before_decoding is not None:
                before_decoding(image)
            has_one_picture = image.format == "MPO" or getattr(image, "n_frames", 1) == 1
            if image.format in _FORMATS and has_one_picture and image.getexif().get(_ORIENTATION, 1) in range(2, 9):
                return _encode(image, turned=turned)
    except UnidentifiedImageError:
        pass  # SVG, or not an image
    # For invalid EXIF blocks, Pillow raises various errors: TypeError, struct.error, AttributeError.
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
        # Pillow's types do not know that a JPEG has a quantization.
        more = {"qtables": cast("Any", image).quantization, "subsampling": max(JpegImagePlugin.get_sampling(image), 0)}
    profile = image.info.get("icc_profile")
    picture = ImageOps.exif_transpose(image) if turned else image
    exif = image.getexif()
    exif.pop(_ORIENTATION, None)
    encoded = io.BytesIO()
    # The text of a PNG may contain the orientation, too (XMP), so only these are kept.
    picture.info = {name: value for name, value in picture.info.items() if name in ("transparency", "dpi", "gamma")}
    picture.save(encoded, kind, exif=exif.tobytes(), icc_profile=profile, **more)
    encoded.seek(0)
    return encoded
