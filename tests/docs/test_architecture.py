"""The page about the architecture names files that are there, and names that are in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
ROWS = re.findall(r"^\| ([a-j]) \| ([^|]+) \| (\d+) \| (.+) \|$", PAGE, re.MULTILINE)
NAMED = re.compile(r"`([\w./]+\.\w+)` \(`(\w[\w-]*)`")


def test_there_are_ten_change_requests() -> None:
    assert [row[0] for row in ROWS] == list("abcdefghij")


@pytest.mark.parametrize(("request_", "count", "files"), [row[1:] for row in ROWS])
def test_the_files_of_a_change_request_hold_what_the_page_says(request_: str, count: str, files: str) -> None:
    named = NAMED.findall(files)
    assert len(named) >= int(count), request_
    for path, name in named:
        (file,) = [found for found in (ROOT / "airflow_annotation" / path, ROOT / path) if found.is_file()]
        assert re.search(rf"(?<!\w){re.escape(name)}", file.read_text()), f"{path} has no {name}"
