from __future__ import annotations

from typing import Any

import pytest

from airflow_annotation.hooks.annotation import AnnotationHook
from airflow_annotation.triggers import poller as poller_module
from tests.support.scripted_tool import Answer, ScriptedTool


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what makes the tool that all connections lead to give these answers."""

    def script(*answers: Answer, **kwargs: Any) -> ScriptedTool:
        scripted = ScriptedTool(*answers, **kwargs)
        monkeypatch.setattr(AnnotationHook, "for_connection", lambda _: scripted)
        return scripted

    monkeypatch.setattr(poller_module, "_SHORTEST_BACKOFF", 0.01)
    return script
