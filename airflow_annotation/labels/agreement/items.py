"""Rows with the agreement of each item's submissions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.labels.agreement.submissions import Submissions
from airflow_annotation.labels.arrays import FloatArray, IntArray
from airflow_annotation.labels.tables import AGREEMENT


class ItemAgreement(NamedTuple):
    """Agreement of the submissions of a batch in a field.

    :param field: the field
    :param measure: measure of the comparison
    :param given: the submissions
    :param pair: compared pairs, numbered as in ``given.pairs``
    :param value: agreement of each pair, 0..1
    """

    field: str
    measure: str
    given: Submissions
    pair: IntArray
    value: FloatArray


def item_rows(measured: ItemAgreement) -> pa.RecordBatch:
    """Return rows of :data:`AGREEMENT`."""
    given, pair, value = measured.given, measured.pair, measured.value
    left, right = (side[pair] for side in given.pairs)
    item = given.item[left]
    sides, twice = np.concatenate([left, right]), np.concatenate([value, value])
    items, of_item = np.unique(item, return_inverse=True)
    submissions, of_submission = np.unique(sides, return_inverse=True)
    values = (
        np.concatenate(
            [
                np.bincount(of_item, value) / np.bincount(of_item),
                np.bincount(of_submission, twice) / np.bincount(of_submission),
            ]
        )
        if len(pair)
        else np.empty(0)
    )
    names = pa.array(given.annotators, pa.string())
    truths = pc.fill_null(given.annotations.column("ground_truth"), False).to_numpy(zero_copy_only=False)
    beside_truth = truths[np.concatenate([right, left])]
    judged, at = np.unique(sides[beside_truth], return_inverse=True)
    means = np.bincount(at, twice[beside_truth]) / np.bincount(at)
    truth = dict(zip(judged.tolist(), means.tolist(), strict=True))
    row = pa.array(np.concatenate([items, given.item[submissions]]))
    blank = pa.nulls(len(items), pa.string())
    own = pa.array(submissions)
    compared = names.take(own)
    is_named = compared.is_valid().to_numpy(zero_copy_only=False)
    counts = np.bincount(np.searchsorted(items, given.item[submissions]), is_named, len(items)).astype(np.int32)
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    lists = pa.ListArray.from_arrays(offsets, compared.drop_null())
    columns = {
        **{name: given.items.column(name).take(row) for name in ("project", "item_id", "item_key")},
        "field": pa.repeat(pa.scalar(measured.field), len(row)),
        "measure": pa.repeat(pa.scalar(measured.measure), len(row)),
        "annotation_id": pa.concat_arrays([blank, given.annotations.column("annotation_id").take(own)]),
        "annotator": pa.concat_arrays([blank, compared]),
        "value": pa.array(values, pa.float64()),
        "ground_truth": pa.array([None] * len(items) + [truth.get(one) for one in submissions.tolist()], pa.float64()),
        "annotators": lists.take(pa.array(np.searchsorted(items, row.to_numpy()))),
    }
    return pa.RecordBatch.from_arrays([columns[field.name] for field in AGREEMENT], schema=AGREEMENT)
