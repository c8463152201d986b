"""Writes answers for imports: to questions about items, about objects, and to questions that answers lead to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from airflow_annotation.labels.errors import UnwritableLabelError
from airflow_annotation.labels.labelbox.documents import GROUPS, MODELS, PAGE_SIZE
from airflow_annotation.labels.labelbox.features import PATH_SEPARATOR, Option, Question, Tool
from airflow_annotation.labels.labelbox.tracks import Row
from airflow_annotation.labels.submissions import SCORE, attributes_of, row_name
from airflow_annotation.labels.types import DIRECTION

Record = dict[str, Any]


def named(feature: Tool | Question | Option) -> Record:
    """Return an import's reference to a feature. Below objects in videos, Labelbox understands only ids."""
    id_ = feature.feature_schema_id
    return {"name": feature.name, "schemaId": id_} if id_ else {"name": feature.name}


def find_option(question: Question, answer: Any, row: Row) -> Option:
    """Return the option of a question for an answer.

    :raises UnwritableLabelError: the question has no such option
    """
    for option in question.options:
        if option.name == answer:
            return option
    raise UnwritableLabelError(
        f"{row_name(row)} answers {question.name!r} with {answer!r}, which the project does not have."
    )


def confidence(row: Row) -> Record:
    """Return the model's score for a row's label, as Labelbox's ``confidence``.

    :raises UnwritableLabelError: the score is not between 0 and 1
    """
    score = attributes_of(row).get(SCORE)
    if score is None:
        return {}
    if not 0 <= score <= 1:
        raise UnwritableLabelError(f"{row_name(row)} has the score {score}; Labelbox takes 0 to 1.")
    return {"confidence": score}


def said_in(row: Row) -> list[str]:
    """Return a row's answer: its classes, or its value as text."""
    if row["type"] in ("scalar", "rating"):
        return [number_text(row["number"])]
    return [row["text"]] if row["type"] == "text" else list(row.get("labels") or [row["label"]])


class Answers:
    """Writes the answers of a row, and the answers to questions that they led to.

    :param row: row of labels; if an answer led to an attribute, the attribute's name begins with the path to it
    """

    def __init__(self, row: Row) -> None:
        self._row = row
        self._attributes = attributes_of(row)
        self._used = {SCORE, DIRECTION, PAGE_SIZE, GROUPS, MODELS}

    def of_row(self, question: Question) -> Any:
        """Return the row's own answer, where each choice has the model's confidence."""
        row = self._row
        if row["type"] == "scalar":
            answer: Any = row["number"]
        elif row["type"] == "rating":
            answer = number_text(row["number"])
        elif row["type"] == "text":
            answer = row["text"]
        else:
            one = [] if row.get("label") is None else [row["label"]]
            answer = row["label"] if row["type"] == "classification" else row.get("labels") or one
        written = self._checked(self._write(question, answer, ""))
        for choice in written if isinstance(written, list) else [written] if isinstance(written, dict) else ():
            choice |= confidence(row)  # noqa: PLW2901 - in place
        return written

    def of_object(self, questions: Sequence[Question]) -> list[Record]:
        """Return the answers about an object."""
        written: list[Record] = self._checked(list(self._write_below(questions, "")))
        return written

    def _checked(self, written: Any) -> Any:
        for name, value in self._attributes.items():
            if name not in self._used and value is not None:
                raise UnwritableLabelError(
                    f"{row_name(self._row)} has the attribute {name!r}, which the project does not ask."
                )
        return written

    def _write_below(self, questions: Sequence[Question], path: str) -> Iterator[Record]:
        for question in questions:
            name = path + question.name
            if self._attributes.get(name) is not None:
                self._used.add(name)
                answer = self._write(question, self._attributes[name], name + PATH_SEPARATOR)
                yield {**named(question), "answer": answer}

    def _write(self, question: Question, answer: Any, path: str) -> Any:
        if question.kind == "text":
            return number_text(answer) if isinstance(answer, (int, float)) else str(answer)
        written = []
        for choice in answer if isinstance(answer, list) else [answer]:
            option = find_option(question, choice, self._row)
            below = list(self._write_below(option.options, f"{path}{choice}{PATH_SEPARATOR}"))
            written.append(named(option) | ({"classifications": below} if below else {}))
        return written if question.kind == "checklist" else written[0]


def number_text(number: float) -> str:
    """Return a number as text, as people would write it."""
    return str(int(number)) if float(number).is_integer() else repr(float(number))
