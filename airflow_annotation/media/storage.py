"""Opens and copies media files on the worker's disk, in any object storage that Airflow supports, and on the web."""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast
from urllib.parse import urlsplit

import httpx

from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.storage_providers import has_buckets, provider_of_scheme
from airflow_annotation.transport.clients import make_client
from airflow_annotation.transport.retries import retry_policy

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

log = logging.getLogger(__name__)

IN_MEMORY_BYTES: Final = 1 << 20
"""Maximum size in bytes of files that are held in memory between reading and sending; larger ones are on disk."""

_MEGABYTE: Final = 1 << 20

MEDIA_BLOCK_BYTES: Final = 4 * _MEGABYTE
"""Size of the blocks in which media are read from stores: many threads do it, and many reads need a part of a file."""

BLOCK_BYTES: Final = 8 * _MEGABYTE
"""Size of the blocks in which other files are read and written; S3 needs at least 5 MB."""

_UNKNOWN_BLOCK_BYTES: Final = 16 * _MEGABYTE
"""Size of the blocks of a file that is written before its size is known: in S3, 160 GB at most."""

_BLOCKS: Final = 9000
"""Maximum number of blocks of a file whose size is known. S3 takes 10,000."""

_TIMEOUT: Final = 60.0
"""Seconds to wait for the next bytes from a media host."""

_GOOGLE: Final = frozenset({"gs", "gcs"})
_AZURE: Final = frozenset({"abfs", "abfss", "az"})

_ATTEMPTS: Final = 5
"""Maximum number of retries of a request to a media host."""

_Check = Callable[["int | None", int], None]
"""Takes the size of a file, None if it is not known, and the number of bytes that have come. Raises if it is too large.
"""


class MediaTooLargeError(MediaError):
    """A file is too large for the caller.

    :param name: name of the file
    :param size: its size in bytes, None if its store does not say it
    :param limit: size in bytes that it must be below
    """

    def __init__(self, name: str, size: int | None, limit: int) -> None:
        self.size = size
        what = f"{limit / 2**20:,.0f} MiB or more" if size is None else f"{size / 2**20:,.0f} MiB"
        super().__init__(f"{name} has {what}; it must have less than {limit / 2**20:,.0f} MiB.")


def uri_scheme(uri: str) -> str:
    """Return the URI's scheme in lower case, or ``file`` for a plain path."""
    scheme, separator, _ = uri.partition("://")
    return scheme.lower() if separator else "file"


def local_path(uri: str) -> Path | None:
    """Return the path of a file on the worker's own disk, None for other files."""
    return Path(uri.removeprefix("file://")) if uri_scheme(uri) == "file" else None


def without_connection(uri: str) -> str:
    """Return the URI without the id of the Airflow connection, which ``ObjectStoragePath`` takes before the ``@``."""
    if uri_scheme(uri) in {"file", "http", "https"}:
        return uri
    scheme, _, rest = uri.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def schemes_of(filesystem: AbstractFileSystem) -> set[str]:
    """Return the schemes of the URIs of a file system."""
    protocol = filesystem.protocol
    return {protocol} if isinstance(protocol, str) else set(protocol)


