"""Temporary folders on the worker's disk, which the next landing removes if their process was killed.

A process that is killed removes nothing. So each folder has a file next to it that its process keeps locked
(``flock``). Each process that makes a folder first removes the folders whose lock is free. The kernel releases a lock
however its process ends. This works across processes, and across containers that share a disk of one host. Hosts that
share a folder of temporary files over a network need a file system that shares locks, such as NFS 4. With the mount
options ``nolock`` and ``local_lock``, NFS does not share them.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_PREFIX: Final = "airflow-annotation-"
_LOCK: Final = ".lock"

log = logging.getLogger(__name__)


@contextmanager
def working_folder() -> Iterator[Path]:
    """Make an empty folder among the temporary files, and remove it when the block ends.

    First removes the folders that killed processes of this user have left.
    """
    parent = Path(tempfile.gettempdir())
    _sweep(parent)
    descriptor, lock = _make_lock(parent)
    folder = lock.with_suffix("")
    try:
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _make_lock(parent: Path) -> tuple[int, Path]:
    """Make a file that this process keeps locked, and return its descriptor and path."""
    while True:
        descriptor, name = tempfile.mkstemp(prefix=_PREFIX, suffix=_LOCK, dir=parent)
        # On a file system without locks nothing is removed either, since no process gets a lock.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, Path(name)
        os.close(descriptor)  # another process removed it before it was locked


def _sweep(parent: Path) -> None:
    swept = [lock for lock in parent.glob(f"{_PREFIX}*{_LOCK}") if _remove_unlocked(lock)]
    if swept:
        log.info("Removed %d folders that killed tasks had left in %s", len(swept), parent)


def _remove_unlocked(lock: Path) -> bool:
    """Remove a folder and its lock, if no process holds the lock."""
    # Others may write here, so the name may belong to anything.
    try:
        found = lock.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            return False
        descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # the file is gone
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
        lock.unlink()
    except OSError:  # its process is alive, or another process is removing it
        return False
    finally:
        os.close(descriptor)
    return True
