"""The client of all Labelbox code: small GraphQL requests, files, and the SDK for the rest.

The SDK repeats a request only if the server fails, for two minutes, and has no asynchronous methods. So this client
itself sends requests that only read, and files. Changes go through the SDK, whose session waits out rate limits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar, overload

import httpx
import msgspec

from airflow_annotation.exceptions import AnnotationError, AnnotationRequestError
from airflow_annotation.hooks.answers import Answer, answered_at, garbled, is_web_page, reading
from airflow_annotation.hooks.errors import checked_key, connection_error
from airflow_annotation.hooks.labelbox.errors import (
    TOOL,
    read_field,
    read_graphql,
    read_graphql_parts,
    sdk_errors,
)
from airflow_annotation.labels.png import SIGNATURE
from airflow_annotation.transport.clients import make_async_client, make_client
from airflow_annotation.transport.metering import RequestMeter
from airflow_annotation.transport.pacing import RequestPace
from airflow_annotation.transport.retries import retry_policy, sdk_retry_policy

if TYPE_CHECKING:
    import labelbox

T = TypeVar("T")

CONCURRENCY: Final = 16
"""Requests that may be under way at once where the connection does not say it: Labelbox runs on many machines."""

_CLOCK: Final = "query AskTime { user { id } }"

_UPLOAD: Final = """mutation UploadFile($file: Upload!, $contentLength: Int!, $sign: Boolean) {
    uploadFile(file: $file, contentLength: $contentLength, sign: $sign) { url }
}"""


class LabelboxClient:
    """Requests to one Labelbox, by one user.

    Every request has a timeout and is repeated, with backoff and jitter and as ``Retry-After`` says, where that is
    safe. The key goes to the hosts of the three addresses only. Methods may be called from several threads.

    Failures are :class:`~airflow_annotation.exceptions.AnnotationConnectionError` (for a refused key
    :class:`~airflow_annotation.exceptions.AnnotationAuthenticationError`) and
    :class:`~airflow_annotation.exceptions.AnnotationRequestError`; the key is in none of them.

    :param api_key: of a user or a service
    :param endpoint: the GraphQL API, ``https://api.labelbox.com/graphql``
    :param rest_endpoint: the REST API, ``https://api.labelbox.com/api/v1``
    :param app_url: the application that people use, ``https://app.labelbox.com``
    :param timeout: seconds to wait for the server to take in or give out the next bytes
    :param attempts: maximum number of retries of a failed request
    :param pace: limit of requests per minute, without those of the SDK; None for no limit
    :param meter: counter of the requests, including those of the SDK
    :param concurrency: number of files that bulk reading and sending may transfer at once
    """

    def __init__(
        self,
        *,
        api_key: str,
        endpoint: str,
        rest_endpoint: str,
        app_url: str,
        timeout: float = 60.0,
        attempts: int = 5,
        pace: RequestPace | None = None,
        meter: RequestMeter | None = None,
        concurrency: int = CONCURRENCY,
    ) -> None:
        self.concurrency = concurrency
        self._api_key = checked_key(TOOL, endpoint, api_key)
        self.endpoint = endpoint
        self.rest_endpoint = rest_endpoint
        self.app_url = app_url
        self._attempts = attempts
        # A file that arrives twice is one that nobody refers to, and mutations go through the SDK: all may be repeated.
        self._retry = retry_policy(repeatable=True, attempts=attempts)
        self._pace = pace
        self._meter = meter
        self._timeout = timeout
        self._own_hosts = {_origin(httpx.URL(url)) for url in (endpoint, rest_endpoint, app_url)}
        self._sdk_lock = threading.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(endpoint={self.endpoint!r})"

    @overload
    def query(self, document: str, field: str, type_: type[T], **variables: Any) -> T: ...
    @overload
    def query(self, document: str, field: str, type_: Any, **variables: Any) -> Any: ...
    def query(self, document: str, field: str, type_: Any, **variables: Any) -> Any:
        """Send a GraphQL query and return a field of the answer. One that cannot be read is asked for again.

        :param document: one that changes nothing: it may be sent several times
        :param field: its names from the answer's data on, with dots between them
        :param type_: what Labelbox answers there
        :param variables: of the document
        :raises AnnotationAnswerError: the answer is something else
        """
        return self._post(self._reader(field, type_), **self._graphql(document, variables))

    @overload
    async def aquery(self, document: str, field: str, type_: type[T], **variables: Any) -> T: ...
    @overload
    async def aquery(self, document: str, field: str, type_: Any, **variables: Any) -> Any: ...
    async def aquery(self, document: str, field: str, type_: Any, **variables: Any) -> Any:
        """Like :meth:`query`, for triggers. Opens a connection each time: they poll rarely, and have no end."""
        return await self._apost(self._reader(field, type_), document, variables)

    async def aquery_parts(
        self, document: str, type_: Any, **variables: Any
    ) -> tuple[dict[str, Any], dict[str, AnnotationRequestError]]:
        """Like :meth:`aquery`, for several questions in one document: return the data, and the errors by field.

        :param type_: of the fields, all of which may be null
        :raises AnnotationRequestError: Labelbox refuses it as a whole
        """

        def read(response: httpx.Response) -> tuple[dict[str, Any], dict[str, AnnotationRequestError]]:
            data, refused = read_graphql_parts(response, self.endpoint)
            return read_field(response, data, "", dict[str, type_ | None]), refused

        return await self._apost(read, document, variables)

    def ask_time(self) -> datetime | None:
        """Ask for the time by Labelbox's own clock, in whole seconds; None where it does not say."""

        def read(response: httpx.Response) -> datetime | None:
            read_graphql(response, self.endpoint)
            return answered_at(response)

        return self._post(read, **self._graphql(_CLOCK, {}))

    def _reader(self, field: str, type_: Any) -> Callable[[httpx.Response], Any]:
        return lambda response: read_field(response, read_graphql(response, self.endpoint), field, type_)

    def _post(self, read: Callable[[httpx.Response], T], **request: Any) -> T:
        answer = Answer(read)
        # Read inside the retry: an answer that is cut off half way, or garbled, is asked for again.
        extensions = {"retry": answer.within(self._retry)}
        with connection_error(TOOL, self.endpoint):
            return answer.of(self._http.post(self.endpoint, extensions=extensions, **request))

    async def _apost(self, read: Callable[[httpx.Response], T], document: str, variables: dict[str, Any]) -> T:
        answer = Answer(read)
        extensions = {"retry": answer.within_async(self._retry)}
        request = self._graphql(document, variables)
        with connection_error(TOOL, self.endpoint):
            async with make_async_client(timeout=self._timeout, pace=self._pace, meter=self._meter) as http:
                return answer.of(await http.post(self.endpoint, extensions=extensions, **request))

    def upload(self, file: BinaryIO, *, name: str, mime_type: str, size: int) -> str:
        """Send a file to Labelbox's own storage, and return its URL there.

        :param file: sent from its beginning, without holding it in memory
        :param name: for people
        :param mime_type: of the content
        :param size: bytes
        """
        # Labelbox reads the GraphQL multipart request specification's map in this form, as its SDK sends it.
        variables = {"file": None, "contentLength": size, "sign": False}
        operations = msgspec.json.encode({"query": _UPLOAD, "variables": variables}).decode()
        url: str = self._post(
            self._reader("uploadFile.url", str),
            headers=self._headers(self.endpoint),
            data={"operations": operations, "map": '{"1": ["variables.file"]}'},
            files={"1": (name, file, mime_type)},
        )
        return url

    @contextmanager
    def stream(self, url: str) -> Iterator[httpx.Response]:
        """Give what is behind a URL that Labelbox gave, while it comes in; a body that is cut off is an error."""
        with (
            connection_error(TOOL, _shown(url)),
            self._http.stream("GET", url, headers=self._headers(url)) as response,
        ):
            yield _found(response, url)

    def fetch(self, url: str, read: Callable[[bytes], T]) -> T:
        """Return what is behind a URL that Labelbox gave: a mask, what became of an import.

        :param read: reads the file, and raises a ValueError where it is none: then it is asked for again
        :raises AnnotationRequestError: it is not there; the message names the URL without its query
        :raises AnnotationAnswerError: it cannot be read
        """

        def read_file(response: httpx.Response) -> T:
            with reading(_found(response, url)):
                _check_end(response)
                return read(response.content)

        answer = Answer(read_file)
        extensions = {"retry": answer.within(self._retry)}
        with connection_error(TOOL, _shown(url)):
            return answer.of(
                self._http.get(url, headers=self._headers(url), extensions=extensions, follow_redirects=True)
            )

    def is_own(self, url: str) -> bool:
        """Return whether a URL is of this Labelbox, so that the key may go there."""
        return _origin(httpx.URL(url)) in self._own_hosts

    @property
    def sdk(self) -> labelbox.Client:
        """Labelbox's SDK with the same key. Its errors are its own outside of :meth:`using_sdk`."""
        with self._sdk_lock:
            return self._sdk

    @contextmanager
    def using_sdk(self) -> Iterator[labelbox.Client]:
        """Give the SDK, with its errors turned into ours."""
        with sdk_errors(self.endpoint, self._api_key):
            yield self.sdk

    @cached_property
    def _sdk(self) -> labelbox.Client:
        import labelbox

        from airflow_annotation.hooks.labelbox.sdk_answers import SdkAdapter

        client = labelbox.Client(
            api_key=self._api_key, endpoint=self.endpoint, rest_endpoint=self.rest_endpoint, app_url=self.app_url
        )
        # The SDK gives up at once where Labelbox asks to come back later, or cannot be reached.
        retry = sdk_retry_policy(attempts=self._attempts)
        for scheme in ("https://", "http://"):
            client.connection.mount(scheme, SdkAdapter(retry, attempts=self._attempts, meter=self._meter))
        return client

    def _graphql(self, document: str, variables: dict[str, Any]) -> dict[str, Any]:
        return {
            "headers": self._headers(self.endpoint),
            "json": {"query": document, "variables": variables},
        }

    def _headers(self, url: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._api_key}"} if self.is_own(url) else {}

    @cached_property
    def _http(self) -> httpx.Client:
        return make_client(timeout=self._timeout, pace=self._pace, meter=self._meter, retry=self._retry)


