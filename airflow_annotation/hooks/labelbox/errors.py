"""Turn failures of Labelbox and of its SDK into errors of this provider, with readable messages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx
import msgspec

from airflow_annotation.exceptions import (
    AnnotationAnswerError,
    AnnotationConnectionError,
    AnnotationError,
    AnnotationRequestError,
)
from airflow_annotation.hooks.answers import answer_kind, garbled, is_web_page, json_of, page_name, reading
from airflow_annotation.hooks.errors import key_refused, project_not_found, shorten

TOOL: Final = "Labelbox"
"""Name of the tool for people."""

_STATUSES: Final = {
    "AUTHORIZATION_ERROR": 403,
    "BAD_USER_INPUT": 400,
    "GRAPHQL_PARSE_FAILED": 400,
    "GRAPHQL_VALIDATION_FAILED": 400,
    "MALFORMED_REQUEST": 400,
    "OPERATION_NOT_ALLOWED": 403,
    "RESOURCE_CONFLICT": 409,
    "RESOURCE_NOT_FOUND": 404,
}
"""HTTP status for each code of a GraphQL error. Most of these answers have status 200."""

_SDK_STATUSES: Final = {
    "ApiLimitError": 429,
    "AuthorizationError": 403,
    "InvalidQueryError": 400,
    "MalformedQueryException": 400,
    "OperationNotAllowedException": 403,
    "ResourceConflict": 409,
    "ResourceNotFoundError": 404,
    "UnprocessableEntityError": 422,
    "ValidationFailedError": 400,
}
"""HTTP status for the SDK's errors (``lbox.exceptions``), by the name of their class."""

_SDK_OUTAGES: Final = ("InternalServerError", "NetworkError", "TimeoutError", "RetryError")
_SDK_STATUS_LINE: Final = re.compile(r"^([45]\d\d) ")


def read_graphql(response: httpx.Response, url: str) -> dict[str, Any]:
    """Return the data of a GraphQL answer.

    :param response: a response whose body has been read
    :param url: address of the API
    :raises AnnotationConnectionError: the key is refused, or it was not Labelbox that answered
    :raises AnnotationRequestError: Labelbox refuses the request; the message is its own
    """
    data, refused = read_graphql_parts(response, url)
    for error in refused.values():
        raise error
    return data


def read_graphql_parts(response: httpx.Response, url: str) -> tuple[dict[str, Any], dict[str, AnnotationRequestError]]:
    """Return the data of a GraphQL answer, and the errors of single fields of the document, by the field's alias.

    :param response: a response whose body has been read
    :param url: address of the API
    :raises AnnotationConnectionError: the key is refused, or it was not Labelbox that answered
    :raises AnnotationRequestError: Labelbox refuses the request as a whole; the message is its own
    """
    body = json_of(response)
    if not isinstance(body, dict):
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS or response.is_server_error:
            raise AnnotationConnectionError(
                f"{url} answered with {response.status_code} {response.reason_phrase}: it is down or overloaded."
            )
        if response.is_success:
            raise garbled(response, page_name(response) if is_web_page(response) else answer_kind(response))
        raise AnnotationConnectionError(
            f"{url} answered with {response.status_code} and no JSON: that is not Labelbox's API. Is the connection's "
            "host right?"
        )
    if response.is_success and not ({"errors", "message"} & body.keys() or isinstance(body.get("data"), dict)):
        raise garbled(response, "JSON that has neither data nor errors")
    listed = body.get("errors")
    errors = [error for error in listed if isinstance(error, dict)] if isinstance(listed, list) else []
    codes = [(error.get("extensions") or {}).get("code") for error in errors]
    message = shorten("; ".join(str(error.get("message")) for error in errors) or str(body.get("message") or ""))
    if response.status_code == httpx.codes.UNAUTHORIZED or "AUTHENTICATION_ERROR" in codes:
        raise key_refused(TOOL, url, message)
    if errors and not all(error.get("path") for error in errors):
        raise AnnotationRequestError(f"Labelbox refused: {message}", status_code=_status(errors[0]))
    if errors:
        refused: dict[str, AnnotationRequestError] = {}
        for error in errors:
            # Each message has all errors, because :func:`read_graphql` raises only the first.
            refusal = AnnotationRequestError(f"Labelbox refused: {message}", status_code=_status(error))
            refused.setdefault(str(error["path"][0]), refusal)
        return _data(body), refused
    if not response.is_success:
        raise AnnotationRequestError(
            f"Labelbox at {url} answered with {response.status_code}: {message or 'no reason given'}",
            status_code=response.status_code,
        )
    return _data(body), {}


def _data(body: dict[str, Any]) -> dict[str, Any]:
    data = body.get("data")
    return data if isinstance(data, dict) else {}


