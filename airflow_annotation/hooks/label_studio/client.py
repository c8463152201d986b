"""The one HTTP client that all of the Label Studio code uses, the SDK included.

Keys, retries and errors live here, so that nothing else has to think of them. ``label-studio-sdk`` (2.1) can send its
requests through this client, and :attr:`LabelStudioClient.sdk` lets users do that. The provider's own do not use it:

- Control calls (projects, users, label config checks, versions): importing the SDK costs each process 3 seconds and
  190 MB. A call is one line with the type of its answer here as there, and the SDK's ``ApiError`` would have to be
  turned into our errors.
- All calls: whether a request may be sent twice travels with it in httpx's ``extensions``, which the SDK does not pass
  on. It decodes an answer after the retries, so that a garbled one is not asked for again.
- Bulk calls (export, import, predictions, files): bodies are bytes that msgspec has written or will read in portions.
  The SDK makes a pydantic model of each task first.
- Waits: its asynchronous client is another one, on a client of its own.

One thing only the SDK knows: why a server of its release drops a prediction. It is asked when that has happened
(``predictions.py``).
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar, overload
from urllib.parse import unquote, urlsplit

import httpx
import jwt
import msgspec
from httpx_retries import Retry

from airflow_annotation.exceptions import (
    AnnotationAuthenticationError,
    AnnotationError,
    AnnotationProjectNotFoundError,
    MediaError,
)
from airflow_annotation.hooks.answers import Answer, decode_json
from airflow_annotation.hooks.errors import connection_error, key_refused
from airflow_annotation.hooks.label_studio.errors import TOOL, check_response
from airflow_annotation.transport.clients import make_async_client, make_client, timeout_of
from airflow_annotation.transport.pacing import RequestPace
from airflow_annotation.transport.retries import retry_policy

if TYPE_CHECKING:
    from label_studio_sdk import LabelStudio

_REPEATABLE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
T = TypeVar("T")

_RENEWAL_MARGIN: Final = 30.0

_MEDIA_FOLDERS: Final = ("data/upload", "data/local-files", "storage-data/uploaded", "tasks")
"""Where the server has files of its own, or leads to those in its storages, for those with a key."""


class _AccessToken(msgspec.Struct):
    access: Annotated[str, msgspec.Meta(pattern="^[!-~]+$")]


class LabelStudioAuth(httpx.Auth):
    """Sends whichever of Label Studio's two kinds of key it is given.

    A legacy token is sent as ``Authorization: Token``. A personal access token is a JWT that is never sent as such: it
    buys access tokens of some minutes at ``/api/token/refresh/``, which are sent as ``Bearer``, renewed shortly before
    they expire and once when the server refuses one. Safe in threads and coroutines without a lock: two renewals at
    once give two good tokens.

    :param url: the server's URL, without a trailing slash
    :param api_key: a legacy token or a personal access token
    :param headers: what to send along to the server's proxy when an access token is bought
    :param retry: when and how often buying an access token is tried again
    """

    def __init__(self, *, url: str, api_key: str, headers: Mapping[str, str], retry: Retry) -> None:
        self._url = url
        self._api_key = api_key.strip()
        if not re.fullmatch(r"[!-~]+", self._api_key):
            raise AnnotationAuthenticationError(
                f"The connection to Label Studio at {url} has no usable API key: its password field is empty or has "
                "characters that no key has. Put a legacy token or a personal access token there."
            )
        self._headers = dict(headers)
        self._retry = retry
        self._is_personal_access_token = _jwt_claims(self._api_key) is not None
        self._access_token: str | None = None
        self._renew_at = 0.0

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Put the key on the request; buy an access token for it first where one is needed."""
        if not self._is_personal_access_token:
            request.headers["Authorization"] = f"Token {self._api_key}"
            yield request
            return
        if self._access_token is None or time.monotonic() >= self._renew_at:
            self._keep_access_token((yield self._token_request(request)))
        request.headers["Authorization"] = f"Bearer {self._access_token}"
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED:
            self._keep_access_token((yield self._token_request(request)))
            request.headers["Authorization"] = f"Bearer {self._access_token}"
            yield request

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Drive :meth:`auth_flow`, reading the answers to token requests only: others may be streamed."""
        flow = self.auth_flow(request)
        outgoing = next(flow)
        while True:
            if outgoing is not request:
                outgoing.extensions["retry"] = _token_answer().within(self._retry)
            response = yield outgoing
            if outgoing is not request:
                response.read()
            try:
                outgoing = flow.send(response)
            except StopIteration:
                return

    def put_key(self, request: httpx.Request, http: httpx.Client) -> None:
        """Put the key on a request that somebody else sends.

        :param http: buys an access token, where one is needed
        """
        flow = self.auth_flow(request)
        if (outgoing := next(flow)) is not request:
            outgoing.extensions["retry"] = _token_answer().within(self._retry)
            flow.send(http.send(outgoing, auth=None))

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Drive :meth:`auth_flow`, reading the answers to token requests only: others may be streamed."""
        flow = self.auth_flow(request)
        outgoing = next(flow)
        while True:
            if outgoing is not request:
                outgoing.extensions["retry"] = _token_answer().within_async(self._retry)
            response = yield outgoing
            if outgoing is not request:
                await response.aread()
            try:
                outgoing = flow.send(response)
            except StopIteration:
                return

    def _token_request(self, request: httpx.Request) -> httpx.Request:
        return httpx.Request(
            "POST",
            f"{self._url}/api/token/refresh/",
            headers=self._headers,
            json={"refresh": self._api_key},
            extensions={"timeout": request.extensions.get("timeout", {})},
        )

    def _keep_access_token(self, response: httpx.Response) -> None:
        if response.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.BAD_REQUEST}:
            raise key_refused(TOOL, self._url, "the personal access token is expired, revoked, or of another server")
        check_response(response, self._url)
        token = decode_json(response, _AccessToken).access
        claims = _jwt_claims(token) or {}
        # The token's own lifetime, on our clock: the server's clock may be off.
        lifetime = _seconds(claims, "exp") - _seconds(claims, "iat")
        self._renew_at = time.monotonic() + max(lifetime - _RENEWAL_MARGIN, lifetime / 2)
        self._access_token = token