def checked_url(url: str, field: str) -> str:
    """Return an address of the connection without a slash at its end.

    :param field: names the field in errors
    :raises AnnotationError: it is none
    """
    try:
        parsed = httpx.URL(url.strip())
    except httpx.InvalidURL as error:
        raise AnnotationError(f"The connection's {field} is not a URL: {error}.") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise AnnotationError(f"The connection's {field} is not a URL with http:// or https:// and a host.")
    if parsed.userinfo:
        raise AnnotationError(f"The connection's {field} has credentials in it: the API key is the password field's.")
    return str(parsed.copy_with(query=None, fragment=None)).rstrip("/")


def _found(response: httpx.Response, url: str) -> httpx.Response:
    if not response.is_success:
        raise AnnotationRequestError(
            f"{_shown(url)} cannot be fetched: {response.status_code} {response.reason_phrase}.",
            status_code=response.status_code,
        )
    if is_web_page(response):
        raise garbled(response, "a web page that wants a login, or another that is no file")
    return response


def _check_end(response: httpx.Response) -> None:
    """Check that a mask came whole that was compressed on its way: httpx takes half a gzip for a whole one.

    :raises ValueError: its end is missing
    """
    content = response.content
    if "content-encoding" in response.headers and content.startswith(SIGNATURE) and b"IEND" not in content[-64:]:
        raise ValueError("the end of the PNG is missing")


def _origin(url: httpx.URL) -> tuple[str, str]:
    return url.scheme, url.netloc.decode()


def _shown(url: str) -> str:
    """Return a URL without its query, which may hold a signature."""
    return str(httpx.URL(url).copy_with(query=None, fragment=None))
