"""What a file is, by its first bytes."""

from __future__ import annotations

import io
import time

import pytest

from airflow_annotation.media.content import content_suffix


@pytest.mark.parametrize(
    ("content", "suffix"),
    [
        (b"<svg>", ".svg"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- a > b -->\n<!DOCTYPE svg PUBLIC "x">\n<svg width="1">', ".svg"),
        (b"<html><svg>", None),
        (b"", None),
        (b"\xff\xd8\xff\xe0", ".jpg"),
    ],
)
def test_a_file_is_told_by_its_beginning(content: bytes, suffix: str | None) -> None:
    file = io.BytesIO(content)
    assert content_suffix(file) == suffix
    assert file.tell() == 0


@pytest.mark.parametrize("part", [b"<!-- c -->\n", b"<?xml", b"<!--", b"<!DOCTYPE svg", b" ", b"-->"])
def test_no_file_takes_more_time_than_its_length_explains(part: bytes) -> None:
    content = (part * 1024)[:1024] + b"<html>"
    began = time.process_time()
    assert content_suffix(io.BytesIO(content)) is None
    assert time.process_time() - began < 5  # it was years
