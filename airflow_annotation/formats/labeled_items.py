"""The tables' rows as items with what was submitted for each: what datasets of texts and sounds are written from."""

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
"""A row of ``labels``, of :data:`_COLUMNS`."""

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
"""The types of labels that are answers about the whole item, and that a column of a dataset can have."""


class Submission(NamedTuple):
    """What somebody submitted for an item.

    :param annotation_id: of the submission, None for what nobody has submitted
    :param labels: its labels
    """

    annotation_id: str | None
    labels: list[Row]


class LabeledItem(msgspec.Struct, gc=False):
    """An item.

    :param item_id: the tool's id
    :param item_key: the caller's id
    :param split: its split
    :param media_type: ``text``, ``audio``, …
    :param media_uri: where its media are, None for an item that is in its data
    :param data: what the caller attached
    :param submissions: those that count
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
    """Yield the items that somebody submitted something for, and with ``include_unlabeled`` the others, by batch.

    :param batches: the tables
    :param options: what the dataset is to hold
    :param types: the types of labels that its format has a place for
    :param left_out: counts the others
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
    """Return the fields whose answers are of the whole item, and the type of their labels.

    :param schema: what was labeled
    :param options: what the dataset is to hold
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
    """Return a value of an item's data as people were shown it, None for what is no text: numbers are texts as well."""
    is_text = isinstance(value, (str, int, float)) and not isinstance(value, bool)
    return plain_text(value) if is_text else None


def check_columns(names: Iterable[str], taken: Collection[str]) -> None:
    """Check that fields are not called as the other columns of a dataset are.

    :raises AnnotationError: one is
    """
    if clash := sorted(set(names).intersection(taken)):
        raise AnnotationError(
            f"The dataset has columns of its own that are called {', '.join(map(repr, clash))}, as fields are: give "
            "these other names with field_mapping, or choose label_fields without them."
        )


def read_answers(submission: Submission, fields: dict[str, str], left_out: Counter[str]) -> dict[str, Any]:
    """Return the answers of a submission by field: a class, a list of classes, a number, a text; None for no answer.

    :param submission: the submission
    :param fields: as :func:`answer_fields` returns them
    :param left_out: counts the further answers to a question with one
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
