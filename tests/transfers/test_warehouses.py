"""What a database is to landings: a class in a module of its own, and nobody else knows its name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import registry as registries
from sqlalchemy.schema import CreateIndex, CreateTable

import airflow_annotation
from airflow_annotation.datasets.label_sources import read_query
from airflow_annotation.hooks.sql import make_engine
from airflow_annotation.labels.submissions import read_rows, read_submissions
from airflow_annotation.warehouses import registry
from airflow_annotation.warehouses.registry import WAREHOUSES, open_warehouse
from airflow_annotation.warehouses.sqlite import SqliteWarehouse
from tests.support.databases import Database
from tests.support.generated import boxes, rows_of
from tests.transfers.conftest import Land

PACKAGE = Path(str(airflow_annotation.__file__)).parent
OWN = {PACKAGE / f"{kind.__module__.partition('.')[2].replace('.', '/')}.py" for kind in WAREHOUSES.values()}


def dialects_named(module: Path) -> Iterator[str]:
    """Yield where a module asks which database it has, or names one as SQLAlchemy does."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Constant) and node.value in WAREHOUSES:
            yield f"{module.relative_to(PACKAGE)}:{node.lineno} {node.value!r}"
        if isinstance(node, ast.Compare) and "dialect" in ast.unparse(node):
            yield f"{module.relative_to(PACKAGE)}:{node.lineno} {ast.unparse(node)}"


def test_only_a_databases_own_module_and_the_registry_know_its_name() -> None:
    others = set(PACKAGE.rglob("*.py")) - OWN - {Path(registry.__file__)}
    assert len(others) > 100
    assert [found for module in sorted(others) for found in dialects_named(module)] == []


def test_a_database_gets_a_fast_path_by_a_class_and_a_line_in_the_registry(
    sqlite_database: Database, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    class Staged(SqliteWarehouse):
        """Loads rows into a staging table, and merges that."""

        def write_rows(self, connection: sa.Connection, table: sa.Table, batches: Iterable[pa.RecordBatch]) -> None:
            stage = table.to_metadata(sa.MetaData(), name="stage")
            stage.indexes.clear()
            stage.create(connection)
            super().write_rows(connection, stage, batches)
            connection.execute(table.insert().from_select(stage.columns.keys(), sa.select(stage)))
            stage.drop(connection)
            loaded.append(table.name.removeprefix(self.prefix))

    monkeypatch.setitem(WAREHOUSES, "sqlite", Staged)
    land(sqlite_database.operator(), [boxes(5)])
    land(sqlite_database.operator(), [boxes(6)])
    assert loaded == ["items", "annotations", "labels"] * 2
    assert sqlite_database.rows() == rows_of([boxes(6)])


def test_a_query_of_any_database_gives_labels_and_a_percent_sign_is_one(database: Database) -> None:
    sql = """SELECT 'a' AS item_key, 'objects' AS field, 'car' AS label, CAST(0.75 AS decimal(5, 2)) AS score,
        CAST(12 AS decimal(5, 2)) AS number, '[0.1, 0.2, 0.3, 0.4]' AS bbox, '100%' AS text WHERE 'car' LIKE 'c%'"""
    (submission,) = read_submissions(read_rows(read_query(open_warehouse(make_engine(database.conn_id)).reader, sql)))
    (row,) = submission.labels
    assert (row["number"], row["bbox"], row["text"], submission.score) == (12, [0.1, 0.2, 0.3, 0.4], "100%", 0.75)


def test_numbers_that_postgres_has_exactly_are_numbers(postgres_conn_id: str) -> None:
    sql = """SELECT 'a' AS item_key, 'objects' AS field, 'car' AS label, 12.00::numeric AS number,
        ARRAY[0.1, 0.2, 0.3, 0.4]::numeric[] AS bbox, 3::numeric AS frame, 'NaN'::numeric AS time"""
    (submission,) = read_submissions(read_rows(read_query(open_warehouse(make_engine(postgres_conn_id)).reader, sql)))
    (row,) = submission.labels
    assert (row["number"], row["bbox"], row["frame"], row.get("time")) == (12, [0.1, 0.2, 0.3, 0.4], 3, None)


def test_keys_are_where_a_database_has_them_cheaply() -> None:
    pytest.importorskip("duckdb_engine")
    from airflow_annotation.warehouses.duckdb import DuckDBWarehouse

    with_keys, without = (
        {
            name
            for name, table in type_(sa.create_engine(url)).tables.items()
            if "PRIMARY KEY" in str(CreateTable(table))
        }
        for type_, url in ((SqliteWarehouse, "sqlite://"), (DuckDBWarehouse, "duckdb:///:memory:"))
    )
    assert with_keys == {"items", "annotations", "landings"}
    assert without == {"landings"}


@pytest.mark.parametrize(
    ("name", "types"),
    [
        ("mssql", {"item_id": "NVARCHAR(255) ", "label": "NVARCHAR(max) ", "updated_at": "DATETIMEOFFSET(6)"}),
        (
            "oracle",
            {"item_id": "VARCHAR2(255 CHAR)", "score": "BINARY_DOUBLE", "updated_at": "TIMESTAMP WITH TIME ZONE"},
        ),
    ],
)
def test_the_statements_of_databases_that_no_test_lands_in_compile(name: str, types: dict[str, str]) -> None:
    dialect = registries.load(name)()
    warehouse = WAREHOUSES[name](sa.create_engine("sqlite://"))
    for table in warehouse.tables.values():
        created = str(CreateTable(table).compile(dialect=dialect))
        for column in types.keys() & set(table.columns.keys()):
            assert re.search(rf"\b{column} {re.escape(types[column])}", created), created
        assert str(table.insert().compile(dialect=dialect, column_keys=table.columns.keys()))
        for index in table.indexes:
            assert str(CreateIndex(index).compile(dialect=dialect))
