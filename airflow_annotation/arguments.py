"""Checks of the types and values of arguments.

A wrong argument raises a ``ValueError`` when the DAG is parsed, and an ``AnnotationError`` when the task runs. Both
errors name the task.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import PurePath
from typing import Any, Final, Literal, get_args, get_origin

from airflow.sdk import ObjectStoragePath

from airflow_annotation.exceptions import AnnotationArgumentError, AnnotationError

_KINDS: Final[dict[str, tuple[str, Callable[[Any], bool]]]] = {
    "None": ("None", lambda value: value is None),
    "str": ("text", lambda value: isinstance(value, str)),
    "bool": ("True or False", lambda value: isinstance(value, bool)),
    "int": ("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    "float": ("a number", lambda value: isinstance(value, (int, float)) and not isinstance(value, bool)),
    "timedelta": ("a timedelta", lambda value: isinstance(value, timedelta)),
    "dict": ("a dictionary", lambda value: isinstance(value, Mapping)),
    "Mapping": ("a dictionary", lambda value: isinstance(value, Mapping)),
    "Sequence": ("a list", lambda value: isinstance(value, Sequence) and not isinstance(value, (str, bytes))),
    "Iterable": ("a list", lambda value: isinstance(value, Iterable) and not isinstance(value, (str, bytes))),
    "XComArg": ("another task's output", lambda value: hasattr(value, "resolve")),
    "LabelSchema": ("a LabelSchema", lambda value: hasattr(value, "to_dict")),
}
"""The known types by their names in annotations: the words for each in error messages, and its check."""

_RENDERED: Final = (bool, int, float, date)
"""The types into which Airflow turns text with ``render_template_as_native_obj``."""

_PATHS: Final = (PurePath, ObjectStoragePath)

_OF_TEXT: Final = re.compile(r"\bSequence\[str\]|\b(dict|Mapping)\[[^\[\],]+, str\]")
"""Finds annotations of lists and dictionaries whose values are text."""


def is_templated(value: Any) -> bool:
    """Return whether an argument is known only when the task runs: it contains a Jinja template or an XComArg."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value
    if isinstance(value, Mapping):
        return any(map(is_templated, value.values()))
    if isinstance(value, (list, tuple, set)):
        return any(map(is_templated, value))
    return hasattr(value, "resolve") and not isinstance(value, _PATHS)


def check_choice(argument: str, value: object, choices: Sequence[str | None]) -> None:
    """Check an argument that takes one of a few values.

    :raises ValueError: it is none of these values
    """
    if value not in choices:
        raise ValueError(f"{argument} is one of {', '.join(map(repr, choices))}, not {value!r}.")


def check_count(argument: str, value: object) -> None:
    """Check an argument that is a whole number of 1 or more, or None. The number may also be text.

    :raises ValueError: it is no such number
    """
    if not (value is None or is_templated(value) or (str(value).isdecimal() and int(str(value)) > 0)):
        raise ValueError(f"{argument} is {value!r}: pass a whole number of 1 or more, or None.")


def check_max_failures(most: object) -> None:
    """Check the argument for the number of items that may fail.

    :raises ValueError: it is no such number
    """
    if not (most is None or is_templated(most) or str(most).isdecimal()):
        raise ValueError(f"max_failures is {most!r}: pass 0 or more, or None for any number of failed items.")


def check_duration(argument: str, seconds: float) -> None:
    """Check an argument that is a duration.

    :raises ValueError: it is not above 0
    """
    if not seconds > 0:
        raise ValueError(f"{argument} is {seconds!r}: pass a timedelta or seconds, above 0.")


def find_choices(annotation: str, names: Mapping[str, Any]) -> tuple[str | None, ...]:
    """Return the values that a parameter takes if its annotation names a ``Literal``, otherwise nothing.

    :param annotation: annotation of the parameter, as source text
    :param names: objects that the names in the annotation refer to: the globals of its module
    """
    kinds = _kinds(annotation)
    words = [word for kind in kinds if get_origin(names.get(kind)) is Literal for word in get_args(names[kind])]
    return (*words, None) if words and "None" in kinds else tuple(words)


def checked_argument(argument: str, value: Any, annotation: str, *, rendered: bool = False) -> Any:
    """Return an argument in the form that the task takes: text for a path, and for text that Airflow made a value.

    With ``render_template_as_native_obj``, Airflow turns text such as ``"20261129"`` into a number. Where the parameter
    takes only text, also in lists and dictionaries, this function turns it back into text.

    :param argument: name of the argument
    :param value: value of the argument
    :param annotation: annotation of the parameter, as source text. Types that this module does not know are not checked
    :param rendered: whether templates have been rendered
    :raises ValueError: the value has another type
    """
    kinds = _kinds(annotation)
    if "str" in kinds and isinstance(value, _PATHS):
        return str(value)
    if _OF_TEXT.search(annotation):
        if rendered and isinstance(value, (list, tuple, Mapping)):
            return as_text(value)
        if isinstance(value, (list, tuple)):
            value = [str(one) if isinstance(one, _PATHS) else one for one in value]
    if not rendered and is_templated(value):
        return value
    if any(kind not in _KINDS or _KINDS[kind][1](value) for kind in kinds):
        return value
    if rendered and "str" in kinds and isinstance(value, _RENDERED):
        return str(value)
    taken = " or ".join(dict.fromkeys(_KINDS[kind][0] for kind in kinds))
    way_out = ""
    if isinstance(value, str) and value.startswith(("[", "{")):
        way_out = " Pass the other task's output itself, or set render_template_as_native_obj on the DAG."
    raise ValueError(f"{argument} takes {taken}, not {value!r}.{way_out}")


def as_text(value: Any) -> Any:
    """Return a value whose numbers, dates and paths are text, as before ``render_template_as_native_obj``."""
    if isinstance(value, Mapping):
        return {name: as_text(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_text(one) for one in value]
    return str(value) if isinstance(value, (*_RENDERED, *_PATHS)) else value


def _kinds(annotation: str) -> list[str]:
    while "[" in annotation:
        annotation = re.sub(r"\[[^\[\]]*\]", "", annotation)
    return annotation.split(" | ")


@contextmanager
def parsing(task_id: object, *, what: str = "Task") -> Iterator[None]:
    """Turn errors about arguments while a DAG is parsed into a ``ValueError`` that names the task.

    :param task_id: id of the task
    :param what: word for the object that has this id
    :raises ValueError: an argument is wrong
    """
    subject = f"{what} {task_id!r}: "
    try:
        yield
    except ValueError as error:
        if len(error.args) == 1 and isinstance(error.args[0], str) and not error.args[0].startswith(subject):
            error.args = (subject + error.args[0],)
        raise
    except AnnotationError as error:
        raise AnnotationArgumentError(f"{subject}{error}") from error


@contextmanager
def running(task_id: object) -> Iterator[None]:
    """Turn errors about arguments or labels while a task runs into an ``AnnotationError`` that names the task.

    :raises AnnotationError: an argument or a label is wrong
    """
    subject = f"Task {task_id!r}: "
    try:
        yield
    except AnnotationArgumentError as error:
        if str(error).startswith(subject):
            raise
        raise AnnotationArgumentError(f"{subject}{error}") from error
    except AnnotationError:
        raise
    except ValueError as error:
        raise AnnotationArgumentError(f"{subject}{error}") from error
