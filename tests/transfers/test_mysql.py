"""What MySQL and MariaDB have of their own: collations, limits, clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from airflow.sdk import BaseHook
from hypothesis import HealthCheck, given, settings
from sqlalchemy.schema import CreateTable

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.sql import make_engine
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.landing.sql_reader import SqlReader
from airflow_annotation.warehouses.mysql import MySqlWarehouse
from airflow_annotation.warehouses.registry import open_warehouse
from tests.support.connections import airflow_connection
from tests.support.databases import Database
from tests.support.generated import batch_of, boxes, label_tables, rows_of
from tests.transfers.conftest import Land

CLIENTS = {"mysqlclient": "MySQLdb", "mysql-connector-python": "mysql.connector"}


@pytest.fixture
def loading_conn_id(mariadb_conn_id: str) -> Iterator[str]:
    """Id of a connection that lets the client send files."""
    connection = BaseHook.get_connection(mariadb_conn_id)
    place = {name: getattr(connection, name) for name in ("conn_type", "host", "port", "login", "schema")}
    with airflow_connection(
        "mysql_loading", place | {"extra": connection.extra_dejson | {"local_infile": True}}
    ) as conn_id:
        yield conn_id


def edited(label: dict[str, Any] | None = None, item: dict[str, Any] | None = None) -> list[LabelTables]:
    """Return two items, one of them labeled, with other values in the first label and in the last item."""
    batch = boxes(2)
    items, labels = batch.items.to_pylist(), batch.labels.to_pylist()
    return [
        batch_of(
            [*items[:-1], items[-1] | (item or {})],
            batch.annotations.to_pylist(),
            [labels[0] | (label or {}), *labels[1:]],
        )
    ]


@pytest.mark.parametrize("client", CLIENTS)
def test_each_client_of_the_provider_lands_and_refreshes(mariadb_conn_id: str, land: Land, client: str) -> None:
    pytest.importorskip(CLIENTS[client]) if client != "mysqlclient" else skip_without_mysqlclient()
    connection = BaseHook.get_connection(mariadb_conn_id)
    place = {name: getattr(connection, name) for name in ("conn_type", "host", "port", "login", "schema")}
    with airflow_connection("mysql_client", place | {"extra": {"client": client}}) as conn_id:
        database = Database(conn_id)
        text = "50% 'of' \\ \"é😀\"\n\t\0;"
        first = edited({"text": text, "number": 1e-7, "labels": [text], "is_keyframe": True})
        land(database.operator(views=True), first)
        assert database.rows() == rows_of(first)
        assert land(database.operator(), first)["unchanged_items"] == 2
        now = [boxes(1), boxes(4, first=1, per_item=3)]
        assert land(database.operator(), now)["full"] is False
        assert database.rows() == rows_of(now)
        with SqlReader(conn_id, table_prefix=database.prefix) as reader:
            assert sum(batch.labels.num_rows for batch in reader.read(reader.find_landing())) == 12


def skip_without_mysqlclient() -> None:
    try:
        import MySQLdb  # type: ignore[import-untyped]  # noqa: F401
    except ImportError:
        pytest.skip("mysqlclient is not there: it is compiled where it is installed")


def test_times_keep_their_microseconds_so_that_nothing_is_read_twice(mariadb_conn_id: str, land: Land) -> None:
    database = Database(mariadb_conn_id)
    batches = edited(item={"updated_at": datetime(2026, 5, 1, 12, 30, 15, 123457, timezone.utc)})
    land(database.operator(), batches)
    assert land(database.operator(), batches)["unchanged_items"] == 2
    assert database.rows() == rows_of(batches)


def test_text_is_compared_by_its_bytes_in_a_database_of_another_character_set(mariadb_conn_id: str, land: Land) -> None:
    database = Database(mariadb_conn_id)
    assert database.hook.get_first("select @@character_set_database")[0] == "latin1"
    batch = boxes(2)
    ids = ["a", "A", "á", "ä"]
    items = [batch.items.to_pylist()[0] | {"item_id": name, "item_key": name} for name in ids]
    annotations = [batch.annotations.to_pylist()[0] | {"item_id": name, "annotation_id": name} for name in ids]
    classes = ["car", "Car", "cär", "車"]
    labels = [
        batch.labels.to_pylist()[0] | {"item_id": name, "annotation_id": name, "label": label}
        for name, label in zip(ids, classes, strict=True)
    ]
    land(database.operator(views=True), [batch_of(items, annotations, labels)])
    assert database.rows() == rows_of([batch_of(items, annotations, labels)])
    assert sorted(database.query("select label, labels from @class_counts")) == sorted((name, 1) for name in classes)
    fewer = [batch_of(items[1:], annotations[1:], labels[1:])]
    assert land(database.operator(), fewer)["removed_items"] == 1
    assert database.rows() == rows_of(fewer)


def test_text_and_json_may_be_long_and_deep(mariadb_conn_id: str, land: Land) -> None:
    database = Database(mariadb_conn_id)
    deep = json.dumps({"levels": json.loads("[" * 60 + "]" * 60)})
    long = edited({"text": "é" * 3_000_000, "mask_counts": "x" * 200_000, "attributes": deep}, {"data": deep})
    land(database.operator(), long)
    assert database.rows() == rows_of(long)


def test_numbers_that_are_not_finite_are_null(mariadb_conn_id: str, land: Land) -> None:
    database = Database(mariadb_conn_id)
    land(database.operator(), edited({"number": float("nan"), "time": float("inf")}))
    assert database.rows() == rows_of(edited())


@pytest.mark.parametrize("conn_id", ["mariadb_conn_id", "loading_conn_id"])
def test_an_id_that_does_not_fit_is_an_error_and_is_not_cut_off(
    request: pytest.FixtureRequest, land: Land, conn_id: str
) -> None:
    database = Database(request.getfixturevalue(conn_id))
    land(database.operator(), [boxes(3)])
    database.hook.run("set global sql_mode = ''")  # as a server may have it
    try:
        with pytest.raises(AnnotationError, match=r"its last landing is unchanged.*item_id"):
            land(database.operator(), edited(item={"item_id": "x" * 256}))
    finally:
        database.hook.run("set global sql_mode = default")
    assert database.rows() == rows_of([boxes(3)])


def test_rows_are_loaded_where_the_connection_says_so(mariadb_conn_id: str, loading_conn_id: str, land: Land) -> None:
    for conn_id, loads in ((mariadb_conn_id, 0), (loading_conn_id, 1)):
        database = Database(conn_id)
        land(database.operator(), [boxes(2)])
        warehouse = open_warehouse(make_engine(conn_id), database.prefix)
        with warehouse.engine.begin() as connection:
            warehouse.write_rows(connection, warehouse.tables["items"], [boxes(2, first=2).items])
            ((_, count),) = connection.exec_driver_sql("show session status like 'Com_load'").fetchall()
        assert int(count) == loads


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
@given(batches=label_tables())
def test_loaded_rows_read_back_equal(loading_conn_id: str, land: Land, batches: list[LabelTables]) -> None:
    database = Database(loading_conn_id)
    land(database.operator(), batches)
    assert database.rows() == rows_of(batches)


def test_loaded_text_is_what_it_was(loading_conn_id: str, land: Land) -> None:
    database = Database(loading_conn_id)
    texts = ["\\", "\\N", "NULL", "'", "','", "''\n", "a\\'", "\0", "\r\n", "\x1a", ",", " a ", "é😀", ""]
    items, annotations, labels = (table.to_pylist() for table in boxes(1, first=1))
    labels = [
        labels[0] | {"ordinal": number, "text": text, "labels": [text], "is_keyframe": False, "number": 1e-7}
        for number, text in enumerate(texts)
    ]
    batches = [batch_of([items[0] | {"data": json.dumps(texts)}], annotations, labels)]
    land(database.operator(), batches)
    assert database.rows() == rows_of(batches)


def test_rows_that_a_load_would_skip_are_an_error(loading_conn_id: str, land: Land) -> None:
    database = Database(loading_conn_id)
    land(database.operator(), [boxes(2)])
    warehouse = open_warehouse(make_engine(loading_conn_id), database.prefix)
    with pytest.raises(Exception, match="Duplicate entry"), warehouse.engine.begin() as connection:
        warehouse.write_rows(connection, warehouse.tables["items"], [boxes(2, first=1).items])
    assert database.rows() == rows_of([boxes(2)])


@pytest.mark.parametrize(
    ("is_mariadb", "json_type"),
    [(False, "JSON"), (True, "LONGTEXT")],
)
def test_mysql_and_mariadb_get_the_types_that_they_have(is_mariadb: bool, json_type: str) -> None:
    mysql = pytest.importorskip("sqlalchemy.dialects.mysql")
    dialect = mysql.dialect(is_mariadb=is_mariadb)
    pytest.importorskip("mysql.connector")
    tables = MySqlWarehouse(sa.create_engine("mysql+mysqlconnector://")).tables
    statements = {name: str(CreateTable(table).compile(dialect=dialect)) for name, table in tables.items()}
    assert f"data {json_type}" in statements["items"]
    assert f"bbox {json_type}" in statements["labels"]
    assert "updated_at DATETIME(6)" in statements["items"]
    for statement in statements.values():
        assert "project VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL" in statement
        assert "ENGINE=InnoDB" in statement


def test_the_asset_of_a_table_is_the_one_of_airflows_provider() -> None:
    uris = [
        MySqlWarehouse.table_uri(sa.make_url(url), "my labels", schema)
        for url, schema in (
            ("mysql+mysqlconnector://me:secret@db.example:3307/a", None),
            ("mysql://db.example/a", "b"),
        )
    ]
    assert uris == ["mysql://db.example:3307/a/my%20labels", "mysql://db.example:3306/b/my%20labels"]
    sanitize = pytest.importorskip("airflow.providers.mysql.assets.mysql").sanitize_uri
    from urllib.parse import urlsplit

    assert [sanitize(urlsplit(uri)).geturl() for uri in uris] == uris
