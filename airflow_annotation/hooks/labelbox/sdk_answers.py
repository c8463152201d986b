"""Check the answers to the SDK's own requests before the SDK reads them."""

from __future__ import annotations

import json
import re
import time
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from airflow_annotation.transport.metering import RequestMeter

_WAIT: Final = 0.5
_TOKEN: Final = re.compile(r'(?s)(?:"""(?:\\"""|.)*?"""|"(?:\\.|[^"\\\n])*"|#[^\n]*)|([_A-Za-z]\w*|\.\.\.|[][(){}:@])')
"""Tokens of a GraphQL document's structure. Texts and comments give empty tokens."""
_CLOSING: Final = {")": "(", "}": "{", "]": "["}


class GarbledAnswer(requests.exceptions.RequestException):
    """An answer that Labelbox never gives. The SDK raises it as the cause of its own error, or unchanged."""


class SdkAdapter(HTTPAdapter):
    """Sends the SDK's requests, and lets no garbled answer through.

    :param retry: policy for repeating failed requests
    :param attempts: maximum number of repeats after garbled answers, for requests that only read
    :param meter: counter of the requests; repeats by ``retry`` are not counted
    """

    def __init__(self, retry: Retry, *, attempts: int, meter: RequestMeter | None = None) -> None:
        super().__init__(max_retries=retry)
        self._attempts = attempts
        self._meter = meter

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request. Repeat it after a garbled answer if it only reads."""
        for attempt in range(self._attempts if _only_reads(request) else 0):
            response = self._send(request, *args, **kwargs)
            if _fault(response) is None:
                return response
            response.close()
            time.sleep(_WAIT * 2**attempt)
        response = self._send(request, *args, **kwargs)
        if fault := _fault(response):
            path = urlsplit(request.url or "").path
            raise GarbledAnswer(
                f"{request.method} {path} was answered with {fault}. Is there a proxy in front that wants a login?"
            )
        return response

    def _send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        try:
            response = super().send(request, *args, **kwargs)
        except requests.exceptions.RequestException:
            if self._meter is not None:
                self._meter.count(None)
            raise
        if self._meter is not None:
            self._meter.count(response.status_code)
        return response


def _is_graphql(request: requests.PreparedRequest) -> bool:
    return request.method == "POST" and urlsplit(request.url or "").path.endswith("graphql")


def _document(request: requests.PreparedRequest) -> str:
    """Return the GraphQL document of a request; empty if the request has none, or also sends a file."""
    if not _is_graphql(request):
        return ""
    try:
        return str(json.loads(request.body if isinstance(request.body, (str, bytes)) else b"")["query"])
    except (ValueError, KeyError, TypeError):
        return ""


def _only_reads(request: requests.PreparedRequest) -> bool:
    return request.method == "GET" or _document(request).lstrip().startswith(("query", "{"))


def _fault(response: requests.Response) -> str | None:
    """Return what is wrong with a successful answer; None if nothing is."""
    if not response.ok:
        return None
    kind = response.headers.get("Content-Type", "")
    if kind.startswith("text/html"):
        return "a web page instead of JSON"
    try:
        body = response.json()
    except requests.exceptions.ContentDecodingError:
        return "a body that cannot be decompressed"
    except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError):
        return "a body that is cut off"
    except ValueError:
        is_silent = not response.content and response.request.method == "DELETE"
        return None if is_silent else f"{len(response.content):,} bytes of {kind or 'no type'} that are no JSON"
    return None if _is_answer(body, response.request) else "JSON of another shape"


def _is_answer(body: Any, request: requests.PreparedRequest) -> bool:
    if not _is_graphql(request):
        return isinstance(body, (dict, list))
    if not isinstance(body, dict):
        return False
    # If the answer has errors, Labelbox leaves out the fields that they are about. Otherwise no field may be missing,
    # because the SDK treats a missing field as something that does not exist.
    if {"errors", "message"} & body.keys():
        return True
    data = body.get("data")
    return isinstance(data, dict) and all(
        name in data and (not has_parts or isinstance(data[name], dict | list | None))
        for name, has_parts in asked_fields(_document(request)).items()
    )


def asked_fields(document: str) -> dict[str, bool]:
    """Return the names that an answer's data must have: those of the top-level fields of a GraphQL document.

    :param document: the document, of which the first operation counts
    :return: for each name, whether the document asks for parts of the field: then it is an object, a list or null
    """
    fields: dict[str, bool] = {}
    last = ""
    opened: list[str] = []
    previous = ""
    for part in _TOKEN.findall(document):
        if part in _CLOSING:
            if opened[-1:] != [_CLOSING[part]]:
                return {}
            opened.pop()
            if not opened and part == "}":
                break
        elif part in _CLOSING.values():
            if part == "{" and opened == ["{"] and last:
                fields[last] = True
            opened.append(part)
        elif opened == ["{"] and part in {"@", "..."}:
            return {}  # a directive or fragment: fields may be left out, or are named elsewhere
        elif opened == ["{"] and part.isidentifier() and previous != ":":
            fields[part] = False
            last = part
        previous = part
    return fields
