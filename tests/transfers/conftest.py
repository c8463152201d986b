"""Running a transfer without a scheduler around it, and databases to land in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.transfers.base import AnnotationsTransfer
from tests.support.connections import airflow_connection
from tests.support.databases import Database
from tests.support.generated import GeneratedHook
from tests.support.task_context import task_context

Land = Callable[..., dict[str, Any]]
T = TypeVar("T")


def at_once(given: Collection[T], land: Callable[[T], object]) -> list[AnnotationError]:
    """Land with each of what is given, all at the same time; return the errors of those that fail."""

    def run(one: T) -> AnnotationError | None:
        try:
            land(one)
        except AnnotationError as error:
            return error
        return None

    with ThreadPoolExecutor(len(given)) as pool:
        return [error for error in pool.map(run, given) if error is not None]


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


@pytest.fixture
def snowflake_database() -> Iterator[Database]:
    """A database of fakesnow's, which is DuckDB in this process."""
    for package in ("airflow.providers.snowflake", "fakesnow"):
        pytest.importorskip(package)
    import fakesnow

    connection = {"conn_type": "snowflake", "login": "me", "password": "-", "schema": "public"}
    extra = {"account": "fake", "database": "labels"}
    with fakesnow.patch(), airflow_connection(f"snowflake_{uuid4().hex}", connection | {"extra": extra}) as conn_id:
        database = Database(conn_id)
        database.hook.get_conn().close()  # the first one makes the database, which two at once cannot
        yield database


# Snowflake's packages want an older SQLAlchemy than this project has: make test-snowflake has an environment with them.
DATABASES = ["sqlite", "postgres", "duckdb", "mariadb", *(["snowflake"] if find_spec("fakesnow") else [])]


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest) -> Database:
    if request.param in {"postgres", "mariadb"}:
        return Database(request.getfixturevalue(f"{request.param}_conn_id"))
    database: Database = request.getfixturevalue(f"{request.param}_database")
    return database


@pytest.fixture(params=["postgres", "mariadb"])
def server_database(request: pytest.FixtureRequest) -> Database:
    """A database behind a connection, which can be cut."""
    return Database(request.getfixturevalue(f"{request.param}_conn_id"))


@pytest.fixture
def database_with_views(database: Database) -> Database:
    if database.warehouse_class.view_sql is None:
        pytest.skip("has no views")
    return database
