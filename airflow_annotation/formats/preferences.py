"""Preferences as JSON Lines, for trainers of DPO and of reward models: https://huggingface.co/docs/trl/dataset_formats.

::

    <split>.jsonl       one pair of answers in each line
    examples.parquet    which line is of which item

Each line has ``prompt``, ``chosen`` and ``rejected``, as TRL reads them, ``item_key`` and ``annotation_id``, and a
column for each other answer about the item, null for none. A number for one of the two texts, such as a rating of
``left``, is in ``<field>_chosen`` or ``<field>_rejected``.

``conversational=True`` writes messages with ``role`` and ``content`` instead of texts, including prompts that are text;
prompts that are messages stay as they are.

A label of type ``pairwise`` gives one pair. A label of type ``ranking`` gives pairs of its entries: all pairs
(``ranking_pairs="all"``), only neighbors (``adjacent``), or the first and the last (``ends``). With buckets, the pairs
are within one bucket, and entries in no bucket are counted. Labels about a prompt or a text that the item's data lack
are left out and counted; if no pair is left, this is an error. An entry's text is the first of ``body``, ``text``,
``content`` and ``title`` that it has. With ``annotations="all"``, each submission gives its pairs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats.dataset_context import DatasetContext
from airflow_annotation.formats.dataset_options import DatasetOptions
from airflow_annotation.formats.examples import Example, MakeExamples
from airflow_annotation.formats.labeled_items import (
    ANSWER_TYPES,
    LabeledItem,
    Row,
    Submission,
    answer_fields,
    check_columns,
    read_answers,
    shown_text,
)

_PAIRWISE: Final = "pairwise"
_RANKING: Final = "ranking"
TYPES: Final = frozenset({_PAIRWISE, _RANKING}) | ANSWER_TYPES

_PROMPT: Final = "prompt"
_SIDES: Final = ("left", "right")
_ENTRIES: Final = "items"
_ENTRY_TEXTS: Final = ("body", "text", "content", "title")
_COLUMNS: Final = (_PROMPT, "chosen", "rejected", "item_key", "annotation_id")
_NUMBERS: Final = ("scalar", "rating")

Pair = tuple[str, str, bool | None]
"""The chosen text, the other text, and whether the first of two was chosen; None if there are more than two."""


class PreferencesOptions(DatasetOptions, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options of preferences.

    :param prompt: the key of the items' data that has the prompt; by default what the label schema shows with the
        field, else ``prompt``
    :param without_prompt: leave ``prompt`` out, for trainers that find it at the start of both texts
    :param ranking_pairs: which entries of a ranking become pairs: ``all``, ``adjacent`` or ``ends``
    :param conversational: write messages instead of texts
    """

    prompt: str | None = None
    without_prompt: bool = False
    ranking_pairs: Literal["all", "adjacent", "ends"] = "all"
    conversational: bool = False


def start(context: DatasetContext) -> MakeExamples:
    """Return a function that makes the pairs of a submission.

    :raises AnnotationError: a field has the name of a column of the pairs
    """
    return _PairMaker(context).make


class _LackingError(AnnotationError):
    """The data of the item lack a text or prompt that the preference is about."""


