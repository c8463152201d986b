"""The client of all Labelbox code: small GraphQL requests, files, and the SDK for the rest.

The SDK repeats a request only if the server fails, for two minutes, and has no asynchronous methods. So this client
itself sends files, requests that only read, and mutations that may arrive twice. Other changes go through the SDK,
whose session waits out rate limits.
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
"""Default number of requests that may run at once. It is large, since Labelbox runs on many machines."""

_CLOCK: Final = "query AskTime { user { id } }"

_UPLOAD: Final = """mutation UploadFile($file: Upload!, $contentLength: Int!, $sign: Boolean) {
    uploadFile(file: $file, contentLength: $contentLength, sign: $sign) { url }
}"""


class LabelboxClient:
    """Requests to one Labelbox, by one user.

    Every request has a timeout. It is repeated if that is safe, with backoff and jitter and as ``Retry-After`` says.
    The key goes only to the hosts of the three addresses. Methods may be called from several threads.

    Failures are :class:`~airflow_annotation.exceptions.AnnotationConnectionError` (for a refused key
    :class:`~airflow_annotation.exceptions.AnnotationAuthenticationError`) and
    :class:`~airflow_annotation.exceptions.AnnotationRequestError`; the key is in none of them.

    :param api_key: key of a user or a service
    :param endpoint: address of the GraphQL API, such as ``https://api.labelbox.com/graphql``
    :param rest_endpoint: address of the REST API, such as ``https://api.labelbox.com/api/v1``
    :param app_url: address of the application that people use, such as ``https://app.labelbox.com``
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
        # All requests may be repeated: no data row refers to the second copy of a file, and other mutations either may
        # arrive twice or go through the SDK.
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
        """Send a GraphQL document and return a field of the answer. If the answer is unreadable, repeat the request.

        :param document: a query, or a mutation that may arrive several times
        :param field: path of the field in the answer's data, with dots between the names
        :param type_: type to decode the field into
        :param variables: variables of the document
        :raises AnnotationAnswerError: the answer is something else
        """
        return self._post(self._reader(field, type_), **self._graphql(document, variables))

    @overload
    async def aquery(self, document: str, field: str, type_: type[T], **variables: Any) -> T: ...
    @overload
    async def aquery(self, document: str, field: str, type_: Any, **variables: Any) -> Any: ...
    async def aquery(self, document: str, field: str, type_: Any, **variables: Any) -> Any:
        """Like :meth:`query`, for triggers. Opens a connection each time: triggers poll rarely, and never end."""
        return await self._apost(self._reader(field, type_), document, variables)

    async def aquery_parts(
        self, document: str, type_: Any, **variables: Any
    ) -> tuple[dict[str, Any], dict[str, AnnotationRequestError]]:
        """Like :meth:`aquery`, for a document with several fields: return the data, and the errors by field.

        :param document: the document
        :param type_: type to decode each field into, unless it is null
        :param variables: variables of the document
        :raises AnnotationRequestError: Labelbox refuses the request as a whole
        """

        def read(response: httpx.Response) -> tuple[dict[str, Any], dict[str, AnnotationRequestError]]:
            data, refused = read_graphql_parts(response, self.endpoint)
            return read_field(response, data, "", dict[str, type_ | None]), refused

        return await self._apost(read, document, variables)

    def ask_time(self) -> datetime | None:
        """Ask for the time by Labelbox's own clock, in whole seconds; None if the answer has no time."""

        def read(response: httpx.Response) -> datetime | None:
            read_graphql(response, self.endpoint)
            return answered_at(response)

        return self._post(read, **self._graphql(_CLOCK, {}))

    def _reader(self, field: str, type_: Any) -> Callable[[httpx.Response], Any]:
        return lambda response: read_field(response, read_graphql(response, self.endpoint), field, type_)

    def _post(self, read: Callable[[httpx.Response], T], **request: Any) -> T:
        answer = Answer(read)
        # Read inside the retry, so that the request is repeated if its answer is cut off or garbled.
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

        :param file: the open file, which is sent from its beginning without holding it in memory
        :param name: name that people see
        :param mime_type: media type of the content
        :param size: size of the file in bytes
        """
        # Labelbox reads the map of the GraphQL multipart request specification in this form, which its SDK sends.
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
        """Yield the answer of a URL that Labelbox gave, to read it in portions. A body that is cut off is an error."""
        with (
            connection_error(TOOL, _shown(url)),
            self._http.stream("GET", url, headers=self._headers(url)) as response,
        ):
            yield _found(response, url)

    def fetch(self, url: str, read: Callable[[bytes], T]) -> T:
        """Fetch a file from a URL that Labelbox gave, such as a mask or the status file of an import.

        :param url: URL of the file
        :param read: function that returns the content of the file, or raises a ValueError. In this case, the file is
            requested again
        :raises AnnotationRequestError: the file cannot be fetched; the message names the URL without its query
        :raises AnnotationAnswerError: the file cannot be read
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
        """Return whether a URL has a host of this Labelbox, to which the key may go."""
        return _origin(httpx.URL(url)) in self._own_hosts

    @property
    def sdk(self) -> labelbox.Client:
        """Labelbox's SDK with the same key. It raises its own errors, unless it is used inside :meth:`using_sdk`."""
        with self._sdk_lock:
            return self._sdk

    @contextmanager
    def using_sdk(self) -> Iterator[labelbox.Client]:
        """Yield the SDK, and turn its errors into ours."""
        with sdk_errors(self.endpoint, self._api_key):
            yield self.sdk

    @cached_property
    def _sdk(self) -> labelbox.Client:
        import labelbox

        from airflow_annotation.hooks.labelbox.sdk_answers import SdkAdapter

        client = labelbox.Client(
            api_key=self._api_key, endpoint=self.endpoint, rest_endpoint=self.rest_endpoint, app_url=self.app_url
        )
        # Without this, the SDK gives up at once if Labelbox asks to come back later or cannot be reached.
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

    :param url: the address
    :param field: name of the field in errors
    :raises AnnotationError: the field does not hold an address, or holds credentials
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
    """Check that a PNG in a compressed answer is complete. httpx does not notice a missing end of a gzip.

    :raises ValueError: the end of the PNG is missing
    """
    content = response.content
    if "content-encoding" in response.headers and content.startswith(SIGNATURE) and b"IEND" not in content[-64:]:
        raise ValueError("the end of the PNG is missing")


def _origin(url: httpx.URL) -> tuple[str, str]:
    return url.scheme, url.netloc.decode()


def _shown(url: str) -> str:
    """Return a URL without its query, which may hold a signature."""
    return str(httpx.URL(url).copy_with(query=None, fragment=None))
