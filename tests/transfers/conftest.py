"""Running a transfer without a scheduler around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.transfers.base import AnnotationsTransfer
from tests.sensors.scripted_tool import task_context
from tests.transfers.generated import GeneratedHook

Land = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def land() -> Land:
    """Land batches with a transfer, and return what the task returns."""

    def land(operator: AnnotationsTransfer, batches: Iterable[LabelTables], project_id: str = "1") -> dict[str, Any]:
        operator.project = project_id
        operator.__dict__["hook"] = GeneratedHook(batches, project_id)
        result: dict[str, Any] = operator.execute(task_context())
        return result

    return land
