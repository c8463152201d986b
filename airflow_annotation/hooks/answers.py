"""Decode the tools' answers. An answer that cannot be read becomes one kind of error, and its request is repeated."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Final, Generic, TypeVar, overload

import httpx
import msgspec
from httpx_retries import Retry

from airflow_annotation.exceptions import AnnotationAnswerError
from airflow_annotation.labels.json_repair import repair_json

T = TypeVar("T")

_DECODER: Final = json.JSONDecoder(strict=False)
_BETWEEN: Final = re.compile(r"[\s,]*")
_LONGEST_RECORD: Final = 1 << 20
"""Characters without a whole record after which an answer counts as unreadable."""


@overload
def decode_json(response: httpx.Response, type_: type[T]) -> T: ...
@overload
def decode_json(response: httpx.Response, type_: Any) -> Any: ...
def decode_json(response: httpx.Response, type_: Any) -> Any:
    """Return a successful answer's JSON.

    :param response: a response whose body has been read
    :param type_: the type to decode the JSON into
    :raises AnnotationAnswerError: the body is something else; the message names the path and what came
    """
    with reading(response):
        try:
            return msgspec.json.decode(response.content, type=type_)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):  # what people typed may break strict JSON
            return msgspec.json.decode(repair_json(response.content), type=type_)


def decode_records(response: httpx.Response, type_: type[T]) -> Iterator[T]:
    """Yield the records of an answer that is a list in JSON, while its body arrives. They are never held together.

    :param response: a successful response whose body has not been read
    :param type_: the type to decode each record into
    :raises AnnotationAnswerError: the body is something else; records before the damage have been yielded then
    """
    try:
        for record in _split_list(response.iter_text()):
            yield msgspec.convert(record, type_)
    except (ValueError, RecursionError) as error:
        raise garbled(response, f"a list that cannot be read: {error}") from error


def _split_list(parts: Iterator[str]) -> Iterator[Any]:
    text, is_list = "", False
    for part in parts:
        text += part
        place = 0
        if not is_list and text.strip():
            if not text.lstrip().startswith("["):
                raise ValueError("it is no list")
            place, is_list = text.index("[") + 1, True
        while is_list:
            between = _BETWEEN.match(text, place)
            place = between.end() if between else place
            if text.startswith("]", place):
                if text[place + 1 :].strip() or any(rest.strip() for rest in parts):
                    raise ValueError("it goes on after its end")
                return
            try:
                record, place = _DECODER.raw_decode(text, place)
            except json.JSONDecodeError:  # the rest of the record has not arrived
                break
            yield record
        text = text[place:]
        if len(text) > _LONGEST_RECORD:
            break
    raise ValueError(f"no record or end follows {text[:20]!r}")


@contextmanager
def reading(response: httpx.Response) -> Iterator[None]:
    """Turn any failure to read a successful answer into one kind of error.

    :raises AnnotationAnswerError: the answer cannot be read; the message names the path and what came
    """
    if is_web_page(response):
        raise garbled(response, page_name(response))
    try:
        yield
    except (ValueError, RecursionError) as error:
        raise garbled(response, f"{answer_kind(response)} that cannot be read: {error}") from error


def json_of(response: httpx.Response) -> Any:
    """Return the JSON of an answer, or None if it is not JSON."""
    try:
        return response.json()
    except ValueError:
        return None


def is_web_page(response: httpx.Response) -> bool:
    """Return whether an answer is a web page for people, such as the login page of a proxy."""
    return bool(response.headers.get("content-type", "").startswith("text/html"))


def garbled(response: httpx.Response, what: str) -> AnnotationAnswerError:
    """Return the error for an answer that cannot be read.

    :param what: a description of what came, never the body itself, which may hold a secret
    """
    request = response.request
    return AnnotationAnswerError(
        f"{request.method} {request.url.copy_with(query=None, fragment=None)} was answered with {what}. Is the "
        "connection's host right, with its path prefix, and is there a proxy in front that wants a login?"
    )


def undecodable(error: httpx.DecodingError) -> AnnotationAnswerError:
    """Return the error for an answer that cannot be decompressed."""
    request = error.request
    return AnnotationAnswerError(
        f"{request.method} {request.url.copy_with(query=None, fragment=None)} was answered with a body that cannot be "
        f"decompressed: {error}."
    )


class Answer(Generic[T]):
    """Reads the answer to one request inside its retries, so that the request is repeated if the answer is unreadable.

    :param read: function that returns the content of a successful answer, or raises :class:`AnnotationAnswerError`
    :param is_streamed: whether ``read`` reads the body itself, which may be too large to hold
    """

    def __init__(self, read: Callable[[httpx.Response], T], *, is_streamed: bool = False) -> None:
        self._read = read
        self._is_streamed = is_streamed
        self._found: list[T] = []

    def within(self, retry: Retry) -> Retry:
        """Return retries that also read the answer. For coroutines, use :meth:`within_async`."""

        def validate(response: httpx.Response) -> None:
            self._load(response)
            self._keep(response)

        return retry.copy_with(validate_response=validate)

    def within_async(self, retry: Retry) -> Retry:
        """Like :meth:`within`."""

        async def validate(response: httpx.Response) -> None:
            await response.aread()
            self._keep(response)

        return retry.copy_with(validate_response=validate)

    def of(self, response: httpx.Response) -> T:
        """Return the content of the answer.

        :param response: the last response; unless it is streamed, its body has been read
        """
        if self._found:
            return self._found[0]
        # The retries do not read the answer to the last try.
        self._load(response)
        return self._read(response)

    def _load(self, response: httpx.Response) -> None:
        """Read the body, except one that the function reads. Errors show the body of failures and web pages."""
        if not self._is_streamed or not response.is_success or is_web_page(response):
            response.read()

    def _keep(self, response: httpx.Response) -> None:
        if response.is_success:
            self._found[:] = [self._read(response)]


def answered_at(response: httpx.Response) -> datetime | None:
    """Return when the server answered, by its own clock, in whole seconds; None if the answer has no time."""
    try:
        time = parsedate_to_datetime(response.headers.get("date", ""))
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


def page_name(response: httpx.Response) -> str:
    """Return the name of a web page for error messages."""
    title = re.search(r"(?is)<title[^>]*>(.{0,100}?)</title>", response.text)
    return "a web page" + (f" ({title[1].strip()!r})" if title else "") + " instead of JSON"


def answer_kind(response: httpx.Response) -> str:
    """Return the name of an answer that is not a web page, for error messages."""
    return f"{len(response.content):,} bytes of {response.headers.get('content-type') or 'no type'}"
