"""Choose the submissions, and their labels, that a dataset is made from."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from airflow_annotation.formats.dataset_options import DatasetOptions
from airflow_annotation.labels.agreement.submissions import changed_at
from airflow_annotation.labels.tables import NOT_SUBMITTED


def annotation_keys(rows: pa.RecordBatch) -> pa.Array:
    """Return the key of each row's submission, by a person or a model."""
    return pc.binary_join_element_wise(rows.column("origin"), rows.column("annotation_id"), "/")


def choose_annotations(annotations: pa.RecordBatch, options: DatasetOptions) -> tuple[set[str], pa.Array]:
    """Return the ids of the items with submissions or predictions that count, and the keys of the chosen ones."""
    rows = zip(
        annotations.column("item_id").to_pylist(),
        annotations.column("origin").to_pylist(),
        annotations.column("status").to_pylist(),
        annotations.column("ground_truth").to_pylist(),
        changed_at(annotations).tolist(),
        annotation_keys(annotations).to_pylist(),
        strict=True,
    )
    submissions: dict[str, list[tuple[int, int, str]]] = {}
    predictions: dict[str, list[tuple[int, int, str]]] = {}
    for place, (item_id, origin, status, ground_truth, updated_at, key) in enumerate(rows):
        if origin == "prediction":
            if options.include_predictions:
                predictions.setdefault(item_id, []).append((updated_at, place, key))
        elif status not in NOT_SUBMITTED and (ground_truth or options.annotations != "ground_truth"):
            submissions.setdefault(item_id, []).append((updated_at, place, key))
    chosen: list[str] = []
    for found in submissions.values():
        chosen += [key for _, _, key in found] if options.annotations == "all" else [max(found)[2]]
    chosen += [max(found)[2] for item_id, found in predictions.items() if item_id not in submissions]
    return submissions.keys() | predictions.keys(), pa.array(chosen, pa.string())


def take_labels(
    labels: pa.RecordBatch, chosen: pa.Array, options: DatasetOptions, types: frozenset[str], left_out: Counter[str]
) -> pa.RecordBatch:
    """Return the labels of the chosen submissions that are in the dataset's fields and of types that its format holds.

    :param labels: rows of the ``labels`` table
    :param chosen: keys of the submissions
    :param options: options of the dataset
    :param types: types of labels that its format can hold
    :param left_out: counter of the labels of other types
    """
    rows = labels.filter(pc.is_in(annotation_keys(labels), value_set=chosen))
    if options.label_fields is not None:
        fields = pa.array(options.label_fields, pa.string())
        rows = rows.filter(pc.is_in(rows.column("field"), value_set=fields))
    fits = pc.is_in(rows.column("type"), value_set=pa.array(sorted(types), pa.string()))
    if not pc.all(fits).as_py():
        left_out.update(f"labels of type {type_}" for type_ in rows.filter(pc.invert(fits))["type"].to_pylist())
        rows = rows.filter(fits)
    return rows
