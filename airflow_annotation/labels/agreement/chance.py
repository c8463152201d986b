"""Agreement of answers beyond chance: Krippendorff's alpha and Cohen's kappa, from counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from airflow_annotation.labels.arrays import BoolArray, FloatArray, IntArray

Answer = tuple[str, ...]
"""The classes that somebody chose, sorted."""

_AT_ONCE: Final = 1024


def alpha_of_distances(observed: float, expected: float, count: float) -> float | None:
    """Return Krippendorff's alpha: 1 for no distance, 0 for what chance gives; None where all values are the same.

    :param observed: the distances of values of one unit: of each ordered pair, over the other values of the unit
    :param expected: the distances of all ordered pairs of values, whatever unit they are of
    :param count: how many values there are that there is another one to
    """
    return 1 - (count - 1) * observed / expected if count > 1 and expected > 0 else None


class Crosses(NamedTuple):
    """How often each value was given together with each, for those that were: few of all that could be.

    :param one: the number of a value
    :param other: that of the value beside it
    :param times: how often
    """

    one: IntArray
    other: IntArray
    times: FloatArray

    @classmethod
    def of(cls, counts: Mapping[tuple[int, int], float]) -> Crosses:
        """Return what was counted by pairs of numbers."""
        one, other = np.array([*counts], np.int64).reshape(-1, 2).T
        return cls(one, other, np.array([*counts.values()], np.float64))

    def totals(self, size: int) -> FloatArray:
        """Return how often each of so many values is ``one``."""
        totals: FloatArray = np.bincount(self.one, self.times, size).astype(np.float64)
        return totals


def alpha_of_coincidences(
    coincidences: Crosses, totals: FloatArray, distance: Callable[[slice], FloatArray]
) -> float | None:
    """Return Krippendorff's alpha (Computing Krippendorff's Alpha-Reliability, 2011), None where it is not defined.

    :param coincidences: symmetric: for each unit of m values and each ordered pair of these, 1 / (m - 1)
    :param totals: how often each value is there
    :param distance: returns some rows of the squared distances of all values, an array of shape (rows, values)
    """
    observed = expected = 0.0
    for start in range(0, len(totals), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        far = distance(rows)
        inside = (coincidences.one >= start) & (coincidences.one < start + _AT_ONCE)
        one, other, times = (column[inside] for column in coincidences)
        observed += float(times @ far[one - start, other])
        expected += float(totals[rows] @ far @ totals)
    return alpha_of_distances(observed, expected, float(totals.sum()))


def chosen_classes(answers: Sequence[Answer]) -> tuple[list[str], BoolArray]:
    """Return all classes, sorted, and which of them each answer has: an array of shape (answers, classes)."""
    classes = sorted({name for answer in answers for name in answer})
    place = {name: number for number, name in enumerate(classes)}
    chosen = np.zeros((len(answers), len(classes)), np.bool_)
    for row, answer in enumerate(answers):
        chosen[row, [place[name] for name in answer]] = True
    return classes, chosen


def jaccard_distance(answers: Sequence[Answer]) -> Callable[[slice], FloatArray]:
    """Return the distance of sets of classes: 1 less what they share over what either has; two empty ones are equal."""
    chosen = chosen_classes(answers)[1].astype(np.float64)
    sizes = chosen.sum(axis=1)

    def distance(rows: slice) -> FloatArray:
        shared = chosen[rows] @ chosen.T
        union = sizes[rows, None] + sizes - shared
        far: FloatArray = 1 - np.divide(shared, union, out=np.ones_like(shared), where=union > 0)
        return far

    return distance


def ordinal_distance(totals: FloatArray) -> Callable[[slice], FloatArray]:
    """Return Krippendorff's squared distance of ranks: of how many values lie between two, the ends half.

    :param totals: how often each value is there, in the order of the values
    """
    middle = np.cumsum(totals) - totals / 2

    def distance(rows: slice) -> FloatArray:
        far: FloatArray = np.square(middle[rows, None] - middle)
        return far

    return distance


def kappa(same: float, by_chance: float, count: float) -> float | None:
    """Return Cohen's kappa (A coefficient of agreement for nominal scales, 1960), None where it is not defined.

    :param same: how often two annotators said the same
    :param by_chance: the sum over all values of how often one said it times how often the other did
    :param count: how often both said something
    """
    if not count:
        return None
    expected = by_chance / count**2
    return (same / count - expected) / (1 - expected) if expected < 1 else None
