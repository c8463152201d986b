"""Media files wherever they are: the worker's disk, any object storage that Airflow knows, the web."""

from __future__ import annotations

import io
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, Final, cast
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
"""Files up to this size are held in memory while they are on their way, larger ones on disk."""

_TIMEOUT: Final = 60.0
"""Seconds to wait for the next bytes of a media host."""

_MEGABYTE: Final = 1 << 20

_COPY_BYTES: Final = 8 * _MEGABYTE
"""Size of the blocks of a file that is copied from one store to another. Smaller files are copied several at once."""

_COPY_AT_ONCE_BYTES: Final = 64 * _MEGABYTE
"""Size of the small files that are copied at once."""

_PARTS: Final = 9000
"""Maximum number of blocks of a file. S3 takes 10,000."""

_GOOGLE: Final = frozenset({"gs", "gcs"})
_AZURE: Final = frozenset({"abfs", "abfss", "az"})

_ATTEMPTS: Final = 5
"""How often a request to a media host is repeated at most."""


def uri_scheme(uri: str) -> str:
    """Return the URI's scheme in lower case; ``file`` for a plain path."""
    scheme, separator, _ = uri.partition("://")
    return scheme.lower() if separator else "file"


def local_path(uri: str) -> Path | None:
    """Return the path of a file on the worker's own disk, None for any other."""
    return Path(uri.removeprefix("file://")) if uri_scheme(uri) == "file" else None


