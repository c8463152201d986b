"""Makes all HTTP clients: for the labeling tools, and for the hosts of media."""

from __future__ import annotations

import asyncio
import ssl
import time
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar

import httpx
from httpx_retries import Retry, RetryTransport

from airflow_annotation.transport.metering import RequestMeter
from airflow_annotation.transport.pacing import RequestPace
from airflow_annotation.transport.width import OVERLOADED, Width

CONNECT_TIMEOUT: Final = 10.0
"""Maximum seconds to wait for a connection; after that, the server counts as unreachable."""

_PORTS: Final = {"http": 80, "https": 443}

_Transport = TypeVar("_Transport")


def make_client(
    *,
    retry: Retry,
    timeout: float,
    verify: ssl.SSLContext | None = None,
    pace: RequestPace | None = None,
    meter: RequestMeter | None = None,
    auth: httpx.Auth | None = None,
    headers: Mapping[str, str] | None = None,
    follow_redirects: bool = False,
    make_transport: Callable[[str | None], httpx.BaseTransport] | None = None,
) -> httpx.Client:
    """Return a client that uses the proxies of the environment, and sends failed requests again.

    :param retry: retry policy of requests that have no policy of their own
    :param timeout: seconds to wait until the server accepts or sends the next bytes
    :param verify: TLS context, with the certificates to trust
    :param pace: limit on the requests per minute, which include retries; None for no limit
    :param meter: counter of the requests, which include retries
    :param auth: adds the key to requests
    :param headers: headers of every request
    :param follow_redirects: whether to follow redirects; each hop goes through its own proxy
    :param make_transport: function that takes a proxy, or None for none, and returns a transport
    """
    context = verify or httpx.create_ssl_context()
    make_transport = make_transport or (lambda proxy: httpx.HTTPTransport(verify=context, proxy=proxy))
    transport = ProxyTransport(_Ways(make_transport, pace, meter))
    return httpx.Client(
        auth=auth,
        headers=headers,
        timeout=timeout_of(timeout),
        follow_redirects=follow_redirects,
        transport=RetryTransport(transport, retry=retry),
    )


def make_async_client(
    *,
    timeout: float,
    verify: ssl.SSLContext | None = None,
    pace: RequestPace | None = None,
    meter: RequestMeter | None = None,
    width: Width | None = None,
    auth: httpx.Auth | None = None,
    headers: Mapping[str, str] | None = None,
) -> httpx.AsyncClient:
    """Like :func:`make_client`, for coroutines: each of their requests has a retry policy of its own.

    :param width: becomes smaller when the server says that it is overloaded
    """
    context = verify or httpx.create_ssl_context()
    ways = _Ways(lambda proxy: httpx.AsyncHTTPTransport(verify=context, proxy=proxy), pace, meter, width)
    transport = AsyncProxyTransport(ways)
    return httpx.AsyncClient(
        auth=auth, headers=headers, timeout=timeout_of(timeout), transport=RetryTransport(transport)
    )


def timeout_of(seconds: float) -> httpx.Timeout:
    """Return the time-outs of a request.

    :param seconds: seconds to wait until the server accepts or sends the next bytes
    """
    return httpx.Timeout(seconds, connect=min(seconds, CONNECT_TIMEOUT))


def environment_proxy(url: httpx.URL) -> str | None:
    """Return the proxy that ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` name for a URL."""
    hosts = (url.host, f"{url.host}:{url.port or _PORTS.get(url.scheme)}")
    if any(urllib.request.proxy_bypass(host) for host in hosts):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


class _Ways(Generic[_Transport]):
    """One transport for each proxy and one for no proxy, with the pace, meter and width that they share.

    They are made here because httpx reads the environment only for transports that it makes itself.

    :param make_transport: function that takes a proxy, or None for none, and returns a transport
    :param pace: gives each request its turn
    :param meter: counter of requests
    :param width: becomes smaller when an answer says that the server is overloaded
    """

    def __init__(
        self,
        make_transport: Callable[[str | None], _Transport],
        pace: RequestPace | None,
        meter: RequestMeter | None,
        width: Width | None = None,
    ) -> None:
        self._make_transport = make_transport
        self._pace = pace
        self._meter = meter
        self._width = width
        self._transports: dict[str | None, _Transport] = {}
        self._proxies: dict[tuple[Any, ...], str | None] = {}

    def take_turn(self) -> float:
        """Return the seconds to wait before the next request."""
        return 0.0 if self._pace is None else self._pace.take_turn()

    def find(self, url: httpx.URL) -> _Transport:
        origin = (url.scheme, url.host, url.port)
        if origin not in self._proxies:
            self._proxies[origin] = environment_proxy(url)
        proxy = self._proxies[origin]
        if proxy not in self._transports:
            # Two threads may make one each: setdefault keeps the first, and the other has no connection yet.
            self._transports.setdefault(proxy, self._make_transport(proxy))
        return self._transports[proxy]

    def count(self, outcome: httpx.Response | httpx.TransportError, asked: float) -> None:
        """Count a request.

        :param outcome: the answer, or the error if there is none
        :param asked: time of the request, by the monotonic clock
        """
        status = outcome.status_code if isinstance(outcome, httpx.Response) else None
        if self._meter is not None:
            self._meter.count(status)
        if self._width is not None and (status in OVERLOADED or isinstance(outcome, httpx.TimeoutException)):
            self._width.ease(asked)

    def all(self) -> list[_Transport]:
        return list(self._transports.values())


class ProxyTransport(httpx.BaseTransport):
    """Sends each request, retries too, when it is its turn, through the proxy that the environment names for it."""

    def __init__(self, ways: _Ways[httpx.BaseTransport]) -> None:
        self._ways = ways

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Wait for a turn, and send the request."""
        asked = time.monotonic()
        time.sleep(self._ways.take_turn())
        try:
            response = self._ways.find(request.url).handle_request(request)
        except httpx.TransportError as error:
            self._ways.count(error, asked)
            raise
        self._ways.count(response, asked)
        return response

    def close(self) -> None:
        """Close the connections."""
        for transport in self._ways.all():
            transport.close()


class AsyncProxyTransport(httpx.AsyncBaseTransport):
    """Like :class:`ProxyTransport`, for coroutines."""

    def __init__(self, ways: _Ways[httpx.AsyncHTTPTransport]) -> None:
        self._ways = ways

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Wait for a turn, and send the request."""
        asked = time.monotonic()
        await asyncio.sleep(self._ways.take_turn())
        try:
            response = await self._ways.find(request.url).handle_async_request(request)
        except httpx.TransportError as error:
            self._ways.count(error, asked)
            raise
        self._ways.count(response, asked)
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        for transport in self._ways.all():
            await transport.aclose()
