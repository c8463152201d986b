"""Agreement of answers beyond chance: computes Krippendorff's alpha and Cohen's kappa from counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from airflow_annotation.labels.arrays import BoolArray, FloatArray, IntArray

Answer = tuple[str, ...]
"""The chosen classes, sorted."""

_AT_ONCE: Final = 1024


def alpha_of_distances(observed: float, expected: float, count: float) -> float | None:
    """Return Krippendorff's alpha: 1 for full agreement, 0 for chance, None if all values are the same.

    :param observed: sum of the distances of all ordered pairs of values of one unit, each divided by the number of
        other values of its unit
    :param expected: sum of the distances of all ordered pairs of values, of the same or of different units
    :param count: number of values whose unit has at least one other value
    """
    return 1 - (count - 1) * observed / expected if count > 1 and expected > 0 else None


class Crosses(NamedTuple):
    """How often each pair of values was given together. Only pairs that occur are stored, which are few.

    :param one: number of a value
    :param other: number of the other value of the same unit
    :param times: number of times
    """

    one: IntArray
    other: IntArray
    times: FloatArray

    @classmethod
    def of(cls, counts: Mapping[tuple[int, int], float]) -> Crosses:
        """Return the counts of a dictionary whose keys are pairs of numbers."""
        one, other = np.array([*counts], np.int64).reshape(-1, 2).T
        return cls(one, other, np.array([*counts.values()], np.float64))

    def totals(self, size: int) -> FloatArray:
        """Return how often each value is ``one``, for values numbered from 0 to ``size`` - 1."""
        totals: FloatArray = np.bincount(self.one, self.times, size).astype(np.float64)
        return totals


def alpha_of_coincidences(
    coincidences: Crosses, totals: FloatArray, distance: Callable[[slice], FloatArray]
) -> float | None:
    """Return Krippendorff's alpha (Computing Krippendorff's Alpha-Reliability, 2011), None if it is not defined.

    :param coincidences: symmetric counts: each ordered pair of values of a unit with m values adds 1 / (m - 1)
    :param totals: number of times that each value occurs
    :param distance: function that returns some rows of the squared distances of all values, array of shape (rows,
        values)
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
    """Return all classes, sorted, and an array of shape (answers, classes): whether an answer has a class."""
    classes = sorted({name for answer in answers for name in answer})
    place = {name: number for number, name in enumerate(classes)}
    chosen = np.zeros((len(answers), len(classes)), np.bool_)
    for row, answer in enumerate(answers):
        chosen[row, [place[name] for name in answer]] = True
    return classes, chosen


def jaccard_distance(answers: Sequence[Answer]) -> Callable[[slice], FloatArray]:
    """Return the Jaccard distance of sets of classes: 1 minus intersection over union. Two empty sets are equal."""
    chosen = chosen_classes(answers)[1].astype(np.float64)
    sizes = chosen.sum(axis=1)

    def distance(rows: slice) -> FloatArray:
        shared = chosen[rows] @ chosen.T
        union = sizes[rows, None] + sizes - shared
        far: FloatArray = 1 - np.divide(shared, union, out=np.ones_like(shared), where=union > 0)
        return far

    return distance


def ordinal_distance(totals: FloatArray) -> Callable[[slice], FloatArray]:
    """Return Krippendorff's squared distance of ranks: the number of values between two, where both ends count half.

    :param totals: number of times that each value occurs, in the order of the values
    """
    middle = np.cumsum(totals) - totals / 2

    def distance(rows: slice) -> FloatArray:
        far: FloatArray = np.square(middle[rows, None] - middle)
        return far

    return distance


def kappa(same: float, by_chance: float, count: float) -> float | None:
    """Return Cohen's kappa (A coefficient of agreement for nominal scales, 1960), None if it is not defined.

    :param same: number of equal answers of two annotators
    :param by_chance: sum over all values: how often one annotator gave the value times how often the other did
    :param count: number of questions that both answered
    """
    if not count:
        return None
    expected = by_chance / count**2
    return (same / count - expected) / (1 - expected) if expected < 1 else None
