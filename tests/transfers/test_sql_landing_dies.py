"""Landings that die: what readers see meanwhile and after that, and what the next try lands."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from time import monotonic
from typing import Any

import pytest
from airflow.providers.sqlite.hooks.sqlite import SqliteHook

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from tests.support.databases import SEEN, Database, seen
from tests.support.generated import boxes, rows_of
from tests.transfers.conftest import Land
from tests.transfers.doomed import Doom, DoomedLanding

OLD = [boxes(10)]
NEW = [boxes(4), boxes(3, first=4, per_item=5), boxes(2, first=20)]  # 4, 5, 6 edited; 7, 8, 9 gone; 20, 21 new
KINDS: dict[str, dict[str, Any]] = {"refresh": {}, "full": {"full_refresh": True}}


@contextmanager
def reader(database: Database) -> Iterator[list[list[tuple[Any, ...]]]]:
    """Read all the time, and give the different states that were seen, in order."""
    states: list[list[tuple[Any, ...]]] = []
    done = threading.Event()
    # One process at a time has a file of DuckDB open: its reader comes and goes.
    busy = (pytest.importorskip("duckdb").IOException,) if database.kind == "duckdb" else ()

    def read() -> None:
        while not done.is_set():
            with (
                suppress(*busy),
                closing(database.hook.get_conn()) as connection,
                closing(connection.cursor()) as cursor,
            ):
                look(cursor)
                while not (busy or done.is_set()):
                    connection.commit()
                    look(cursor)
            done.wait(0.05)

    def look(cursor: Any) -> None:
        cursor.execute(SEEN.replace("@", database.prefix))
        state = sorted(tuple(row) for row in cursor.fetchall())
        if not states or state != states[-1]:
            states.append(state)
        done.wait(0.001)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield states
    finally:
        done.set()
        thread.join()
    assert states or busy  # or it could not read


def doomed(database: Database, batches: list[LabelTables], **kwargs: Any) -> DoomedLanding:
    if database.kind == "snowflake":
        pytest.skip("fakesnow is in the tests' process alone")
    own: dict[str, Any] = {"table_prefix": database.prefix, "sql_conn_id": database.conn_id}
    return DoomedLanding(AnnotationsToSqlOperator, batches, **own | kwargs)


def count_steps(database: Database, land: Land, kind: str) -> int:
    land(database.operator(), OLD)
    landing = doomed(database, NEW, **KINDS[kind])
    assert landing.wait()
    assert database.rows() == rows_of(NEW)
    return landing.steps


def die_at(database: Database, land: Land, kind: str, step: int, doom: Doom) -> bool:
    """Let a landing die at a step, look, and land again. Return whether it had landed."""
    land(database.operator(), OLD)
    with reader(database) as states:
        landed = doomed(database, NEW, step=step, doom=doom, **KINDS[kind]).wait()
        after = database.rows()
        assert after in (rows_of(OLD), rows_of(NEW)), step
        assert not landed or after == rows_of(NEW), step
        again = land(database.operator(**KINDS[kind]), NEW)
    assert database.rows() == rows_of(NEW), step
    assert again["rows"] == {name: len(rows) for name, rows in rows_of(NEW).items()}, step
    assert all(state in (seen(OLD), seen(NEW)) for state in states), step
    return landed


@pytest.mark.parametrize("kind", KINDS)
def test_a_landing_killed_at_some_steps_is_whole_or_not_there_and_lands_at_the_next_try(
    database: Database, land: Land, kind: str
) -> None:
    steps = count_steps(database, land, kind)
    assert steps > 50
    for step in random.sample(range(1, steps + 1), 4):
        die_at(database, land, kind, step, "kill")


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_a_landing_killed_at_every_step_is_whole_or_not_there_and_lands_at_the_next_try(
    database: Database, land: Land, kind: str
) -> None:
    for step in range(1, count_steps(database, land, kind) + 1):
        die_at(database, land, kind, step, "kill")


@pytest.mark.parametrize("kind", KINDS)
def test_a_landing_cut_off_from_its_server_is_whole_or_not_there_and_lands_at_the_next_try(
    server_database: Database, land: Land, kind: str
) -> None:
    steps = count_steps(server_database, land, kind)
    for step in random.sample(range(1, steps + 1), 4):
        die_at(server_database, land, kind, step, "cut")


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_a_landing_cut_off_from_its_server_at_every_step_is_whole_or_not_there(
    server_database: Database, land: Land, kind: str
) -> None:
    steps = range(1, count_steps(server_database, land, kind) + 1)
    landed = [die_at(server_database, land, kind, step, "cut") for step in steps]
    assert 0 < sum(landed) < len(landed)


@pytest.mark.faults
def test_landings_killed_at_random_moments_leave_whole_landings(database: Database, land: Land) -> None:
    """Larger ones, killed from outside, one after the other without a try that succeeds in between."""
    projects = [
        [boxes(400, per_item=number, first=number * 30) for number in (size, size + 20)] for size in range(1, 9)
    ]
    land(database.operator(), projects[0])
    last = projects[0]
    started = monotonic()
    assert doomed(database, projects[1]).wait()
    seconds = monotonic() - started
    last, states_seen = projects[1], [seen(project) for project in projects]
    with reader(database) as states:
        for number in range(60):
            project = random.choice(projects)
            landing = doomed(database, project, full_refresh=bool(number % 2))
            landing.wait_for_end(random.uniform(0, seconds * 1.2))
            landing.process.kill()
            landed = landing.wait()
            after = database.rows()
            assert after == rows_of(project) or (not landed and after == rows_of(last))
            last = project if after == rows_of(project) else last
    assert all(state in states_seen for state in states)
    land(database.operator(), projects[3])
    assert database.rows() == rows_of(projects[3])


@pytest.mark.faults
def test_first_landings_killed_at_every_step_land_at_the_next_try(sqlite_database: Database, land: Land) -> None:
    step, landed = 0, False
    while not landed:
        step += 1
        sqlite_database.prefix = f"first{step}_"
        landed = doomed(sqlite_database, NEW, step=step, views=True).wait()
        land(sqlite_database.operator(views=True), NEW)
        assert sqlite_database.rows() == rows_of(NEW)
    assert step > 50


def test_a_full_disk_leaves_the_last_landing(
    sqlite_database: Database, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(sqlite_database.operator(), OLD)
    ((pages,),) = sqlite_database.query("pragma page_count")

    get_conn = SqliteHook.get_conn

    def get_full(hook: SqliteHook) -> Any:
        connection = get_conn(hook)
        connection.execute(f"pragma max_page_count = {pages + 2}")
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(SqliteHook, "get_conn", get_full)
        with pytest.raises(AnnotationError, match=r"its last landing is unchanged.*full"):
            land(sqlite_database.operator(), [boxes(4000)])
    assert sqlite_database.rows() == rows_of(OLD)
    land(sqlite_database.operator(), NEW)
    assert sqlite_database.rows() == rows_of(NEW)


def test_landings_of_two_processes_in_a_file_of_duckdb_wait_for_each_other(
    duckdb_database: Database,
) -> None:
    landings = [doomed(duckdb_database, [boxes(40 + number)]) for number in range(3)]  # they make the tables, too
    assert [(landing.wait(), landing.error) for landing in landings] == [(True, None)] * 3
    assert duckdb_database.rows() in [rows_of([boxes(40 + number)]) for number in range(3)]
