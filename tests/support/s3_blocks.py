"""How large the blocks are in which files are read from S3 and written to it."""

from __future__ import annotations

from typing import Any

import pytest


def record_blocks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the size in bytes of the blocks of each file that is opened from now on."""
    from fsspec import get_filesystem_class

    blocks: list[int] = []
    s3: Any = get_filesystem_class("s3")
    open_file = s3._open

    def record(self: Any, *args: Any, **kwargs: Any) -> Any:
        file = open_file(self, *args, **kwargs)
        blocks.append(file.blocksize)
        return file

    monkeypatch.setattr(s3, "_open", record)
    return blocks
