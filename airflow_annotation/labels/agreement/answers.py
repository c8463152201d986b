"""Compares answers about items: classes, numbers, ratings, texts and rankings."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.labels.agreement.chance import Answer
from airflow_annotation.labels.agreement.submissions import Submissions, pairs_in_runs
from airflow_annotation.labels.arrays import FloatArray, IntArray

Ranking = dict[str | None, list[str]]
"""The entries of each bucket, best first. Without buckets, the only key is None."""


class Units(NamedTuple):
    """Questions about items (units), and the answer of each person to them.

    :param unit: number of each answer's question, ascending
    :param owner: submission of each answer, ascending within a unit
    :param values: the answers
    """

    unit: IntArray
    owner: IntArray
    values: Any


class Compared(NamedTuple):
    """Pairs of answers to one question.

    :param left: submission of one answer of each pair
    :param right: submission of the other answer, which comes later
    :param values: both answers of each pair
    :param similarity: similarity of both answers, 0..1
    """

    left: IntArray
    right: IntArray
    values: tuple[Any, Any]
    similarity: FloatArray


def answered(given: Submissions, rows: IntArray) -> tuple[pa.RecordBatch, IntArray, IntArray, IntArray]:
    """Return rows sorted so that those of one answer are together, and the answers.

    :param given: the submissions
    :param rows: row numbers of labels of one field
    :returns: the rows; for each answer its first row (and at the end the number of rows), its unit and its submission
    """
    table, owner = given.labels.take(pa.array(rows)), given.owner[rows]
    target = table.column("target").dictionary_encode("encode")
    item = given.item[owner]
    _, unit = np.unique(item * (len(target.dictionary) + 1) + target.indices.to_numpy(), return_inverse=True)
    order = np.lexsort((owner, unit))
    unit, owner = unit[order].astype(np.int64), owner[order]
    begins = (np.diff(unit, prepend=-1) != 0) | (np.diff(owner, prepend=-1) != 0)
    starts = np.append(np.flatnonzero(begins), len(order))
    return table.take(pa.array(order)), starts, unit[begins], owner[begins]


def read_choices(table: pa.RecordBatch, starts: IntArray, number_of: Callable[[Answer], int]) -> IntArray:
    """Return a number for each answer; equal answers have equal numbers.

    :param table: rows of the ``labels`` table, with the rows of an answer together
    :param starts: first row of each answer, and at the end the number of rows
    :param number_of: function that returns the number of an answer
    """
    labels, several = table.column("label"), table.column("labels")
    if len(starts) - 1 == len(table) and several.null_count == len(several):
        encoded = labels.dictionary_encode("encode")
        numbers = [number_of((name,) if name is not None else ()) for name in encoded.dictionary.to_pylist()]
        return np.array(numbers, np.int64)[encoded.indices.to_numpy()] if numbers else np.empty(0, np.int64)
    return np.array([number_of(answer) for answer in join_classes(table, starts)], np.int64)


def join_classes(table: pa.RecordBatch, starts: IntArray) -> list[Answer]:
    """Return the classes of each answer."""
    classes = [
        names or ([name] if name is not None else [])
        for name, names in zip(table.column("label").to_pylist(), table.column("labels").to_pylist(), strict=True)
    ]
    return [
        tuple(sorted({name for names in classes[start:end] for name in names}))
        for start, end in pairwise(starts.tolist())
    ]


def with_empty(given: Submissions, units: Units, empty: int) -> Units:
    """Add an empty answer for each submission without one, if others answered: nothing chosen is also an answer."""
    _, first = np.unique(units.unit, return_index=True)
    item = given.item[units.owner[first]]
    unit = np.repeat(np.arange(len(first)), given.counts[item])
    owner = np.repeat(given.firsts[item], given.counts[item])
    owner += np.arange(len(unit)) - np.searchsorted(unit, unit)
    values = np.full(len(unit), empty, np.int64)
    places = np.searchsorted(unit * (len(given.item) + 1) + owner, units.unit * (len(given.item) + 1) + units.owner)
    values[places] = units.values
    return Units(unit, owner, values)


def compare_choices(units: Units, answers: list[Answer]) -> Compared:
    """Compare answers: the number of shared classes divided by the number of classes that at least one has."""
    left, right = pairs_in_runs(units.unit)
    one, other = units.values[left], units.values[right]
    similarity = (one == other).astype(np.float64)
    several = np.array([len(answer) > 1 for answer in answers], np.bool_)
    for pair in np.flatnonzero((one != other) & (several[one] | several[other])).tolist():
        first, second = answers[one[pair]], answers[other[pair]]
        shared = len(set(first) & set(second))
        similarity[pair] = shared / (len(first) + len(second) - shared)
    return Compared(units.owner[left], units.owner[right], (one, other), similarity)


def compare_numbers(units: Units, span: float | None) -> Compared:
    """Compare numbers: 1 minus their distance divided by the greatest possible distance.

    If that distance is not known, the sum of both absolute values takes its place, as in the Canberra distance (Lance
    and Williams 1967).

    :param units: the numbers
    :param span: greatest possible distance of two numbers
    """
    left, right = pairs_in_runs(units.unit)
    one, other = units.values[left], units.values[right]
    return Compared(units.owner[left], units.owner[right], (one, other), number_similarity(one, other, span))


def number_similarity(one: FloatArray, other: FloatArray, span: float | None) -> FloatArray:
    """Return the similarity of numbers, see :func:`compare_numbers`."""
    most = np.abs(one) + np.abs(other) if span is None else np.full(len(one), span)
    far = np.divide(np.abs(one - other), most, out=np.zeros(len(one)), where=most > 0)
    alike: FloatArray = 1 - np.minimum(far, 1)
    return alike


def compare_each(units: Units, similarity: Callable[[Any, Any], float]) -> Compared:
    """Compare the pairs of answers one by one."""
    left, right = pairs_in_runs(units.unit)
    one, other = ([units.values[place] for place in side.tolist()] for side in (left, right))
    alike = np.array([similarity(*both) for both in zip(one, other, strict=True)], np.float64)
    return Compared(units.owner[left], units.owner[right], (one, other), alike)


def text_similarity(one: str, other: str) -> float:
    """Return 1 minus the edit distance (Levenshtein 1966) of two texts divided by the length of the longer one."""
    longest = max(len(one), len(other))
    return 1 - edit_distance(one, other) / longest if one != other else 1.0


def edit_distance(one: str, other: str) -> int:
    """Return the number of characters to insert, delete or replace to turn one text into the other."""
    if len(one) < len(other):
        one, other = other, one
    codes = np.frombuffer(other.encode("utf-32-le", "surrogatepass"), np.uint32)
    places = np.arange(len(codes) + 1)
    row = places
    for number, character in enumerate(one, start=1):
        replaced = np.append(number, np.minimum(row[:-1] + (codes != ord(character)), row[1:] + 1))
        # Insertions come from the left: the minimum over all places there, plus one for each step.
        row = np.minimum.accumulate(replaced - places) + places
    return int(row[-1])


def read_rankings(table: pa.RecordBatch, starts: IntArray) -> list[Ranking]:
    """Return the ranked entries of each answer by bucket."""
    rows = list(zip(table.column("label").to_pylist(), table.column("labels").to_pylist(), strict=True))
    return [{bucket: entries or [] for bucket, entries in rows[start:end]} for start, end in pairwise(starts.tolist())]


def ranking_similarity(one: Ranking, other: Ranking) -> float:
    """Return the share of the pairs of entries that both rankings have in the same order.

    Without buckets, that is (1 + tau) / 2 of Kendall's tau (A new measure of rank correlation, 1938). Entries of
    different buckets are in the same order if both have each of them in the same bucket. A single entry counts by its
    bucket. An entry that only one ranking has is in no order in the other ranking.
    """
    places = [
        {entry: (bucket, place) for bucket, entries in ranking.items() for place, entry in enumerate(entries)}
        for ranking in (one, other)
    ]
    entries = sorted(places[0].keys() | places[1].keys())
    if len(entries) < 2:
        return float(all(places[0].get(entry, ("",))[0] == places[1].get(entry, ("",))[0] for entry in entries))
    orders = [[_order(of.get(first), of.get(second)) for first, second in combinations(entries, 2)] for of in places]
    return float(np.mean([first is not None and first == second for first, second in zip(*orders, strict=True)]))


def _order(first: tuple[str | None, int] | None, second: tuple[str | None, int] | None) -> Any:
    if first is None or second is None:
        return None
    return (first[0], first[1] < second[1]) if first[0] == second[0] else (first[0], second[0])


def join_texts(table: pa.RecordBatch, starts: IntArray) -> list[str]:
    """Return the text of each answer. If it has several texts, each is a line."""
    rows = zip(table.column("text").to_pylist(), table.column("labels").to_pylist(), strict=True)
    texts = ["\n".join(several or [text or ""]) for text, several in rows]
    return ["\n".join(texts[start:end]) for start, end in pairwise(starts.tolist())]


def read_numbers(table: pa.RecordBatch, starts: IntArray) -> FloatArray:
    """Return the number of each answer. If it has several numbers, the last one counts."""
    numbers: FloatArray = pc.fill_null(table.column("number"), 0.0).to_numpy()[starts[1:] - 1]
    return numbers
