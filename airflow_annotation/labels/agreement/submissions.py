"""The submissions of a batch to compare, and their pairs."""

from __future__ import annotations

from functools import cached_property

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.labels.arrays import IntArray
from airflow_annotation.labels.tables import NOT_SUBMITTED, LabelTables


class Submissions(msgspec.Struct, frozen=True, dict=True):
    """Submissions in the order of their items, within an item in the order of their annotators' names.

    :param items: items of the batch, rows of the ``items`` table
    :param annotations: the submissions, rows of the ``annotations`` table
    :param labels: their labels, rows of the ``labels`` table
    :param item: row of each submission's item, ascending
    :param owner: number of each label's submission
    """

    items: pa.RecordBatch
    annotations: pa.RecordBatch
    labels: pa.RecordBatch
    item: IntArray
    owner: IntArray

    @cached_property
    def annotators(self) -> list[str | None]:
        """The annotator of each submission: for a prediction its model version, None if not known."""
        names: list[str | None] = _annotators(self.annotations).to_pylist()
        return names

    @cached_property
    def counts(self) -> IntArray:
        """The number of submissions of each item."""
        return np.bincount(self.item, minlength=len(self.items)).astype(np.int64)

    @cached_property
    def firsts(self) -> IntArray:
        """The number of each item's first submission."""
        return np.cumsum(self.counts) - self.counts

    @cached_property
    def pairs(self) -> tuple[IntArray, IntArray]:
        """All pairs of submissions of one item, with the earlier one on the left."""
        return pairs_in_runs(self.item)

    def pair_of(self, left: IntArray, right: IntArray) -> IntArray:
        """Return the numbers of pairs in ``pairs``.

        :param left: submissions
        :param right: later submissions of the same items
        """
        later = self.firsts[self.item] + self.counts[self.item] - 1 - np.arange(len(self.item))
        place: IntArray = (np.cumsum(later) - later)[left] + right - left - 1
        return place


def choose_submissions(batch: LabelTables, *, include_predictions: bool = False) -> Submissions:
    """Return the submissions of a batch to compare.

    Skipped submissions and drafts are left out. Of several submissions of one annotator for one item, the one that is
    marked as ground truth counts, otherwise the last one.

    :param batch: whole items
    :param include_predictions: whether a model counts as an annotator, whose name is its ``model_version``
    """
    rows = batch.annotations
    taken = pc.invert(pc.is_in(rows.column("status"), value_set=pa.array(NOT_SUBMITTED)))
    if not include_predictions:
        taken = pc.and_(taken, pc.equal(rows.column("origin"), "person"))
    rows = rows.filter(taken)
    item = pc.index_in(rows.column("item_id"), value_set=batch.items.column("item_id"))
    rows, item = rows.filter(pc.is_valid(item)), item.drop_null().to_numpy().astype(np.int64)
    by_model = pc.equal(rows.column("origin"), "prediction")
    names = _annotators(rows)
    # People come before models, and annotators without a name last: each of these counts as another annotator.
    name = _ranks(names, "dense") + by_model.to_numpy(zero_copy_only=False) * (len(rows) + 1)
    nameless = names.is_null().to_numpy(zero_copy_only=False)
    place = _ranks(rows.column("annotation_id"), "first")
    name[nameless] += 2 * (len(rows) + 1) + place[nameless]
    truth = pc.fill_null(rows.column("ground_truth"), False).to_numpy(zero_copy_only=False)
    order = np.lexsort((place, changed_at(rows), truth, name, item))
    last = np.diff(item[order], append=-1) != 0
    last |= np.diff(name[order], append=-1) != 0
    chosen = order[last]
    rows, item = rows.take(pa.array(chosen)), item[chosen]

    labels = batch.labels
    if not include_predictions:
        labels = _filtered(labels, pc.equal(labels.column("origin"), "person"))
        owner = pc.index_in(labels.column("annotation_id"), value_set=rows.column("annotation_id"))
    else:
        owner = pc.index_in(_keys(labels), value_set=_keys(rows))
    return Submissions(
        batch.items, rows, _filtered(labels, pc.is_valid(owner)), item, owner.drop_null().to_numpy().astype(np.int64)
    )


def _annotators(annotations: pa.RecordBatch) -> pa.Array:
    by_model = pc.equal(annotations.column("origin"), "prediction")
    return pc.if_else(by_model, annotations.column("model_version"), annotations.column("annotator"))


def changed_at(annotations: pa.RecordBatch) -> IntArray:
    """Return the time of each submission's last change, in microseconds since 1970; 0 if not known."""
    times = pc.coalesce(annotations.column("updated_at"), annotations.column("created_at")).cast(pa.int64())
    changed: IntArray = pc.fill_null(times, 0).to_numpy()
    return changed


def _filtered(rows: pa.RecordBatch, taken: pa.Array) -> pa.RecordBatch:
    """Return some rows. If these are all, do not copy them, since they have many columns."""
    return rows if pc.all(taken, min_count=0).as_py() else rows.filter(taken)


def pairs_in_runs(run: IntArray) -> tuple[IntArray, IntArray]:
    """Return the places of all pairs of elements with the same value, with the earlier one on the left.

    :param run: values, ascending
    """
    ends = np.searchsorted(run, run, side="right")
    places = np.arange(len(run))
    later = ends - places - 1
    left = np.repeat(places, later)
    return left, left + 1 + count_within(later)


def count_within(counts: IntArray) -> IntArray:
    """Return the numbers 0, 1, … below each count, one count after the other."""
    total = int(counts.sum())
    return np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)


def _ranks(column: pa.Array, tiebreaker: str) -> IntArray:
    ranks: IntArray = pc.rank(column, tiebreaker=tiebreaker).to_numpy().astype(np.int64)
    return ranks


def _keys(rows: pa.RecordBatch) -> pa.Array:
    return pc.binary_join_element_wise(rows.column("origin"), rows.column("annotation_id"), "/")
