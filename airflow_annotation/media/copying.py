"""Copies files between the worker's disk and object stores. The worker's memory does not grow with their size."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractBufferedFile

from airflow_annotation.media.storage import BLOCK_BYTES, make_folder, open_to_read, open_to_write

if TYPE_CHECKING:
    from _typeshed import SupportsRead

_TOGETHER_BYTES: Final = 64 << 20
"""Total size of the small files that are copied together: files of one block at most."""

_PIECE_BYTES: Final = 1 << 20
"""Size of the pieces in which a block is filled: many threads do it, and each holds its piece beside the block."""


def copy_files(source: AbstractFileSystem, target: AbstractFileSystem, paths: Mapping[str, str]) -> None:
    """Copy files: as links on one disk, by the store itself within a store, and otherwise through the worker.

    :param source: file system with the files
    :param target: file system for the copies
    :param paths: path of each copy by the path of its file; missing folders are made
    """
    for folder in {path.rpartition("/")[0] for path in paths.values()}:
        make_folder(target, folder)
    if isinstance(source, LocalFileSystem) and isinstance(target, LocalFileSystem):
        for path, new_path in paths.items():
            _link(path, new_path)
    elif source == target:
        source.copy(list(paths), list(paths.values()))
    else:
        sizes = dict(zip(paths, source.sizes(list(paths)), strict=True))
        small = {path: size for path, size in sizes.items() if size is not None and size <= BLOCK_BYTES}
        for group in _grouped(small):
            _copy_together(source, target, {path: paths[path] for path in group})
        for path in sizes.keys() - small.keys():
            with open_to_read(source, path) as file:
                write_in_blocks(target, paths[path], file, sizes[path])


def write_in_blocks(
    target: AbstractFileSystem, path: str, content: SupportsRead[bytes], size: int | None = None
) -> None:
    """Write a file of any size to a store, one block at a time. After an error, the store keeps nothing of it.

    The libraries' own uploads hold up to 500 MB of a file in memory.

    :param target: file system of the store
    :param path: path of the file in it
    :param content: content of the file
    :param size: its size in bytes, None if it is not known; then in S3 it may have 80 GB
    """
    file = open_to_write(target, path, size or 0)
    try:
        shutil.copyfileobj(content, file, _PIECE_BYTES)
        file.close()
    except BaseException:
        _discard(target, path, file)
        raise


def _discard(target: AbstractFileSystem, path: str, file: Any) -> None:
    if isinstance(file, AbstractBufferedFile):
        # Closing the file, also when it is garbage-collected, would keep the parts so far as if they were complete.
        file.closed = True
        file.discard()
    else:
        file.close()
        target.rm_file(path)


def _copy_together(source: AbstractFileSystem, target: AbstractFileSystem, paths: Mapping[str, str]) -> None:
    """Copy small files, which are all in the worker's memory."""
    if isinstance(source, LocalFileSystem):
        target.put(list(paths), list(paths.values()))
    elif isinstance(target, LocalFileSystem):
        source.get(list(paths), list(paths.values()))
    else:
        for path, new_path in paths.items():
            target.pipe_file(new_path, source.cat_file(path))


def _grouped(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Yield some paths at a time, of files with :data:`_TOGETHER_BYTES` at most.

    :param sizes: sizes of the files in bytes, by path
    """
    group: list[str] = []
    room = _TOGETHER_BYTES
    for path, size in sizes.items():
        if group and size > room:
            yield group
            group, room = [], _TOGETHER_BYTES
        group.append(path)
        room -= size
    if group:
        yield group


def _link(path: str, new_path: str) -> None:
    try:
        os.link(path, new_path)  # datasets have many files, and Path would take as long again
    except OSError:  # on another disk, or one that has no links
        shutil.copyfile(path, new_path)
