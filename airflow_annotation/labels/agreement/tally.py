"""Sums and counts of a field, for each pair of annotators and each class, which grow batch by batch."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from airflow_annotation.labels.agreement.answers import Compared, Units
from airflow_annotation.labels.agreement.chance import (
    Answer,
    Crosses,
    alpha_of_coincidences,
    alpha_of_distances,
    chosen_classes,
    jaccard_distance,
    kappa,
    ordinal_distance,
)
from airflow_annotation.labels.agreement.submissions import pairs_in_runs
from airflow_annotation.labels.arrays import BoolArray, FloatArray, IntArray

ALL: Final = -1
"""The number that stands for all annotators or all classes."""

Row = dict[str, Any]
Pair = tuple[int, int]


class Tally:
    """Sums of similarities of a field."""

    def __init__(self) -> None:
        self._sums: defaultdict[tuple[int, int, int], FloatArray] = defaultdict(lambda: np.zeros(3))

    def add(self, left: IntArray, right: IntArray, label: IntArray, similarity: FloatArray, weight: FloatArray) -> None:
        """Add compared pairs of submissions.

        :param left: number of one annotator of each pair of submissions
        :param right: number of the other annotator, whose name comes later
        :param label: number of the compared class, :data:`ALL` for all classes
        :param similarity: sum of the similarities
        :param weight: number of summed similarities
        """
        groups, at = np.unique(np.column_stack([left, right, label]), axis=0, return_inverse=True)
        columns = (similarity, weight, np.ones(len(left)))
        totals = np.column_stack([np.bincount(at.ravel(), column, len(groups)) for column in columns])
        for (one, other, of), total in zip(groups.tolist(), totals, strict=True):
            self._sums[one, other, of] += total

    def compare(self, left: IntArray, right: IntArray, compared: Compared) -> None:
        """Add compared answers; each pair has the weight 1."""
        self.add(left, right, np.full(len(left), ALL), compared.similarity, np.ones(len(left)))

    def rows(self, names: list[str | None], classes: list[str | None]) -> Iterator[Row]:
        """Yield the counts for all annotators and for each pair, for all classes and for each.

        :param names: names of annotators by number. A pair with an annotator without a name counts only in the total
        :param classes: classes by number. Objects without a class count only in the total
        """
        totals: defaultdict[tuple[int, int, int], FloatArray] = defaultdict(lambda: np.zeros(3))
        for (left, right, label), sums in sorted(self._sums.items()):
            totals[ALL, ALL, label] += sums
            if names[left] is not None and names[right] is not None:
                totals[left, right, label] += sums
        for (left, right, label), (similarity, weight, pairs) in totals.items():
            if label != ALL and classes[label] is None:
                continue
            yield {
                "label": None if label == ALL else classes[label],
                "annotator": None if left == ALL else names[left],
                "other": None if right == ALL else names[right],
                "value": similarity / weight if weight else None,
                "alpha": self.alpha() if (left, label) == (ALL, ALL) else None,
                "kappa": None,
                "pairs": int(pairs),
                "count": float(weight),
            }

    def alpha(self) -> float | None:
        """Return Krippendorff's alpha, None if it is not defined."""
        return None


class NumberTally(Tally):
    """Sums of a field of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self._zero: float | None = None
        self._count = self._sum = self._squares = self._observed = 0.0

    def add_units(self, units: Units) -> None:
        """Add numbers. All numbers of a unit must come together."""
        left, right, share, paired = _pairs_of_units(units)
        if not len(left):
            return
        if self._zero is None:
            self._zero = float(units.values[left[0]])  # relative to a value, so that no digits are lost
        values = units.values[paired] - self._zero
        self._observed += float((2 * share * (units.values[left] - units.values[right]) ** 2).sum())
        self._count += len(values)
        self._sum += float(values.sum())
        self._squares += float((values**2).sum())

    def alpha(self) -> float | None:
        """Return Krippendorff's alpha for intervals."""
        expected = 2 * self._count * self._squares - 2 * self._sum**2
        return alpha_of_distances(self._observed, expected, self._count)


class CountTally(Tally):
    """Sums of a field with few different answers, and how often each pair of answers was given together.

    :param values: answers by number; the list grows with new answers
    """

    def __init__(self, values: list[Any]) -> None:
        super().__init__()
        self.values = values
        self._coincidences: Counter[Pair] = Counter()

    def add_units(self, units: Units) -> None:
        """Add answers by their numbers. All answers of a unit must come together."""
        left, right, share, _ = _pairs_of_units(units)
        pairs, at = np.unique(np.column_stack([units.values[left], units.values[right]]), axis=0, return_inverse=True)
        for (one, other), times in zip(pairs.tolist(), np.bincount(at.ravel(), share, len(pairs)), strict=True):
            self._coincidences[one, other] += times
            self._coincidences[other, one] += times

    @property
    def coincidences(self) -> Crosses:
        """How often each pair of answers was given together."""
        return Crosses.of(self._coincidences)


