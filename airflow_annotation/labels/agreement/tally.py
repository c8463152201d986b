"""What is kept of a field while items stream by: sums and counts, for each pair of annotators and each class."""

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
"""Instead of an annotator or a class: all of them."""

Row = dict[str, Any]
Pair = tuple[int, int]


class Tally:
    """Sums of similarities of a field."""

    def __init__(self) -> None:
        self._sums: defaultdict[tuple[int, int, int], FloatArray] = defaultdict(lambda: np.zeros(3))

    def add(self, left: IntArray, right: IntArray, label: IntArray, similarity: FloatArray, weight: FloatArray) -> None:
        """Count what was compared.

        :param left: of each pair of submissions the number of one annotator
        :param right: that of the other, whose name comes later
        :param label: the number of the class that was compared, :data:`ALL` for all of them
        :param similarity: the sum of the similarities
        :param weight: how many were summed up
        """
        groups, at = np.unique(np.column_stack([left, right, label]), axis=0, return_inverse=True)
        columns = (similarity, weight, np.ones(len(left)))
        totals = np.column_stack([np.bincount(at.ravel(), column, len(groups)) for column in columns])
        for (one, other, of), total in zip(groups.tolist(), totals, strict=True):
            self._sums[one, other, of] += total

    def compare(self, left: IntArray, right: IntArray, compared: Compared) -> None:
        """Count answers that were compared: each pair of them has the weight 1."""
        self.add(left, right, np.full(len(left), ALL), compared.similarity, np.ones(len(left)))

    def rows(self, names: list[str | None], classes: list[str | None]) -> Iterator[Row]:
        """Yield what was counted: of all annotators and of each pair, of all classes and of each.

        :param names: the annotators by number. Pairs with somebody who has no name are counted among all only
        :param classes: the classes by number. What has no class is counted among all only
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
        """Return Krippendorff's alpha, None where it is not defined."""
        return None


class NumberTally(Tally):
    """Sums of a field of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self._zero: float | None = None
        self._count = self._sum = self._squares = self._observed = 0.0

    def add_units(self, units: Units) -> None:
        """Count numbers, all of a unit at once."""
        left, right, share, paired = _pairs_of_units(units)
        if not len(left):
            return
        if self._zero is None:
            self._zero = float(units.values[left[0]])  # the digits are where the numbers differ
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
    """Sums of a field whose answers are few, and how often each was given together with each.

    :param values: the answers by number; there will be more while they come
    """

    def __init__(self, values: list[Any]) -> None:
        super().__init__()
        self.values = values
        self._coincidences: Counter[Pair] = Counter()

    def add_units(self, units: Units) -> None:
        """Count answers by their numbers, all of a unit at once."""
        left, right, share, _ = _pairs_of_units(units)
        pairs, at = np.unique(np.column_stack([units.values[left], units.values[right]]), axis=0, return_inverse=True)
        for (one, other), times in zip(pairs.tolist(), np.bincount(at.ravel(), share, len(pairs)), strict=True):
            self._coincidences[one, other] += times
            self._coincidences[other, one] += times

    @property
    def coincidences(self) -> Crosses:
        """How often each answer was given together with each."""
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
    """Counts of a field of classes: of each pair of annotators, what one chose where the other chose what."""

    values: list[Answer]

    def __init__(self, values: list[Any]) -> None:
        super().__init__(values)
        self._confusions: defaultdict[Pair, Counter[Pair]] = defaultdict(Counter)

    def compare(self, left: IntArray, right: IntArray, compared: Compared) -> None:
        """Count answers that were compared."""
        super().compare(left, right, compared)
        both = np.column_stack([left, right, *compared.values])
        groups, times = np.unique(both, axis=0, return_counts=True)
        for (one, other, first, second), count in zip(groups.tolist(), times.tolist(), strict=True):
            self._confusions[one, other][first, second] += count

    def alpha(self) -> float | None:
        """Return Krippendorff's alpha; sets of classes are as far from each other as their Jaccard distance says."""
        found = self.coincidences
        return alpha_of_coincidences(found, found.totals(len(self.values)), jaccard_distance(self.values))

    def rows(self, names: list[str | None], classes: list[str | None]) -> Iterator[Row]:
        """Yield what was counted: of all annotators and of each pair, of all classes and of each."""
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
        """Yield how far each class was chosen by both where one of them chose it (Cicchetti and Feinstein 1990)."""
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
    """Return what is said of a class.

    :param name: the class
    :param both: how often both chose it
    :param chosen: how often one of both did, counting twice where both did
    """
    return {"label": name, "value": float(2 * both / chosen), "pairs": int(chosen - both), "count": float(chosen / 2)}


def _pairs_of_units(units: Units) -> tuple[IntArray, IntArray, FloatArray, BoolArray]:
    """Return the pairs of answers in each unit, the share of each pair, and which answers are in a pair.

    Krippendorff counts each answer that there is another one to once, however many others there are.
    """
    left, right = pairs_in_runs(units.unit)
    of_unit = np.bincount(units.unit)[units.unit] if len(units.unit) else units.unit
    return left, right, 1 / np.maximum(of_unit - 1, 1)[left], of_unit > 1
