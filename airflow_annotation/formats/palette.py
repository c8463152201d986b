"""Pascal VOC's colors for the numbers of classes."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt


@cache
def voc_palette() -> npt.NDArray[np.uint8]:
    """Return the colors for the numbers 0 to 255, array of shape (256, 3).

    The bits of a number, from the lowest on, go to red, green and blue in turn. They fill each color from its highest
    bit down.
    """
    numbers = np.arange(256)
    colors = np.zeros((256, 3), np.uint8)
    for shift in range(8):
        for channel in range(3):
            colors[:, channel] |= ((numbers >> 3 * shift + channel & 1) << 7 - shift).astype(np.uint8)
    return colors