def _token_answer() -> Answer[_AccessToken]:
    return Answer(lambda response: decode_json(response, _AccessToken))


class LabelStudioClient:
    """Requests to one Label Studio server, by one user.

    Every request has a timeout and is repeated, with backoff and jitter and as ``Retry-After`` says, where that is
    safe: on any passing failure if the request is repeatable, else only where the server cannot have acted on it (no
    connection, 429). Redirects are errors, since the key must not travel. Methods may be called from several threads.

    Failures are :class:`~airflow_annotation.exceptions.AnnotationConnectionError` (for a refused key
    :class:`~airflow_annotation.exceptions.AnnotationAuthenticationError`),
    :class:`~airflow_annotation.exceptions.AnnotationProjectNotFoundError` and
    :class:`~airflow_annotation.exceptions.AnnotationRequestError`; the key is in none of them.

    :param url: the server's URL, with its path prefix if it has one
    :param api_key: a legacy token or a personal access token
    :param verify: whether to verify the server's certificate, or the path of the certificates to trust
    :param timeout: seconds to wait for the server to take in or give out the next bytes
    :param headers: sent with every request, for a proxy in front of the server
    :param attempts: how often a failed request is repeated at most
    :param pace: how many requests may go out a minute; None for no limit
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
    ) -> None:
        self.url = self.app_url = _checked_url(url)
        self._attempts = attempts
        self._pace = pace
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

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Any = None,
        json: Any = None,
        content: bytes | None = None,
        files: Any = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
        timeout: float | None = None,
    ) -> httpx.Response:
        """Send a request and return its successful answer, read whole.

        :param method: ``GET``, ``POST``, ...
        :param path: below the server's URL, ``/api/projects/``
        :param params: the query, as httpx takes it
        :param json: the body, as JSON
        :param content: the body, as bytes
        :param files: the body, as multipart, as httpx takes it
        :param headers: of this request
        :param repeatable: whether sending it twice does no harm; by default what HTTP says of the method
        :param timeout: seconds, in place of the client's
        """
        return self._request(
            lambda response: response,
            self._arguments(method, path, repeatable=repeatable, timeout=timeout)
            | {"params": params, "json": json, "content": content, "files": files, "headers": headers},
        )

    @overload
    def read(self, method: str, path: str, type_: type[T], **arguments: Any) -> T: ...
    @overload
    def read(self, method: str, path: str, type_: Any, **arguments: Any) -> Any: ...
    def read(self, method: str, path: str, type_: Any, **arguments: Any) -> Any:
        """Send a request and return the JSON of its answer. One that cannot be read is asked for again where it may be.

        :param method: ``GET``, ``POST``, ...
        :param path: below the server's URL
        :param type_: what Label Studio answers there
        :param arguments: as :meth:`request` takes them
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
        **arguments: Any,
    ) -> T:
        """Like :meth:`read`, for what one type does not tell.

        :param read: returns what a successful answer says, or raises
            :class:`~airflow_annotation.exceptions.AnnotationAnswerError`
        """
        return self._request(read, self._arguments(method, path, repeatable=repeatable, timeout=timeout) | arguments)

    def _request(self, read: Callable[[httpx.Response], T], arguments: dict[str, Any]) -> T:
        answer = Answer(lambda response: read(check_response(response, self.url)))
        # Read inside the retry: an answer that is cut off half way, or garbled, is asked for again.
        arguments["extensions"]["retry"] = answer.within(arguments["extensions"]["retry"])
        with connection_error(TOOL, self.url):
            return answer.of(self._http.request(**arguments))

    @overload
    async def aread(self, method: str, path: str, type_: type[T], *, params: Any = None) -> T: ...
    @overload
    async def aread(self, method: str, path: str, type_: Any, *, params: Any = None) -> Any: ...
    async def aread(self, method: str, path: str, type_: Any, *, params: Any = None) -> Any:
        """Like :meth:`read`, for triggers. Opens a connection each time: they poll seldom, and have no end."""
        return await self._arequest(lambda response: decode_json(response, type_), method, path, params=params)

    async def arequest(self, method: str, path: str, *, params: Any = None) -> httpx.Response:
        """Like :meth:`request`, for triggers."""
        return await self._arequest(lambda response: response, method, path, params=params)

    async def _arequest(self, read: Callable[[httpx.Response], T], method: str, path: str, *, params: Any) -> T:
        answer = Answer(lambda response: read(check_response(response, self.url)))
        arguments = self._arguments(method, path, repeatable=None, timeout=None)
        arguments["extensions"]["retry"] = answer.within_async(arguments["extensions"]["retry"])
        with connection_error(TOOL, self.url):
            async with make_async_client(
                auth=self._auth,
                headers=self._headers,
                timeout=self._timeout,
                verify=self._ssl_context,
                pace=self._pace,
            ) as http:
                return answer.of(await http.request(**arguments, params=params))

    def media_request(self, media_uri: str) -> tuple[str, dict[str, str]]:
        """Return the URL of a file on the server, and the headers to send along; any other URI as it is, without.

        :param media_uri: the value in a task's data
        :raises MediaError: it leads out of the folders of files, where the key would open whatever the server has
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
        """Label Studio's SDK on this very client: same key, same retries. Its ``ApiError`` are its own."""
        from label_studio_sdk import LabelStudio

        return LabelStudio(  # type: ignore[no-untyped-call]  # the SDK leaves its constructor untyped
            base_url=self.url, api_key="set by LabelStudioAuth", httpx_client=self._http, max_retries=0
        )

    def _arguments(self, method: str, path: str, *, repeatable: bool | None, timeout: float | None) -> dict[str, Any]:
        if repeatable is None:
            repeatable = method.upper() in _REPEATABLE_METHODS
        return {
            "method": method,
            "url": f"{self.url}/{path.lstrip('/')}",
            "timeout": timeout_of(self._timeout if timeout is None else timeout),
            "extensions": {"retry": retry_policy(repeatable=repeatable, attempts=self._attempts)},
        }

    @cached_property
    def _http(self) -> httpx.Client:
        return make_client(
            auth=self._auth,
            headers=self._headers,
            timeout=self._timeout,
            verify=self._ssl_context,
            pace=self._pace,
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


def project_path(project_id: str) -> str:
    """Return the API's path of a project.

    :raises AnnotationProjectNotFoundError: the id is none that Label Studio gives
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
            "the API key belongs into the password field, other credentials into the extra field's headers."
        )
    return url.rstrip("/")


def _jwt_claims(token: str) -> dict[str, Any] | None:
    try:
        return dict(jwt.decode(token, options={"verify_signature": False}))
    except jwt.InvalidTokenError:
        return None


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    return float(value) if isinstance(value, (int, float)) else 0.0
