"""What Snowflake has of its own. fakesnow stands in for it: PUT, COPY INTO, MERGE and VARIANT, on DuckDB."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pytest
import sqlalchemy as sa
from airflow.sdk import BaseHook

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.sql import make_engine
from airflow_annotation.labels.tables import SCHEMAS
from airflow_annotation.warehouses import snowflake
from airflow_annotation.warehouses.registry import open_warehouse
from airflow_annotation.warehouses.snowflake import SnowflakeWarehouse
from devtools.processes import REPOSITORY
from tests.docs.code_blocks import code_blocks
from tests.support.databases import Database
from tests.support.generated import boxes, project_uri, rows_of
from tests.transfers.conftest import DATABASES, Land

pytestmark = pytest.mark.skipif("snowflake" not in DATABASES, reason="needs make test-snowflake's environment")


@pytest.fixture
def statements(snowflake_database: Database, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that Snowflake was sent, by their first words."""
    from fakesnow.cursor import FakeSnowflakeCursor

    sent: list[str] = []
    execute = FakeSnowflakeCursor.execute

    def record(self: Any, command: str, *args: Any, **kwargs: Any) -> Any:
        sent.append(" ".join(command.split()[:2]).upper())
        return execute(self, command, *args, **kwargs)

    monkeypatch.setattr(FakeSnowflakeCursor, "execute", record)
    return sent


def test_rows_go_in_by_files_and_nothing_commits_before_the_end(
    snowflake_database: Database, land: Land, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snowflake, "FILE_ROWS", 10)
    land(snowflake_database.operator(), [boxes(5)])
    del statements[:]
    batches = [boxes(10), boxes(10, first=10, per_item=5)]
    land(snowflake_database.operator(), batches)
    assert snowflake_database.rows() == rows_of(batches)
    first = statements.index("CREATE TEMPORARY")
    transaction = statements[first + 1 : statements.index("COMMIT", first + 1)]
    assert {words.split()[0] for words in transaction} == {"UPDATE", "SELECT", "DELETE", "PUT", "COPY"}
    assert transaction.count("COPY INTO") == 3
    assert sum(words.startswith("PUT ") for words in transaction) > 3


def test_a_landing_that_fails_after_some_tables_leaves_the_last_one(
    snowflake_database: Database, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(snowflake_database.operator(), [boxes(10)])
    write_rows = SnowflakeWarehouse.write_rows

    def fail(warehouse: Any, connection: Any, table: Any, batches: Iterable[pa.RecordBatch]) -> None:
        write_rows(warehouse, connection, table, batches)
        if table.name.endswith("annotations"):
            connection.exec_driver_sql("SELECT nothing FROM nowhere")

    with monkeypatch.context() as patch:
        patch.setattr(SnowflakeWarehouse, "write_rows", fail)
        with pytest.raises(AnnotationError, match=r"its last landing is unchanged.*nowhere|NOWHERE"):
            land(snowflake_database.operator(), [boxes(4, per_item=1)])
    assert snowflake_database.rows() == rows_of([boxes(10)])
    land(snowflake_database.operator(), [boxes(4, per_item=1)])
    assert snowflake_database.rows() == rows_of([boxes(4, per_item=1)])


def test_a_project_has_one_row_in_landings_though_no_key_is_enforced(snowflake_database: Database) -> None:
    warehouse = open_warehouse(make_engine(snowflake_database.conn_id), snowflake_database.prefix)
    warehouse.prepare(project_uri("1"))
    warehouse.prepare(project_uri("2"))
    warehouse.prepare(project_uri("1"))
    assert sorted(snowflake_database.query("select project from @landings")) == [
        (project_uri("1"),),
        (project_uri("2"),),
    ]


def test_json_and_lists_can_be_queried_as_such(snowflake_database: Database, land: Land) -> None:
    land(snowflake_database.operator(), [boxes(5)])
    assert snowflake_database.query("select bbox[2]::double, labels from @labels limit 1") == [(0.25, None)]
    assert snowflake_database.query("select distinct data:batch::integer from @items") == [(1,)]
    assert snowflake_database.query("select settings:coordinates::varchar from @landings") == [("relative",)]


def test_the_asset_of_a_table_is_the_one_of_airflows_provider() -> None:
    from airflow.providers.snowflake.assets.snowflake import sanitize_uri as sanitize

    url = sa.make_url("snowflake://me:secret@acme-eu1/labels/public")
    uris = [SnowflakeWarehouse.table_uri(url, "my items", schema) for schema in (None, "other")]
    assert uris == ["snowflake://acme-eu1/labels/public/my%20items", "snowflake://acme-eu1/labels/other/my%20items"]
    assert [sanitize(urlsplit(uri)).geturl() for uri in uris] == uris


def test_the_queries_of_the_documentation_find_rows(snowflake_database: Database, land: Land) -> None:
    batch = boxes(5)
    rows = [row | {"labels": ["car", "red"]} for row in batch.labels.to_pylist()]
    batch = batch._replace(labels=pa.RecordBatch.from_pylist(rows, schema=SCHEMAS["labels"]))
    land(snowflake_database.operator(table_prefix=""), [batch])
    page = REPOSITORY / "docs" / "systems" / "snowflake.md"
    queries = [block.code for block in code_blocks(page) if block.language == "snowflake"]
    hook = BaseHook.get_hook(snowflake_database.conn_id)
    for query in "".join(queries).split(";")[:-1]:
        assert hook.get_records(query), query
