"""Texts with their spans as JSON Lines, for spaCy and Prodigy: https://prodi.gy/docs/api-interfaces.

::

    <split>.jsonl       one text in each line
    examples.parquet    which line is which item

``srsly.read_jsonl`` reads a file. Each line has

- ``text``
- ``spans``: all spans with ``start``, ``end`` (the character after the last one) and ``label``
- ``entities``: spans that do not overlap, as ``[start, end, label]``. If spans overlap, the longest is kept, and the
  others are counted. ``Example.from_dict(nlp.make_doc(text), {"entities": entities})`` takes them
- ``cats``, if classification fields are asked for: 1.0 for each class that the text has, 0.0 for the others. With
  several such fields, a class is ``<field>:<class>``
- ``relations``, if the text has some: the spans ``head_span`` and ``child_span``, a ``label`` (null for none), and the
  last tokens of the spans, ``head`` and ``child``. Such texts also have ``tokens``, which are words cut at the edges of
  spans, and their spans have ``token_start`` and ``token_end``, as in Prodigy. A relation without a direction, or with
  both directions, goes from the first span to the second
- ``meta``: ``item_key``, and ``annotation_id``

With ``annotations="all"``, a text appears once for each submission.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from airflow_annotation.formats.dataset_context import DatasetContext
from airflow_annotation.formats.examples import Example, MakeExamples
from airflow_annotation.formats.labeled_items import LabeledItem, Submission, read_answers
from airflow_annotation.formats.texts import SPAN, Span, TextReader
from airflow_annotation.formats.tokens import Token, covered_tokens, tokenize
from airflow_annotation.labels.submissions import attributes_of
from airflow_annotation.labels.types import CLASSIFICATION_TYPES, DIRECTION

_RELATION: Final = "relation"
TYPES: Final = frozenset({SPAN, _RELATION}) | CLASSIFICATION_TYPES


def start(context: DatasetContext) -> MakeExamples:
    """Return a function that makes the line of a text."""
    reader = TextReader(context)
    answers = {
        name: "classifications" if several else "classification" for name, several in reader.classes.answers.items()
    }
    every = {name: context.schema.fields[name].classes for name in answers}

    def make(item: LabeledItem, submission: Submission) -> Iterator[Example]:
        text = reader.read(item)
        if text is None:
            return
        spans = reader.read_spans(item, submission, text)
        record: dict[str, Any] = {
            "text": text.text,
            "spans": [{"start": span.start, "end": span.end, "label": span.label} for span in spans],
            "entities": _without_overlaps(spans, context),
        }
        if answers:
            record["cats"] = _cats(read_answers(submission, answers, context.left_out), every)
        pairs = list(_pairs(submission, spans, context))
        if pairs:
            _relate(record, text.text, spans, pairs)
        record["meta"] = {"item_key": item.item_key, "annotation_id": submission.annotation_id}
        yield Example(msgspec.json.encode(record).decode() + "\n", len(spans) + len(pairs))

    return make


def _without_overlaps(spans: Sequence[Span], context: DatasetContext) -> list[list[Any]]:
    taken: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start - span.end, span.start)):
        if all(span.end <= other.start or other.end <= span.start for other in taken):
            taken.append(span)
        else:
            context.left_out["entities that overlap a longer one, which are among the spans"] += 1
    return [[span.start, span.end, span.label] for span in sorted(taken)]


def _cats(answers: dict[str, Any], classes: dict[str, tuple[str, ...]]) -> dict[str, float]:
    cats = {}
    for field, answer in answers.items():
        given = answer if isinstance(answer, list) else [] if answer is None else [answer]
        for class_ in dict.fromkeys((*classes[field], *given)):
            cats[class_ if len(answers) == 1 else f"{field}:{class_}"] = float(class_ in given)
    return cats


def _pairs(
    submission: Submission, spans: Sequence[Span], context: DatasetContext
) -> Iterator[tuple[int, int, str | None]]:
    """Yield the relations: the indexes of the two spans, and the class."""
    places = {span.label_id: place for place, span in reversed(list(enumerate(spans)))}
    for row in submission.labels:
        if row["type"] != _RELATION:
            continue
        head, child = places.get(row["from_label_id"]), places.get(row["to_label_id"])
        if head is None or child is None:
            context.left_out["relations of labels that are no spans of the dataset"] += 1
            continue
        if attributes_of(row).get(DIRECTION) == "left":
            head, child = child, head
        for label in row["labels"] or [row["label"]]:
            yield head, child, label


def _relate(
    record: dict[str, Any], text: str, spans: Sequence[Span], pairs: Sequence[tuple[int, int, str | None]]
) -> None:
    """Add relations to a line, and the tokens that they refer to."""
    tokens = tokenize(text, "words", [edge for span in spans for edge in span[:2]])
    record["tokens"] = [
        {"text": text[start:end], "start": start, "end": end, "id": place, "ws": _has_space(text, end, tokens, place)}
        for place, (start, end) in enumerate(tokens)
    ]
    for span, said in zip(spans, record["spans"], strict=True):
        covered = covered_tokens(tokens, span.start, span.end)
        said["token_start"], said["token_end"] = (covered[0], covered[-1]) if covered else (None, None)
    said = record["spans"]
    record["relations"] = [
        {
            "head": said[head]["token_end"],
            "child": said[child]["token_end"],
            "head_span": said[head],
            "child_span": said[child],
            "label": label,
        }
        for head, child, label in pairs
    ]


def _has_space(text: str, end: int, tokens: Sequence[Token], place: int) -> bool:
    return place + 1 < len(tokens) and text[end : tokens[place + 1][0]].isspace()
