"""Reads an ontology: its tools and classifications, and the label schema's field for each annotation.

Any ontology in Labelbox's normalized JSON can be read. ``OntologyBuilder.asdict`` of the SDK returns this form, and
``ontology.normalized`` has it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from airflow_annotation.labels.errors import LabelSchemaError
from airflow_annotation.labels.labelbox.kinds import CHOICE_TOOLS, MASK_TOOLS

CLASS_SEPARATOR: Final = ": "
"""Separator of field and class in a tool's name. A tool has one class, and no other place for the field."""

MASK_TARGET_SEPARATOR: Final = " = "
"""Separator of pixel value and class in the name of a segmentation tool: ``surface: 1 = road``."""

NUMBER_HINT: Final = " (a number)"
"""End of the instructions of a text question for a number, since Labelbox has no questions for numbers."""

RATING_HINT: Final = " (a rating)"
"""End of the instructions of a radio question for a rating, whose answers are the numbers from 1 on."""

PATH_SEPARATOR: Final = "/"
"""Separator of question, answer and next question in the name of an answer that another answer led to."""


class Question(msgspec.Struct, frozen=True, rename="camel"):
    """A classification: at the top of an ontology, below a tool, or below an answer.

    :param type: ``radio``, ``checklist``, ``text``, or a type that this package does not know
    :param instructions: text that people see
    :param options: answers to choose from
    :param scope: ``global``, or ``index`` for a question about each frame or message
    :param ui_mode: ``searchable`` shows a searchable list instead of buttons
    """

    type: str
    name: str = ""
    instructions: str | None = None
    options: tuple[Option, ...] = ()
    scope: str | None = None
    ui_mode: str | None = None
    feature_schema_id: str | None = None

    @property
    def kind(self) -> str:
        """The type. Types of questions about a model's responses become the ordinary types."""
        return {"prompt": "text"}.get(self.type, self.type.removeprefix("response-"))

    @property
    def is_number(self) -> bool:
        """Whether it asks for a number as text."""
        return self.kind == "text" and (self.instructions or "").endswith(NUMBER_HINT)

    @property
    def best_rating(self) -> int:
        """The best rating, 0 if it does not ask for a rating."""
        names = [option.name for option in self.options]
        is_rating = self.kind == "radio" and (self.instructions or "").endswith(RATING_HINT)
        return (
            len(names)
            if is_rating and len(names) > 1 and names == [str(number) for number in range(1, len(names) + 1)]
            else 0
        )


class Option(msgspec.Struct, frozen=True, rename="camel"):
    """An answer to choose, and the questions to which it leads.

    :param value: name that Labelbox derives from the label, or that somebody gave
    :param label: text that people see, and that annotations contain
    """

    value: str | int | float
    label: str | int | float | None = None
    options: tuple[Question, ...] = ()
    feature_schema_id: str | None = None

    @property
    def name(self) -> str:
        """The answer as in annotations."""
        return str(self.value if self.label is None else self.label)


class _Tool(msgspec.Struct, frozen=True, rename="camel"):
    tool: str
    name: str = ""
    classifications: tuple[Question, ...] = ()
    feature_schema_id: str | None = None


