"""A file of a dataset: what its manifest says of it, and writing one so that this is known."""

from __future__ import annotations

import hashlib
import io
from typing import IO, Any

import msgspec


class TableFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a dataset: a Parquet file of one of the tables, or a file of another format that has all its objects.

    :param path: relative to the dataset's folder
    :param rows: rows or objects in it
    :param size: bytes
    :param sha256: of its content, hexadecimal
    """

    path: str
    rows: int
    size: int
    sha256: str


class HashingFile(io.RawIOBase):
    """Passes on what is written, and knows its size and checksum: a bucket's files are not read again for them.

    :param file: open to write; closed with this one
    :param hashed: False for a file whose checksum nobody asks for
    """

    def __init__(self, file: IO[bytes], *, hashed: bool = True) -> None:
        self._file = file
        self.size = 0
        self.sha256 = hashlib.sha256()
        self._hashed = hashed

    def writable(self) -> bool:
        """Return that it is."""
        return True

    def write(self, data: Any) -> int:
        """Write bytes."""
        if self._hashed:
            self.sha256.update(data)
        self.size += len(data)
        self._file.write(data)
        return len(data)

    def describe(self, path: str, rows: int) -> TableFile:
        """Return what a manifest says of the file.

        :param path: relative to the dataset's folder
        :param rows: that were written
        """
        return TableFile(path=path, rows=rows, size=self.size, sha256=self.sha256.hexdigest() if self._hashed else "")

    def close(self) -> None:
        """Close both."""
        if not self.closed:
            super().close()
            self._file.close()
