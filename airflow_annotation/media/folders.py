"""Lists folders that may have millions of files, without holding more of them than a page.

``ls`` of the storage libraries holds every object of a folder, about 1.3 kB each, and caches them as long as the
process lives.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fsspec.implementations.local import LocalFileSystem

from airflow_annotation.media.storage import schemes_of

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_UNORDERED: Final = "--x-s3"
"""End of the names of S3's directory buckets, whose pages are not in the order of the names."""

_FIELDS: Final = "items(name,size),prefixes,nextPageToken"
"""Fields of the pages of Google Cloud Storage."""


class Entry(NamedTuple):
    """A file or folder in a folder.

    :param name: name in the folder
    :param is_folder: whether it is a folder
    :param size: size of a file in bytes
    """

    name: str
    is_folder: bool
    size: int


def list_folder(filesystem: AbstractFileSystem, path: str) -> Iterator[Entry]:
    """Yield what is in a folder, nothing if the folder does not exist.

    Files come in the order of their names, and so do folders. S3 and Google Cloud Storage are read page by page. On a
    disk the names of the folder are held, in other stores all that the store says about its files.

    :param filesystem: the file system
    :param path: path of the folder in the file system
    """
    with suppress(FileNotFoundError):  # a folder in a bucket exists only if it has content
        for entry in _list(filesystem, path):
            if entry.name:  # an object whose name is the folder's and a slash marks an empty folder
                yield entry


def files_below(folder: str) -> Iterator[str]:
    """Yield the paths of all files in a folder on the worker's disk and its subfolders, in no order.

    The caller may delete them on the way.

    :param folder: path of the folder
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from files_below(entry.path)
            else:
                yield entry.path


def is_s3(filesystem: AbstractFileSystem) -> bool:
    """Return whether a file system is S3."""
    return "s3" in schemes_of(filesystem)


def s3_pages(filesystem: AbstractFileSystem, path: str, **request: str) -> Iterator[dict[str, Any]]:
    """Yield the pages of S3's list of all objects below a folder.

    :param filesystem: the file system, which is S3
    :param path: path of the folder in the file system
    :param request: other arguments of the request
    """
    bucket, key, _ = filesystem.split_path(path.rstrip("/"))
    request |= {"Bucket": bucket, "Prefix": f"{key}/" if key else ""}
    while True:
        page = filesystem.call_s3("list_objects_v2", **request)
        yield page
        if not page.get("IsTruncated"):
            return
        request["ContinuationToken"] = page["NextContinuationToken"]


def _list(filesystem: AbstractFileSystem, path: str) -> Iterator[Entry]:
    if is_s3(filesystem) and not filesystem.split_path(path)[0].endswith(_UNORDERED):
        return _list_s3(filesystem, path)
    if "gs" in schemes_of(filesystem):
        return _list_google(filesystem, path)
    return _list_disk(path) if isinstance(filesystem, LocalFileSystem) else _list_other(filesystem, path)


def _list_s3(filesystem: AbstractFileSystem, path: str) -> Iterator[Entry]:
    for page in s3_pages(filesystem, path, Delimiter="/"):
        yield from (Entry(_name(file["Key"]), False, file["Size"]) for file in page.get("Contents", ()))
        yield from (Entry(_name(folder["Prefix"][:-1]), True, 0) for folder in page.get("CommonPrefixes", ()))


def _list_google(filesystem: AbstractFileSystem, path: str) -> Iterator[Entry]:
    bucket, key, _ = filesystem.split_path(path.rstrip("/"))
    request = {"prefix": f"{key}/" if key else "", "delimiter": "/", "fields": _FIELDS}
    while True:
        page = filesystem.call("GET", "b/{}/o", bucket, json_out=True, **request)
        yield from (Entry(_name(file["name"]), False, int(file["size"])) for file in page.get("items", ()))
        yield from (Entry(_name(folder[:-1]), True, 0) for folder in page.get("prefixes", ()))
        if "nextPageToken" not in page:
            return
        request["pageToken"] = page["nextPageToken"]


def _list_disk(path: str) -> Iterator[Entry]:
    with os.scandir(path) as entries:
        found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    yield from (Entry(name, is_folder, _size(f"{path}/{name}")) for name, is_folder in found)


def _list_other(filesystem: AbstractFileSystem, path: str) -> Iterator[Entry]:
    filesystem.invalidate_cache(path)
    found = filesystem.ls(path, detail=True)
    filesystem.invalidate_cache(path)  # the listing is used only once
    for info in sorted(found, key=lambda info: info["name"]):
        name = info["name"].rstrip("/")
        if name != path.rstrip("/"):
            yield Entry(_name(name), info["type"] == "directory", info["size"] or 0)


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:  # a link to nothing, or a file that has just been removed
        return 0


def _name(path: str) -> str:
    return path.rpartition("/")[2]
