"""Selections of frames of a video, from which a reader knows which frames it can skip."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from airflow_annotation.exceptions import AnnotationError


@dataclass(frozen=True, slots=True)
class Wanted:
    """The next wanted frame: the frame with this index, or the first one that begins at this time or later.

    :param index: index of the frame, None if the frame is wanted by its time
    :param time: time in seconds, None if the frame is wanted by its index
    """

    index: int | None = None
    time: Fraction | None = None


class FrameSelection(ABC):
    """Decides for one frame after the other, in ascending order, whether it is wanted."""

    @abstractmethod
    def takes(self, index: int, time: Fraction | None) -> bool:
        """Return whether a frame is wanted.

        :param index: index of the frame in the order of display, from 0; a frame without a call is not wanted
        :param time: seconds from the video's beginning, None if the file does not say it
        """

    @abstractmethod
    def next_wanted(self, index: int) -> Wanted | None:
        """Return the next wanted frame, None if there are no more.

        :param index: index of the first frame for which :meth:`takes` was not called
        """


class EveryNth(FrameSelection):
    """Frames 0, n, 2n, ..."""

    def __init__(self, n: int) -> None:
        if n < 1:
            raise AnnotationError(f"every_n is {n}: pass 1 for all frames, 10 for each tenth.")
        self._n = n

    def takes(self, index: int, time: Fraction | None) -> bool:  # noqa: ARG002 - the base's signature
        """Return whether the index is a multiple of n."""
        return index % self._n == 0

    def next_wanted(self, index: int) -> Wanted:
        """Return the next multiple of n."""
        return Wanted(index=-(-index // self._n) * self._n)


class FramesPerSecond(FrameSelection):
    """The first frame, and for each tick the first frame that begins at it or later, however uneven the frames are.

    Ticks are ``1 / fps`` seconds apart, from 0. A frame that is the first one after several ticks is taken once.

    :param fps: frames per second, any positive number; numbers such as ``30000/1001`` are exact as fractions or strings
    """

    def __init__(self, fps: float | str | Fraction) -> None:
        try:
            self._fps = Fraction(fps)
        except (ValueError, ZeroDivisionError, OverflowError) as error:
            raise AnnotationError(f"fps is {fps!r}: pass a number, or a fraction such as '30000/1001'.") from error
        if self._fps <= 0:
            raise AnnotationError(f"fps is {fps}: pass a positive number.")
        self._tick: int | None = None

    def takes(self, index: int, time: Fraction | None) -> bool:
        """Return whether there is a tick between the previous frame and this one."""
        if time is None:
            raise AnnotationError(f"Frame {index} has no timestamp, so fps cannot be used: use every_n.")
        if self._tick is not None and time * self._fps < self._tick:
            return False
        self._tick = math.floor(time * self._fps) + 1
        return True

    def next_wanted(self, index: int) -> Wanted:
        """Return the first frame at the next tick or later."""
        return Wanted(index=index) if self._tick is None else Wanted(time=self._tick / self._fps)


class Listed(FrameSelection):
    """Frames by their index.

    :param frames: indexes, and pairs of the first and the last index of a range, in any order
    """

    def __init__(self, frames: Iterable[int | Sequence[int]]) -> None:
        pairs = np.array([_pair(frame) for frame in frames], np.int64).reshape(-1, 2)
        self._starts, self._ends = _union(pairs)

    @property
    def ranges(self) -> list[list[int]]:
        """First and last index of each range, ascending. Ranges are neither overlapping nor adjacent."""
        ranges: list[list[int]] = np.column_stack([self._starts, self._ends]).tolist()
        return ranges

    def without(self, frames: npt.NDArray[np.integer[Any]]) -> Listed:
        """Return a selection without some frames.

        :param frames: indexes of the frames to leave out
        """
        listed = [np.arange(first, last + 1) for first, last in self.ranges]
        return Listed(np.setdiff1d(np.concatenate(listed), frames).tolist() if listed else ())

    def takes(self, index: int, time: Fraction | None) -> bool:  # noqa: ARG002 - the base's signature
        """Return whether the index is listed."""
        wanted = self.next_wanted(index)
        return wanted is not None and wanted.index == index

    def next_wanted(self, index: int) -> Wanted | None:
        """Return the next index that is listed."""
        place = int(np.searchsorted(self._ends, index))
        return Wanted(index=max(index, int(self._starts[place]))) if place < len(self._ends) else None


class KeyFrames(FrameSelection):
    """The frames at which a decoder can begin. If the container allows it, the reader decodes only these."""

    def takes(self, index: int, time: Fraction | None) -> bool:  # noqa: ARG002 - the base's signature
        """Return True, since the reader finds the key frames itself."""
        return True

    def next_wanted(self, index: int) -> Wanted:
        """Return the frame itself."""
        return Wanted(index=index)


def _pair(frame: Any) -> tuple[int, int]:
    first, last = frame if isinstance(frame, (list, tuple)) and len(frame) == 2 else (frame, frame)
    try:
        pair = int(first), int(last)
    except (TypeError, ValueError):
        pair = (-1, -1)
    if not 0 <= pair[0] <= pair[1]:
        raise AnnotationError(
            f"{frame!r} is not a frame: pass indexes from 0, or [first, last] for a range with both of them in it."
        )
    return pair


def _union(pairs: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    if not len(pairs):
        return pairs[:, 0], pairs[:, 1]
    starts, ends = pairs[np.argsort(pairs[:, 0], kind="stable")].T
    reach = np.maximum.accumulate(ends)
    begins = np.flatnonzero(np.concatenate([[True], starts[1:] > reach[:-1] + 1]))
    return starts[begins], np.maximum.reduceat(reach, begins)
