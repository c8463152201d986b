"""Pascal VOC's colors of the numbers of classes."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt


@cache
def voc_palette() -> npt.NDArray[np.uint8]:
    """Return the colors of the numbers 0 to 255, array of shape (256, 3).

    The bits of a number are dealt out to red, green and blue, highest first.
    """
    numbers = np.arange(256)
    colors = np.zeros((256, 3), np.uint8)
    for shift in range(8):
        for channel in range(3):
            colors[:, channel] |= ((numbers >> 3 * shift + channel & 1) << 7 - shift).astype(np.uint8)
    return colors