def read_field(response: httpx.Response, data: dict[str, Any], field: str, type_: Any) -> Any:
    """Return a field of a GraphQL answer's data.

    :param response: the response
    :param data: data of the answer
    :param field: path of the field, with dots between the names; empty for the data themselves
    :param type_: type to convert the field into
    :raises AnnotationAnswerError: the field is missing, or something else
    """
    value: Any = data
    with reading(response):
        for name in filter(None, field.split(".")):
            if not isinstance(value, dict) or name not in value:
                raise ValueError(f"its data have no {field}")
            value = value[name]
        return msgspec.convert(value, type_, strict=False)


@contextmanager
def sdk_errors(url: str, api_key: str) -> Iterator[None]:
    """Turn the SDK's errors into ours, with the SDK's message and without the key.

    :param url: address of the API
    :param api_key: the key, which must not be in the message
    :raises AnnotationConnectionError: Labelbox cannot be reached, or refuses the key
    :raises AnnotationRequestError: Labelbox refuses the request
    """
    try:
        yield
    except AnnotationError:
        raise
    except Exception as error:
        mapped = _mapped(error, url, api_key) or _unread(error, url)
        if mapped is None:
            raise
        raise mapped from error


@contextmanager
def missing_project(url: str, project_id: str) -> Iterator[None]:
    """Turn the refusal (404) of a request about a project into the error that the project does not exist.

    :param url: address of the application
    :param project_id: the project
    :raises AnnotationProjectNotFoundError: there is no such project
    """
    try:
        yield
    except AnnotationRequestError as error:
        if error.status_code != httpx.codes.NOT_FOUND:
            raise
        raise project_not_found(TOOL, url, project_id) from error


def _status(error: dict[str, Any]) -> int | None:
    extensions = error.get("extensions") or {}
    if extensions.get("code") in _STATUSES:
        return _STATUSES[extensions["code"]]
    # Most errors that Labelbox calls internal are the caller's fault. Their status shows this, if they have one.
    status = (extensions.get("exception") or {}).get("status")
    return status if isinstance(status, int) else 500 if extensions.get("code") == "INTERNAL_SERVER_ERROR" else None


def _unread(error: Exception, url: str) -> AnnotationError | None:
    """Return the error for an answer that the SDK cannot read; None if the failure was not in the SDK's code."""
    frame = error.__traceback__
    module = ""
    while frame is not None:
        module = str(frame.tb_frame.f_globals.get("__name__", ""))
        frame = frame.tb_next
    unread = isinstance(error, (AttributeError, IndexError, KeyError, TypeError, ValueError))
    if not unread or module.partition(".")[0] not in {"lbox", "labelbox", "pydantic", "json"}:
        return None
    return AnnotationAnswerError(
        f"Labelbox at {url} gave an answer that its SDK cannot read, in {module}: {type(error).__name__}: "
        f"{shorten(str(error))}. Is the connection's host right, and is there a proxy in front of it?"
    )


def _mapped(error: Exception, url: str, api_key: str) -> AnnotationError | None:
    from airflow_annotation.hooks.labelbox.sdk_answers import GarbledAnswer

    name = type(error).__name__
    module = type(error).__module__
    for one in (error, getattr(error, "cause", None)):
        if isinstance(one, GarbledAnswer):
            return AnnotationAnswerError(shorten(f"The answer of Labelbox at {url} cannot be read: {one}"))
    if not module.startswith(("lbox", "labelbox", "google.api_core", "requests")):
        return None
    message = shorten(str(getattr(error, "message", None) or error)).replace(api_key, "…")
    if name == "AuthenticationError":
        return key_refused(TOOL, url, message)
    if name in _SDK_OUTAGES or module.startswith("requests"):
        unreached = AnnotationConnectionError(f"Labelbox at {url} cannot be reached, or fails: {message}")
        unreached.was_sent = not _has_no_connection(error)
        return unreached
    status = _SDK_STATUSES.get(name)
    if status is None and (status_line := _SDK_STATUS_LINE.match(message)):
        status = int(status_line[1])
        if status == httpx.codes.UNAUTHORIZED:
            return key_refused(TOOL, url, message)
    return AnnotationRequestError(f"Labelbox refused: {message}", status_code=status)


def _has_no_connection(error: Exception) -> bool:
    """Return whether a request was never sent. The SDK's error contains that of requests, which contains urllib3's."""
    import requests
    import urllib3

    cause = getattr(error, "cause", error)
    if not isinstance(cause, requests.exceptions.ConnectionError):
        return False
    reason = getattr(cause.args[0] if cause.args else None, "reason", None)
    return isinstance(reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError)
