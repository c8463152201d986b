"""Turn the failures of a Label Studio server into errors of this provider, with readable messages."""

from __future__ import annotations

import re
from typing import Any, Final

import httpx

from airflow_annotation.exceptions import (
    AnnotationConnectionError,
    AnnotationError,
    AnnotationRequestError,
)
from airflow_annotation.hooks.answers import garbled, is_web_page, json_of, page_name
from airflow_annotation.hooks.errors import key_refused, project_not_found, shorten

TOOL: Final = "Label Studio"
"""Name of the tool for people."""


def check_response(response: httpx.Response, url: str) -> httpx.Response:
    """Return the response if it is a successful answer of Label Studio.

    :param response: the response; unless it is a success, its body has been read
    :param url: the server's URL
    :raises AnnotationConnectionError: the key is refused, or it was not Label Studio that answered
    :raises AnnotationProjectNotFoundError: there is no such project
    :raises AnnotationRequestError: Label Studio refuses the request; the message is its own
    """
    is_html = is_web_page(response)
    if response.is_success and not is_html:
        return response
    asked = f"{response.request.method} {response.request.url.path}"
    status = response.status_code
    if response.is_redirect:
        raise AnnotationConnectionError(_redirected(response, url))
    if response.is_success:
        raise garbled(response, page_name(response))
    body = None if is_html else json_of(response)
    if status == httpx.codes.UNAUTHORIZED:
        raise key_refused(TOOL, url, tool_message(body))
    if body is None:
        raise _not_label_studio(response, url, asked)
    message = tool_message(body)
    if status == httpx.codes.NOT_FOUND and "No Project matches" in message:
        raise project_not_found(TOOL, url, _project_id(response))
    if status == httpx.codes.NOT_FOUND and not _is_label_studios(body):
        raise AnnotationConnectionError(
            f"{url} answered {asked} with 404: {message or 'no reason given'}. That is not how Label Studio answers. "
            "Is the connection's host right, with its path prefix?"
        )
    raise AnnotationRequestError(
        f"Label Studio at {url} refused {asked} with {status}: {message or 'no reason given'}", status_code=status
    )


def tool_message(body: Any) -> str:
    """Return Label Studio's own error message, as one line.

    :param body: decoded body of the answer; ``detail``, ``validation_errors`` by field and ``display_context`` are
        Label Studio's own fields
    """
    if not isinstance(body, dict):
        return shorten(_flatten(body))
    reasons = (
        body.get("validation_errors")
        or body.get("detail")
        or {name: value for name, value in body.items() if name not in {"id", "status_code", "version", "exc_info"}}
    )
    parts = [_flatten(reasons), _flatten(body.get("display_context"))]
    return shorten(". ".join(part.rstrip(".") for part in parts if part))


def _redirected(response: httpx.Response, url: str) -> str:
    target = response.next_request.url if response.next_request else httpx.URL(response.headers.get("location", ""))
    origin = f"{target.scheme}://{target.netloc.decode()}" if target.host else "another address"
    asked = response.request.url
    if (target.scheme, target.netloc) == (asked.scheme, asked.netloc):
        return (
            f"{url} redirects {asked.path} to {target.path}: that is not Label Studio's API. Is the connection's host "
            "right, with its path prefix?"
        )
    return (
        f"{url} redirects to {origin}. The API key is not sent there; if that is the Label Studio, "
        f"set the connection's host to {origin}."
    )


def _not_label_studio(response: httpx.Response, url: str, asked: str) -> AnnotationError:
    status = response.status_code
    if status == httpx.codes.TOO_MANY_REQUESTS or status in {502, 503, 504}:
        return AnnotationConnectionError(
            f"{url} answered {asked} with {status} {response.reason_phrase}: it is down, starting or overloaded."
        )
    if status == httpx.codes.NOT_FOUND:
        if _project_id(response) and "| Label Studio</title>" in response.text:
            # The export endpoint answers with a web page if there is no such project.
            return project_not_found(TOOL, url, _project_id(response))
        return AnnotationConnectionError(
            f"{url} has no {response.request.url.path}: that is not Label Studio's API, or one of another version. "
            "Is the connection's host right, with its path prefix?"
        )
    text = re.sub(r"<[^>]+>", " ", re.sub(r"(?s)<(style|script|head)\b.*?</\1>", " ", response.text))
    return AnnotationRequestError(
        f"{url} refused {asked} with {status} {response.reason_phrase}: {shorten(text) or 'no reason given'}",
        status_code=status,
    )


def _is_label_studios(body: Any) -> bool:
    """Return whether an error has the form of all errors of Label Studio's API."""
    return isinstance(body, dict) and {"status_code", "detail", "version"} <= body.keys()


def _project_id(response: httpx.Response) -> str:
    asked = response.request.url
    found = re.search(r"/api/projects/(\d+)", asked.path)
    return found[1] if found else asked.params.get("project", "")


def _flatten(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_flatten(part)}" for name, part in value.items() if part not in (None, "", [], {}))
    if isinstance(value, list):
        return ", ".join(_flatten(part) for part in value)
    return "" if value is None else str(value)
