"""Merges the answers of several people into one."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from airflow_annotation.labels.agreement.answers import Ranking

_ROUNDING: Final = 1e-9
"""Relative difference up to which two sums of weights count as equal."""


class Vote(NamedTuple):
    """The answer of one person.

    :param value: the answer
    :param weight: weight of the answer
    :param recency: number that is greater for later submissions; no two are equal
    """

    value: Any
    weight: float
    recency: int


def half_of(total: float) -> float:
    """Return the limit that a weight must exceed to be more than half. It allows for rounding errors of sums."""
    return total * (0.5 + _ROUNDING)


def majority(votes: Sequence[Vote]) -> Any:
    """Return the answer with the greatest weight. If several have it, the last given answer wins."""
    weights: defaultdict[Any, float] = defaultdict(float)
    last: dict[Any, int] = {}
    for vote in votes:
        weights[vote.value] += vote.weight
        last[vote.value] = max(last.get(vote.value, -1), vote.recency)
    greatest = max(weights.values()) * (1 - _ROUNDING)
    return max((value for value in weights if weights[value] >= greatest), key=last.__getitem__)


def majority_of_each(votes: Sequence[Vote], total: float) -> tuple[str, ...]:
    """Return the classes that more than half of the weight has chosen, sorted.

    :param votes: votes with sets of classes
    :param total: the weight of all who were asked
    """
    weights: defaultdict[str, float] = defaultdict(float)
    for vote in votes:
        for name in vote.value:
            weights[name] += vote.weight
    return tuple(sorted(name for name, weight in weights.items() if weight > half_of(total)))


def median(votes: Sequence[Vote]) -> float:
    """Return the median of numbers: at least half of the weight is not above it, and at least half is not below it.

    If this is true of two given numbers, the last given one wins.
    """
    ordered = sorted(votes, key=lambda vote: vote.value)
    half, passed = sum(vote.weight for vote in votes) / 2, 0.0
    for place, vote in enumerate(ordered):
        passed += vote.weight
        if passed >= half or math.isclose(passed, half):
            middle = ordered[place : place + 1 + math.isclose(passed, half)]
            values = {one.value for one in middle}
            return float(max((one for one in votes if one.value in values), key=lambda one: one.recency).value)
    raise ValueError("There is no median of no numbers.")


def medoid(votes: Sequence[Vote], similarity: Callable[[Any, Any], float]) -> Any:
    """Return the answer that is most similar to all others. If several are, the last given answer wins."""

    def likeness(vote: Vote) -> tuple[float, int]:
        others = (other.weight * similarity(vote.value, other.value) for other in votes if other is not vote)
        return round(sum(others), 9), vote.recency

    return max(votes, key=likeness).value


def merge_rankings(votes: Sequence[Vote], total: float) -> Ranking:
    """Return one ranking: each entry in its bucket with the greatest weight, ordered by the mean places in that bucket.

    Without buckets, this is Borda's count (1784). Entries that half of the weight or less has ranked are left out.

    :param votes: votes with rankings
    :param total: the weight of all who were asked
    """
    found: defaultdict[str, list[tuple[Vote, str | None, float]]] = defaultdict(list)
    buckets: dict[str | None, None] = {}
    for vote in votes:
        for bucket, entries in vote.value.items():
            buckets.setdefault(bucket)
            for place, entry in enumerate(entries):
                found[entry].append((vote, bucket, place / len(entries)))
    merged: dict[str | None, list[tuple[float, str]]] = {bucket: [] for bucket in sorted(buckets, key=str)}
    for entry, places in found.items():
        weight = sum(vote.weight for vote, _, _ in places)
        if weight <= half_of(total):
            continue
        bucket = majority([Vote(bucket, vote.weight, vote.recency) for vote, bucket, _ in places])
        own = [(vote.weight, place) for vote, of, place in places if of == bucket]
        merged[bucket].append((sum(w * place for w, place in own) / sum(w for w, _ in own), entry))
    return {bucket: [entry for _, entry in sorted(entries)] for bucket, entries in merged.items() if entries}


def merge_stretches(
    stretches: Sequence[tuple[float, float, int]], weights: Sequence[float], total: float
) -> list[tuple[float, float, list[int]]]:
    """Return the stretches that more than half of the weight has marked, and the marks that they come from.

    A mark without length, such as an instant, is equal only to a mark at the same point.

    :param stretches: start, end (not included) and voter of each mark; marks of one voter may overlap
    :param weights: weights of the voters, by number
    :param total: the weight of all who were asked
    :returns: start, end and the numbers of the marks, in order. Stretches with a length do not overlap or touch
    """

    def is_elected(marks: set[int]) -> bool:
        return sum(weights[voter] for voter in {stretches[number][2] for number in marks}) > half_of(total)

    bounds = sorted({bound for start, end, _ in stretches for bound in (start, end)})
    merged: list[tuple[float, float, set[int]]] = []
    for start, end in itertools.pairwise(bounds):
        marks = {number for number, (first, last, _) in enumerate(stretches) if first <= start and last >= end}
        if not is_elected(marks):
            continue
        if merged and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], end, merged[-1][2] | marks)
        else:
            merged.append((start, end, marks))
    for point in sorted({start for start, end, _ in stretches if start == end}):
        marks = {number for number, (first, last, _) in enumerate(stretches) if first == last == point}
        if is_elected(marks):
            merged.append((point, point, marks))
    return [(start, end, sorted(marks)) for start, end, marks in sorted(merged, key=lambda one: one[:2])]
