"""Writing the files of a dataset into a folder of any object store."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from typing import IO, Final

from airflow.sdk import ObjectStoragePath
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from airflow_annotation.datasets.table_files import HashingFile, TableFile
from airflow_annotation.formats.item_files import ItemFile, ItemFiles, MakeFile
from airflow_annotation.formats.landed_media import LandedMedia, PlacedMedium
from airflow_annotation.media.storage import make_folder

_FILES_AT_ONCE: Final = 1024
_BYTES_AT_ONCE: Final = 8 * 2**20
_MEDIA_AT_ONCE: Final = 16
"""Each held in memory."""


class DatasetFolder:
    """A folder that a dataset is written into: many small files, and a few large ones that grow while others do.

    Small files are collected and written together, which object stores do at the same time, in a thread, while the
    next ones are made. A context manager: when it ends, all are written.

    :param folder: the folder
    :param item_files: lists the files that are each of one item, where a next landing is to take them over
    :param landed_media: are read by formats whose files hold them; None where media stay where they are
    """

    def __init__(
        self, folder: ObjectStoragePath, item_files: ItemFiles | None = None, landed_media: LandedMedia | None = None
    ) -> None:
        self.folder = folder
        self._landed_media = landed_media
        self._item_files = item_files
        self._prefix = folder.path.rstrip("/") + "/"
        self._small: dict[str, bytes] = {}
        self._small_bytes = 0
        self._made: set[str] = set()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write-dataset")
        self._writing: Future[None] | None = None

    def __enter__(self) -> DatasetFolder:
        """Begin."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write what was collected, unless something went wrong, and wait until all is written."""
        with self._writer:
            if kind is None:
                self._flush()
                self._wait()

    @property
    def has_media(self) -> bool:
        """Whether media have landed for the dataset."""
        return self._landed_media is not None

    def read_media(self, media: Sequence[PlacedMedium]) -> Iterator[bytes | None]:
        """Yield the content of each medium, None for those that have not landed. Reads a few ahead, in threads."""
        if self._landed_media is None:
            yield from repeat(None, len(media))
            return
        with ThreadPoolExecutor(_MEDIA_AT_ONCE, thread_name_prefix="read-media") as readers:
            for start in range(0, len(media), _MEDIA_AT_ONCE):
                yield from readers.map(self._landed_media.read, media[start : start + _MEDIA_AT_ONCE])

    def write(self, path: str, content: bytes) -> None:
        """Write a small file, soon. What goes wrong is raised by a later call, or at the end.

        :param path: relative to the folder
        """
        self._small[path] = content
        self._small_bytes += len(content)
        if len(self._small) >= _FILES_AT_ONCE or self._small_bytes >= _BYTES_AT_ONCE:
            self._flush()

    def write_of_item(self, path: str, item_id: str, make: MakeFile) -> ItemFile:
        """Write a small file that depends on nothing but one item, unless the version before has the same.

        :param path: relative to the folder
        :param item_id: the item
        :param make: makes the file
        :returns: what is in it
        """
        if self._item_files is not None and (known := self._item_files.take_over(path, item_id)) is not None:
            return known
        content, file = make()
        self.write(path, content)
        if self._item_files is not None:
            self._item_files.note(path, item_id, file)
        return file

    def _flush(self) -> None:
        for path in self._small:
            self._make_parent(path)
        contents = {self._prefix + path: content for path, content in self._small.items()}
        self._wait()
        self._writing = self._writer.submit(_write_files, self.folder.fs, contents)
        self._small = {}
        self._small_bytes = 0

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()

    def open(self, path: str) -> HashingFile:
        """Open a file to write; it knows its size and checksum when it is closed.

        :param path: relative to the folder
        """
        self._make_parent(path)
        return HashingFile(self.folder.fs.open(self._prefix + path, "wb"))

    def write_file(self, path: str, content: bytes, rows: int) -> TableFile:
        """Write a file at once, and describe it."""
        self._make_parent(path)
        self.folder.fs.pipe_file(self._prefix + path, content)
        return TableFile(path=path, rows=rows, size=len(content), sha256=hashlib.sha256(content).hexdigest())

    def _make_parent(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        if parent not in self._made:
            make_folder(self.folder.fs, self._prefix + parent)
            self._made.add(parent)


def _write_files(filesystem: AbstractFileSystem, contents: dict[str, bytes]) -> None:
    if isinstance(filesystem, LocalFileSystem):
        for path, content in contents.items():
            _write_local(path, content)
    else:
        filesystem.pipe(contents)


def _write_local(path: str, content: bytes) -> None:
    """Write a file in the three system calls that it needs: Python's own open makes seven, and these are the time."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        written = os.write(file, content)
        while written < len(content):  # a disk that is nearly full takes a part, and raises for the next
            written += os.write(file, content[written:])
    finally:
        os.close(file)


@contextmanager
def spool() -> Iterator[IO[bytes]]:
    """Open a temporary file of the worker's, for what is known in an order other than the file's."""
    with tempfile.TemporaryFile(prefix="airflow-annotation-") as file:
        yield file


def copy_spool(source: IO[bytes], target: IO[bytes] | HashingFile) -> None:
    """Append all that was spooled to an open file."""
    source.seek(0)
    shutil.copyfileobj(source, target, 2**20)
