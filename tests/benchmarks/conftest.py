"""Benchmarks leave their figures in a file."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.benchmarks.figures import FILE, figures, write_figures


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Fail a benchmark that compares nothing: a release could be slower unseen."""
    before = len(figures)
    yield
    if item.get_closest_marker("benchmark"):
        assert len(figures) > before, "A benchmark has to record() what it measures."


def pytest_sessionfinish() -> None:
    """Write them."""
    if figures:
        write_figures(FILE)
