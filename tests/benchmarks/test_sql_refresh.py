"""A refresh of a tenth of 12,500 items in Postgres, SQLite and MariaDB, against its statements alone.

The statements read the states of all items, delete the rows of those that changed, and insert their new rows, in one
transaction. What they insert is made beforehand. So the ratio is what finding out what changed, reading the rows,
staging them and writing their text cost on top. Runs take turns, and the fastest of each counts.
"""

# ruff: noqa: T201 - names are the benchmark's own, and it prints its table

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from airflow_annotation.labels.tables import ITEM_STATES, SCHEMAS, LabelTables
from airflow_annotation.warehouses.mysql import _inserts
from tests.benchmarks.figures import record
from tests.benchmarks.test_sql_landing import land
from tests.support.connections import airflow_connection
from tests.support.databases import Database
from tests.support.generated import boxes, project_uri

ITEMS = 12_500
CHANGED = 1_250
ROUNDS = 5
IDS_AT_ONCE = 500

OWN = f"project = '{project_uri()}'"
STATES = f"SELECT {', '.join(ITEM_STATES.names)} FROM @items WHERE {OWN}"


@pytest.mark.benchmark
def test_a_refresh_of_postgres_against_its_statements(postgres_conn_id: str) -> None:
    measure(Database(postgres_conn_id), in_postgres)


@pytest.mark.benchmark
def test_a_refresh_of_sqlite_against_its_statements(tmp_path: Path) -> None:
    connection = {"conn_type": "sqlite", "host": str(tmp_path / "annotations.db")}
    with airflow_connection("sqlite_benchmark", connection) as conn_id:
        measure(Database(conn_id), in_sqlite)


@pytest.mark.benchmark
def test_a_refresh_of_mariadb_against_its_statements(mariadb_conn_id: str) -> None:
    measure(Database(mariadb_conn_id), in_mariadb)


def measure(database: Database, bare: Callable[[Any, Database, LabelTables], Iterator[None]]) -> None:
    """Run the benchmark and print its table."""
    stay = boxes(ITEMS - CHANGED, per_item=10, first=CHANGED)
    land(database, [boxes(CHANGED, per_item=10), stay])
    ours, alone = [], []
    for number in range(ROUNDS):
        changed = boxes(CHANGED, per_item=11 + number)
        ours.append(land(database, [changed, stay]))
        with closing(database.hook.get_conn()) as connection:
            statements = bare(connection, database, changed)
            next(statements)  # what they insert is ready
            started = time.perf_counter()
            next(statements, None)
            alone.append(time.perf_counter() - started)
    record(f"a refresh of {database.kind}", {"refreshed": min(ours), "statements alone": min(alone)})
    print(f"\n{f'{CHANGED:,} of {ITEMS:,} items, {database.kind}':<34}{'seconds':>10}{'ratio':>8}")
    print(f"{'the statements alone':<34}{min(alone):>10.3f}{1:>8.2f}")
    print(f"{'AnnotationsToSqlOperator':<34}{min(ours):>10.3f}{min(ours) / min(alone):>8.2f}")


def in_postgres(connection: Any, database: Database, changed: LabelTables) -> Iterator[None]:
    """Execute the statements of Postgres."""
    ids = changed.items.column("item_id").to_pylist()
    with connection.cursor() as cursor:
        texts = {}
        for name in SCHEMAS:
            query = f"SELECT * FROM {database.prefix}{name} WHERE {OWN} AND item_id = ANY(%s)"
            with cursor.copy(f"COPY ({query}) TO STDOUT", (ids,)) as rows:
                texts[name] = b"".join(bytes(block) for block in rows)
        connection.commit()
        yield
        cursor.execute(STATES.replace("@", database.prefix)).fetchall()
        for name, text in texts.items():
            table = f"{database.prefix}{name}"
            cursor.execute(f"DELETE FROM {table} WHERE {OWN} AND item_id = ANY(%s)", (ids,))
            with cursor.copy(f"COPY {table} FROM STDIN") as copy:
                copy.write(text)
        connection.commit()


def in_sqlite(connection: Any, database: Database, changed: LabelTables) -> Iterator[None]:
    """Execute the statements of SQLite."""
    parts = list(among(changed))
    rows = {
        name: [
            row
            for part in parts
            for row in connection.execute(f"SELECT * FROM {database.prefix}{name} WHERE {OWN} AND item_id IN ({part})")
        ]
        for name in SCHEMAS
    }
    yield
    connection.execute(STATES.replace("@", database.prefix)).fetchall()
    for name, schema in SCHEMAS.items():
        table = f"{database.prefix}{name}"
        for part in parts:
            connection.execute(f"DELETE FROM {table} WHERE {OWN} AND item_id IN ({part})")
        connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(schema))})", rows[name])
    connection.commit()


def in_mariadb(connection: Any, database: Database, changed: LabelTables) -> Iterator[None]:
    """Execute the statements of MariaDB."""
    parts = list(among(changed))
    inserts = {
        name: list(_inserts(f"{database.prefix}{name}", [rows])) for name, rows in zip(SCHEMAS, changed, strict=True)
    }
    with closing(connection.cursor()) as cursor:
        yield
        cursor.execute(STATES.replace("@", database.prefix))
        cursor.fetchall()
        for name, statements in inserts.items():
            for part in parts:
                cursor.execute(f"DELETE FROM {database.prefix}{name} WHERE {OWN} AND item_id IN ({part})")
            for statement in statements:
                cursor.execute(statement)
        connection.commit()


def among(changed: LabelTables) -> Iterator[str]:
    """Yield the ids of some of the items at a time, as SQL."""
    ids = changed.items.column("item_id").to_pylist()
    for start in range(0, len(ids), IDS_AT_ONCE):
        yield ", ".join(f"'{item_id}'" for item_id in ids[start : start + IDS_AT_ONCE])
