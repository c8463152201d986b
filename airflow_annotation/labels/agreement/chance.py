"""Agreement of answers beyond chance: Krippendorff's alpha and Cohen's kappa, from counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from airflow_annotation.labels.arrays import FloatArray

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


def alpha_of_coincidences(coincidences: FloatArray, distance: Callable[[slice], FloatArray]) -> float | None:
    """Return Krippendorff's alpha (Computing Krippendorff's Alpha-Reliability, 2011), None where it is not defined.

    :param coincidences: symmetric array of shape (values, values): for each unit of m values and each ordered pair of
        these, 1 / (m - 1)
    :param distance: returns some rows of the squared distances of all values, an array of shape (rows, values)
    """
    totals = coincidences.sum(axis=1)
    n = totals.sum()
    observed = expected = 0.0
    for start in range(0, len(totals), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        far = distance(rows)
        observed += float((coincidences[rows] * far).sum())
        expected += float(totals[rows] @ far @ totals)
    return alpha_of_distances(observed, expected, float(n))


def nominal_distance(count: int) -> Callable[[slice], FloatArray]:
    """Return the distance of classes: 0 for the same, 1 for others."""
    return lambda rows: 1 - np.eye(count)[rows]


def jaccard_distance(answers: Sequence[Answer]) -> Callable[[slice], FloatArray]:
    """Return the distance of sets of classes: 1 less what they share over what either has; two empty ones are equal."""
    classes = sorted({name for answer in answers for name in answer})
    place = {name: number for number, name in enumerate(classes)}
    chosen = np.zeros((len(answers), len(classes)))
    for row, answer in enumerate(answers):
        chosen[row, [place[name] for name in answer]] = 1
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


def kappa(confusions: FloatArray) -> float | None:
    """Return Cohen's kappa (A coefficient of agreement for nominal scales, 1960), None where it is not defined.

    :param confusions: array of shape (values, values): how often one annotator said the row and the other the column
    """
    n = confusions.sum()
    if not n:
        return None
    expected = float(confusions.sum(axis=1) @ confusions.sum(axis=0)) / n**2
    return (float(np.trace(confusions)) / n - expected) / (1 - expected) if expected < 1 else None
