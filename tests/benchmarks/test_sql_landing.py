"""Landing in Postgres, DuckDB and MariaDB, against the database's own bulk load of the same rows.

Of its own, in Postgres, with another number of items: python tests/benchmarks/test_sql_landing.py [ITEMS [ROUNDS]]

The batches are in memory beforehand, as is the text of the bare run in Postgres; the one in DuckDB reads Parquet, the
one in MariaDB the text that LOAD DATA reads, from the server's own disk. It goes into tables with the same columns,
keys and indexes. So the ratio is what writing the text, staging the rows and committing them together cost on top of
the load. Runs take turns, and the fastest of each counts. DuckDB works in this process: its seconds are those of the
processor, which other programs do not change.
"""

# ruff: noqa: T201 - a benchmark prints its table

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from airflow.sdk import BaseHook

sys.path.insert(0, str(Path(__file__).parents[2]))

from airflow_annotation.labels.tables import SCHEMAS, LabelTables
from devtools.processes import stop_groups
from tests.benchmarks.figures import record
from tests.servers.postgres import start_postgres
from tests.support.connections import airflow_connection
from tests.support.databases import Database
from tests.support.generated import GeneratedHook, boxes
from tests.support.task_context import task_context

BATCH_ITEMS = 1000
BOXES = 10
BLOCK_BYTES = 1 << 20


@pytest.mark.benchmark
def test_landing_in_postgres_against_a_bare_copy(postgres_conn_id: str) -> None:
    measure(postgres_conn_id, "Postgres", copy, items=63_000, rounds=3)


@pytest.mark.benchmark
def test_landing_in_duckdb_against_its_own_load_of_parquet(tmp_path: Path) -> None:
    pytest.importorskip("duckdb_provider")
    with airflow_connection(
        "duckdb_benchmark", {"conn_type": "duckdb", "host": str(tmp_path / "labels.db")}
    ) as conn_id:
        measure(conn_id, "DuckDB", partial(load, folder=tmp_path), items=63_000, rounds=3)


@pytest.mark.benchmark
def test_landing_in_mariadb_against_a_bare_load_data(mariadb_conn_id: str, tmp_path: Path) -> None:
    measure(mariadb_conn_id, "MariaDB", partial(load_data, folder=tmp_path), items=63_000, rounds=3)


@pytest.mark.benchmark
def test_landing_in_mariadb_by_load_data_against_a_bare_one(mariadb_conn_id: str, tmp_path: Path) -> None:
    connection = BaseHook.get_connection(mariadb_conn_id)
    place = {name: getattr(connection, name) for name in ("conn_type", "host", "port", "login", "schema")}
    extra = connection.extra_dejson | {"local_infile": True}
    with airflow_connection("mariadb_loading", place | {"extra": extra}) as conn_id:
        measure(conn_id, "MariaDB by LOAD DATA", partial(load_data, folder=tmp_path), items=63_000, rounds=3)


def measure(conn_id: str, name: str, load_bare: Callable[[Database], float], *, items: int, rounds: int) -> None:
    """Run the benchmark and print its table."""
    batches = [varied(boxes(BATCH_ITEMS, per_item=BOXES, first=first)) for first in range(0, items, BATCH_ITEMS)]
    labels = sum(batch.labels.num_rows for batch in batches)
    ours, bare = [], []
    for _ in range(rounds):
        database = Database(conn_id)
        ours.append(land(database, batches))
        bare.append(load_bare(database))
        drop(database)
    print(f"\n{f'{labels:,} label rows into {name}':<34}{'seconds':>10}{'ratio':>8}")
    print(f"{'bare load of all three tables':<34}{min(bare):>10.2f}{1:>8.2f}")
    print(f"{'AnnotationsToSqlOperator':<34}{min(ours):>10.2f}{min(ours) / min(bare):>8.2f}")
    record(f"a first landing in {name}", {"landed": min(ours), "bare load": min(bare)})


def varied(batch: LabelTables) -> LabelTables:
    """Give each box a place of its own."""
    count = batch.labels.num_rows
    places = [[number % 997 / 1000, number % 991 / 1000, number % 89 / 97, number % 83 / 89] for number in range(count)]
    index = batch.labels.schema.get_field_index("bbox")
    schema = batch.labels.schema
    return batch._replace(
        labels=batch.labels.set_column(index, schema.field(index), pa.array(places, schema.field(index).type))
    )


