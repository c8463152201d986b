"""The label schema: the questions for people, in words that do not depend on a tool."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from airflow_annotation.labels.errors import LabelSchemaError, suggestion
from airflow_annotation.labels.types import (
    DEFAULT_RATING,
    FIELD_TYPES,
    MESSAGES,
    OF_FIELD,
    OTHER,
    RATING_MAX,
    REGION_TYPES,
    RELATIONS,
    TIMED_TYPES,
    WITHOUT_CLASSES,
)

if TYPE_CHECKING:
    import pyarrow as pa

ATTRIBUTE_TYPES: Final = ("radio", "select", "checkbox", "text", "number")
"""Types of attributes: one of the values (``radio``, ``select``), any of the values (``checkbox``), or free answers."""

_SINGULAR: Final = {type_.name: field_type for field_type, type_ in OF_FIELD.items()}
_ATTRIBUTES_WITH_VALUES: Final = ("radio", "select", "checkbox")
_MASK_TARGET_MAX: Final = 65535
_CLASS_NUMBER_MAX: Final = 2**31 - 1
_DIGITS_MAX: Final = 10

_TARGETS: Final = {"pairwise": ("left", "right"), "ranking": ("items",), MESSAGES: ("chat",)}
"""Default data keys that these field types compare or continue."""


class LabelAttribute(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A question about each label of a field.

    :param type: one of :data:`ATTRIBUTE_TYPES`
    :param values: the answers to choose from, for ``radio``, ``select`` and ``checkbox``
    :param classes: the classes for which it is asked; empty for all classes
    """

    type: str
    values: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()


