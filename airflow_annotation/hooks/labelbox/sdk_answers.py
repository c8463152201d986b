"""What the answers to the SDK's own requests have to be, before the SDK reads them."""

from __future__ import annotations

import json
import time
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

_WAIT: Final = 0.5


class GarbledAnswer(requests.exceptions.RequestException):
    """An answer that Labelbox never gives."""


class _Adapter(HTTPAdapter):
    def __init__(self, retry: Retry, attempts: int) -> None:
        super().__init__(max_retries=retry)
        self._attempts = attempts

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request, and once more where the answer is garbled and the request changes nothing."""
        for attempt in range(self._attempts if _only_reads(request) else 0):
            response = super().send(request, *args, **kwargs)
            if _fault(response) is None:
                return response
            response.close()
            time.sleep(_WAIT * 2**attempt)
        response = super().send(request, *args, **kwargs)
        if fault := _fault(response):
            path = urlsplit(request.url or "").path
            raise GarbledAnswer(
                f"{request.method} {path} was answered with {fault}. Is there a proxy in front that wants a login?"
            )
        return response


def sdk_adapter(retry: Retry, *, attempts: int) -> HTTPAdapter:
    """Return what sends the SDK's requests and lets no garbled answer through.

    :param retry: of requests that fail
    :param attempts: how often a request that only reads is sent again after a garbled answer, at most
    """
    return _Adapter(retry, attempts)


def _only_reads(request: requests.PreparedRequest) -> bool:
    if request.method != "POST":
        return request.method == "GET"
    try:
        document = json.loads(request.body if isinstance(request.body, (str, bytes)) else b"")["query"]
        return str(document).lstrip().startswith(("query", "{"))
    except (ValueError, KeyError, TypeError):
        return False


def _fault(response: requests.Response) -> str | None:
    """Return what is wrong with a successful answer; None if nothing is."""
    if not response.ok:
        return None
    kind = response.headers.get("Content-Type", "")
    if kind.startswith("text/html"):
        return "a web page instead of JSON"
    try:
        body = response.json()
    except ValueError:
        is_silent = not response.content and response.request.method == "DELETE"
        return None if is_silent else f"{len(response.content):,} bytes of {kind or 'no type'} that are no JSON"
    return None if _is_answer(body, response) else "JSON of another shape"


def _is_answer(body: Any, response: requests.Response) -> bool:
    if response.request.method == "POST" and urlsplit(response.url).path.endswith("graphql"):
        has_data = isinstance(body, dict) and isinstance(body.get("data"), dict)
        return has_data or (isinstance(body, dict) and bool({"errors", "message"} & body.keys()))
    return isinstance(body, (dict, list))
