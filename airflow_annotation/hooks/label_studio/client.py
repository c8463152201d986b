"""The one HTTP client of all Label Studio code, including the SDK.

It handles keys, retries and errors for all other modules. ``label-studio-sdk`` (2.1) can send its requests through this
client, and :attr:`LabelStudioClient.sdk` lets users do that. The provider's own requests do not use the SDK:

- Control calls (projects, users, labeling config checks, versions): importing the SDK costs each process 3 seconds and
  190 MB. Here, as in the SDK, a call is one line with the type of its answer. With the SDK, its ``ApiError`` would also
  have to be turned into our errors.
- All calls: httpx's ``extensions`` say whether a request may be sent twice, and the SDK does not pass them on. The SDK
  decodes an answer after the retries, so it does not repeat a request with a garbled answer.
- Bulk calls (export, import, predictions, files): msgspec writes the bodies, or reads them in portions, as bytes. The
  SDK first makes a pydantic model of each task.
- Waits: the SDK's asynchronous client is a separate one, with an HTTP client of its own.

Only the SDK knows why a server of its release drops a prediction. ``predictions.py`` asks it when that has happened.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict, TypeVar, overload
from urllib.parse import unquote, urlsplit

import httpx
from httpx_retries import Retry

from airflow_annotation.exceptions import AnnotationError, AnnotationProjectNotFoundError, MediaError
from airflow_annotation.hooks.answers import Answer, decode_json
from airflow_annotation.hooks.connection_fields import CONCURRENCY
from airflow_annotation.hooks.errors import connection_error
from airflow_annotation.hooks.label_studio.auth import LabelStudioAuth
from airflow_annotation.hooks.label_studio.errors import TOOL, check_response
from airflow_annotation.transport.clients import make_async_client, make_client, timeout_of
from airflow_annotation.transport.metering import RequestMeter
from airflow_annotation.transport.pacing import RequestPace
from airflow_annotation.transport.retries import retry_policy
from airflow_annotation.transport.width import Width

if TYPE_CHECKING:
    from label_studio_sdk import LabelStudio
    from typing_extensions import Unpack

_REPEATABLE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
T = TypeVar("T")

_MEDIA_FOLDERS: Final = ("data/upload", "data/local-files", "storage-data/uploaded", "tasks")
"""Folders of URLs that need a key: the server's own files, and links to the files in its storages."""


class RequestContent(TypedDict, total=False):
    """Arguments of a request besides method and path, in httpx's form."""

    params: Any
    json: Any
    content: bytes
    files: Any
    headers: Mapping[str, str]


class RequestArguments(RequestContent, total=False):
    """Content, whether it does no harm to send it twice (default: what HTTP says), and the timeout in seconds."""

    repeatable: bool | None
    timeout: float | None


