"""A dataset's folder in Google Cloud Storage, with Google's own client.

A version is first written on the worker's disk, and then uploaded in parallel. Large files are uploaded in parts, which
the store composes to one object. Uploads and downloads are checked by their CRC32C. The manifest is replaced with a
precondition on its generation, so that one of two writers is refused.

``transfer_manager.upload_chunks_concurrently`` would be less code and do less. It checks the parts but not the object.
If a worker is killed, it leaves parts that no listing shows. They cost money until a rule of the bucket removes them.
The parts here are objects in the version's folder, which a later landing removes.
"""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar

import google_crc32c
from airflow.sdk import ObjectStoragePath
from google.api_core.exceptions import GoogleAPICallError, NotFound, PreconditionFailed
from google.cloud.storage import transfer_manager
from google.cloud.storage.retry import DEFAULT_RETRY

from airflow_annotation.datasets.stores import DatasetStore, Found, no_bucket
from airflow_annotation.datasets.working_folders import working_folder
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.media.folders import files_below
from airflow_annotation.transport.read_ahead import read_in_threads

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Bucket

T = TypeVar("T")

PART_BYTES: Final = 32 * 2**20
"""Minimum size of the parts in which files are uploaded and downloaded, in bytes."""

MAX_PARTS: Final = 32
"""Maximum number of parts that the store composes to an object in one request."""

CHUNK_BYTES: Final = 8 * 2**20
"""Bytes of each part that are held in memory. A failed request is repeated from its last chunk."""

WORKERS: Final = 8

log = logging.getLogger(__name__)


class GCSStore(DatasetStore):
    """A dataset's folder in a bucket.

    :param bucket: the bucket, with its client
    :param prefix: prefix of the dataset's objects, without a slash at either end
    """

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        super().__init__(f"gs://{bucket.name}/{prefix}")
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/"

    def find(self, name: str) -> Found | None:
        """Return a small object, None if there is none."""
        blob = self._bucket.get_blob(self._prefix + name)
        if blob is None:
            self._check_bucket()
            return None
        try:
            content = blob.download_as_bytes(if_generation_match=blob.generation, checksum="crc32c")
        except (NotFound, PreconditionFailed):
            return self.find(name)  # it was replaced just now
        return Found(content, blob.generation)

    def _check_bucket(self) -> None:
        """Check that the bucket exists, so that a mistyped name is found before a landing reads the project.

        :raises AnnotationError: the bucket does not exist
        """
        try:
            next(iter(self._bucket.list_blobs(prefix=self._prefix, max_results=1)), None)
        except NotFound as error:
            raise no_bucket(self._bucket.name, self.uri) from error

    def replace(self, name: str, content: bytes, found: Found | None) -> None:
        """Replace an object, if it has not changed since it was found."""
        blob = self._bucket.blob(self._prefix + name)
        blob.cache_control = "no-store"  # otherwise, readers of a public object may get one that is an hour old
        generation = found.mark if found else 0
        try:
            blob.upload_from_string(
                content, "application/json", if_generation_match=generation, checksum="crc32c", retry=DEFAULT_RETRY
            )
        except PreconditionFailed:
            self.check_is_own(name, content)

    def open(self, name: str) -> IO[bytes]:
        """Download a file, and open it.

        :raises FileNotFoundError: the file does not exist
        """
        with working_folder() as folder:
            path = folder / "file"
            try:
                transfer_manager.download_chunks_concurrently(
                    self._bucket.blob(self._prefix + name),
                    str(path),
                    chunk_size=PART_BYTES,
                    worker_type=transfer_manager.THREAD,
                    max_workers=WORKERS,
                )
            except NotFound as error:
                raise FileNotFoundError(f"{self.uri}/{name}") from error
            return path.open("rb")  # its name is removed with the folder, its content stays until it is closed

    @contextmanager
    def write(self, folder: str) -> Iterator[ObjectStoragePath]:
        """Provide a folder on the worker's disk; its files are uploaded when the block ends."""
        with working_folder() as directory:
            yield ObjectStoragePath(f"file://{directory}")
            try:
                self._upload(directory, folder)
            except BaseException:
                self.remove(folder)
                raise

    def copy(self, source: str, target: str, paths: Sequence[str]) -> None:
        """Copy files from a folder into another one, within the store."""

        def copy(path: str) -> None:
            blob = self._bucket.blob(f"{self._prefix}{source}/{path}")
            try:
                new_name = f"{self._prefix}{target}/{path}"
                self._bucket.copy_blob(blob, self._bucket, new_name, retry=DEFAULT_RETRY)
            except NotFound as error:
                raise FileNotFoundError(f"{self.uri}/{source}/{path}") from error

        _in_parallel(copy, paths)

    def list(self, folder: str) -> Iterator[str]:
        """Yield the names of the files and folders in a folder."""
        prefix = f"{self._prefix}{folder}/"
        blobs = self._bucket.client.list_blobs(self._bucket, prefix=prefix, delimiter="/")
        for page in blobs.pages:
            for name in (*page.prefixes, *(blob.name for blob in page)):
                yield name.removeprefix(prefix).rstrip("/")

    def remove(self, folder: str) -> None:
        """Remove a folder that nothing refers to."""
        try:
            _in_parallel(_delete, self._bucket.client.list_blobs(self._bucket, prefix=f"{self._prefix}{folder}/"))
        except GoogleAPICallError as error:
            log.warning("Could not remove %s/%s, which is not used: %s", self.uri, folder, error)

    def _upload(self, directory: Path, folder: str) -> None:
        def files() -> Iterator[tuple[Path, str]]:
            for path in map(Path, files_below(str(directory))):
                yield path, f"{self._prefix}{folder}/{path.relative_to(directory)}"

        _in_parallel(self._upload_part, (part for file in files() for part in _parts(*file)))
        _in_parallel(self._compose, (file for file in files() if _is_large(file[0])))

    def _upload_part(self, part: tuple[Path, str, int, int]) -> None:
        path, name, start, size = part
        blob = self._bucket.blob(name, chunk_size=CHUNK_BYTES)
        with _Part(path, start, size) as file:
            blob.upload_from_file(file, size=size, checksum="crc32c", retry=DEFAULT_RETRY)

    def _compose(self, file: tuple[Path, str]) -> None:
        path, name = file
        parts = [self._bucket.blob(part) for _, part, _, _ in _parts(path, name)]
        blob = self._bucket.blob(name)
        blob.compose(parts, retry=DEFAULT_RETRY)
        blob.reload()
        if blob.crc32c != (expected := _crc32c(path)):
            raise AnnotationError(
                f"gs://{blob.bucket.name}/{name} is not what was uploaded: its CRC32C is {blob.crc32c}, not {expected}."
            )
        for part in parts:
            _delete(part)


