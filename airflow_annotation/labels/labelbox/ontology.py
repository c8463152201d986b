"""Converts a label schema to an ontology in Labelbox's normalized JSON, and back.

A Labelbox tool draws one class. So a field of several classes becomes one tool for each class, named ``field: class``.
When labels come back, this name tells their field. If a field has the name of its kind of tool (``rectangle``,
``polygon``, ``line``, ``point``, ``raster-segmentation``), only the class is the name of the tool. Ontologies from
elsewhere are read in the same way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from airflow_annotation.labels.colors import color
from airflow_annotation.labels.errors import LabelSchemaError
from airflow_annotation.labels.labelbox.features import (
    CLASS_SEPARATOR,
    MASK_TARGET_SEPARATOR,
    NUMBER_HINT,
    PATH_SEPARATOR,
    RATING_HINT,
    Ontology,
    Question,
    Tool,
)
from airflow_annotation.labels.labelbox.kinds import FIELD_TYPES, QUESTIONS, TOOLS, kinds_of
from airflow_annotation.labels.schema import LabelAttribute, LabelField, LabelSchema
from airflow_annotation.labels.types import OF_FIELD, OTHER, REGION_TYPES, RELATIONS

Json = dict[str, Any]

_ATTRIBUTES: Final = {"radio": "radio", "select": "radio", "checkbox": "checklist", "number": "text"}
"""Type of the classification for each type of attribute."""

_HINTS: Final = {"scalar": NUMBER_HINT, "number": NUMBER_HINT, "rating": RATING_HINT}
_NOT_ASKED: Final = ("pairwise", "ranking", "messages")
"""Types of fields that are about keys of a row."""


def ontology_from_schema(schema: LabelSchema, *, index_fields: Collection[str] = ()) -> Json:
    """Compile a label schema to an ontology.

    :param schema: label schema
    :param index_fields: names of fields without shapes that are asked about each frame or message, and not about the
        whole item
    :returns: normalized JSON without ids, which ``client.create_ontology`` of the SDK takes
    :raises LabelSchemaError: Labelbox cannot label this; the message names the field
    """
    for name in index_fields:
        if name not in schema.fields or schema.fields[name].type in REGION_TYPES:
            raise LabelSchemaError(f"Label schema: {name!r} is no field without shapes, so it is asked of no frame.")
    tools: list[Json] = []
    classifications: list[Json] = []
    for name, field in schema.fields.items():
        if field.type == OTHER:
            raise LabelSchemaError(
                f"Label schema, field {name!r} is of type other, which only reading gives. Pass an ontology id instead."
            )
        if field.type in _NOT_ASKED or field.targets or field.context:
            what = f"is of type {field.type}" if field.type in _NOT_ASKED else "has targets or context"
            raise LabelSchemaError(
                f"Label schema, field {name!r} {what}, and an item of Labelbox is one text or file. Ask for it in "
                "Label Studio, or for a classification here."
            )
        if field.type == RELATIONS and not field.classes:
            raise LabelSchemaError(
                f"Label schema, field {name!r} is of type relations and has no classes. In Labelbox a relation has "
                "one: list at least one."
            )
        if field.type in REGION_TYPES:
            tools.extend(_write_tools(name, field))
        else:
            answers = [str(number) for number in range(1, field.max + 1)] if field.type == "rating" else field.classes
            question = _write_question(name, field.type, answers)
            is_timed = field.timed or name in index_fields
            classifications.append({**question, "scope": "index" if is_timed else "global"})
    for number, tool in enumerate(tools):
        tool["color"] = color(number)
    normalized = {"tools": tools, "classifications": classifications}
    _check_names(tools)
    read = label_schema_from_ontology(normalized).fields
    for name, field in schema.fields.items():
        if name not in read or _meaning(read[name]) != _meaning(field):
            raise LabelSchemaError(
                f"Label schema, field {name!r}: the names of its tools in Labelbox would be read as something else. "
                f"Leave {CLASS_SEPARATOR!r} and {MASK_TARGET_SEPARATOR!r} out of its name and classes, and do not "
                f"name it like a kind of tool ({', '.join(sorted(FIELD_TYPES))})."
            )
    return normalized


def label_schema_from_ontology(normalized: Mapping[str, Any]) -> LabelSchema:
    """Read the label schema back from an ontology.

    Any ontology can be read. A tool or classification that no type of this package describes becomes a field of type
    ``other`` with its name. If an answer about an object leads to further questions, these are attributes with their
    path as name. If an answer about the whole item does, a schema has no place for the further questions.

    :param normalized: normalized JSON of the ontology
    :raises LabelSchemaError: it is not such a document
    """
    ontology = Ontology(normalized)
    tools: dict[str, list[Tool]] = {}
    for tool in ontology.tools:
        tools.setdefault(tool.field, []).append(tool)
    fields = {name: _read_tools(drawing) for name, drawing in tools.items()}
    return LabelSchema(fields | {name: _read_question(question) for name, question in ontology.questions.items()})


# Writing


def _write_tools(name: str, field: LabelField) -> Iterator[Json]:
    kind = kinds_of(OF_FIELD[field.type].name, TOOLS)[0]
    targets = {class_: value for value, class_ in field.mask_targets.items()}
    plain = name == kind and not any(CLASS_SEPARATOR in class_ for class_ in field.classes)
    for class_ in field.classes:
        label = f"{targets[class_]}{MASK_TARGET_SEPARATOR}{class_}" if class_ in targets else class_
        yield {
            "tool": kind,
            "name": label if plain else f"{name}{CLASS_SEPARATOR}{label}",
            "required": False,
            "classifications": [
                _write_question(attribute_name, attribute.type, attribute.values)
                for attribute_name, attribute in field.attributes.items()
                if not attribute.classes or class_ in attribute.classes
            ],
        }


def _write_question(name: str, type_: str, answers: Iterable[str]) -> Json:
    question: Json = {
        "type": _ATTRIBUTES.get(type_) or kinds_of(type_, QUESTIONS)[0],
        "name": name,
        "instructions": f"{name}{_HINTS.get(type_, '')}",
        "required": False,
        "options": [
            {"label": answer, "value": answer, "options": [], "position": position}
            for position, answer in enumerate(answers)
        ],
    }
    return {**question, "uiMode": "searchable"} if type_ == "select" else question


def _check_names(tools: Iterable[Json]) -> None:
    seen = set()
    for tool in tools:
        if tool["name"] in seen:
            raise LabelSchemaError(
                f"Label schema: Labelbox would get two tools named {tool['name']!r}. Rename a field."
            )
        seen.add(tool["name"])


def _meaning(field: LabelField) -> LabelField:
    """Return a field in its shortest form: an attribute that is asked for all classes names no class."""
    attributes = {}
    for name, attribute in field.attributes.items():
        asked = tuple(class_ for class_ in field.classes if class_ in attribute.classes)
        attributes[name] = msgspec.structs.replace(attribute, classes=asked if len(asked) < len(field.classes) else ())
    return msgspec.structs.replace(
        field, attributes=attributes, class_numbers={}, targets=(), context=(), timed=False, label_types=()
    )


# Reading


def _read_tools(tools: list[Tool]) -> LabelField:
    kind = tools[0].kind
    classes = tuple(dict.fromkeys(tool.label for tool in tools if tool.label))
    mask_targets = {tool.mask_target: tool.label for tool in tools if tool.mask_target is not None}
    type_ = "segmentation" if mask_targets else FIELD_TYPES.get(kind, OTHER)
    asked: dict[str, list[tuple[str, Question]]] = {}
    for tool in tools:
        for name, question in _questions(tool.questions, ""):
            asked.setdefault(name, []).append((tool.label, question))
    return LabelField(
        type=type_,
        classes=classes,
        attributes={name: _read_attribute(askings, len(tools)) for name, askings in asked.items()},
        mask_targets=mask_targets,
        tag=kind if type_ == OTHER else "",
        label_types=TOOLS[kind].types[:1] if type_ == OTHER and kind in TOOLS else (),
    )


def _questions(questions: Iterable[Question], path: str) -> Iterator[tuple[str, Question]]:
    """Yield the questions, and the questions to which their answers lead, by path."""
    for question in questions:
        yield path + question.name, question
        for option in question.options:
            yield from _questions(option.options, f"{path}{question.name}{PATH_SEPARATOR}{option.name}{PATH_SEPARATOR}")


def _read_attribute(askings: list[tuple[str, Question]], tools: int) -> LabelAttribute:
    """Read a question that several tools may ask. If their answers differ, the attribute has all answers."""
    question = askings[0][1]
    type_ = {"radio": "radio", "checklist": "checkbox"}.get(question.kind, "text")
    if type_ == "radio" and question.ui_mode == "searchable":
        type_ = "select"
    if question.is_number:
        type_ = "number"
    values = dict.fromkeys(option.name for _, other in askings for option in other.options)
    return LabelAttribute(
        type=type_,
        values=tuple(values) if question.kind in ("radio", "checklist") else (),
        classes=tuple(class_ for class_, _ in askings) if len(askings) < tools else (),
    )


def _read_question(question: Question) -> LabelField:
    classes = tuple(option.name for option in question.options)
    if question.best_rating:
        return LabelField(type="rating", max=question.best_rating)
    if question.kind in ("radio", "checklist") and classes:
        return LabelField(type=QUESTIONS[question.kind].types[0], classes=classes, timed=question.scope == "index")
    if question.kind == "text":
        return LabelField(type="scalar" if question.is_number else "text")
    return LabelField(type=OTHER, classes=classes, tag=question.type)
