"""Read the extra fields of a connection, and show them in Airflow's form."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from airflow_annotation.exceptions import AnnotationError

if TYPE_CHECKING:
    from airflow.sdk import Connection

CONCURRENCY: Final = 4
"""Default number of requests that bulk reading and sending may run at once."""

MOST_CONCURRENCY: Final = 64


def connection_form_widgets(conn_type: str) -> dict[str, Any]:
    """Return the extra fields of a connection type's form, for Airflow 3.1.

    Later releases of Airflow read the provider's metadata.
    """
    from wtforms import BooleanField, IntegerField, PasswordField, StringField

    kinds = {"boolean": BooleanField, "number": IntegerField, "password": PasswordField}
    return {
        name: kinds.get(field["schema"].get("format", field["schema"]["type"][0]), StringField)(
            field["label"], description=field.get("description", ""), default=field["schema"].get("default")
        )
        for name, field in _connection_forms()[conn_type]["conn-fields"].items()
    }


def connection_form_behaviour(conn_type: str) -> dict[str, Any]:
    """Return labels and placeholders of a connection type's form, for Airflow 3.1."""
    fields = _connection_forms()[conn_type]["ui-field-behaviour"]
    return {name.replace("-", "_"): value for name, value in fields.items()}


def read_extra(connection: Connection) -> dict[str, Any]:
    """Return the connection's extra fields.

    :raises AnnotationError: the extra field is not a JSON object
    """
    # Not extra_dejson: it treats broken JSON as an empty field, and must not be called in an event loop.
    return read_object(connection.extra or "{}", "extra field")


def read_object(text: str, what: str) -> dict[str, Any]:
    """Return the JSON object that a text holds.

    :param what: name of the text in errors
    :raises AnnotationError: the text is not a JSON object
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        # The text itself may hold secrets.
        raise AnnotationError(f"The connection's {what} is not JSON.") from error
    if not isinstance(value, dict):
        raise AnnotationError(f"The connection's {what} is not a JSON object.")
    return value


def read_bool(extra: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """Return an extra field that is true or false.

    :raises AnnotationError: the field is neither
    """
    value = extra.get(name)
    # The URI form of a connection turns all values into strings.
    if value is None or value == "":
        return default
    if isinstance(value, bool):
        return value
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if str(value).lower() not in words:
        raise AnnotationError(f"The connection's extra field {name} is neither true nor false: {value!r}.")
    return words[str(value).lower()]


def read_timeout(extra: Mapping[str, Any]) -> float:
    """Return the extra field ``timeout`` in seconds, 60 by default.

    :raises AnnotationError: the field is not a number above 0
    """
    return _read_number(extra, "timeout", "number of seconds", default=60.0)


def read_polls_per_minute(extra: Mapping[str, Any]) -> float:
    """Return the extra field ``polls_per_minute``, 60 by default.

    :raises AnnotationError: the field is not a number above 0
    """
    return _read_number(extra, "polls_per_minute", "number of requests", default=60.0)


def read_concurrency(extra: Mapping[str, Any], *, default: int = CONCURRENCY) -> int:
    """Return the extra field ``concurrency``.

    :raises AnnotationError: the field is not a whole number from 1 to :data:`MOST_CONCURRENCY`
    """
    what = f"whole number of requests from 1 to {MOST_CONCURRENCY}"
    number = _read_number(extra, "concurrency", what, default=float(default))
    if number != int(number) or number > MOST_CONCURRENCY:
        raise AnnotationError(f"The connection's extra field concurrency is no {what}: {extra['concurrency']!r}.")
    return int(number)


def _read_number(extra: Mapping[str, Any], name: str, what: str, *, default: float) -> float:
    value = extra.get(name)
    if value is None or value == "":
        return default
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < number < float("inf"):
        raise AnnotationError(f"The connection's extra field {name} is no {what}: {value!r}.")
    return number


def environment_connection_type(conn_id: str) -> str:
    """Return the type of a connection in an environment variable; empty for others, which only a request could find."""
    connection = os.environ.get(f"AIRFLOW_CONN_{conn_id.upper()}", "")
    try:
        type_ = json.loads(connection).get("conn_type") if connection.startswith("{") else urlsplit(connection).scheme
    except (ValueError, AttributeError):
        return ""
    return str(type_ or "").replace("-", "_")


@cache
def connection_types() -> tuple[str, ...]:
    """Return the types of connections to labeling tools."""
    return tuple(_connection_forms())


def _connection_forms() -> dict[str, dict[str, Any]]:
    from airflow_annotation.get_provider_info import get_provider_info

    return {form["connection-type"]: form for form in get_provider_info()["connection-types"]}