class LabelStudioClient:
    """Requests to one Label Studio server, by one user.

    Every request has a timeout. It is repeated if that is safe, with backoff and jitter and as ``Retry-After`` says: a
    repeatable request after any passing failure, others only if the server cannot have acted on them (no connection,
    429). Redirects are errors, since the key must not go elsewhere. Methods may be called from several threads.

    Failures are :class:`~airflow_annotation.exceptions.AnnotationConnectionError` (for a refused key
    :class:`~airflow_annotation.exceptions.AnnotationAuthenticationError`),
    :class:`~airflow_annotation.exceptions.AnnotationProjectNotFoundError` and
    :class:`~airflow_annotation.exceptions.AnnotationRequestError`; the key is in none of them.

    :param url: the server's URL, with its path prefix if it has one
    :param api_key: a legacy token or a personal access token
    :param verify: whether to verify the server's certificate, or the path of the certificates to trust
    :param timeout: seconds to wait for the server to take in or give out the next bytes
    :param headers: sent with every request, for a proxy in front of the server
    :param attempts: maximum number of retries of a failed request
    :param pace: limit of requests per minute; None for no limit
    :param meter: counter of the requests
    :param concurrency: number of requests that bulk reading and sending may run at once
    """

    def __init__(
        self,
        *,
        url: str,
        api_key: str,
        verify: bool | str = True,
        timeout: float = 60.0,
        headers: Mapping[str, str] | None = None,
        attempts: int = 5,
        pace: RequestPace | None = None,
        meter: RequestMeter | None = None,
        concurrency: int = CONCURRENCY,
    ) -> None:
        self.url = self.app_url = _checked_url(url)
        self.concurrency = concurrency
        self._attempts = attempts
        self._pace = pace
        self._meter = meter
        self._verify = verify
        self._timeout = timeout
        self._headers = dict(headers or {})
        self._auth = LabelStudioAuth(
            url=self.url,
            api_key=api_key,
            headers=self._headers,
            retry=retry_policy(repeatable=True, attempts=attempts),
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(url={self.url!r})"

    def request(self, method: str, path: str, **arguments: Unpack[RequestArguments]) -> httpx.Response:
        """Send a request and return its successful answer with the whole body read.

        :param method: ``GET``, ``POST``, ...
        :param path: path below the server's URL, such as ``/api/projects/``
        :param arguments: see :class:`RequestArguments`
        """
        return self.read_with(method, path, lambda response: response, **arguments)

    @overload
    def read(self, method: str, path: str, type_: type[T], **arguments: Unpack[RequestArguments]) -> T: ...
    @overload
    def read(self, method: str, path: str, type_: Any, **arguments: Unpack[RequestArguments]) -> Any: ...
    def read(self, method: str, path: str, type_: Any, **arguments: Unpack[RequestArguments]) -> Any:
        """Send a request and return the JSON of its answer. If that is unreadable, repeat the request if that is safe.

        :param method: ``GET``, ``POST``, ...
        :param path: path below the server's URL
        :param type_: type to decode the JSON into
        :raises AnnotationAnswerError: the answer is something else
        """
        return self.read_with(method, path, lambda response: decode_json(response, type_), **arguments)

    def read_with(
        self,
        method: str,
        path: str,
        read: Callable[[httpx.Response], T],
        *,
        repeatable: bool | None = None,
        timeout: float | None = None,
        **content: Unpack[RequestContent],
    ) -> T:
        """Like :meth:`read`, for answers that need more than a type to read them.

        :param read: function that returns the content of a successful answer, or raises
            :class:`~airflow_annotation.exceptions.AnnotationAnswerError`
        """
        answer = self._answer(read)
        seconds = timeout_of(self._timeout if timeout is None else timeout)
        # Read inside the retry, so that the request is repeated if its answer is cut off or garbled.
        extensions = {"retry": answer.within(self._retry(method, repeatable=repeatable))}
        with connection_error(TOOL, self.url):
            return answer.of(
                self._http.request(method, self._url(path), timeout=seconds, extensions=extensions, **content)
            )

    def read_streamed(self, path: str, read: Callable[[httpx.Response], T], *, params: Any = None) -> T:
        """Like :meth:`read_with` for a ``GET`` whose answer may be too large to hold.

        :param read: function that reads the body of a successful answer in portions. It is called again if it raises
            :class:`~airflow_annotation.exceptions.AnnotationAnswerError`, or if the connection breaks
        """
        answer = self._answer(read, is_streamed=True)
        extensions = {"retry": answer.within(self._retry("GET"))}
        with (
            connection_error(TOOL, self.url),
            self._http.stream("GET", self._url(path), params=params, extensions=extensions) as response,
        ):
            return answer.of(response)

    @overload
    async def aread(self, method: str, path: str, type_: type[T], *, params: Any = None) -> T: ...
    @overload
    async def aread(self, method: str, path: str, type_: Any, *, params: Any = None) -> Any: ...
    async def aread(self, method: str, path: str, type_: Any, *, params: Any = None) -> Any:
        """Like :meth:`read`, for triggers. Opens a connection each time: triggers poll rarely, and never end."""
        async with self.open() as requests:
            return await requests.read_with(method, path, lambda response: decode_json(response, type_), params=params)

    @asynccontextmanager
    async def open(self, width: Width | None = None) -> AsyncIterator[AsyncRequests]:
        """Open connections for requests from coroutines. At the end they are closed, even if requests still run.

        :param width: number of requests at once, which is told when the server says that it is overloaded
        """
        http = make_async_client(
            auth=self._auth,
            headers=self._headers,
            timeout=self._timeout,
            verify=self._ssl_context,
            pace=self._pace,
            meter=self._meter,
            width=width,
        )
        async with http:
            yield AsyncRequests(self, http)

    def media_request(self, media_uri: str) -> tuple[str, dict[str, str]]:
        """Return the URL of a file on the server and the headers for it; any other URI unchanged, without headers.

        :param media_uri: the value in a task's data
        :raises MediaError: the path leads out of the folders of files, to other content that the key would open
        """
        parts = urlsplit(self.url)
        prefix = parts.path.rstrip("/")
        path = media_uri.removeprefix(f"{parts.scheme}://{parts.netloc}")
        if not path.startswith(tuple(f"{prefix}/{folder}/" for folder in _MEDIA_FOLDERS)):
            return media_uri, {}
        if ".." in re.split(r"[/\\]", unquote(urlsplit(path).path)):
            raise MediaError(
                f"{media_uri[:200]!r} is no media of Label Studio: it leads out of the folder that it names."
            )
        request = httpx.Request("GET", f"{parts.scheme}://{parts.netloc}{path}", headers=self._headers)
        with connection_error(TOOL, self.url):
            self._auth.put_key(request, self._http)
        return str(request.url), {name: request.headers[name] for name in ("Authorization", *self._headers)}

    @cached_property
    def sdk(self) -> LabelStudio:
        """Label Studio's SDK on this client, with the same key and retries. It raises its own ``ApiError``."""
        from label_studio_sdk import LabelStudio

        return LabelStudio(  # type: ignore[no-untyped-call]  # the SDK leaves its constructor untyped
            base_url=self.url, api_key="set by LabelStudioAuth", httpx_client=self._http, max_retries=0
        )

    def _url(self, path: str) -> str:
        return f"{self.url}/{path.lstrip('/')}"

    def _retry(self, method: str, *, repeatable: bool | None = None) -> Retry:
        if repeatable is None:
            repeatable = method.upper() in _REPEATABLE_METHODS
        return retry_policy(repeatable=repeatable, attempts=self._attempts)

    def _answer(self, read: Callable[[httpx.Response], T], *, is_streamed: bool = False) -> Answer[T]:
        return Answer(lambda response: read(check_response(response, self.url)), is_streamed=is_streamed)

    @cached_property
    def _http(self) -> httpx.Client:
        return make_client(
            auth=self._auth,
            headers=self._headers,
            timeout=self._timeout,
            verify=self._ssl_context,
            pace=self._pace,
            meter=self._meter,
            retry=retry_policy(repeatable=True, attempts=self._attempts).copy_with(allowed_methods=_REPEATABLE_METHODS),
        )

    @cached_property
    def _ssl_context(self) -> ssl.SSLContext:
        if isinstance(self._verify, bool):
            return httpx.create_ssl_context(verify=self._verify)
        path = Path(self._verify)
        try:
            return ssl.create_default_context(
                cafile=None if path.is_dir() else str(path), capath=str(path) if path.is_dir() else None
            )
        except OSError as error:
            raise AnnotationError(f"The connection's ca_bundle {self._verify!r} cannot be read: {error}.") from error


class AsyncRequests:
    """Requests of a :class:`LabelStudioClient` from coroutines, on connections that are kept open."""

    def __init__(self, client: LabelStudioClient, http: httpx.AsyncClient) -> None:
        self._client = client
        self._http = http

    async def read_with(self, method: str, path: str, read: Callable[[httpx.Response], T], *, params: Any = None) -> T:
        """Like :meth:`LabelStudioClient.read_with`."""
        client = self._client
        answer = client._answer(read)
        extensions = {"retry": answer.within_async(client._retry(method))}
        with connection_error(TOOL, client.url):
            return answer.of(await self._http.request(method, client._url(path), params=params, extensions=extensions))


def project_path(project_id: str) -> str:
    """Return the API's path of a project.

    :raises AnnotationProjectNotFoundError: the id does not have the form of Label Studio's ids
    """
    if not re.fullmatch(r"[0-9]{1,18}", project_id):
        raise AnnotationProjectNotFoundError(
            f"{project_id!r} is not the id of a Label Studio project: those are numbers."
        )
    return f"/api/projects/{project_id}/"


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise AnnotationError(f"The connection's host {url!r} is not a URL: {error}.") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise AnnotationError(f"The connection's host {url!r} is not a URL like https://label-studio.example.com.")
    if parsed.userinfo:
        raise AnnotationError(
            f"The connection's host names a user or password for {parsed.host}: "
            "the API key belongs in the password field, other credentials into the extra field's headers."
        )
    return url.rstrip("/")