class RatingTally(CountTally):
    """Sums of a field of ratings."""

    def alpha(self) -> float | None:
        """Return Krippendorff's alpha for ranks."""
        rank = np.argsort(np.argsort(self.values))
        found = self.coincidences
        ranked = found._replace(one=rank[found.one], other=rank[found.other])
        totals = ranked.totals(len(self.values))
        return alpha_of_coincidences(ranked, totals, ordinal_distance(totals))


class ChoiceTally(CountTally):
    """Counts of a field of classes: for each pair of annotators, how often they chose which pair of answers."""

    values: list[Answer]

    def __init__(self, values: list[Any]) -> None:
        super().__init__(values)
        self._confusions: defaultdict[Pair, Counter[Pair]] = defaultdict(Counter)

    def compare(self, left: IntArray, right: IntArray, compared: Compared) -> None:
        """Add compared answers."""
        super().compare(left, right, compared)
        both = np.column_stack([left, right, *compared.values])
        groups, times = np.unique(both, axis=0, return_counts=True)
        for (one, other, first, second), count in zip(groups.tolist(), times.tolist(), strict=True):
            self._confusions[one, other][first, second] += count

    def alpha(self) -> float | None:
        """Return Krippendorff's alpha with the Jaccard distance between sets of classes."""
        found = self.coincidences
        return alpha_of_coincidences(found, found.totals(len(self.values)), jaccard_distance(self.values))

    def rows(self, names: list[str | None], classes: list[str | None]) -> Iterator[Row]:
        """Yield the counts for all annotators and for each pair, for all classes and for each."""
        for row in super().rows(names, classes):
            pair = (row["annotator"], row["other"])
            row["kappa"] = None if pair == (None, None) else self._kappa(*map(names.index, pair))
            yield row
        yield from self._class_rows(names)

    def _kappa(self, left: int, right: int) -> float | None:
        one, other, times = Crosses.of(self._confusions[left, right])
        said = [np.bincount(side, times, len(self.values)) for side in (one, other)]
        return kappa(float(times[one == other].sum()), float(said[0] @ said[1]), float(times.sum()))

    def _class_rows(self, names: list[str | None]) -> Iterator[Row]:
        """Yield each class's agreement, over the pairs where at least one chose it (Cicchetti and Feinstein 1990)."""
        classes, has = chosen_classes(self.values)
        total = np.zeros((2, len(classes)))
        for left, right in sorted(self._confusions):
            one, other, times = Crosses.of(self._confusions[left, right])
            chosen = has[one], has[other]
            both = times @ (chosen[0] & chosen[1])
            mine, theirs = (times @ side for side in chosen)
            total += both, mine + theirs
            if None in (names[left], names[right]):
                continue
            count = float(times.sum())
            by_chance = mine * theirs + (count - mine) * (count - theirs)
            same = count - (mine + theirs - 2 * both)
            for number in np.flatnonzero(mine + theirs).tolist():
                row: Row = {"annotator": names[left], "other": names[right], "alpha": None}
                beyond = kappa(float(same[number]), float(by_chance[number]), count)
                yield row | _class_row(classes[number], both[number], (mine + theirs)[number]) | {"kappa": beyond}
        one, other, times = self.coincidences
        with_class, without = times @ has[one], times @ ~has[one]
        observed, expected = 2 * (times @ (has[one] & ~has[other])), 2 * with_class * without
        for number in np.flatnonzero(total[1]).tolist():
            alpha = alpha_of_distances(float(observed[number]), float(expected[number]), float(times.sum()))
            row = {"annotator": None, "other": None, "alpha": alpha, "kappa": None}
            yield row | _class_row(classes[number], *total[:, number])


def _class_row(name: str, both: float, chosen: float) -> Row:
    """Return the row of a class.

    :param name: name of the class
    :param both: number of times that both chose it
    :param chosen: number of times that one of both chose it, where both count twice
    """
    return {"label": name, "value": float(2 * both / chosen), "pairs": int(chosen - both), "count": float(chosen / 2)}


def _pairs_of_units(units: Units) -> tuple[IntArray, IntArray, FloatArray, BoolArray]:
    """Return the pairs of answers in each unit, the weight of each pair, and which answers are in a pair.

    In Krippendorff's alpha, each answer counts once if its unit has other answers, however many these are.
    """
    left, right = pairs_in_runs(units.unit)
    of_unit = np.bincount(units.unit)[units.unit] if len(units.unit) else units.unit
    return left, right, 1 / np.maximum(of_unit - 1, 1)[left], of_unit > 1