def without_connection(uri: str) -> str:
    """Return the URI without the id of the Airflow connection that ``ObjectStoragePath`` takes before the ``@``."""
    if uri_scheme(uri) in {"file", "http", "https"}:
        return uri
    scheme, _, rest = uri.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def get_filesystem(uri: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system that a path or URI belongs to, and the path in it.

    :param uri: a local path, or a URI as ``ObjectStoragePath`` takes it, the Airflow connection before an ``@``
    :raises AnnotationError: nothing that is installed knows the URI's scheme; the message names the package that does
    """
    scheme = uri_scheme(uri)
    if scheme == "file":
        # Not through ObjectStoragePath: it takes # and ? in file names for parts of a URL.
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


def open_media(uri: str) -> BinaryIO:
    """Open a media file at its beginning, for reading and seeking; the caller closes it.

    A small file is in memory then, a larger local one on its own disk, a larger remote one in a temporary file.

    :param uri: a local path, an ``http(s)://`` URL, or any URI that ``ObjectStoragePath`` takes
    :raises MediaError: the file is missing, empty or cannot be read
    :raises AnnotationError: nothing that is installed knows the URI's scheme
    """
    path = local_path(uri)
    return at_beginning(_open_local(path) if path else _fetch(uri), shown(uri))


def at_beginning(file: BinaryIO, name: str) -> BinaryIO:
    """Return a file at its beginning.

    :raises MediaError: it is empty
    """
    if not file.seek(0, io.SEEK_END):
        file.close()
        raise MediaError(f"{name} is empty.")
    file.seek(0)
    return file


def make_folder(filesystem: AbstractFileSystem, path: str) -> None:
    """Make a folder and those above it, where a file system has folders.

    Object stores have none, and would be asked to make the bucket: a mistyped one must not come to be.

    :param filesystem: the file system
    :param path: of the folder, in the file system
    """
    protocols = filesystem.protocol
    if not any(has_buckets(scheme) for scheme in ((protocols,) if isinstance(protocols, str) else protocols)):
        filesystem.makedirs(path, exist_ok=True)


def list_names(filesystem: AbstractFileSystem, path: str) -> Iterator[str]:
    """Yield the names of what is in a folder; nothing where there is none.

    :param filesystem: the file system
    :param path: of the folder, in the file system
    """
    try:
        paths = filesystem.ls(path, detail=False, refresh=True)
    except FileNotFoundError:  # a bucket has no folders before there is something in them
        return
    for found in paths:
        yield found.rstrip("/").rpartition("/")[2]


def lacks_bucket(filesystem: AbstractFileSystem, path: str) -> bool:
    """Return whether the bucket or container of a path is known to be missing.

    Asks for what the rights to write there cover: in Google Cloud Storage for a listing of the path, in Azure for the
    container. What the store does not say, for want of a right or for now, is not known. S3 says it when asked for any
    object.

    :param filesystem: the file system
    :param path: in the file system, the bucket first
    """
    bucket, _, folder = path.strip("/").partition("/")
    protocols = filesystem.protocol
    schemes = {protocols} if isinstance(protocols, str) else set(protocols)
    try:
        if schemes & _GOOGLE:
            filesystem.ls(bucket, prefix=f"{folder}/" if folder else "", max_results=1, refresh=True)
        elif schemes & _AZURE:
            return not filesystem.exists(bucket)
    except FileNotFoundError:
        return True
    except Exception as error:  # each library has its own
        log.debug("It is not known whether %s has a bucket %s: %s", filesystem, bucket, error)
    return False


def copy_files(source: AbstractFileSystem, target: AbstractFileSystem, paths: Mapping[str, str]) -> None:
    """Copy files: as links on one disk, within a store by the store itself, else by way of the worker.

    :param source: the file system that they are in
    :param target: the file system that they go to
    :param paths: where each one goes; folders are made
    """
    from fsspec.implementations.local import LocalFileSystem

    for folder in {path.rpartition("/")[0] for path in paths.values()}:
        make_folder(target, folder)
    if isinstance(source, LocalFileSystem) and isinstance(target, LocalFileSystem):
        for path, new_path in paths.items():
            _link(path, new_path)
    elif source == target:
        source.copy(list(paths), list(paths.values()))
    else:
        small: dict[str, int] = {}
        for path, size in zip(paths, source.sizes(list(paths)), strict=True):
            if size is not None and size <= _COPY_BYTES:
                small[path] = size
            else:
                _copy_in_blocks(source.open(path, "rb", block_size=_COPY_BYTES), target, paths[path], size or 0)
        for some in _grouped(small):
            _copy_at_once(source, target, {path: paths[path] for path in some})


def _copy_at_once(source: AbstractFileSystem, target: AbstractFileSystem, paths: Mapping[str, str]) -> None:
    """Copy files by way of the worker, which holds all of them in memory."""
    from fsspec.implementations.local import LocalFileSystem

    if isinstance(source, LocalFileSystem):
        target.put(list(paths), list(paths.values()))
    elif isinstance(target, LocalFileSystem):
        source.get(list(paths), list(paths.values()))
    else:
        for path, new_path in paths.items():
            target.pipe_file(new_path, source.cat_file(path))


def _copy_in_blocks(source: IO[bytes], target: AbstractFileSystem, new_path: str, size: int) -> None:
    """Copy a file of any size, one block at a time: libraries of stores hold up to 500 MB of a file that they copy."""
    block_size = max(_COPY_BYTES, -(-size // _PARTS // _MEGABYTE) * _MEGABYTE)
    with source, target.open(new_path, "wb", block_size=block_size) as copy:
        shutil.copyfileobj(source, copy, block_size)


def _grouped(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Yield some of the paths at a time, of files that fit in the worker's memory together.

    :param sizes: sizes of the files in bytes, by path
    """
    group: list[str] = []
    room = _COPY_AT_ONCE_BYTES
    for path, size in sizes.items():
        if group and size > room:
            yield group
            group, room = [], _COPY_AT_ONCE_BYTES
        group.append(path)
        room -= size
    if group:
        yield group


def _link(path: str, new_path: str) -> None:
    try:
        os.link(path, new_path)  # datasets have many files, and Path would take as long again
    except OSError:  # on another disk, or one that has no links
        shutil.copyfile(path, new_path)


def shown(uri: str) -> str:
    """Return the URI as it may be shown: without a connection, and without a query, which may hold a signature."""
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


def _fetch(uri: str) -> BinaryIO:
    is_http = uri_scheme(uri) in {"http", "https"}
    chunks = _http_chunks(uri) if is_http else _storage_chunks(*get_filesystem(uri))
    try:
        return spool(chunks)
    except FileNotFoundError as error:
        raise MediaError(f"{shown(uri)} does not exist.") from error
    except httpx.HTTPStatusError as error:
        answer = f"{error.response.status_code} {error.response.reason_phrase}"
        raise MediaError(f"{shown(uri)} cannot be read: its server answered {answer}.") from None
    except httpx.HTTPError as error:
        raise MediaError(f"{shown(uri)} cannot be read: {type(error).__name__}.") from error
    # Each storage library has errors of its own; they are about this file as far as anybody can tell.
    except Exception as error:
        raise MediaError(f"{shown(uri)} cannot be read: {type(error).__name__}: {error}") from error


def spool(chunks: Iterator[bytes]) -> BinaryIO:
    """Return a file of what arrives, in memory while it is small and then on disk; its position is anywhere."""
    start = io.BytesIO()
    for chunk in chunks:
        start.write(chunk)
        if start.tell() > IN_MEMORY_BYTES:
            break
    else:
        return start
    file = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - the caller closes it
    file.write(start.getbuffer())
    file.writelines(chunks)
    return file


def _storage_chunks(filesystem: AbstractFileSystem, path: str) -> Iterator[bytes]:
    with filesystem.open(path, "rb") as file:
        while chunk := file.read(IN_MEMORY_BYTES):
            yield chunk


def _http_chunks(url: str) -> Iterator[bytes]:
    with get_http_client().stream("GET", url) as response:
        yield from response.raise_for_status().iter_bytes(IN_MEMORY_BYTES)


@cache
def get_http_client() -> httpx.Client:
    """Return the client for media hosts. It knows no credentials: a labeling tool's key is not for them.

    A process has one and never closes it: files that are read in place hold its connections for as long as they are
    open. Idle connections close after some seconds, and the rest with the process.
    """
    return make_media_client()


def make_media_client(make_transport: Callable[[str | None], httpx.BaseTransport] | None = None) -> httpx.Client:
    """Return a client for media hosts.

    :param make_transport: returns what sends requests through a proxy, or directly for None
    """
    return make_client(
        retry=retry_policy(repeatable=True, attempts=_ATTEMPTS),
        timeout=_TIMEOUT,
        follow_redirects=True,
        make_transport=make_transport,
    )
