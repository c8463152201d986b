"""Where a dataset's versions are stored, and how its manifest is replaced so that two writers cannot cross."""

from __future__ import annotations

import fcntl
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from airflow.sdk import ObjectStoragePath
from fsspec.implementations.local import LocalFileSystem

from airflow_annotation.exceptions import AnnotationError, LandingMovedError
from airflow_annotation.media.copying import copy_files
from airflow_annotation.media.folders import files_below, is_s3, list_folder, s3_pages
from airflow_annotation.media.storage import lacks_bucket, open_to_read, without_connection
from airflow_annotation.transport.read_ahead import read_in_threads

_COPIES_AT_ONCE: Final = 10_000
"""Number of files whose copies are prepared together: fsspec needs memory for each of them before the first one."""

_AT_ONCE: Final = 3
"""Requests to remove objects that are sent at the same time, as many as s3fs sends."""

log = logging.getLogger(__name__)


class Found(NamedTuple):
    """An object as it was found.

    :param content: content of the object
    :param mark: value that changes when the object is written again
    """

    content: bytes
    mark: Any


def no_bucket(bucket: str, uri: str) -> AnnotationError:
    """Return the error that says a target's bucket does not exist."""
    return AnnotationError(
        f"There is no bucket {bucket!r} for {without_connection(uri)}. Correct the name, or make the bucket first: "
        "tasks make none."
    )


