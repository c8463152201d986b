"""How large a mask may be that is read: some kilobytes can say that a mask has thousands of millions of pixels."""

from __future__ import annotations

import math
import time
from typing import Final, NamedTuple

MAX_MASK_PIXELS: Final = 1 << 28
"""Pixels of a mask, which is 16,384 x 16,384. The configuration's ``max_mask_pixels`` is another number."""

_PIXELS_PER_TOGGLE: Final = 128
_COCO_PIXELS: Final = 1 << 32


class MaskBudgetError(ValueError):
    """A mask is larger than it may be."""


class MaskBudget(NamedTuple):
    """What a mask may cost. Decoding one within it takes less than 200 MB, by default.

    :param pixels: how many pixels it may have
    :param toggles: how often it may go on and off from pixel to pixel, and how many bytes its record may have
    :param deadline: when no mask is decoded any more, by :func:`time.monotonic`
    """

    pixels: int = MAX_MASK_PIXELS
    toggles: int = MAX_MASK_PIXELS // _PIXELS_PER_TOGGLE
    deadline: float = math.inf

    @classmethod
    def of_pixels(cls, pixels: int) -> MaskBudget:
        """Return the budget of masks of so many pixels."""
        return cls(pixels, pixels // _PIXELS_PER_TOGGLE)

    @property
    def is_spent(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() > self.deadline

    def of_item(self, width: float | None, height: float | None) -> MaskBudget:
        """Return the budget of a mask of an item: it has no more pixels than the item.

        :param width: of the item in pixels, None if it is not known
        :param height: of the item
        """
        if not width or not height or not width * height < self.pixels:
            return self
        return self._replace(pixels=int(width * height))

    def check_size(self, width: float, height: float) -> None:
        """Check the size of a mask before any of it is decoded.

        :raises MaskBudgetError: it is too large, or nothing, or the time is over
        """
        if self.is_spent:
            raise MaskBudgetError("The time for masks is over.")
        if not (width > 0 and height > 0 and width * height <= min(self.pixels, _COCO_PIXELS - 1)):
            raise MaskBudgetError(f"A mask of {width} x {height} pixels has more than {self.pixels:,}, or none.")

    def check_toggles(self, toggles: int) -> None:
        """Check how finely a mask is divided, or how many bytes it has.

        :raises MaskBudgetError: too finely, or too many
        """
        if toggles > self.toggles:
            raise MaskBudgetError(f"A mask is divided more finely than {self.toggles:,} times.")


DEFAULT_BUDGET: Final = MaskBudget()