class LabelField(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One question for each item, or one thing to draw in it.

    :param type: one of :data:`~airflow_annotation.labels.types.FIELD_TYPES`, or ``other`` for a field that was read
        from a tool and has none of these types. ``relations`` connect the labels of other fields
    :param classes: the classes to choose from, in order
    :param attributes: questions about each label, by name
    :param mask_targets: for ``segmentation``, the class of each pixel value; 0 is the background
    :param class_numbers: numbers of the classes in datasets to train with, as in Label Studio's ``category``; Labelbox
        keeps none
    :param max: for ``rating``, the best rating; the worst is 1
    :param targets: keys of the item's data that the field is about, if it is not about the item's media: for
        ``pairwise`` the two that are compared, by default ``left`` and ``right``; for ``ranking`` the list that is
        ranked, by default ``items``; for ``messages`` the list of messages that people continue, by default ``chat``
    :param context: keys of the item's data that people see with the field, for example a prompt
    :param timed: for ``classification`` and ``classifications``, whether people answer it for stretches of a video or a
        sound, not for the whole item
    :param tag: for ``other``, the tool's name of the field's type
    :param label_types: for ``other``, the types of its labels, if the tool's words for them are known
    """

    type: str
    classes: tuple[str, ...] = ()
    attributes: dict[str, LabelAttribute] = {}
    mask_targets: dict[int, str] = {}
    class_numbers: dict[str, int] = {}
    max: int = 0
    targets: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    timed: bool = False
    tag: str = ""
    label_types: tuple[str, ...] = ()


class LabelSchema(msgspec.Struct, frozen=True):
    """The questions for people: fields by name.

    Build one with :meth:`from_dict`, which checks it. The dictionary has the form that users of FiftyOne know, plus
    attributes::

        {
            "objects": {
                "type": "detections",
                "classes": ["car", "person"],
                "attributes": {"occluded": {"type": "radio", "values": ["yes", "no"]}},
            },
            "weather": {"type": "classification", "classes": ["sun", "rain"]},
        }

    :param fields: the fields by name, in the order in which they are shown
    """

    fields: dict[str, LabelField]

    @classmethod
    def from_dict(cls, schema: Mapping[str, Any]) -> LabelSchema:
        """Return the schema that a dictionary describes.

        :raises LabelSchemaError: the dictionary is not a valid schema; the message says what is wrong, by field name
        """
        if not isinstance(schema, Mapping):
            raise LabelSchemaError(f"A label schema is a dictionary of fields, not {type(schema).__name__}.")
        if not schema:
            raise LabelSchemaError(
                "The label schema has no field. Give at least one, for example "
                '{"objects": {"type": "detections", "classes": ["car"]}}.'
            )
        _check_names(schema, "field", "The label schema")
        return cls({name: _read_field(name, field) for name, field in schema.items()})

    @classmethod
    def for_field(
        cls,
        label_field: str,
        label_type: str,
        classes: Iterable[str] = (),
        *,
        mask_targets: Mapping[int | str, str] | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> LabelSchema:
        """Return the schema of a single field.

        :param label_field: name of the field
        :param label_type: type of the field, for example ``detections``
        :param classes: the classes to choose from
        :param mask_targets: for ``segmentation``, the class of each pixel value
        :param attributes: questions about each label, by name
        :raises LabelSchemaError: people cannot label such a field
        """
        field: dict[str, Any] = {"type": label_type}
        if classes:
            field["classes"] = classes if isinstance(classes, str) else list(classes)
        if mask_targets:
            field["mask_targets"] = dict(mask_targets)
        if attributes:
            field["attributes"] = dict(attributes)
        return cls.from_dict({label_field: field})

    @classmethod
    def from_labels(cls, labels: pa.Table | Iterable[pa.RecordBatch]) -> LabelSchema:
        """Return the schema that fits existing labels.

        :param labels: rows of the ``labels`` table, see :func:`~airflow_annotation.labels.inference.infer_label_schema`
        :raises LabelSchemaError: no schema fits them, for example if shapes have no class
        """
        from airflow_annotation.labels.inference import infer_label_schema

        return cls.from_dict(infer_label_schema(labels))

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary of only JSON types, which :meth:`from_dict` reads."""
        return msgspec.json.decode(msgspec.json.encode(self.fields), type=dict[str, Any])

    def digest(self) -> str:
        """Return the SHA-256 of the schema as hexadecimal digits: equal schemas have equal digests."""
        return hashlib.sha256(msgspec.json.encode(self.to_dict(), order="sorted")).hexdigest()


def _read_field(name: str, field: Any) -> LabelField:
    where = f"Label schema, field {name!r}"
    if not isinstance(field, Mapping):
        raise LabelSchemaError(f'{where} is not a dictionary such as {{"type": "detections", "classes": ["car"]}}.')
    _check_keys(field, LabelField.__struct_fields__, where)
    type_ = _read_type(field, (*FIELD_TYPES, OTHER), where)
    mask_targets = _read_mask_targets(field.get("mask_targets") or {}, type_, where)
    classes = _read_strings(field.get("classes", ()), "class", where)
    if type_ == "segmentation":
        if not mask_targets:
            mask_targets = dict(enumerate(classes, 1))
        elif classes and set(classes) != set(mask_targets.values()):
            raise LabelSchemaError(f"{where} names other classes than mask_targets does. Leave classes out.")
        classes = tuple(mask_targets.values())
    if type_ in WITHOUT_CLASSES and classes:
        raise LabelSchemaError(f"{where} is of type {type_} and cannot have classes.")
    if type_ != OTHER and OF_FIELD[type_].has_classes and not classes:
        raise LabelSchemaError(f"{where} is of type {type_} and has no classes. List at least one.")
    attributes = _read_attributes(field.get("attributes") or {}, type_, classes, where)
    if type_ == RELATIONS and (field.get("targets") or field.get("context")):
        raise LabelSchemaError(f"{where} is about labels of other fields: leave targets and context out.")
    tag = field.get("tag", "")
    if (type_ == OTHER) != bool(tag) or not isinstance(tag, str):
        raise LabelSchemaError(f"{where}: tag names the tool's own type of a field of type other, and only there.")
    label_types = _read_strings(field.get("label_types", ()), "label type", where)
    if label_types and type_ != OTHER:
        raise LabelSchemaError(f"{where}: label_types is for fields of type other.")
    return LabelField(
        type=type_,
        classes=classes,
        attributes=attributes,
        mask_targets=mask_targets,
        class_numbers=_read_class_numbers(field.get("class_numbers") or {}, classes, where),
        max=_read_max(field.get("max"), type_, where),
        targets=_read_targets(field.get("targets") or (), type_, where),
        context=_read_strings(field.get("context") or (), "data key", where),
        timed=_read_timed(field, type_, where),
        tag=tag,
        label_types=label_types,
    )


def _read_attributes(
    attributes: Any, field_type: str, classes: tuple[str, ...], where: str
) -> dict[str, LabelAttribute]:
    if not attributes:
        return {}
    if not isinstance(attributes, Mapping):
        raise LabelSchemaError(f"{where}: attributes is a dictionary by name, not {type(attributes).__name__}.")
    if field_type not in (*REGION_TYPES, OTHER):
        raise LabelSchemaError(
            f"{where} is of type {field_type}, whose labels cannot have attributes. "
            f"Types that can: {', '.join(REGION_TYPES)}."
        )
    _check_names(attributes, "attribute", where)
    return {
        name: _read_attribute(attribute, classes, f"{where}, attribute {name!r}")
        for name, attribute in attributes.items()
    }


def _read_attribute(attribute: Any, field_classes: tuple[str, ...], where: str) -> LabelAttribute:
    if not isinstance(attribute, Mapping):
        raise LabelSchemaError(f'{where} is not a dictionary such as {{"type": "radio", "values": ["yes", "no"]}}.')
    _check_keys(attribute, LabelAttribute.__struct_fields__, where)
    type_ = _read_type(attribute, ATTRIBUTE_TYPES, where)
    values = _read_strings(attribute.get("values", ()), "value", where)
    if type_ in _ATTRIBUTES_WITH_VALUES and not values:
        raise LabelSchemaError(f"{where} is of type {type_} and has no values. List at least one.")
    if type_ not in _ATTRIBUTES_WITH_VALUES and values:
        raise LabelSchemaError(f"{where} is of type {type_} and cannot have values.")
    classes = _read_strings(attribute.get("classes", ()), "class", where)
    for class_ in classes:
        if class_ not in field_classes:
            raise LabelSchemaError(
                f"{where} is asked for the class {_short(class_)}, which the field does not have."
                f"{suggestion(class_, field_classes)}"
            )
    return LabelAttribute(type=type_, values=values, classes=classes)


def _read_type(described: Mapping[str, Any], known: tuple[str, ...], where: str) -> str:
    if "type" not in described:
        raise LabelSchemaError(f"{where} has no type. Known types: {', '.join(known)}.")
    type_ = described["type"]
    type_ = _SINGULAR.get(type_, type_) if isinstance(type_, str) else type_
    if type_ not in known:
        raise LabelSchemaError(
            f"{where} has the unknown type {_short(type_)}.{suggestion(type_, known)} Known types: {', '.join(known)}."
        )
    return str(type_)


def _read_mask_targets(mask_targets: Any, field_type: str, where: str) -> dict[int, str]:
    if not mask_targets:
        return {}
    if field_type != "segmentation":
        raise LabelSchemaError(f"{where} is of type {field_type}; only segmentation has mask_targets.")
    if not isinstance(mask_targets, Mapping):
        raise LabelSchemaError(f"{where}: mask_targets is a dictionary of pixel value to class.")
    read: dict[int, str] = {}
    for key, class_ in mask_targets.items():
        value = int(key) if isinstance(key, str) and key.isdecimal() else key
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _MASK_TARGET_MAX:
            raise LabelSchemaError(
                f"{where}: {_short(key)} in mask_targets is no pixel value from 1 to {_MASK_TARGET_MAX} "
                "(0 is the background and has no class)."
            )
        read[value] = class_
    _read_strings(list(read.values()), "class", where)
    return read


def _read_class_numbers(class_numbers: Any, classes: tuple[str, ...], where: str) -> dict[str, int]:
    if not isinstance(class_numbers, Mapping):
        raise LabelSchemaError(f"{where}: class_numbers is a dictionary of class to number.")
    numbers = {class_: _as_number(number) for class_, number in class_numbers.items()}
    for class_, number in numbers.items():
        if class_ not in classes:
            raise LabelSchemaError(
                f"{where}: class_numbers has the class {_short(class_)}, which the field does not have."
                f"{suggestion(class_, classes)}"
            )
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= _CLASS_NUMBER_MAX:
            raise LabelSchemaError(
                f"{where}: {_short(number)} in class_numbers is no whole number from 0 to {_CLASS_NUMBER_MAX}."
            )
    if len(set(numbers.values())) < len(numbers):
        raise LabelSchemaError(f"{where}: class_numbers gives two classes one number.")
    return numbers


def _as_number(number: Any) -> Any:
    """Return a whole number that is given as text, such as in templates, as a number."""
    return int(number) if isinstance(number, str) and number.isdecimal() and len(number) <= _DIGITS_MAX else number


def _read_max(best: Any, field_type: str, where: str) -> int:
    if field_type != "rating":
        if best:
            raise LabelSchemaError(f"{where} is of type {field_type}; only rating has max.")
        return 0
    best = DEFAULT_RATING if best is None else _as_number(best)
    if not isinstance(best, int) or isinstance(best, bool) or not 1 < best <= RATING_MAX:
        raise LabelSchemaError(f"{where}: max is the best rating, a whole number from 2 to {RATING_MAX}.")
    return best


def _read_targets(targets: Any, field_type: str, where: str) -> tuple[str, ...]:
    read = _read_strings(targets, "data key", where) or _TARGETS.get(field_type, ())
    wanted = len(_TARGETS.get(field_type, read))
    if len(read) != wanted:
        raise LabelSchemaError(
            f"{where} has the targets {', '.join(map(repr, read))}; a field of type {field_type} has {wanted} of them."
        )
    return read


def _read_timed(field: Mapping[str, Any], type_: str, where: str) -> bool:
    timed = field.get("timed", False)
    if not isinstance(timed, bool):
        raise LabelSchemaError(f"{where}: timed is true or false, not {_short(timed)}.")
    if timed and (type_ not in TIMED_TYPES or field.get("targets")):
        raise LabelSchemaError(
            f"{where} cannot be timed: only fields of type {' and '.join(TIMED_TYPES)} can, which have no targets."
        )
    return timed


def _read_strings(strings: Any, what: str, where: str) -> tuple[str, ...]:
    if isinstance(strings, str) or not isinstance(strings, Iterable):
        raise LabelSchemaError(f"{where} needs a list of {what} names, not {_short(strings)}.")
    read = tuple(strings)
    seen: set[str] = set()
    for string in read:
        if not isinstance(string, str):
            raise LabelSchemaError(f"{where}: the {what} {_short(string)} is not a string. Put it in quotes.")
        _check_text(string, what, where)
        if string in seen:
            raise LabelSchemaError(f"{where} has the {what} {_short(string)} twice.")
        seen.add(string)
    return read


def _check_names(names: Iterable[Any], what: str, where: str) -> None:
    """Check names, which become column values, file names and names in the tools, which may ignore case."""
    seen: dict[str, str] = {}
    for name in names:
        if not isinstance(name, str):
            raise LabelSchemaError(f"{where}: the {what} name {_short(name)} is not a string.")
        _check_text(name, f"{what} name", where)
        if (other := seen.setdefault(name.casefold(), name)) is not name:
            raise LabelSchemaError(f"{where} has the {what}s {other!r} and {name!r}, which differ in case only.")


def _check_text(text: str, what: str, where: str) -> None:
    if not text or text != text.strip():
        raise LabelSchemaError(f"{where}: the {what} {_short(text)} is empty, or begins or ends with a space.")
    if not text.isprintable() and any(
        ord(c) < 32 or 0xD800 <= ord(c) <= 0xDFFF or ord(c) in (0xFFFE, 0xFFFF) for c in text
    ):
        raise LabelSchemaError(f"{where}: the {what} {_short(text)} has a control character in it.")


def _check_keys(described: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in described:
        if key not in known:
            raise LabelSchemaError(
                f"{where} has the unknown key {_short(key)}.{suggestion(key, known)} Known keys: {', '.join(known)}."
            )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
