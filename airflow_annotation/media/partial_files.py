"""Files on a disk that appear when they are whole, in folders that several landings share."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final
from uuid import uuid4

log = logging.getLogger(__name__)

_PREFIX: Final = ".partial-"
"""Hidden, so that nobody who lists the folder takes it for one of the files."""

_ABANDONED: Final = 24 * 60 * 60.0
"""Seconds after which nobody writes a file any more that is not whole. The disk may have another clock."""


@contextmanager
def open_partial(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write, which takes its name when it is closed, and goes where something fails."""
    written = path.with_name(f"{_PREFIX}{uuid4().hex}")  # not longer than a name may be, whatever the file's is
    try:
        with written.open("wb") as file:
            yield file
        written.replace(path)
    except BaseException:
        with suppress(OSError):
            written.unlink(missing_ok=True)
        raise


def sweep_partial_files(folder: Path) -> None:
    """Remove what killed tasks have left of files in a folder."""
    swept = 0
    for path in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # somebody else swept it
            if time.time() - path.stat().st_mtime > _ABANDONED:
                path.unlink()
                swept += 1
    if swept:
        log.info("Removed %d partial files that killed tasks had left in %s", swept, folder)
