"""Which label of one submission is which of another: the 1:1 assignment with the greatest sum of similarities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from airflow_annotation.labels.agreement.objects import Objects
from airflow_annotation.labels.agreement.submissions import Submissions, count_within, pairs_in_runs
from airflow_annotation.labels.arrays import BoolArray, FloatArray, IntArray

_PAIRS_AT_ONCE: Final = 1 << 20
"""Pairs of objects that are compared at once: bounds memory where items have very many."""


def match_objects(given: Submissions, objects: Objects) -> tuple[IntArray, IntArray, FloatArray]:
    """Return the objects of different submissions that belong together, and how alike they are.

    :param given: the submissions
    :param objects: of one field
    """
    item = given.item[objects.owner]
    order = np.lexsort((objects.owner, objects.label, objects.place, item))
    keys = np.column_stack([item, objects.place, objects.label, objects.owner])[order]
    changes = np.diff(keys, axis=0, prepend=-1) != 0
    is_first = changes.any(axis=1)
    starts = np.flatnonzero(is_first)
    counts = np.diff(np.append(starts, len(order)))
    # Blocks of objects that one submission has of one class in one place; those of one class and place are a run.
    run = np.cumsum(changes[:, :3].any(axis=1))[starts]
    one, other = pairs_in_runs(run)
    sizes = counts[one] * counts[other]
    parts = []
    for chosen in _portions(sizes):
        block = np.repeat(chosen, sizes[chosen])
        row, column = np.divmod(count_within(sizes[chosen]), counts[other[block]])
        left, right = order[starts[one[block]] + row], order[starts[other[block]] + column]
        similarity = objects.similarity(left, right)
        near = similarity > 0
        block, left, right, similarity = block[near], left[near], right[near], similarity[near]
        # A pair of submissions has a matching of its own: an object is in several, once in each.
        count = len(objects.owner)
        matched = match_best(block, block * count + left, block * count + right, similarity)
        parts.append((left[matched], right[matched], similarity[matched]))
    if not parts:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    lefts, rights, similarities = (np.concatenate(column) for column in zip(*parts, strict=True))
    return lefts, rights, similarities


def _portions(sizes: IntArray) -> Iterator[IntArray]:
    """Yield some blocks after the other, so that their sizes add up to what memory has a place for."""
    if len(sizes):
        portion = np.cumsum(sizes) // _PAIRS_AT_ONCE
        yield from np.split(np.arange(len(sizes)), np.flatnonzero(np.diff(portion)) + 1)


def match_best(block: IntArray, left: IntArray, right: IntArray, similarity: FloatArray) -> BoolArray:
    """Tell which pairs of labels belong together, so that the sum of their similarities is the greatest there is.

    Each label is in one such pair at most. Most labels overlap with one other label only, or with one far more than
    with all others: these are found for all blocks at once. The rest goes block by block to SciPy's
    ``linear_sum_assignment``, which solves the assignment problem exactly (Crouse, On implementing 2D rectangular
    assignment algorithms, 2016).

    :param block: which labels are compared with which: for each pair the number of its block, ascending
    :param left: for each pair its label of one submission; a label is in one block only
    :param right: for each pair its label of the other submission
    :param similarity: of each pair, above 0
    """
    matched = np.zeros(len(block), np.bool_)
    left, right = _numbered(left), _numbered(right)
    is_gone = [np.zeros(int(side.max(initial=-1)) + 1, np.bool_) for side in (left, right)]
    open_: IntArray = np.arange(len(block))
    while len(open_):
        found = open_[_beyond_doubt(left[open_], right[open_], similarity[open_])]
        if not found.size:
            break
        matched[found] = True
        is_gone[0][left[found]] = is_gone[1][right[found]] = True
        open_ = open_[~(is_gone[0][left[open_]] | is_gone[1][right[open_]])]
    for rows in np.split(open_, np.flatnonzero(np.diff(block[open_])) + 1) if len(open_) else ():
        matched[rows[_assign(left[rows], right[rows], similarity[rows])]] = True
    return matched


def _numbered(labels: IntArray) -> IntArray:
    """Return labels numbered from 0 in their order, without gaps."""
    order = np.argsort(labels, kind="stable")
    numbers = np.empty(len(labels), np.int64)
    numbers[order] = np.cumsum(np.diff(labels[order], prepend=labels[order[:1]]) != 0)
    return numbers


def _beyond_doubt(left: IntArray, right: IntArray, similarity: FloatArray) -> BoolArray:
    """Tell which pairs some best assignment has.

    An assignment without the pair has at most one pair for each of its two labels. If these two are worth no more
    than the pair together, it can take their place.
    """
    rivals = _best_other(left, similarity) + _best_other(right, similarity)
    found: BoolArray = similarity >= rivals
    # Of two such pairs of one label, which are then equal, one is enough.
    places = np.flatnonzero(found)
    for side in (left, right):
        _, first = np.unique(side[places], return_index=True)
        places = places[np.sort(first)]
    found[:] = False
    found[places] = True
    return found


def _best_other(label: IntArray, similarity: FloatArray) -> FloatArray:
    """Return for each pair the greatest similarity among the other pairs of its label, 0 if there is none."""
    order = np.argsort(label, kind="stable")
    ordered = similarity[order]
    is_first = np.diff(label[order], prepend=-1) != 0
    starts, run = np.flatnonzero(is_first), np.cumsum(is_first) - 1
    greatest = np.maximum.reduceat(ordered, starts)[run]
    # Of several that are the greatest each has another such one beside it.
    is_greatest = ordered == greatest
    alone = is_greatest & (np.add.reduceat(is_greatest, starts, dtype=np.int64)[run] == 1)
    second = np.maximum.reduceat(np.where(alone, 0.0, ordered), starts)[run]
    best = np.empty(len(order))
    best[order] = np.where(alone, second, greatest)
    return best


def _assign(left: IntArray, right: IntArray, similarity: FloatArray) -> IntArray:
    """Return the places of the pairs of the best assignment."""
    from scipy.optimize import linear_sum_assignment

    # The numbers of a block's labels follow each other, but for those that have been matched.
    row, column = left - left.min(), right - right.min()
    weights = np.zeros((row.max() + 1, column.max() + 1))
    places = np.full(weights.shape, -1)
    weights[row, column] = similarity
    places[row, column] = np.arange(len(left))
    chosen = places[linear_sum_assignment(weights, maximize=True)]
    found: IntArray = chosen[chosen >= 0]
    return found
