"""What requests to every labeling tool have in common: when they are repeated, and through which proxy they go."""

from __future__ import annotations

import urllib.request
from typing import Final

import httpx
from httpx_retries import Retry, RetryTransport

from airflow_annotation.hooks.pacing import AsyncPacedTransport, PacedTransport, RequestPace

CONNECT_TIMEOUT: Final = 10.0
"""Seconds, at most, until a server that does not answer the connection counts as unreachable."""

_METHODS: Final = ("GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE")


def retry_policy(*, repeatable: bool, attempts: int) -> Retry:
    """Return when and how often a request is sent again.

    :param repeatable: whether sending it twice does no harm; if not, it is repeated only where the server cannot have
        acted on it
    :param attempts: how often at most
    """
    return Retry(
        total=attempts,
        allowed_methods=_METHODS,
        backoff_factor=0.25,
        backoff_jitter=0.5,
        max_backoff_wait=120,
        total_timeout=300,
        status_forcelist=(429, 500, 502, 503, 504) if repeatable else (429,),
        retry_on_exceptions=(
            (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)
            if repeatable
            else (httpx.ConnectError, httpx.ConnectTimeout)
        ),
    )


def environment_proxy(url: str) -> str | None:
    """Return the proxy that the environment names for a URL, which httpx looks up only for transports of its own."""
    parsed = httpx.URL(url)
    if urllib.request.proxy_bypass(parsed.host):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(parsed.scheme) or proxies.get("all")


def retrying_transport(
    transport: httpx.HTTPTransport | httpx.AsyncHTTPTransport, *, pace: RequestPace | None, retry: Retry | None = None
) -> RetryTransport:
    """Return a transport that sends requests again as :func:`retry_policy` says, each when it is its turn.

    :param transport: what sends them
    :param pace: whose turn it is; None for no limit
    :param retry: the policy of requests that have none of their own
    """
    if pace is None:
        return RetryTransport(transport, retry=retry)
    if isinstance(transport, httpx.AsyncHTTPTransport):
        return RetryTransport(AsyncPacedTransport(transport, pace), retry=retry)
    return RetryTransport(PacedTransport(transport, pace), retry=retry)
