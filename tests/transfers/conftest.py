"""Running a transfer without a scheduler around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.transfers.base import AnnotationsTransfer
from tests.transfers.generated import GeneratedHook

Land = Callable[..., dict[str, Any]]


class TaskInstance:
    """Takes the XComs that a task pushes."""

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


@pytest.fixture(scope="session")
def land() -> Land:
    """Land batches with a transfer, and return what the task returns."""

    def land(operator: AnnotationsTransfer, batches: Iterable[LabelTables], project_id: str = "1") -> dict[str, Any]:
        operator.project = project_id
        operator.__dict__["hook"] = GeneratedHook(batches, project_id)
        context: Any = {"ti": TaskInstance()}
        result: dict[str, Any] = operator.execute(context)
        return result

    return land
