"""Read the tables' rows as items with their submissions: datasets of texts and sounds are written from these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats.chosen_rows import annotation_keys, choose_annotations, take_labels
from airflow_annotation.formats.dataset_options import DatasetOptions
from airflow_annotation.formats.splits import read_splits
from airflow_annotation.labels.cells import plain_text
from airflow_annotation.labels.schema import LabelField, LabelSchema
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.labels.types import OF_FIELD, OTHER

Row = dict[str, Any]
"""A row of ``labels``, with the columns :data:`_COLUMNS`."""

_COLUMNS: Final = (
    "label_id",
    "parent_label_id",
    "field",
    "target",
    "type",
    "label",
    "labels",
    "number",
    "text",
    "time",
    "time_end",
    "span_start",
    "span_end",
    "from_label_id",
    "to_label_id",
    "attributes",
)

ANSWER_TYPES: Final = frozenset({"classification", "classifications", "scalar", "rating", "text"})
"""The types of labels that are answers about the whole item, and that a column of a dataset can hold."""


class Submission(NamedTuple):
    """A submission for an item.

    :param annotation_id: id of the submission, None if there is no submission
    :param labels: its labels
    """

    annotation_id: str | None
    labels: list[Row]


class LabeledItem(msgspec.Struct, gc=False):
    """An item.

    :param item_id: id in the tool
    :param item_key: the caller's name for it
    :param split: split of the dataset
    :param media_type: ``text``, ``audio``, …
    :param media_uri: URI of its media, None for an item whose content is in its data
    :param data: data that the caller attached
    :param submissions: submissions that count
    """

    item_id: str
    item_key: str
    split: str
    media_type: str
    media_uri: str | None
    data: dict[str, Any]
    submissions: list[Submission]

    target: str = ""
    frame: int | None = None


def read_items(
    batches: Iterable[LabelTables], options: DatasetOptions, types: frozenset[str], left_out: Counter[str]
) -> Iterator[list[LabeledItem]]:
    """Yield the items with submissions in batches; with ``include_unlabeled``, also the others.

    :param batches: rows of the tables
    :param options: options of the dataset
    :param types: types of labels that its format can hold
    :param left_out: counter of the labels of other types
    """
    for batch in batches:
        _, chosen = choose_annotations(batch.annotations, options)
        rows = take_labels(batch.labels, chosen, options, types, left_out)
        labels: dict[str, list[Row]] = {}
        for key, row in zip(annotation_keys(rows).to_pylist(), rows.select(_COLUMNS).to_pylist(), strict=True):
            labels.setdefault(key, []).append(row)
        counted = set(chosen.to_pylist())
        submissions: dict[str, list[Submission]] = {}
        columns = (batch.annotations.column(name).to_pylist() for name in ("item_id", "annotation_id"))
        for key, item_id, annotation_id in zip(annotation_keys(batch.annotations).to_pylist(), *columns, strict=True):
            if key in counted:
                submissions.setdefault(item_id, []).append(Submission(annotation_id, labels.get(key, [])))
        split = read_splits(batch.items, options.splits)
        names = ("item_id", "item_key", "media_type", "media_uri", "data")
        columns = (batch.items.column(name).to_pylist() for name in names)
        yield [
            LabeledItem(
                item_id,
                item_key,
                split(row),
                media_type,
                media_uri,
                msgspec.json.decode(data, type=dict[str, Any]) if data else {},
                submissions.get(item_id, [Submission(None, [])]),
            )
            for row, (item_id, item_key, media_type, media_uri, data) in enumerate(zip(*columns, strict=True))
            if item_id in submissions or options.include_unlabeled
        ]


def answer_fields(schema: LabelSchema, options: DatasetOptions) -> dict[str, str]:
    """Return the fields whose answers are about the whole item, with the type of their labels.

    :param schema: label schema
    :param options: options of the dataset
    """
    found = {}
    for name, field in schema.fields.items():
        types = set(label_types(field))
        if types and types <= ANSWER_TYPES and (options.label_fields is None or name in options.label_fields):
            found[name] = "classifications" if "classifications" in types else min(types)
    return found


def label_types(field: LabelField) -> tuple[str, ...]:
    """Return the types of labels that a field asks for."""
    return field.label_types if field.type == OTHER else (OF_FIELD[field.type].name,)


def shown_text(value: Any) -> str | None:
    """Return a value of an item's data as text, as people saw it, None if it is neither a text nor a number."""
    is_text = isinstance(value, (str, int, float)) and not isinstance(value, bool)
    return plain_text(value) if is_text else None


def check_columns(names: Iterable[str], taken: Collection[str]) -> None:
    """Check that no field has the name of another column of the dataset.

    :raises AnnotationError: a field has such a name
    """
    if clash := sorted(set(names).intersection(taken)):
        raise AnnotationError(
            f"The dataset has columns of its own that are called {', '.join(map(repr, clash))}, as fields are: give "
            "these other names with field_mapping, or choose label_fields without them."
        )


def read_answers(submission: Submission, fields: dict[str, str], left_out: Counter[str]) -> dict[str, Any]:
    """Return the answers of a submission by field: a class, a list of classes, a number, a text; None for no answer.

    :param submission: the submission
    :param fields: result of :func:`answer_fields`
    :param left_out: counter of further answers to a question that has only one
    """
    given: dict[str, list[Any]] = {name: [] for name in fields}
    for row in submission.labels:
        if row["field"] in given:
            type_ = row["type"]
            if type_ in {"classification", "classifications"}:
                given[row["field"]] += row["labels"] or ([] if row["label"] is None else [row["label"]])
            else:
                value = row["text"] if type_ == "text" else row["number"]
                given[row["field"]] += [] if value is None else [value]
    answers: dict[str, Any] = {}
    for name, values in given.items():
        if fields[name] == "classifications":
            answers[name] = values
        elif fields[name] == "text":
            answers[name] = "\n".join(values) if values else None
        else:
            left_out["further answers to a question with one"] += len(set(values) - set(values[:1]))
            answers[name] = values[0] if values else None
    return answers
