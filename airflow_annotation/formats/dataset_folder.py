"""Write the files of a dataset into a folder of any object store."""

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
from airflow_annotation.media.storage import make_folder, open_to_write

_FILES_AT_ONCE: Final = 1024
_BYTES_AT_ONCE: Final = 8 * 2**20
_MEDIA_AT_ONCE: Final = 16
"""Number of media that are read ahead, each of them held in memory."""


class DatasetFolder:
    """A folder that a dataset is written into: many small files, and a few large ones that grow at the same time.

    Small files are collected and written together, at the same time in object stores. A thread does this while the next
    ones are made. This is a context manager: when it ends, all files are written.

    :param folder: the folder
    :param item_files: list of the files that belong to one item each, if the next landing can reuse them
    :param landed_media: media for formats whose files hold them; None if media stay where they are
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
        """Return the folder itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write the collected files, unless there was an error, and wait until all files are written."""
        with self._writer:
            if kind is None:
                self._flush()
                self._wait()

    @property
    def has_media(self) -> bool:
        """Whether media have landed for the dataset."""
        return self._landed_media is not None

    def read_media(self, media: Sequence[PlacedMedium]) -> Iterator[bytes | None]:
        """Yield the content of each medium, None for media that have not landed. Reads a few ahead, in threads."""
        if self._landed_media is None:
            yield from repeat(None, len(media))
            return
        with ThreadPoolExecutor(_MEDIA_AT_ONCE, thread_name_prefix="read-media") as readers:
            for start in range(0, len(media), _MEDIA_AT_ONCE):
                yield from readers.map(self._landed_media.read, media[start : start + _MEDIA_AT_ONCE])

    def write(self, path: str, content: bytes) -> None:
        """Write a small file, later. Errors are raised by a later call, or at the end.

        :param path: path relative to the folder
        """
        self._small[path] = content
        self._small_bytes += len(content)
        if len(self._small) >= _FILES_AT_ONCE or self._small_bytes >= _BYTES_AT_ONCE:
            self._flush()

    def write_of_item(self, path: str, item_id: str, make: MakeFile) -> ItemFile:
        """Write a small file that depends only on one item, unless the version before has the same file.

        :param path: path relative to the folder
        :param item_id: id of the item
        :param make: makes the file
        :returns: description of its content
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
        """Open a file for writing, which knows its size and checksum when it is closed.

        :param path: path relative to the folder
        """
        self._make_parent(path)
        return HashingFile(open_to_write(self.folder.fs, self._prefix + path))

    def write_file(self, path: str, content: bytes, rows: int) -> TableFile:
        """Write a file now, and return its description."""
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
    """Write a file with only three system calls: Python's own ``open`` needs seven, and they take most of the time."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        written = os.write(file, content)
        while written < len(content):  # a nearly full disk takes only a part, and the next call fails
            written += os.write(file, content[written:])
    finally:
        os.close(file)


@contextmanager
def spool() -> Iterator[IO[bytes]]:
    """Open a temporary file on the worker's disk, for data that are known earlier than their place in the real file."""
    with tempfile.TemporaryFile(prefix="airflow-annotation-") as file:
        yield file


def copy_spool(source: IO[bytes], target: IO[bytes] | HashingFile) -> None:
    """Append the whole content of a spooled file to an open file."""
    source.seek(0)
    shutil.copyfileobj(source, target, 2**20)
