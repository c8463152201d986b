"""Databases and connections in which nothing can be landed, and what is said of them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from airflow.exceptions import AirflowNotFoundException  # type: ignore[attr-defined]  # Airflow 3.1 has it only here
from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.providers.sqlite.hooks.sqlite import SqliteHook
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowException

from airflow_annotation.exceptions import AnnotationError
from tests.support.connections import airflow_connection
from tests.support.databases import Database
from tests.support.generated import boxes
from tests.transfers.conftest import Land


class NoTransactions(sqlite3.Connection):
    """A driver like those of engines that have no transactions: it takes every call, and keeps every row at once."""

    class Cursor(sqlite3.Cursor):
        def execute(self, sql: str, *args: Any) -> Any:
            return self if sql.startswith("BEGIN") else super().execute(sql, *args)

    def cursor(self, _: Any = None) -> Any:
        return super().cursor(self.Cursor)

    def commit(self) -> None:
        pass

    def rollback(self) -> None:
        pass


def test_a_driver_without_transactions_is_refused_by_name_and_nothing_is_read(
    sqlite_database: Database, land: Land, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        SqliteHook,
        "get_conn",
        lambda _: sqlite3.connect(tmp_path / "annotations.db", factory=NoTransactions, isolation_level=None),
    )

    def unread() -> Any:
        yield pytest.fail("was read")

    with pytest.raises(AnnotationError, match=r"Connection 'sqlite_\w+': pysqlite has no transactions"):
        land(sqlite_database.operator(), unread())
    assert sqlite_database.query("select * from @landings") == []


def test_a_connection_that_commits_by_itself_is_refused(
    postgres_conn_id: str, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    get_conn = PostgresHook.get_conn

    def get_autocommit_conn(hook: PostgresHook) -> Any:
        connection: Any = get_conn(hook)
        connection.autocommit = True
        return connection

    monkeypatch.setattr(PostgresHook, "get_conn", get_autocommit_conn)
    with pytest.raises(AnnotationError, match=r"Connection 'postgres_test': psycopg\w* has no transactions"):
        land(Database(postgres_conn_id).operator(), [boxes(5)])


def test_a_missing_connection_is_named_with_how_to_make_it(land: Land, monkeypatch: pytest.MonkeyPatch) -> None:
    def get_connection(conn_id: str) -> Any:
        raise AirflowNotFoundException(f"The conn_id `{conn_id}` isn't defined")  # as Airflow says it to a task

    monkeypatch.setattr(BaseHook, "get_connection", get_connection)
    with pytest.raises(AnnotationError, match=r"no connection 'nowhere_db'.*airflow connections add nowhere_db"):
        land(Database("nowhere_db").operator(), [boxes(5)])


def test_a_database_without_its_provider_is_named_with_what_to_install(land: Land) -> None:
    with (
        airflow_connection("warehouse", {"conn_type": "trino", "host": "x"}) as conn_id,
        pytest.raises(AnnotationError, match="apache-airflow-providers-trino"),
    ):
        land(Database(conn_id).operator(), [boxes(5)])


def test_the_extra_of_a_missing_postgres_provider_is_named(
    postgres_conn_id: str, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get_hook(connection: Any, **_: Any) -> Any:
        raise AirflowException(f'Unknown hook type "{connection.conn_type}"')  # as Airflow says it

    monkeypatch.setattr(type(BaseHook.get_connection(postgres_conn_id)), "get_hook", get_hook)
    with pytest.raises(AnnotationError, match=r"pip install 'airflow-provider-annotation\[postgres\]'"):
        land(Database(postgres_conn_id).operator(), [boxes(5)])


def test_a_connection_that_is_no_database_is_refused_by_name(land: Land) -> None:
    with (
        airflow_connection("tool", {"conn_type": "fs"}) as conn_id,
        pytest.raises(AnnotationError, match="'tool' is not of a SQL database"),
    ):
        land(Database(conn_id).operator(), [boxes(5)])


def test_a_database_that_cannot_be_reached_is_named_without_its_password(land: Land, tmp_path: Path) -> None:
    connection = {"conn_type": "postgres", "host": str(tmp_path), "login": "me", "password": "s3cret", "schema": "x"}
    with airflow_connection("gone", connection) as conn_id, pytest.raises(AnnotationError, match="'gone'") as error:
        land(Database(conn_id).operator(), [boxes(5)])
    assert "s3cret" not in str(error.value)
