"""Masks: from the ways they can be imported to the PNG files that exports point to."""

from __future__ import annotations

import base64
import binascii
import io

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from .entities import Json
from .errors import InvalidInputError
from .media import fetch
from .state import State


def binary_mask(state: State, mask: Json) -> bytes:
    """Return a mask as a PNG file of one channel, 255 inside and 0 outside.

    :param mask: `png` with base64 data, or `instanceURI`; `colorRGB` picks one colour of a composite image
    :raises InvalidInputError: the image cannot be read
    """
    pixels = _pixels(_content(state, mask))
    color = mask.get("colorRGB")
    if color is not None and pixels.ndim == 3:
        inside = np.all(pixels[..., :3] == np.array(color, dtype=np.uint8), axis=-1)
    elif pixels.ndim == 3:
        inside = np.any(pixels[..., :3] > 0, axis=-1)
    else:
        inside = pixels > 0
    buffer = io.BytesIO()
    Image.fromarray(inside.astype(np.uint8) * 255).save(buffer, "PNG")
    return buffer.getvalue()


def _content(state: State, mask: Json) -> bytes:
    if mask.get("png"):
        try:
            return base64.b64decode(mask["png"], validate=True)
        except binascii.Error as error:
            raise InvalidInputError(f"The mask is not base64: {error}") from error
    uri = mask.get("instanceURI")
    file = fetch(state, uri) if uri else None
    if file is None:
        raise InvalidInputError(f"The mask cannot be downloaded: {uri}")
    return file.content


def _pixels(content: bytes) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode in ("P", "CMYK"):
                image = image.convert("RGB")  # noqa: PLW2901 the converted image replaces the one read
            return np.asarray(image, dtype=np.uint8)
    except (UnidentifiedImageError, OSError) as error:
        raise InvalidInputError("The mask is not an image") from error