class _Part(io.RawIOBase):
    """Some bytes of a file, as a file to read."""

    def __init__(self, path: Path, start: int, size: int) -> None:
        self._file = path.open("rb")
        self._file.seek(start)
        self._start = start
        self._size = size

    def read(self, size: int = -1) -> bytes:
        """Read bytes."""
        left = self._size - self.tell()
        return self._file.read(left if size < 0 else min(size, left))

    def tell(self) -> int:
        """Return the number of bytes that were read."""
        return self._file.tell() - self._start

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self._size}[whence]
        return self._file.seek(self._start + base + offset) - self._start

    def close(self) -> None:
        """Close the file."""
        super().close()
        self._file.close()


def _is_large(path: Path) -> bool:
    return path.stat().st_size > PART_BYTES


def _parts(path: Path, name: str) -> Iterator[tuple[Path, str, int, int]]:
    """Yield the parts of a file: the path, the object's name, and the start and size in bytes."""
    total = path.stat().st_size
    if not _is_large(path):
        yield path, name, 0, total
        return
    size = max(PART_BYTES, -(-total // MAX_PARTS))
    for number, start in enumerate(range(0, total, size)):
        yield path, f"{name}.part{number:02d}", start, min(size, total - start)


def _crc32c(path: Path) -> str:
    checksum = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            checksum.update(chunk)  # type: ignore[no-untyped-call]
    digest: bytes = checksum.digest()  # type: ignore[no-untyped-call]
    return base64.b64encode(digest).decode()


def _delete(blob: Blob) -> None:
    with suppress(NotFound):
        blob.delete(retry=DEFAULT_RETRY)


def _in_parallel(action: Callable[[T], Any], arguments: Iterable[T]) -> None:
    """Call a function for each argument in threads. After the first error, no other call begins.

    The arguments are taken one after the other, since a version may have millions of files.
    """
    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in read_in_threads(pool, (partial(action, argument) for argument in arguments), 2 * WORKERS - 1):
            pass
