"""Decides which media of items may be read.

People who may add or edit an item in the labeling tool can write any ``media_uri``. So it is untrusted: it must not
open the worker's files, use Airflow's connections or the worker's own credentials, or reach hosts that only the
worker's network can reach. docs/security.md has the whole model.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import unquote

import httpcore
import httpx

from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.media.ranges import UrlSigner, open_media_in_place
from airflow_annotation.media.storage import (
    get_http_client,
    local_path,
    make_media_client,
    shown,
    uri_scheme,
    without_connection,
)

OwnCopy = Callable[[], "tuple[str, Mapping[str, str]] | None"]
"""Returns the URL and the headers of the labeling tool's own copy of an item's media, None if it has no copy."""

_WEB: Final = frozenset({"http", "https"})
_PORTS: Final = {"http": 80, "https": 443}
_LOCAL_NAMES: Final = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_WAY_OUT: Final = "Allow it with media_roots, or pass a media_url_signer."


class MediaRefusedError(MediaError):
    """The media that an item names may not be read."""


def is_public(address: str) -> bool:
    """Return whether an IP address belongs to the public internet.

    An IPv6 address that contains an IPv4 address (mapped, 6to4, NAT64) counts as that IPv4 address.

    :param address: IPv4 or IPv6 address, with or without a zone
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def same_origin(url: str, other: str) -> bool:
    """Return whether two URLs of the web have the same scheme, host and port."""
    try:
        first, second = httpx.URL(url), httpx.URL(other)
    except (httpx.InvalidURL, ValueError):
        return False
    if first.scheme not in _WEB or first.scheme != second.scheme or first.host != second.host:
        return False
    return (first.port or _PORTS[first.scheme]) == (second.port or _PORTS[first.scheme])


def check_public_host(host: str, port: int) -> list[str]:
    """Return the addresses of a host, if all of them belong to the public internet.

    :param host: a name, or an address in any spelling that the system accepts
    :param port: TCP port
    :raises MediaError: an address of the host is loopback, link-local, private or reserved
    :raises OSError: the host has no address
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    if not all(map(is_public, addresses)):
        raise MediaRefusedError(f"The host {host!r} is in a private network or is this machine. {_WAY_OUT}")
    return addresses


class AllowedMedia:
    """Opens the media of items, if they are allowed.

    :param roots: folders, URIs and URLs, such as ``gs://bucket/photos/``. Everything below them may be read. If a root
        names an Airflow connection (``s3://conn@bucket/photos/``), media below it are read with that connection
    :param signer: the DAG's own signer; everything that it returns is allowed
    :param request: function that returns the URL and the headers for media that the labeling tool holds, and any other
        URI unchanged
    :param is_own: function that returns whether a URL is of the labeling tool's own server
    :raises AnnotationError: a root is invalid
    """

    def __init__(
        self,
        roots: Iterable[str] = (),
        *,
        signer: UrlSigner | None = None,
        request: UrlSigner | None = None,
        is_own: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._roots = [_Root(root) for root in roots]
        self._signer = signer
        self._request = request
        self._is_own = is_own

    def open(self, media_uri: str, *, own_copy: OwnCopy | None = None) -> BinaryIO:
        """Open an item's media for reading and seeking; the caller closes it.

        Media that are not allowed are read from the labeling tool's own copy, if it has one. It has one of every file
        that was uploaded to it.

        :param media_uri: URI of the media, as the item names it
        :param own_copy: function that asks the tool for its own copy
        :raises MediaError: the media are not allowed, or cannot be read
        """
        if self._signer is not None:
            return open_media_in_place(media_uri, url_signer=self._signer)
        try:
            if self._request is not None and self._request(media_uri)[1]:
                return open_media_in_place(media_uri, url_signer=self._request, find_client=self.client_for)
            if (uri := self.find(media_uri)) is not None:
                return open_media_in_place(uri, find_client=self.client_for)
            return self._open_web(media_uri)
        except MediaRefusedError as error:
            copy = own_copy() if own_copy is not None else None
            if copy is None:
                raise MediaError(str(error)) from None
            url, headers = copy
            if not headers and url == media_uri:
                raise MediaError(str(error)) from None
            try:
                return self._open_web(url, headers)
            except MediaError as failure:
                raise MediaError(f"{error} The tool's own copy is not read either: {failure}") from None

    def find(self, media_uri: str) -> str | None:
        """Return the URI to read, with the root's connection, if media are below a root; None for other media."""
        return next((uri for root in self._roots if (uri := root.find(media_uri)) is not None), None)

    def check_url(self, url: str) -> None:
        """Check a URL before a browser is sent to it. The tool's own URLs and URLs below a root are allowed, too.

        :raises MediaError: it is no URL of the web, or its host is unknown or not of the public internet
        """
        parts = _web_parts(url)
        if self._is_own(url) or self.find(url) is not None:
            return
        try:
            check_public_host(parts.host, parts.port or _PORTS[parts.scheme])
        except OSError as error:
            raise MediaError(f"The host {parts.host!r} is not known: {error}.") from error

    def client_for(self, url: httpx.URL) -> httpx.Client:
        """Return the client that requests a URL. The URL of a redirect needs another call."""
        if self._is_own(str(url)) or self.find(str(url)) is not None:
            return get_http_client()
        return _public_client()

    def _open_web(self, url: str, headers: Mapping[str, str] | None = None) -> BinaryIO:
        if uri_scheme(url) not in _WEB:
            raise MediaRefusedError(
                f"{shown(url)} is named by an item of the labeling tool, not by the DAG: it is not read. {_WAY_OUT}"
            )
        _web_parts(url)
        return open_media_in_place(url, headers=headers, find_client=self.client_for)


class _Root:
    def __init__(self, root: str) -> None:
        if not isinstance(root, str) or not root.strip():
            raise AnnotationError(f"media_roots has {root!r}, which is no folder, URI or URL.")
        self._root = root.rstrip("/")
        self._scheme = uri_scheme(root)
        self._path = _folder(root) if self._scheme == "file" else None
        self._prefix = _normal(self._root)
        if self._path is None and not self._prefix.partition("://")[2]:
            raise AnnotationError(f"media_roots has {root!r}, which names no bucket or host.")

    def find(self, media_uri: str) -> str | None:
        if uri_scheme(media_uri) != self._scheme or _leads_out(media_uri):
            return None
        if self._path is not None:
            path = _folder(media_uri)
            return str(path) if path.is_relative_to(self._path) else None
        uri = _normal(media_uri)
        if media_uri != without_connection(media_uri) or not f"{uri}/".startswith(f"{self._prefix}/"):
            return None
        # The normal form of a URL is decoded, so it may be a different URL.
        return media_uri if self._scheme in _WEB else self._root + uri[len(self._prefix) :]


def _folder(uri: str) -> Path:
    path = local_path(uri)
    if path is None:
        raise AnnotationError(f"{shown(uri)} is no local path.")
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError) as error:  # not a valid file name, or links in a circle
        raise MediaError(f"{shown(uri)!a} cannot be read: {error}.") from error