def land(database: Database, batches: list[LabelTables]) -> float:
    """Land all batches in empty tables, and return how long it took."""
    operator = database.operator(project="1")
    operator.__dict__["hook"] = GeneratedHook(batches)
    started = seconds(database)
    operator.execute(task_context())
    return seconds(database) - started


def copy(database: Database) -> float:
    """Copy the rows that have landed into empty tables of the same shape, and return how long that took."""
    with closing(database.hook.get_conn()) as connection, connection.cursor() as cursor:
        texts: dict[str, list[bytes]] = {}
        for name in SCHEMAS:
            with cursor.copy(f"COPY {database.prefix}{name} TO STDOUT") as rows:
                texts[name] = [bytes(block) for block in rows]
            cursor.execute(f"CREATE TABLE {database.prefix}bare_{name} (LIKE {database.prefix}{name} INCLUDING ALL)")
        connection.commit()
        ready = {name: b"".join(blocks) for name, blocks in texts.items()}
        started = time.perf_counter()
        for name, text in ready.items():
            with cursor.copy(f"COPY {database.prefix}bare_{name} FROM STDIN") as rows:
                for start in range(0, len(text), BLOCK_BYTES):
                    rows.write(text[start : start + BLOCK_BYTES])
        connection.commit()
        return time.perf_counter() - started


def load(database: Database, folder: Path) -> float:
    """Load the rows that have landed into empty tables out of Parquet, and return how long that took."""
    with closing(database.hook.get_conn()) as connection:
        for name in SCHEMAS:
            connection.execute(f"COPY {database.prefix}{name} TO '{folder / name}.parquet' (FORMAT parquet)")
            connection.execute(f"CREATE TABLE {database.prefix}bare_{name} AS FROM {database.prefix}{name} LIMIT 0")
    started = seconds(database)
    with closing(database.hook.get_conn()) as connection:
        connection.execute("BEGIN TRANSACTION")
        for name in SCHEMAS:
            connection.execute(f"COPY {database.prefix}bare_{name} FROM '{folder / name}.parquet' (FORMAT parquet)")
        connection.execute("COMMIT")
    return seconds(database) - started


def load_data(database: Database, folder: Path) -> float:
    """Load the rows that have landed into empty tables out of text files, and return how long that took."""
    with closing(database.hook.get_conn()) as connection, closing(connection.cursor()) as cursor:
        files = {name: folder / f"{database.prefix}{name}" for name in SCHEMAS}
        for name, file in files.items():
            cursor.execute(f"SELECT * FROM {database.prefix}{name} INTO OUTFILE '{file}' CHARACTER SET utf8mb4")
            cursor.execute(f"CREATE TABLE {database.prefix}bare_{name} LIKE {database.prefix}{name}")
        connection.commit()
        started = time.perf_counter()
        for name, file in files.items():
            table = f"{database.prefix}bare_{name}"
            cursor.execute(f"LOAD DATA INFILE '{file}' INTO TABLE {table} CHARACTER SET utf8mb4")
        connection.commit()
        return time.perf_counter() - started


def seconds(database: Database) -> float:
    """Return the time of the clock, or of the processor where that is all that a database takes."""
    return time.process_time() if database.kind == "duckdb" else time.perf_counter()


def drop(database: Database) -> None:
    """Drop the tables of a round."""
    for name in SCHEMAS:
        database.hook.run([f"DROP TABLE {database.prefix}{name}", f"DROP TABLE {database.prefix}bare_{name}"])


def main(items: int = 63_000, rounds: int = 3) -> None:
    """Run the benchmark with a Postgres of its own."""
    with tempfile.TemporaryDirectory() as home:
        connection: dict[str, Any] = start_postgres(Path(home))
        try:
            with airflow_connection("sql_benchmark", connection) as conn_id:
                measure(conn_id, "Postgres", copy, items=items, rounds=rounds)
        finally:
            stop_groups(int((Path(home) / "postgres.pid").read_text()))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
