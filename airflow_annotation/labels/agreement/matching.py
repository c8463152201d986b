"""Matches the labels of two submissions: finds the 1:1 assignment with the greatest sum of similarities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from airflow_annotation.labels.agreement.objects import Objects
from airflow_annotation.labels.agreement.submissions import Submissions, count_within, pairs_in_runs
from airflow_annotation.labels.arrays import BoolArray, FloatArray, IntArray

_PAIRS_AT_ONCE: Final = 1 << 20
"""Number of pairs of objects to compare at once. It limits the memory for items with very many objects."""


def match_objects(given: Submissions, objects: Objects) -> tuple[IntArray, IntArray, FloatArray]:
    """Return the matched objects of different submissions, and their similarities.

    :param given: the submissions
    :param objects: objects of one field
    """
    item = given.item[objects.owner]
    order = np.lexsort((objects.owner, objects.label, objects.place, item))
    keys = np.column_stack([item, objects.place, objects.label, objects.owner])[order]
    changes = np.diff(keys, axis=0, prepend=-1) != 0
    is_first = changes.any(axis=1)
    starts = np.flatnonzero(is_first)
    counts = np.diff(np.append(starts, len(order)))
    # A block has the objects of one submission, one class and one place. Blocks of one class and place are a run.
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
        # Each pair of submissions has its own matching, so an object can be in several matchings, once in each.
        count = len(objects.owner)
        matched = match_best(block, block * count + left, block * count + right, similarity)
        parts.append((left[matched], right[matched], similarity[matched]))
    if not parts:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    lefts, rights, similarities = (np.concatenate(column) for column in zip(*parts, strict=True))
    return lefts, rights, similarities


def _portions(sizes: IntArray) -> Iterator[IntArray]:
    """Yield the blocks in groups, so that the sizes in a group add up to what fits in memory."""
    if len(sizes):
        portion = np.cumsum(sizes) // _PAIRS_AT_ONCE
        yield from np.split(np.arange(len(sizes)), np.flatnonzero(np.diff(portion)) + 1)


def match_best(block: IntArray, left: IntArray, right: IntArray, similarity: FloatArray) -> BoolArray:
    """Return which pairs of labels match, so that the sum of their similarities is as great as possible.

    Each label is in at most one matched pair. Most labels overlap with only one other label, or with one far more than
    with all others. The function finds these pairs for all blocks at once. For each block with other labels, it calls
    SciPy's ``linear_sum_assignment``, which solves the assignment problem exactly (Crouse, On implementing 2D
    rectangular assignment algorithms, 2016).

    :param block: number of each pair's block, ascending; only labels of one block are compared
    :param left: each pair's label of one submission; a label is in one block only
    :param right: each pair's label of the other submission
    :param similarity: similarity of each pair, above 0
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
    """Return which pairs are certain: a best assignment exists that has them.

    An assignment without such a pair has at most one other pair for each of its two labels. If the similarities of
    these two add up to no more than that of the pair, the pair can replace them.
    """
    rivals = _best_other(left, similarity) + _best_other(right, similarity)
    found: BoolArray = similarity >= rivals
    # If a label has two such pairs, they are equal, and one is enough.
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
    # If several similarities are the greatest, the best other one of each is the same value.
    is_greatest = ordered == greatest
    alone = is_greatest & (np.add.reduceat(is_greatest, starts, dtype=np.int64)[run] == 1)
    second = np.maximum.reduceat(np.where(alone, 0.0, ordered), starts)[run]
    best = np.empty(len(order))
    best[order] = np.where(alone, second, greatest)
    return best


def _assign(left: IntArray, right: IntArray, similarity: FloatArray) -> IntArray:
    """Return the places of the pairs of the best assignment."""
    from scipy.optimize import linear_sum_assignment

    # The numbers of a block's labels are consecutive, except for the matched labels.
    row, column = left - left.min(), right - right.min()
    weights = np.zeros((row.max() + 1, column.max() + 1))
    places = np.full(weights.shape, -1)
    weights[row, column] = similarity
    places[row, column] = np.arange(len(left))
    chosen = places[linear_sum_assignment(weights, maximize=True)]
    found: IntArray = chosen[chosen >= 0]
    return found
