"""Reads media files where they are. Of a large remote file, only the requested parts are fetched."""

from __future__ import annotations

import io
import logging
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

import httpx

from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.media.storage import (
    MEDIA_BLOCK_BYTES,
    at_beginning,
    get_filesystem,
    get_http_client,
    local_path,
    open_to_read,
    shown,
    spool,
    uri_scheme,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer

UrlSigner = Callable[[str], tuple[str, Mapping[str, str]]]
"""Takes the URI of a file, and returns the URL to read and the headers to send."""

_CHUNK_BYTES: Final = 1 << 16
_SKIPPED_BYTES: Final = 1 << 18
"""Distance in bytes up to which it is faster to read on than to send another request."""

_TRIES: Final = 5
_REDIRECTS: Final = 10

log = logging.getLogger(__name__)


FindClient = Callable[[httpx.URL], httpx.Client]
"""Takes a URL, and returns the client that requests it."""


def open_media_in_place(
    uri: str,
    *,
    headers: Mapping[str, str] | None = None,
    url_signer: UrlSigner | str | None = None,
    find_client: FindClient | None = None,
) -> BinaryIO:
    """Open a media file for reading and seeking where it is; the caller closes it.

    If a web server cannot send parts of files, the whole file is fetched. Then it is held in memory or on disk, as
    :func:`~airflow_annotation.media.storage.open_media` does.

    :param uri: a local path, an ``http(s)://`` URL, or any URI that ``ObjectStoragePath`` takes
    :param headers: headers for the host of a URL; other hosts that it redirects to do not get them
    :param url_signer: function that returns the URL and the headers to read the file with, or the dotted path of one.
        It is called again when the server no longer accepts a URL.
    :param find_client: function that returns the client for each URL, also of redirects; by default the client for
        media hosts
    :raises MediaError: the file is missing, empty or cannot be read; reading can raise it, too
    :raises AnnotationError: no installed package supports the URI's scheme, or there is no such signer
    """
    find_client = find_client or (lambda _: get_http_client())
    signer = None if url_signer is None else resolve_signer(url_signer)

    def sign() -> tuple[str, dict[str, str]]:
        url, signed_headers = signer(uri) if signer else (uri, {})
        return url, {**(headers or {}), **signed_headers}

    url, _ = request = sign()
    name = shown(uri)
    file: BinaryIO
    if uri_scheme(url) in {"http", "https"}:
        # The buffer saves requests for bytes that were just read, such as a file's first bytes.
        file = cast("BinaryIO", io.BufferedReader(HttpFile(name, request, sign, find_client), _CHUNK_BYTES))
    else:
        file = _open_file(url, name)
    return at_beginning(file, name)


def resolve_signer(url_signer: UrlSigner | str) -> UrlSigner:
    """Return a signer that may be given by its dotted path.

    :raises AnnotationError: there is no such function
    """
    if not isinstance(url_signer, str):
        return url_signer
    try:
        return cast("UrlSigner", pkgutil.resolve_name(url_signer))
    except (ImportError, AttributeError, ValueError) as error:
        raise AnnotationError(f"There is no function {url_signer!r} to sign media URLs with: {error}.") from error


def _open_file(uri: str, name: str) -> BinaryIO:
    path = local_path(uri)
    filesystem, stored = get_filesystem(uri)
    try:
        if path:
            return path.open("rb", buffering=0)
        return open_to_read(filesystem, stored, MEDIA_BLOCK_BYTES)
    except FileNotFoundError as error:
        raise MediaError(f"{name} does not exist.") from error
    except IsADirectoryError as error:
        raise MediaError(f"{name} is a folder, not a file.") from error
    # Each storage library has its own errors, so every error counts as an error of this file.
    except Exception as error:
        raise MediaError(f"{name} cannot be read: {type(error).__name__}: {error}") from error


class HttpFile(io.RawIOBase):
    """A file on a web server. Reading on continues the same request; a jump sends another one.

    :param name: name of the file in errors
    :param request: the first URL and its headers
    :param sign: function that returns a new URL and its headers, for when the server no longer accepts the last ones
    :param find_client: function that returns the client for each URL
    :raises MediaError: the server does not send the file
    """

    def __init__(
        self,
        name: str,
        request: tuple[str, dict[str, str]],
        sign: Callable[[], tuple[str, dict[str, str]]],
        find_client: FindClient,
    ) -> None:
        self._name = name
        self._find_client = find_client
        self._request = request
        self._sign = sign
        self._position = self._received_from = 0
        self._size = 0
        self._whole: BinaryIO | None = None
        self._response: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())
        self._received = b""
        self._connect(first=True)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position, in bytes from the beginning."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to another position. No request is sent before the next read."""
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer: Buffer) -> int:
        """Read the next bytes from the server, up to the buffer's length."""
        view = memoryview(buffer).cast("B")
        if self._position >= self._size or not len(view):
            return 0
        if self._whole:
            self._whole.seek(self._position)
            part = self._whole.read(len(view))
        else:
            self._move()
            self._received = self._received or self._receive()
            part, self._received = self._received[: len(view)], self._received[len(view) :]
            self._received_from += len(part)
        view[: len(part)] = part
        self._position += len(part)
        return len(part)

    def close(self) -> None:
        """Close the connection."""
        self._drop()
        if self._whole:
            self._whole.close()
        super().close()

    def _drop(self) -> None:
        if self._response:
            self._response.close()
        self._response, self._chunks, self._received = None, iter(()), b""

    def _move(self) -> None:
        """Make the received bytes begin at the position: read on if it is near ahead, else prepare a new request."""
        if not 0 <= self._position - self._received_from <= _SKIPPED_BYTES or self._response is None:
            self._drop()
            self._received_from = self._position
        while (ahead := self._position - self._received_from) > 0:
            self._received = self._received or self._receive()
            skipped = min(ahead, len(self._received))
            self._received = self._received[skipped:]
            self._received_from += skipped

    def _receive(self) -> bytes:
        """Return the next bytes. If the connection breaks, connect again."""
        for tries_left in reversed(range(_TRIES)):
            try:
                if self._response is None:
                    self._connect()
                if chunk := next(self._chunks, b""):
                    return chunk
                reason = "the connection was closed early"
            except httpx.TransportError as error:
                reason = type(error).__name__
            self._drop()
            log.info("%s broke off at byte %d (%s), %d tries left", self._name, self._received_from, reason, tries_left)
        raise MediaError(f"{self._name} cannot be read at byte {self._received_from}: {reason}.")

    def _connect(self, *, first: bool = False) -> None:
        try:
            response = self._get()
            if response.status_code in {401, 403} and not first:
                response.close()
                self._request = self._sign()  # reading a video may take longer than a signature is valid
                response = self._get()
        except httpx.TransportError as error:
            if not first:
                raise
            raise MediaError(f"{self._name} cannot be read: {type(error).__name__}.") from error
        size = response.headers.get("Content-Range", "").rpartition("/")[2]
        if response.status_code == 206 and size.isdecimal():
            if not first and int(size) != self._size:
                response.close()
                raise MediaError(f"{self._name} was changed while it was read.")
            self._size, self._response, self._chunks = int(size), response, response.iter_raw(_CHUNK_BYTES)
            return
        with closing(response):
            if response.status_code == 200:
                self._whole = spool(response.iter_raw(_CHUNK_BYTES))
                self._size = self._whole.seek(0, io.SEEK_END)
            elif response.status_code != 416:  # 416 is the answer for an empty file
                answer = f"{response.status_code} {response.reason_phrase}"
                raise MediaError(f"{self._name} cannot be read: its server answered {answer}.")

    def _get(self) -> httpx.Response:
        url, headers = self._request
        part = {"Range": f"bytes={self._received_from}-", "Accept-Encoding": "identity"}
        request = self._find_client(httpx.URL(url)).build_request("GET", url, headers={**headers, **part})
        origin = _origin(request)
        for _ in range(_REDIRECTS):
            response = self._find_client(request.url).send(request, stream=True, follow_redirects=False)
            if response.next_request is None:
                return response
            response.close()
            request = response.next_request
            if _origin(request) != origin:
                for header in headers:
                    request.headers.pop(header, None)
        raise MediaError(f"{self._name} cannot be read: its server redirects too often.")


def _origin(request: httpx.Request) -> tuple[Any, ...]:
    return request.url.scheme, request.url.host, request.url.port
