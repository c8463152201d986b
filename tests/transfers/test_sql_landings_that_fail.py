"""Landings in SQL databases that fail at any step, that are killed, and that wait for each other."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from airflow.providers.sqlite.hooks.sqlite import SqliteHook

from airflow_annotation.exceptions import AnnotationError
from tests.support.databases import Database, Rows
from tests.support.generated import boxes, rows_of
from tests.transfers.conftest import Land, at_once


class DyingSqlite:
    """Counts what is asked of the driver, and fails at one of these steps, in the middle of many rows too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.steps = 0
        self.dies_at = 0

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.dies_at:
            raise sqlite3.OperationalError("disk I/O error")

    def connect(self, _: SqliteHook) -> sqlite3.Connection:
        step = self.step

        class DyingCursor(sqlite3.Cursor):
            def execute(self, sql: str, *args: Any) -> Any:
                step()
                return super().execute(sql, *args)

            def executemany(self, sql: str, rows: Any) -> Any:
                rows = list(rows)
                super().executemany(sql, rows[: len(rows) // 2])
                step()
                return super().executemany(sql, rows[len(rows) // 2 :])

        class DyingConnection(sqlite3.Connection):
            def cursor(self, _: Any = None) -> Any:
                return super().cursor(DyingCursor)

            def commit(self) -> None:
                step()
                super().commit()

        return sqlite3.connect(self.path, factory=DyingConnection)


@pytest.mark.parametrize("landed_before", [True, False])
def test_sqlite_readers_see_a_whole_landing_whatever_step_fails_and_a_retry_lands_the_rest(
    sqlite_database: Database, land: Land, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, landed_before: bool
) -> None:
    dying = DyingSqlite(tmp_path / "annotations.db")
    old = [boxes(10)]
    land(sqlite_database.operator(), old)
    failures = 0
    while dying.steps >= dying.dies_at:
        if not landed_before:
            sqlite_database.prefix = f"t{dying.dies_at}_"  # tables that are still to be made
        new = [boxes(7, classes=(f"class {dying.dies_at}",)), boxes(7, first=7)]
        dying.steps, dying.dies_at = 0, dying.dies_at + 1
        with monkeypatch.context() as patch:
            patch.setattr(SqliteHook, "get_conn", dying.connect)
            with suppress(AnnotationError):
                land(sqlite_database.operator(), new)
                old = new
        failures += old is not new
        if landed_before:
            assert sqlite_database.rows() == rows_of(old)
        land(sqlite_database.operator(), new)
        assert sqlite_database.rows() == rows_of(new)
        old = new
    assert failures > 10


@pytest.mark.parametrize("step", range(1, 5))
def test_postgres_readers_see_the_last_landing_when_the_connection_is_cut(
    postgres_conn_id: str, land: Land, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    database = Database(postgres_conn_id)
    old, new = [boxes(10)], [boxes(7), boxes(7, first=7, classes=("bus",))]
    land(database.operator(), old)
    written = 0

    def cut(warehouse: Any, connection: Any, table: Any, batches: Iterable[pa.RecordBatch]) -> None:
        nonlocal written
        written += 1
        if written == step:
            pid = connection.connection.driver_connection.info.backend_pid
            database.query(f"select pg_terminate_backend({pid})")
        write_rows(warehouse, connection, table, batches)
        if step == 4 and written == 3:  # all is written, and not committed
            pid = connection.connection.driver_connection.info.backend_pid
            database.query(f"select pg_terminate_backend({pid})")

    write_rows = database.warehouse_class.write_rows
    monkeypatch.setattr(database.warehouse_class, "write_rows", cut)
    with pytest.raises(AnnotationError, match="its last landing is unchanged"):
        land(database.operator(), new)
    assert database.rows() == rows_of(old)
    monkeypatch.setattr(database.warehouse_class, "write_rows", write_rows)
    land(database.operator(), new)
    assert database.rows() == rows_of(new)


def test_a_landing_that_fails_while_it_reads_changes_nothing(database: Database, land: Land) -> None:
    def failing() -> Any:
        yield boxes(5, per_item=9)
        raise AnnotationError("The tool went away.")

    land(database.operator(), [boxes(10)])
    with pytest.raises(AnnotationError, match="went away"):
        land(database.operator(), failing())
    assert database.rows() == rows_of([boxes(10)])


def test_readers_see_the_last_landing_until_the_next_is_committed(
    database: Database, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(database.operator(), [boxes(10)])
    seen: list[Rows] = []

    def watch(warehouse: Any, connection: Any, table: Any, files: list[str], batches: Iterable[pa.RecordBatch]) -> None:
        write_files(warehouse, connection, table, files, batches)
        seen.append(database.rows())

    write_files = database.warehouse_class.write_files
    monkeypatch.setattr(database.warehouse_class, "write_files", watch)
    land(database.operator(), [boxes(4, per_item=1)])
    assert seen == [rows_of([boxes(10)])] * 3
    assert database.rows() == rows_of([boxes(4, per_item=1)])


def test_landings_at_once_wait_for_each_other_and_neither_corrupts(database: Database, land: Land) -> None:
    if database.kind == "snowflake":
        pytest.skip("fakesnow holds no locks: of two transactions, one fails where Snowflake lets it wait")
    candidates = [[boxes(40 + number, classes=(f"class {number}",))] for number in range(4)]
    for _ in range(3):  # the first time, they also create the tables
        assert at_once(candidates, lambda batches: land(database.operator(), batches)) == []
        assert database.rows() in [rows_of(batches) for batches in candidates]


def test_a_killed_landing_is_taken_back(database: Database, land: Land, monkeypatch: pytest.MonkeyPatch) -> None:
    land(database.operator(), [boxes(10)])
    task = database.operator()

    def killed(
        warehouse: Any, connection: Any, table: Any, files: list[str], batches: Iterable[pa.RecordBatch]
    ) -> None:
        task.on_kill()
        write_files(warehouse, connection, table, files, batches)

    write_files = database.warehouse_class.write_files
    monkeypatch.setattr(database.warehouse_class, "write_files", killed)
    with pytest.raises(AnnotationError, match="stopped"):
        land(task, [boxes(4, per_item=1)])
    assert database.rows() == rows_of([boxes(10)])


def test_a_landing_that_waits_for_another_can_be_killed(server_database: Database, land: Land) -> None:
    database = server_database
    land(database.operator(), [boxes(10)])
    task = database.operator()
    errors = []

    def run() -> None:
        with pytest.raises(AnnotationError, match="stopped") as error:
            land(task, [boxes(4)])
        errors.append(error)

    with closing(database.hook.get_conn()) as other:
        # As a landing does, by the key: all rows, and InnoDB would let nobody insert any.
        (project,) = {row[0] for row in database.query(f"select project from {database.prefix}landings")}
        other.cursor().execute(f"select * from {database.prefix}landings where project = '{project}' for update")
        thread = threading.Thread(target=run)
        thread.start()
        waiting = {
            "postgres": "select 1 from pg_locks where not granted",
            "mysql": "select 1 from information_schema.innodb_trx where trx_state = 'LOCK WAIT'",
        }
        while not database.query(waiting[database.kind]):
            assert thread.is_alive()
            time.sleep(0.2)  # InnoDB reads its transactions anew only for who has not asked for 0.1 s
        task.on_kill()
        thread.join()
    assert errors
    assert database.rows() == rows_of([boxes(10)])
