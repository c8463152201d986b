"""Making what a database is given while the database works on what came before."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def made_ahead(contents: Iterator[T]) -> Iterator[T]:
    """Yield each content while the next one is being made in a thread.

    :param contents: yields no None
    """
    with ThreadPoolExecutor(1, thread_name_prefix="make-ahead") as maker:
        ahead = maker.submit(next, contents, None)
        while (content := ahead.result()) is not None:
            ahead = maker.submit(next, contents, None)
            yield content