class DatasetStore(ABC):
    """The folder of a dataset. Names are relative to it.

    :param uri: URI of the folder
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")

    @abstractmethod
    def find(self, name: str) -> Found | None:
        """Return a small object, None if there is none."""

    @abstractmethod
    def replace(self, name: str, content: bytes, found: Found | None) -> None:
        """Replace an object. A reader gets either the whole old object or the whole new one.

        :param found: what :meth:`find` returned
        :raises LandingMovedError: the object has changed since it was found
        """

    def check_is_own(self, name: str, content: bytes) -> None:
        """Check that the object that a store has is the new object, after the store refused to replace it.

        If an answer is lost, a client sends its request again. The store then refuses it, because the client's own
        object is already there.

        :raises LandingMovedError: the store has another object
        """
        now = self.find(name)
        if now is None or now.content != content:
            raise self.moved()

    def moved(self) -> LandingMovedError:
        """Return the error that says that another landing has replaced the object."""
        return LandingMovedError(f"Another landing was committed in {self.uri} while this one ran.")

    @abstractmethod
    def open(self, name: str) -> IO[bytes]:
        """Open a file to read parts of it."""

    @abstractmethod
    def write(self, folder: str) -> AbstractContextManager[ObjectStoragePath]:
        """Provide a folder to write files into. When the block ends, the store has all of them, or none if it fails."""

    @abstractmethod
    def copy(self, source: str, target: str, paths: Sequence[str]) -> None:
        """Copy files from a folder into another one; they do not pass through the worker.

        :param source: folder with the files
        :param target: folder for the copies
        :param paths: paths of the files, relative to both folders
        :raises FileNotFoundError: a file does not exist
        """

    @abstractmethod
    def list(self, folder: str) -> Iterator[str]:
        """Yield the names of the files and folders in a folder."""

    @abstractmethod
    def remove(self, folder: str) -> None:
        """Remove a folder that nothing refers to. If this fails, nothing is lost: a later landing removes it."""


def remove_folder(path: ObjectStoragePath) -> None:
    """Remove a folder that nothing refers to, if it exists. If this fails, nothing is lost, and the error is logged."""
    try:
        if is_s3(path.fs):
            _remove_from_s3(path)
            return
        if isinstance(path.fs, LocalFileSystem) and not Path(path.path).is_symlink():
            for file in files_below(path.path):  # rm holds the names of a whole folder
                Path(file).unlink(missing_ok=True)
        path.fs.rm(path.path, recursive=True)
    except FileNotFoundError:
        pass
    except Exception as error:
        log.warning("Could not remove %s, which is not used: %s", path, error)


def _remove_from_s3(path: ObjectStoragePath) -> None:
    """Remove a folder page by page, since rm first holds what S3 says about all its objects."""
    bucket = path.fs.split_path(path.path)[0]

    def remove(keys: list[str]) -> None:
        objects = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
        answer = path.fs.call_s3("delete_objects", Bucket=bucket, Delete=objects)
        if errors := answer.get("Errors"):
            log.warning("Could not remove %d files of %s, which is not used: %s", len(errors), path, errors[0])
        for folder in {key.rpartition("/")[0] for key in keys}:
            path.fs.invalidate_cache(f"{bucket}/{folder}")

    pages = ([file["Key"] for file in page.get("Contents", ())] for page in s3_pages(path.fs, path.path))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in read_in_threads(pool, (partial(remove, keys) for keys in pages if keys), _AT_ONCE):
            pass


class FolderStore(DatasetStore):
    """A dataset's folder in any store that Airflow can access.

    On a local disk (a lock) and in S3 (a conditional write), two writers cannot cross. In other stores, the manifest is
    read again just before it is replaced; two writers may do this at the same moment.

    :param path: the folder
    """

    def __init__(self, path: ObjectStoragePath) -> None:
        super().__init__(str(path))
        self.path = path
        self._has_bucket = False
        self._is_s3 = is_s3(path.fs)

    def find(self, name: str) -> Found | None:
        """Return a small object, None if there is none.

        :raises AnnotationError: there is no such bucket or container
        """
        path = self.path / name
        try:
            # The mark is read before the content: if the object changes in between, the mark is the outdated one.
            mark = path.fs.info(path.path, refresh=True)["ETag"] if self._is_s3 else None
            content = path.fs.cat_file(path.path)
        except FileNotFoundError as error:
            if getattr(error.__cause__, "response", {}).get("Error", {}).get("Code") == "NoSuchBucket":
                raise no_bucket(path.fs.split_path(path.path)[0], self.uri) from error
            self._check_bucket()
            return None
        return Found(content, mark or content)

    def replace(self, name: str, content: bytes, found: Found | None) -> None:
        """Replace an object, if it has not changed since it was found."""
        path = self.path / name
        if self._is_s3:
            self._replace_in_s3(path, content, found)
        elif isinstance(path.fs, LocalFileSystem):
            with Path(f"{path.path}.lock").open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._check_is_there(name, found)
                written = path.parent / f"{name}.new"
                written.fs.pipe_file(written.path, content)
                Path(written.path).replace(path.path)
        else:
            self._check_is_there(name, found)
            path.fs.pipe_file(path.path, content)  # object stores show an object only when it is complete

    def open(self, name: str) -> IO[bytes]:
        """Open a file to read parts of it."""
        path = self.path / name
        return open_to_read(path.fs, path.path)

    @contextmanager
    def write(self, folder: str) -> Iterator[ObjectStoragePath]:
        """Give a folder to write files into."""
        try:
            yield self.path / folder
        except BaseException:
            self.remove(folder)
            raise

    def copy(self, source: str, target: str, paths: Sequence[str]) -> None:
        """Copy files from a folder into another one: as links on a local disk."""
        old, new = ((self.path / folder).path.rstrip("/") for folder in (source, target))
        for start in range(0, len(paths), _COPIES_AT_ONCE):
            some = paths[start : start + _COPIES_AT_ONCE]
            copy_files(self.path.fs, self.path.fs, {f"{old}/{path}": f"{new}/{path}" for path in some})

    def list(self, folder: str) -> Iterator[str]:
        """Yield the names of what is in a folder."""
        path = self.path / folder
        return (entry.name for entry in list_folder(path.fs, path.path))

    def remove(self, folder: str) -> None:
        """Remove a folder that nothing refers to."""
        remove_folder(self.path / folder)

    def _check_bucket(self) -> None:
        """Check once that the bucket exists, so that a mistyped name is found before a landing reads the project.

        :raises AnnotationError: the bucket does not exist
        """
        if not self._has_bucket and lacks_bucket(self.path.fs, self.path.path):
            raise no_bucket(self.path.path.strip("/").partition("/")[0], self.uri)
        self._has_bucket = True

    def _check_is_there(self, name: str, found: Found | None) -> None:
        if self.find(name) != found:
            raise self.moved()

    def _replace_in_s3(self, path: ObjectStoragePath, content: bytes, found: Found | None) -> None:
        condition = {"IfMatch": found.mark} if found else {"IfNoneMatch": "*"}
        try:
            path.fs.pipe_file(path.path, content, **condition)
        except OSError as error:
            response = getattr(error.__cause__, "response", {})
            if response.get("ResponseMetadata", {}).get("HTTPStatusCode") not in (404, 409, 412):
                raise
            self.check_is_own(path.name, content)
