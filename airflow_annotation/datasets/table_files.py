"""A file of a dataset: its description in the manifest, and a way to write it that returns this description."""

from __future__ import annotations

import hashlib
import io
from typing import IO, Any

import msgspec


class TableFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a dataset: a Parquet file of one of the tables, or a file of another format with all objects.

    :param path: path relative to the dataset's folder
    :param rows: number of rows or objects
    :param size: size in bytes
    :param sha256: SHA-256 of the content, hexadecimal; empty if it was not computed
    """

    path: str
    rows: int
    size: int
    sha256: str


class HashingFile(io.RawIOBase):
    """A file that computes its size and checksum while it is written, so that it is not read again for them.

    :param file: file that is open for writing; closed with this one
    :param hashed: whether to compute the checksum
    """

    def __init__(self, file: IO[bytes], *, hashed: bool = True) -> None:
        self._file = file
        self.size = 0
        self.sha256 = hashlib.sha256()
        self._hashed = hashed

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any) -> int:
        """Write bytes."""
        if self._hashed:
            self.sha256.update(data)
        self.size += len(data)
        self._file.write(data)
        return len(data)

    def describe(self, path: str, rows: int) -> TableFile:
        """Return the description of the file for the manifest.

        :param path: path relative to the dataset's folder
        :param rows: number of rows that were written
        """
        return TableFile(path=path, rows=rows, size=self.size, sha256=self.sha256.hexdigest() if self._hashed else "")

    def close(self) -> None:
        """Close both files."""
        if not self.closed:
            super().close()
            self._file.close()
