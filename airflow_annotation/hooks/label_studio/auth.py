"""Put the API key on each request to Label Studio, and get access tokens with a personal access token."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Generator, Mapping
from typing import Annotated, Any, Final

import httpx
import jwt
import msgspec
from httpx_retries import Retry

from airflow_annotation.hooks.answers import Answer, decode_json
from airflow_annotation.hooks.errors import checked_key, key_refused
from airflow_annotation.hooks.label_studio.errors import TOOL, check_response

_RENEWAL_MARGIN: Final = 30.0


class _AccessToken(msgspec.Struct):
    access: Annotated[str, msgspec.Meta(pattern="^[!-~]+$")]


class LabelStudioAuth(httpx.Auth):
    """Authenticates requests with either of Label Studio's two kinds of key.

    A legacy token is sent as ``Authorization: Token``. A personal access token is a JWT. It is sent only to
    ``/api/token/refresh/``, which returns access tokens that are valid for some minutes. These are sent as ``Bearer``.
    They are renewed shortly before they expire, and once when the server refuses one. Safe in threads and coroutines
    without a lock: two renewals at once give two valid tokens.

    :param url: the server's URL, without a trailing slash
    :param api_key: a legacy token or a personal access token
    :param headers: headers for the server's proxy, in requests for access tokens
    :param retry: policy for repeating requests for access tokens
    """

    def __init__(self, *, url: str, api_key: str, headers: Mapping[str, str], retry: Retry) -> None:
        self._url = url
        hint = " Put a legacy token or a personal access token there."
        self._api_key = checked_key(TOOL, url, api_key, hint)
        self._headers = dict(headers)
        self._retry = retry
        self._is_personal_access_token = _jwt_claims(self._api_key) is not None
        self._access_token: str | None = None
        self._renew_at = 0.0

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Put the key on the request. If it needs an access token, get one first."""
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
        """Put the key on a request that another client sends.

        :param request: the request
        :param http: client that gets an access token if one is needed
        """
        flow = self.sync_auth_flow(request)
        if (outgoing := next(flow)) is not request:
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
        # Measure the token's lifetime by our clock: the server's clock may be wrong.
        lifetime = _seconds(claims, "exp") - _seconds(claims, "iat")
        self._renew_at = time.monotonic() + max(lifetime - _RENEWAL_MARGIN, lifetime / 2)
        self._access_token = token


def _token_answer() -> Answer[_AccessToken]:
    return Answer(lambda response: decode_json(response, _AccessToken))


def _jwt_claims(token: str) -> dict[str, Any] | None:
    try:
        return dict(jwt.decode(token, options={"verify_signature": False}))
    except jwt.InvalidTokenError:
        return None


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    return float(value) if isinstance(value, (int, float)) else 0.0
