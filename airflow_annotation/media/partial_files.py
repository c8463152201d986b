"""Writes files on a disk that appear only when they are complete, in folders that several tasks share."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final
from uuid import uuid4

log = logging.getLogger(__name__)

_PREFIX: Final = ".partial-"
"""Prefix of partial files. It hides them from programs that list the folder."""

_ABANDONED: Final = 24 * 60 * 60.0
"""Age of an abandoned partial file, in seconds: so long because the disk's clock may differ from the worker's."""


@contextmanager
def open_partial(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing. It gets its name when it is closed, and is deleted after an error."""
    written = path.with_name(f"{_PREFIX}{uuid4().hex}")  # the file's own name may be too long to extend
    try:
        with written.open("wb") as file:
            yield file
        written.replace(path)
    except BaseException:
        with suppress(OSError):
            written.unlink(missing_ok=True)
        raise


def sweep_partial_files(folder: Path) -> None:
    """Remove the partial files that killed tasks have left in a folder."""
    swept = 0
    with suppress(OSError), os.scandir(folder) as entries:  # a task may write in a folder that it may not list
        for entry in entries:
            if entry.name.startswith(_PREFIX):
                with suppress(OSError):  # another task removed it
                    if time.time() - entry.stat().st_mtime > _ABANDONED:
                        Path(entry.path).unlink()
                        swept += 1
    if swept:
        log.info("Removed %d partial files that killed tasks had left in %s", swept, folder)