class _Normalized(msgspec.Struct, frozen=True):
    tools: tuple[_Tool, ...] = ()
    classifications: tuple[Question, ...] = ()


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that draws one class.

    :param kind: ``rectangle``, ``polygon``, ``line``, ``point``, ``raster-segmentation``, ``named-entity``, ...
    :param name: name in annotations
    :param field: schema field of its labels
    :param label: the class
    :param mask_target: pixel value of the class, if the field is a segmentation
    :param questions: questions about each object
    """

    kind: str
    name: str
    field: str
    label: str
    mask_target: int | None = None
    questions: tuple[Question, ...] = ()
    feature_schema_id: str | None = None


class Ontology:
    """The tools and questions of an ontology, in its order.

    :param normalized: normalized JSON of the ontology
    :raises LabelSchemaError: it is not such a document
    """

    def __init__(self, normalized: Mapping[str, Any]) -> None:
        try:
            read = msgspec.convert(normalized, _Normalized)
        except msgspec.ValidationError as error:
            raise LabelSchemaError(f"The ontology is not one in Labelbox's normalized form: {error}.") from error
        self.tools = tuple(_assign_fields(read.tools))
        taken = {tool.field.casefold() for tool in self.tools}
        self.questions: dict[str, Question] = {}
        for question in read.classifications:
            name = question.name or question.instructions or question.type
            while name.casefold() in taken:
                name = f"{name} ({question.type})"
            taken.add(name.casefold())
            self.questions[name] = question
        self._tools_by_id = {tool.feature_schema_id: tool for tool in self.tools if tool.feature_schema_id}
        self._tools_by_name = {tool.name: tool for tool in self.tools}
        self._fields_by_id = {
            question.feature_schema_id: name for name, question in self.questions.items() if question.feature_schema_id
        }
        self._fields_by_name = {question.name: name for name, question in self.questions.items()}
        asked = [*read.classifications, *(question for tool in read.tools for question in tool.classifications)]
        numbers = [question for question in _walk(asked) if question.is_number]
        self._numbers = {name for question in numbers for name in (question.feature_schema_id, question.name) if name}
        ratings = [question for question in read.classifications if question.best_rating]
        self._ratings = {name for question in ratings for name in (question.feature_schema_id, question.name) if name}

    def find_tool(self, feature_schema_id: str | None, name: str) -> Tool | None:
        """Return the tool that drew an annotation with this id or name, None if the ontology no longer has it."""
        return self._tools_by_id.get(feature_schema_id or "") or self._tools_by_name.get(name)

    def find_field(self, feature_schema_id: str | None, name: str) -> str | None:
        """Return the field of the question that an answer with this id or name answers, None if there is none."""
        return self._fields_by_id.get(feature_schema_id or "") or self._fields_by_name.get(name)

    def is_number(self, feature_schema_id: str | None, name: str) -> bool:
        """Return whether the question with this id, or without an id with this name, asks for a number."""
        return (feature_schema_id or name) in self._numbers

    def is_rating(self, feature_schema_id: str | None, name: str) -> bool:
        """Return whether the item's question with this id, or without an id with this name, asks for a rating."""
        return (feature_schema_id or name) in self._ratings


def _walk(questions: Iterable[Question]) -> Iterator[Question]:
    for question in questions:
        yield question
        for option in question.options:
            yield from _walk(option.options)


def _assign_fields(tools: Sequence[_Tool]) -> Iterator[Tool]:
    """Read the field and the class from each tool's name, ``field: class``.

    A field has tools of one kind. If a name contains no field, or tools of several kinds have the same field, the kind
    becomes the field and the name becomes the class.
    """
    kinds: defaultdict[str, set[str]] = defaultdict(set)
    spellings: dict[str, str] = {}
    for tool in tools:
        field, separator, _ = tool.name.partition(CLASS_SEPARATOR)
        kinds[(field if separator else tool.tool).casefold()].add(tool.tool)
    labels: defaultdict[str, list[tuple[_Tool, str]]] = defaultdict(list)
    for tool in tools:
        field, separator, label = tool.name.partition(CLASS_SEPARATOR)
        if not separator or not field or not label or len(kinds[field.casefold()]) > 1:
            field, label = tool.tool, tool.name
        labels[spellings.setdefault(field.casefold(), field)].append((tool, label))
    fields = {}
    for field, drawn in labels.items():
        numbered = _mask_targets([label for tool, label in drawn if tool.tool in MASK_TOOLS])
        for tool, label in drawn:
            fields[id(tool)] = field, *numbered.get(label, (None, label))
    for tool in tools:
        field, mask_target, label = fields[id(tool)] if tool.tool not in CHOICE_TOOLS else (tool.name, None, "")
        yield Tool(
            kind=tool.tool,
            name=tool.name,
            field=field,
            label=label,
            mask_target=mask_target,
            questions=tool.classifications,
            feature_schema_id=tool.feature_schema_id,
        )


def _mask_targets(labels: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Read labels such as ``1 = road``. Return nothing unless all labels have this form and different pixel values."""
    read = {}
    for label in labels:
        value, separator, class_ = label.partition(MASK_TARGET_SEPARATOR)
        if not separator or not class_ or not (value.isascii() and value.isdecimal() and 0 < int(value) < 65536):
            return {}
        read[label] = (int(value), class_)
    return read if len({value for value, _ in read.values()}) == len(labels) else {}
