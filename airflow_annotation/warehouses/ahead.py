"""Make the next content for a database while it works on the last one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def made_ahead(contents: Iterator[T]) -> Iterator[T]:
    """Yield each content while a thread makes the next one.

    :param contents: iterator that makes the contents, none of which is None
    """
    with ThreadPoolExecutor(1, thread_name_prefix="make-ahead") as maker:
        ahead = maker.submit(next, contents, None)
        while (content := ahead.result()) is not None:
            ahead = maker.submit(next, contents, None)
            yield content