def _leads_out(uri: str) -> bool:
    path = uri.partition("?")[0] if uri_scheme(uri) in _WEB else uri  # in other URIs, ? is part of a name
    return ".." in re.split(r"[/\\]", unquote(path))


def _normal(uri: str) -> str:
    """Return a URI in the form for comparisons: without a connection; a URL with a port, and its host in lower case."""
    if uri_scheme(uri) not in _WEB:
        scheme, separator, rest = without_connection(uri).partition("://")
        return f"{scheme.lower()}{separator}{rest}"
    parts = _web_parts(uri)
    query = f"?{parts.query.decode()}" if parts.query else ""
    return f"{parts.scheme}://{parts.host}:{parts.port or _PORTS[parts.scheme]}{parts.path.rstrip('/')}{query}"


def _web_parts(url: str) -> httpx.URL:
    try:
        parts = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise MediaError(f"{url[:200]!r} is no URL: {error}.") from error
    if parts.scheme not in _WEB or not parts.host:
        raise MediaError(f"{url[:200]!r} is no URL of the web.")
    if parts.userinfo:
        raise MediaError(f"{shown(url)} has a user in it, which is not sent.")
    return parts


@cache
def _public_client() -> httpx.Client:
    """Return the client for untrusted URLs. As with :func:`get_http_client`, each process keeps one."""
    return make_media_client(_public_transport)


def _public_transport(proxy: str | None) -> httpx.BaseTransport:
    if proxy is not None:
        return _CheckedProxy(proxy=proxy)
    transport = httpx.HTTPTransport()
    pool: object = getattr(transport, "_pool", None)
    if not isinstance(pool, httpcore.ConnectionPool):
        raise AnnotationError("This release of httpx is not known: media of items cannot be read safely.")
    # A name is resolved only once, so that the connection goes to the address that was checked. TLS and the Host
    # header keep the name. httpx has no public option for this.
    transport._pool = httpcore.ConnectionPool(
        ssl_context=httpx.create_ssl_context(), network_backend=_PublicNetwork(), max_connections=100
    )
    return transport


class _PublicNetwork(httpcore.NetworkBackend):
    """Connects only to hosts of the public internet."""

    def __init__(self) -> None:
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            addresses = check_public_host(host, port)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        failure: Exception | None = None
        for address in addresses:
            try:
                return self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:  # noqa: PERF203 - few addresses
                failure = error
        raise failure or httpcore.ConnectError(f"{host} has no address")

    def sleep(self, seconds: float) -> None:
        self._network.sleep(seconds)


class _CheckedProxy(httpx.HTTPTransport):
    """Sends requests through a proxy, except for hosts that are known to be private.

    The proxy resolves the names, so it decides which hosts it reaches.
    """

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        if ("." not in host.strip(".") and ":" not in host) or host.rstrip(".").endswith(_LOCAL_NAMES):
            raise MediaRefusedError(f"The host {host!r} is in a private network or is this machine. {_WAY_OUT}")
        with suppress(OSError):  # only the proxy knows the name
            check_public_host(host, request.url.port or _PORTS[request.url.scheme])
        return super().handle_request(request)


def check_roots(roots: Sequence[str] | str | None) -> list[str]:
    """Return ``media_roots`` as a list.

    :raises AnnotationError: it is not a list, or a root is invalid
    """
    if roots is None or roots == "":
        return []
    if isinstance(roots, str):
        roots = [roots]
    if not isinstance(roots, (list, tuple)):
        raise AnnotationError(f"media_roots is a list of folders, URIs and URLs, not {roots!r}.")
    for root in roots:
        _Root(root)
    return list(roots)
