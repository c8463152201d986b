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
"""What the structure of a GraphQL document is made of; texts and comments are empty."""
_CLOSING: Final = {")": "(", "}": "{", "]": "["}


class GarbledAnswer(requests.exceptions.RequestException):
    """An answer that Labelbox never gives. The SDK passes it on as the cause of an error of its own, or as it is."""


class SdkAdapter(HTTPAdapter):
    """Sends the SDK's requests, and lets no garbled answer through.

    :param retry: of requests that fail
    :param attempts: how often a request that only reads is sent again after a garbled answer, at most
    :param meter: counts the requests; those that ``retry`` sends again count once
    """

    def __init__(self, retry: Retry, *, attempts: int, meter: RequestMeter | None = None) -> None:
        super().__init__(max_retries=retry)
        self._attempts = attempts
        self._meter = meter

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request, and once more where the answer is garbled and the request changes nothing."""
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
    """Return the GraphQL document that a request asks; empty where it has none, or sends a file with it."""
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
    # Labelbox leaves out what it has an error for, and the SDK takes what is left out for what is not there.
    if {"errors", "message"} & body.keys():
        return True
    data = body.get("data")
    return isinstance(data, dict) and all(
        name in data and (not has_parts or isinstance(data[name], dict | list | None))
        for name, has_parts in asked_fields(_document(request)).items()
    )


def asked_fields(document: str) -> dict[str, bool]:
    """Return the names that an answer's data have for certain: of the fields that a GraphQL document asks first.

    :param document: its first operation counts
    :return: by name, whether parts of it are asked, so that it is an object, a list or null
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
            return {}  # what may be left out, or is named elsewhere
        elif opened == ["{"] and part.isidentifier() and previous != ":":
            fields[part] = False
            last = part
        previous = part
    return fields
