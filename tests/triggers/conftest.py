from __future__ import annotations

import pytest

from airflow_annotation.triggers import poller as poller_module
from tests.support.scripted_tool import tool

__all__ = ["tool"]


@pytest.fixture(autouse=True)
def no_long_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller_module, "_SHORTEST_BACKOFF", 0.01)
