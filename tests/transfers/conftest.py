"""Running a transfer without a scheduler around it, and databases to land in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.transfers.base import AnnotationsTransfer
from tests.support.connections import airflow_connection
from tests.support.databases import Database
from tests.support.generated import GeneratedHook
from tests.support.task_context import task_context

Land = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def land() -> Land:
    """Land batches with a transfer, and return what the task returns."""

    def land(operator: AnnotationsTransfer, batches: Iterable[LabelTables], project_id: str = "1") -> Any:
        operator.project = project_id
        operator.__dict__["hook"] = GeneratedHook(batches, project_id)
        result: Any = operator.execute(task_context())
        return result

    return land


@pytest.fixture
def sqlite_database(tmp_path: Path) -> Iterator[Database]:
    connection = {"conn_type": "sqlite", "host": str(tmp_path / "annotations.db")}
    with airflow_connection(f"sqlite_{uuid4().hex}", connection) as conn_id:
        yield Database(conn_id)


@pytest.fixture
def duckdb_database(tmp_path: Path) -> Iterator[Database]:
    for package in ("duckdb_provider", "duckdb_engine"):
        pytest.importorskip(package)
    connection = {"conn_type": "duckdb", "host": str(tmp_path / "annotations.duckdb")}
    with airflow_connection(f"duckdb_{uuid4().hex}", connection) as conn_id:
        yield Database(conn_id)


@pytest.fixture(params=["sqlite", "postgres", "duckdb", "mariadb"])
def database(request: pytest.FixtureRequest) -> Database:
    if request.param in {"postgres", "mariadb"}:
        return Database(request.getfixturevalue(f"{request.param}_conn_id"))
    database: Database = request.getfixturevalue(f"{request.param}_database")
    return database


@pytest.fixture(params=["postgres", "mariadb"])
def server_database(request: pytest.FixtureRequest) -> Database:
    """A database behind a connection, which can be cut."""
    return Database(request.getfixturevalue(f"{request.param}_conn_id"))