class _PairMaker:
    def __init__(self, context: DatasetContext) -> None:
        self._context = context
        self._options: PreferencesOptions = context.options
        self._fields = context.schema.fields
        self._left_out = context.left_out
        self._answers = answer_fields(context.schema, context.options)
        compared = {key for name, field in self._fields.items() if field.type == _PAIRWISE for key in self._sides(name)}
        self._sided = {
            name: targets[0]
            for name, type_ in self._answers.items()
            if type_ in _NUMBERS and len(targets := self._fields[name].targets) == 1 and targets[0] in compared
        }
        self._columns = [
            column
            for name in self._answers
            for column in ((f"{name}_chosen", f"{name}_rejected") if name in self._sided else (name,))
        ]
        check_columns(self._columns, _COLUMNS)

    def make(self, item: LabeledItem, submission: Submission) -> Iterator[Example]:
        found = [(row, *one) for row in submission.labels for one in self._complete_pairs(item, row)]
        if not found:
            self._left_out["submissions without a preference"] += submission.annotation_id is not None
            return
        answers = read_answers(submission, self._answers, self._left_out)
        for row, prompt, (chosen, rejected, first) in found:
            record: dict[str, Any] = {**prompt}
            record |= {"chosen": self._said(chosen, "assistant"), "rejected": self._said(rejected, "assistant")}
            record |= dict.fromkeys(self._columns)
            sides = self._sides(row["field"])
            for name, answer in answers.items():
                if name not in self._sided:
                    record[name] = answer
                elif first is not None and self._sided[name] in sides:
                    is_chosen = (self._sided[name] == sides[0]) == first
                    record[f"{name}_{'chosen' if is_chosen else 'rejected'}"] = answer
            record |= {"item_key": item.item_key, "annotation_id": submission.annotation_id}
            yield Example(msgspec.json.encode(record).decode() + "\n", 1)

    def _complete_pairs(self, item: LabeledItem, row: Row) -> list[tuple[dict[str, Any], Pair]]:
        """Return the pairs of a row with their prompts; none if the item's data lack a part of them."""
        try:
            pairs = list(self._pairs(item, row))
            prompt = {} if self._options.without_prompt or not pairs else {_PROMPT: self._prompt(item, row)}
        except _LackingError as problem:
            self._context.leave_out("preferences about what the item's data lack", problem)
            return []
        return [(prompt, pair) for pair in pairs]

    def _pairs(self, item: LabeledItem, row: Row) -> Iterator[Pair]:
        if row["type"] == _PAIRWISE:
            if row["label"] not in _SIDES:
                self._left_out["comparisons that choose neither text"] += 1
                return
            left, right = (self._text(item, key) for key in self._sides(row["field"]))
            yield (left, right, True) if row["label"] == "left" else (right, left, False)
        elif row["type"] == _RANKING and row["label"] is None and row["parent_label_id"] is not None:
            self._left_out["entries in no bucket"] += len(row["labels"] or ())
        elif row["type"] == _RANKING:
            entries = self._entries(item, row)
            if self._options.ranking_pairs == "all":
                pairs = list(itertools.combinations(entries, 2))
            elif self._options.ranking_pairs == "adjacent":
                pairs = list(itertools.pairwise(entries))
            else:
                pairs = [(entries[0], entries[-1])] if len(entries) > 1 else []
            yield from ((better, worse, None) for better, worse in pairs)

    def _entries(self, item: LabeledItem, row: Row) -> list[str]:
        """Return the texts of a ranking, best first."""
        field = self._fields.get(row["field"])
        key = field.targets[0] if field is not None and len(field.targets) == 1 else row["target"] or _ENTRIES
        entries = item.data.get(key)
        if not isinstance(entries, list):
            raise _LackingError(f"Item {item.item_key!r} has a ranking, and its data has no list {key!r}.")
        texts = {
            str(entry["id"]): next(
                (text for name in _ENTRY_TEXTS if (text := shown_text(entry.get(name))) is not None), None
            )
            for entry in entries
            if isinstance(entry, dict) and "id" in entry
        }
        found = [text for id_ in row["labels"] or () if (text := texts.get(id_)) is not None]
        self._left_out["ranked entries that the data does not have"] += len(row["labels"] or ()) - len(found)
        return found

    def _sides(self, field: str) -> tuple[str, ...]:
        """Return the keys of the two texts that a field compares."""
        asked = self._fields.get(field)
        return asked.targets if asked is not None and len(asked.targets) == len(_SIDES) else _SIDES

    def _text(self, item: LabeledItem, key: str) -> str:
        text = shown_text(item.data.get(key))
        if text is None:
            raise _LackingError(
                f"Item {item.item_key!r} has a preference, and its data has no text {key!r}, but "
                f"{', '.join(map(repr, item.data)) or 'nothing'}."
            )
        return text

    def _prompt(self, item: LabeledItem, row: Row) -> Any:
        field = self._fields.get(row["field"])
        key = self._options.prompt or (field.context[0] if field is not None and field.context else _PROMPT)
        prompt = item.data.get(key)
        if (text := shown_text(prompt)) is not None:
            return self._said(text, "user")
        if prompt is None or not self._options.conversational:
            what = "no" if prompt is None else "messages, not text, as its"
            raise _LackingError(
                f"Item {item.item_key!r} has {what} prompt {key!r} in its data: name its key with "
                'dataset_options={"prompt": …}, write messages with "conversational": True, or do without it with '
                '"without_prompt": True.'
            )
        return prompt

    def _said(self, text: str, role: str) -> Any:
        return [{"role": role, "content": text}] if self._options.conversational else text