def get_filesystem(uri: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system that a path or URI belongs to, and the path in it.

    :param uri: a local path, or a URI in the form of ``ObjectStoragePath``, with the Airflow connection before an ``@``
    :raises AnnotationError: no installed package supports the URI's scheme; the message names the package to install
    """
    scheme = uri_scheme(uri)
    if scheme == "file":
        # ObjectStoragePath would read # and ? in file names as parts of a URL.
        from fsspec.implementations.local import LocalFileSystem

        return LocalFileSystem(), str(Path(uri.removeprefix("file://")).absolute())
    from airflow.sdk import ObjectStoragePath

    try:
        path = ObjectStoragePath(uri)
        filesystem = path.fs
    except (ImportError, ValueError) as error:
        raise AnnotationError(
            f"{without_connection(uri)} cannot be read: install {provider_of_scheme(scheme)} ({error})."
        ) from error
    return filesystem, path.path


def open_media(uri: str, *, limit: int | None = None) -> BinaryIO:
    """Open a media file at its beginning, for reading and seeking; the caller closes it.

    A small file is read into memory. A larger local file is read from its disk, a larger remote file from a temporary
    copy.

    :param uri: a local path, an ``http(s)://`` URL, or any URI that ``ObjectStoragePath`` takes
    :param limit: size in bytes that a remote file must be below; no more of it is fetched
    :raises MediaTooLargeError: the file reaches the limit
    :raises MediaError: the file is missing, empty or cannot be read
    :raises AnnotationError: no installed package supports the URI's scheme
    """
    path = local_path(uri)
    return at_beginning(_open_local(path) if path else _fetch(uri, limit), shown(uri))


def at_beginning(file: BinaryIO, name: str) -> BinaryIO:
    """Go to the beginning of a file, and return the file.

    :raises MediaError: the file is empty
    """
    if not file.seek(0, io.SEEK_END):
        file.close()
        raise MediaError(f"{name} is empty.")
    file.seek(0)
    return file


def make_folder(filesystem: AbstractFileSystem, path: str) -> None:
    """Create a folder and its parents, if the file system has folders.

    Object stores have none. They would create the bucket, even one whose name is mistyped.

    :param filesystem: the file system
    :param path: path of the folder in the file system
    """
    if not any(map(has_buckets, schemes_of(filesystem))):
        filesystem.makedirs(path, exist_ok=True)


def open_to_read(filesystem: AbstractFileSystem, path: str, block_bytes: int = BLOCK_BYTES) -> BinaryIO:
    """Open a file of a store for reading and seeking.

    Each request fetches a block more than is asked for, and the open file holds it: by default, 50 MB in S3.

    :param filesystem: file system of the store
    :param path: path of the file in it
    :param block_bytes: size of a block
    """
    return cast("BinaryIO", filesystem.open(path, "rb", block_size=block_bytes))


def open_to_write(filesystem: AbstractFileSystem, path: str, size: int | None = None) -> BinaryIO:
    """Open a file of a store for writing. The open file holds a block: by default, 50 MB in S3.

    :param filesystem: file system of the store
    :param path: path of the file in it
    :param size: size of the file in bytes, None if it is not known
    """
    block_bytes = _UNKNOWN_BLOCK_BYTES
    if size is not None:
        block_bytes = max(BLOCK_BYTES, -(-size // _BLOCKS // _MEGABYTE) * _MEGABYTE)
    return cast("BinaryIO", filesystem.open(path, "wb", block_size=block_bytes))


def lacks_bucket(filesystem: AbstractFileSystem, path: str) -> bool:
    """Return whether the bucket or container of a path is known to be missing.

    The request needs no more rights than tasks that write there have: in Google Cloud Storage it lists the path, in
    Azure it asks for the container. If the store does not answer, or a right is missing, the result is False. For S3 no
    request is sent, because it reports a missing bucket when any object is requested.

    :param filesystem: the file system
    :param path: path in the file system, which begins with the bucket
    """
    bucket, _, folder = path.strip("/").partition("/")
    schemes = schemes_of(filesystem)
    try:
        if schemes & _GOOGLE:
            filesystem.ls(bucket, prefix=f"{folder}/" if folder else "", max_results=1, refresh=True)
        elif schemes & _AZURE:
            return not filesystem.exists(bucket)
    except FileNotFoundError:
        return True
    except Exception as error:  # each library has its own errors
        log.debug("Could not find out whether %s has a bucket %s: %s", filesystem, bucket, error)
    return False


def shown(uri: str) -> str:
    """Return the URI for logs and errors: without a connection, and for URLs without parts that may be secret."""
    uri = without_connection(uri)
    if uri_scheme(uri) not in {"http", "https"}:
        return uri
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _open_local(path: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise MediaError(f"{path} is a folder, not a file.")
        if path.stat().st_size > IN_MEMORY_BYTES:
            return path.open("rb")
        return io.BytesIO(path.read_bytes())
    except FileNotFoundError as error:
        raise MediaError(f"{path} does not exist.") from error
    except OSError as error:
        raise MediaError(f"{path} cannot be read: {error.strerror}.") from error


def _fetch(uri: str, limit: int | None) -> BinaryIO:
    def check(size: int | None, received: int) -> None:
        if limit is not None and max(size or 0, received) >= limit:
            raise MediaTooLargeError(shown(uri), size, limit)

    is_http = uri_scheme(uri) in {"http", "https"}
    chunks = _http_chunks(uri, check) if is_http else _storage_chunks(*get_filesystem(uri), check)
    try:
        return spool(chunks)
    except MediaTooLargeError:
        raise
    except FileNotFoundError as error:
        raise MediaError(f"{shown(uri)} does not exist.") from error
    except httpx.HTTPStatusError as error:
        answer = f"{error.response.status_code} {error.response.reason_phrase}"
        raise MediaError(f"{shown(uri)} cannot be read: its server answered {answer}.") from None
    except httpx.HTTPError as error:
        raise MediaError(f"{shown(uri)} cannot be read: {type(error).__name__}.") from error
    # Each storage library has its own errors, so every error counts as an error of this file.
    except Exception as error:
        raise MediaError(f"{shown(uri)} cannot be read: {type(error).__name__}: {error}") from error


def spool(chunks: Iterator[bytes]) -> BinaryIO:
    """Return a file with all chunks, in memory if it is small, else on disk. Its position is undefined."""
    start = io.BytesIO()
    for chunk in chunks:
        start.write(chunk)
        if start.tell() > IN_MEMORY_BYTES:
            break
    else:
        return start
    file = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - the caller closes it
    try:
        file.write(start.getbuffer())
        file.writelines(chunks)
    except BaseException:
        file.close()
        raise
    return file


def _storage_chunks(filesystem: AbstractFileSystem, path: str, check: _Check) -> Iterator[bytes]:
    with open_to_read(filesystem, path, MEDIA_BLOCK_BYTES) as file:
        size = getattr(file, "size", None)
        known = size if isinstance(size, int) else None
        check(known, 0)
        while chunk := file.read(IN_MEMORY_BYTES):
            check(known, file.tell())
            yield chunk


def _http_chunks(url: str, check: _Check) -> Iterator[bytes]:
    with get_http_client().stream("GET", url) as response:
        length = response.raise_for_status().headers.get("Content-Length", "")
        is_size = length.isdecimal() and "Content-Encoding" not in response.headers
        check(int(length) if is_size else None, 0)
        received = 0
        for chunk in response.iter_bytes(IN_MEMORY_BYTES):
            received += len(chunk)
            check(None, received)
            yield chunk


@cache
def get_http_client() -> httpx.Client:
    """Return the client for media hosts. It has no credentials: they must not get a labeling tool's key.

    Each process has one and never closes it, since files that are read in place use its connections while they are
    open. Idle connections close after some seconds, the others when the process ends.
    """
    return make_media_client()


def make_media_client(make_transport: Callable[[str | None], httpx.BaseTransport] | None = None) -> httpx.Client:
    """Return a client for media hosts.

    :param make_transport: function that takes a proxy, or None for none, and returns a transport
    """
    return make_client(
        retry=retry_policy(repeatable=True, attempts=_ATTEMPTS),
        timeout=_TIMEOUT,
        follow_redirects=True,
        make_transport=make_transport,
    )
