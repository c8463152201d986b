"""The blocks of code in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class CodeBlock(NamedTuple):
    """A block, and where its first line is, from 1."""

    language: str
    code: str
    line: int


def code_blocks(page: Path) -> Iterator[CodeBlock]:
    """Yield the blocks of a page that name their language."""
    text = page.read_text()
    for found in _BLOCK.finditer(text):
        yield CodeBlock(found[1], found[2], text.count("\n", 0, found.start(2)) + 1)
