"""Limits for the size of masks, since a few kilobytes can describe a mask of billions of pixels."""

from __future__ import annotations

import math
import time
from typing import Final, NamedTuple

MAX_MASK_PIXELS: Final = 1 << 28
"""Default largest number of pixels, 16,384 x 16,384. The configuration's ``max_mask_pixels`` can change it."""

_PIXELS_PER_TOGGLE: Final = 128
_COCO_PIXELS: Final = 1 << 32


class MaskBudgetError(ValueError):
    """A mask is too large."""


class MaskBudget(NamedTuple):
    """Limits for the size of a mask. With the default limits, decoding a mask takes less than 200 MB.

    :param pixels: largest number of pixels
    :param toggles: largest number of toggles, at which the mask goes on or off, and largest number of bytes of its
        record
    :param deadline: time from which no mask is decoded, in seconds of :func:`time.monotonic`
    """

    pixels: int = MAX_MASK_PIXELS
    toggles: int = MAX_MASK_PIXELS // _PIXELS_PER_TOGGLE
    deadline: float = math.inf

    @classmethod
    def of_pixels(cls, pixels: int) -> MaskBudget:
        """Return the budget of masks with at most this number of pixels."""
        return cls(pixels, pixels // _PIXELS_PER_TOGGLE)

    @property
    def is_spent(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() > self.deadline

    def of_item(self, width: float | None, height: float | None) -> MaskBudget:
        """Return the budget of an item's mask, which has no more pixels than the item.

        :param width: width of the item in pixels, None if not known
        :param height: height of the item in pixels, None if not known
        """
        if not width or not height or not width * height < self.pixels:
            return self
        return self._replace(pixels=int(width * height))

    def check_size(self, width: float, height: float) -> None:
        """Check the size of a mask before it is decoded.

        :raises MaskBudgetError: it is too large or empty, or the time is over
        """
        if self.is_spent:
            raise MaskBudgetError("The time for masks is over.")
        if not (width > 0 and height > 0 and width * height <= min(self.pixels, _COCO_PIXELS - 1)):
            raise MaskBudgetError(f"A mask of {width} x {height} pixels has more than {self.pixels:,}, or none.")

    def check_toggles(self, toggles: int) -> None:
        """Check the number of toggles of a mask, or of bytes of its record.

        :raises MaskBudgetError: the number is too large
        """
        if toggles > self.toggles:
            raise MaskBudgetError(f"A mask is divided more finely than {self.toggles:,} times.")


DEFAULT_BUDGET: Final = MaskBudget()
