from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import sqlalchemy as sa
from airflow.providers.sqlite.hooks.sqlite import SqliteHook
from hypothesis import HealthCheck, given, settings

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.sql import make_engine
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import SCHEMAS, TABLES_VERSION, LabelTables
from airflow_annotation.landing.sql_reader import SqlReader
from airflow_annotation.warehouses import postgres
from airflow_annotation.warehouses.registry import open_warehouse
from airflow_annotation.warehouses.sqlite import SqliteWarehouse
from tests.support.databases import Database
from tests.support.datasets import pages
from tests.support.generated import SCHEMA, GeneratedHook, batch_of, boxes, label_tables, project_uri, rows_of
from tests.support.task_context import task_context
from tests.transfers.conftest import Land


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
@given(batches=label_tables())
def test_rows_read_back_equal(database: Database, land: Land, batches: list[LabelTables]) -> None:
    land(database.operator(full_refresh=True), batches)
    assert database.rows() == rows_of(batches)


def test_a_landing_returns_a_small_summary_and_keeps_one_beside_the_rows(database: Database, land: Land) -> None:
    landed = land(database.operator(annotations="latest"), [boxes(5), boxes(5, first=5)])
    assert landed["rows"] == {"items": 10, "annotations": 8, "labels": 16}
    assert landed["tables"]["labels"] == f"{database.prefix}labels"
    ((*facts, landed_at),) = database.query(
        "select project, run_key, tables_version, label_schema_digest, items, annotations, labels, landed_at "
        "from @landings"
    )
    assert facts == [project_uri(), "cars/1", TABLES_VERSION, SCHEMA.digest(), 10, 8, 16]
    assert landed_at is not None
    ((stored,),) = database.query("select settings from @landings")
    assert (json.loads(stored) if isinstance(stored, str) else stored)["annotations"] == "latest"


def test_landing_again_replaces_the_projects_rows_and_leaves_those_of_others(database: Database, land: Land) -> None:
    land(database.operator(), [boxes(10)])
    land(database.operator(), [boxes(6, project_id="2")], project_id="2")
    land(database.operator(), [boxes(3, per_item=1)])
    assert database.rows() == rows_of([boxes(3, per_item=1)])
    assert database.rows("2") == rows_of([boxes(6, project_id="2")])
    assert database.query("select project, items from @landings order by project") == [
        (project_uri("1"), 3),
        (project_uri("2"), 6),
    ]


def test_a_landing_makes_one_engine(database: Database, land: Land, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    get_engine = type(database.hook).get_sqlalchemy_engine

    def make(self: Any, engine_kwargs: Any = None) -> Any:
        made.append(engine_kwargs)
        return get_engine(self, engine_kwargs)

    monkeypatch.setattr(type(database.hook), "get_sqlalchemy_engine", make)
    land(database.operator(), [boxes(3)])
    land(database.operator(), [boxes(4)])
    assert len(made) == 2  # of two landings, the second a refresh


def items_of(batches: Iterable[LabelTables], *item_ids: str) -> list[LabelTables]:
    """Return the rows of some items."""
    wanted = pa.array(item_ids)
    return [
        LabelTables(*(table.filter(pc.is_in(table["item_id"], value_set=wanted)) for table in batch))
        for batch in batches
    ]


def test_only_changed_items_are_read_and_written_and_the_result_is_that_of_a_full_landing(
    database: Database, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = land(database.operator(), [boxes(10)])
    assert (first["full"], first["changed_items"]) == (True, 10)
    now = [boxes(4), boxes(3, first=4, per_item=5), boxes(2, first=20)]  # 4, 5, 6 edited; 7, 8, 9 gone; 20, 21 new
    written: list[int] = []

    def count(warehouse: Any, connection: Any, table: Any, files: list[str], batches: Iterable[pa.RecordBatch]) -> None:
        rows = pa.Table.from_batches(batches, SCHEMAS[table.name.removeprefix(database.prefix)])
        written.extend([rows.num_rows] if rows.num_rows else [])
        write_files(warehouse, connection, table, files, rows.to_batches())

    write_files = database.warehouse_class.write_files
    monkeypatch.setattr(database.warehouse_class, "write_files", count)
    monkeypatch.setattr(postgres, "COPY_ROWS", 5)
    landed = land(database.operator(), now)
    assert {name: landed[name] for name in ("full", "changed_items", "removed_items", "unchanged_items")} == {
        "full": False,
        "changed_items": 5,
        "removed_items": 3,
        "unchanged_items": 4,
    }
    assert written == [5, 3, 12]  # items, annotations, labels
    assert database.rows() == rows_of(now)
    assert landed["rows"] == {name: len(rows) for name, rows in rows_of(now).items()}
    assert database.query("select items, annotations, labels from @landings") == [tuple(landed["rows"].values())]
    written.clear()
    assert land(database.operator(), now)["unchanged_items"] == 9
    assert written == []
    assert land(database.operator(full_refresh="True"), now)["full"] is True


def test_a_refresh_connects_three_times_and_asks_little(server_database: Database, land: Land) -> None:
    land(server_database.operator(views=True), [boxes(5)])
    connections, statements = [], []

    def connect(*_: Any) -> None:
        connections.append(1)

    def execute(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    listeners: list[tuple[Any, str, Any]] = [
        (sa.pool.Pool, "connect", connect),
        (sa.Engine, "before_cursor_execute", execute),
    ]
    for listener in listeners:
        sa.event.listen(*listener)
    try:
        assert land(server_database.operator(), [boxes(3), boxes(2, first=3, per_item=7)])["changed_items"] == 2
        # What is there and what landed, the states, the lock and its row, a deletion for each table, the new row.
        assert len(connections) == 3
        assert len(statements) <= 9, statements
        connections.clear()
        land(server_database.operator(views=True), [boxes(3)])
        assert len(connections) == 3
    finally:
        for listener in listeners:
            sa.event.remove(*listener)


def test_an_item_that_goes_while_it_is_read_is_removed(database: Database, land: Land) -> None:
    class Vanishing(GeneratedHook):
        def read_tables(self, *arguments: Any, **named: Any) -> Iterator[LabelTables]:
            self.batches = items_of(self.batches, "1", "3", "4")
            return super().read_tables(*arguments, **named)

    land(database.operator(), [boxes(5)])
    operator = database.operator(project="1")
    operator.__dict__["hook"] = Vanishing([boxes(5, per_item=1)])
    landed = operator.execute(task_context())
    assert (landed["changed_items"], landed["removed_items"]) == (3, 2)
    assert database.rows() == rows_of(items_of([boxes(5, per_item=1)], "1", "3", "4"))


def test_a_sqlite_file_is_for_its_owner_alone_and_one_that_is_there_keeps_its_mode(
    sqlite_database: Database, land: Land, tmp_path: Path
) -> None:
    land(sqlite_database.operator(), [boxes(5)])
    file = tmp_path / "annotations.db"
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    land(sqlite_database.operator(), [boxes(6)])
    assert file.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "changes", [{"annotations": "latest"}, {"annotators": "id"}, {"coordinates": "pixels"}, {"keep_raw": True}]
)
def test_other_settings_land_everything_anew(sqlite_database: Database, land: Land, changes: dict[str, Any]) -> None:
    land(sqlite_database.operator(), [boxes(5)])
    assert land(sqlite_database.operator(**changes), [boxes(5)])["full"] is True
    assert land(sqlite_database.operator(**changes), [boxes(5)])["full"] is False


def test_another_label_schema_is_an_error_or_lands_everything_anew(
    database: Database, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(database.operator(), [boxes(5)])
    schema = LabelSchema.from_dict(SCHEMA.to_dict() | {"note": {"type": "text"}})
    monkeypatch.setattr(GeneratedHook, "get_label_schema", lambda *_: schema)
    with pytest.raises(AnnotationError, match=r"field 'note' was added\. Pass on_schema_change='evolve'"):
        land(database.operator(on_schema_change="fail"), [boxes(5)])
    landed = land(database.operator(), [boxes(5)])
    assert (landed["full"], landed["label_schema_digest"]) == (True, schema.digest())
    assert land(database.operator(on_schema_change="fail"), [boxes(5)])["full"] is False


def test_tables_of_the_release_before_are_migrated_and_landed_in(database: Database, land: Land) -> None:
    land(database.operator(), [boxes(5)])
    for column in ("version", "full_at", "watermark"):
        database.hook.run(f"alter table {database.prefix}landings drop column {column}")
    database.hook.run(f"alter table {database.prefix}items drop column media")
    assert land(database.operator(), [boxes(6)])["full"] is True
    assert land(database.operator(), [boxes(6)])["full"] is False
    assert database.rows() == rows_of([boxes(6)])


def test_views_have_boxes_in_pixels_latest_labels_and_counts(database_with_views: Database, land: Land) -> None:
    database = database_with_views
    with pytest.raises(ValueError, match="pixel_boxes, latest_labels, class_counts"):
        database.operator(views=["nothing"])
    land(database.operator(views=["class_counts"]), [boxes(5)])
    land(database.operator(views=True), [boxes(5)])
    boxed = "select item_id, x, y, width, height from @pixel_boxes order by item_id, ordinal"
    assert database.query(boxed)[0] == ("1", 20.0, 20.0, 50.0, 50.0)
    assert database.query("select label, labels, items from @class_counts order by label") == [
        ("car", 4, 4),
        ("person", 4, 4),
    ]
    batch = boxes(2)
    (annotation,), labels = batch.annotations.to_pylist(), batch.labels.to_pylist()
    later = annotation | {"annotation_id": "later", "updated_at": datetime(2030, 1, 1, tzinfo=timezone.utc)}
    skipped = annotation | {"annotation_id": "skip", "status": "skipped", "label_count": 0}
    edited = [labels[0] | {"annotation_id": "later", "label": "bus"}]
    batches = [batch_of(batch.items.to_pylist(), [annotation, later, skipped], labels + edited)]
    land(database.operator(coordinates="pixels", views=True), batches)
    assert database.query("select label from @latest_labels") == [("bus",)]
    assert database.query(boxed)[0] == ("1", 20.0, 20.0, 50.0, 50.0)


def test_a_view_of_another_release_is_made_again(database_with_views: Database, land: Land) -> None:
    database = database_with_views
    land(database.operator(views=True), [boxes(5)])
    for name in ("class_counts", "latest_labels"):
        database.hook.run(f"drop view {database.prefix}{name}")
        database.hook.run(f"create view {database.prefix}{name} as select project from {database.prefix}labels")
    land(database.operator(views=True), [boxes(6)])
    assert database.query("select sum(labels), max(items) from @class_counts") == [(8, 4)]
    assert database.query("select count(label) from @latest_labels") == [(8,)]


@pytest.mark.parametrize("coordinates", ["relative", "pixels"])
def test_the_view_of_boxes_has_pixels_of_the_labels_own_image(
    database_with_views: Database, land: Land, coordinates: Any
) -> None:
    database = database_with_views
    land(database.operator(coordinates=coordinates, views=True), [pages(), boxes(2)])
    found = database.query(
        "select media_uri, x, y, width, height from @pixel_boxes where item_key = 'pages' order by ordinal"
    )
    assert [row[0] for row in found] == ["https://h/p1.jpg", "https://h/p2.jpg"]
    assert np.allclose([row[1:] for row in found], [[100, 50, 100, 100], [120, 80, 20, 160]])
    assert database.query("select count(*) from @pixel_boxes where item_key <> 'pages'") == [(2,)]


def test_a_refresh_is_planned_again_where_another_landing_came_in_between(database: Database, land: Land) -> None:
    land(database.operator(), [boxes(5)])
    operator = database.operator()
    land_first = operator.land
    other: list[LabelTables] = [boxes(5, per_item=3)]

    def late(landing: Any, spool: Any) -> Any:
        if other:
            land(database.operator(), [other.pop()])
        return land_first(landing, spool)

    operator.land = late  # type: ignore[method-assign]
    land(operator, [boxes(5, per_item=1)])
    assert database.rows() == rows_of([boxes(5, per_item=1)])


def test_an_empty_project_gives_empty_tables(database: Database, land: Land) -> None:
    assert land(database.operator(), [])["rows"] == {"items": 0, "annotations": 0, "labels": 0}
    assert database.rows() == {"items": [], "annotations": [], "labels": []}


def test_names_are_quoted(database: Database, land: Land) -> None:
    prefix = 'my "labels"; drop table x -- '
    land(database.operator(table_prefix=prefix), [boxes(5)])
    assert database.query(f"select count(*) from {database.quote(f'{prefix}items')}") == [(5,)]
    hostile = "'; drop table items; --"
    land(database.operator(), [boxes(5, classes=(hostile,))])
    assert {row["label"] for row in database.rows()["labels"]} == {hostile}


def test_a_table_that_is_somebody_elses_is_left_alone_and_named(database: Database, land: Land) -> None:
    database.hook.run(f"create table {database.prefix}labels (name varchar(10))")
    with pytest.raises(AnnotationError, match=rf"{database.prefix}labels exists.*no column project"):
        land(database.operator(), [boxes(5)])
    assert database.query("select * from @labels") == []


def test_tables_can_be_in_a_schema_of_the_database(postgres_conn_id: str, land: Land) -> None:
    database = Database(postgres_conn_id)
    schema = f"My {uuid4().hex[:8]}"
    database.hook.run(f'create schema "{schema}"')
    landed = land(database.operator(schema=schema, table_prefix=""), [boxes(5)])
    assert landed["tables"]["items"] == f"{schema}.items"
    assert database.query(f'select count(*) from "{schema}".items') == [(5,)]
    with pytest.raises(AnnotationError, match="nowhere"):
        land(database.operator(schema="nowhere"), [boxes(5)])


def test_postgres_has_types_that_can_be_queried(postgres_conn_id: str, land: Land) -> None:
    database = Database(postgres_conn_id)
    land(database.operator(), [boxes(10)])
    assert database.query("select count(*) from @labels where bbox[3] * bbox[4] > 0.1") == [(16,)]
    assert database.query("select distinct data->>'batch' from @items") == [("1",)]
    types = dict(
        row
        for table in SCHEMAS
        for row in database.query(
            f"select column_name, data_type from information_schema.columns where table_name = '@{table}'"
        )
    )
    assert {name: types[name] for name in ("updated_at", "data", "points", "labels", "bbox", "ground_truth")} == {
        "updated_at": "timestamp with time zone",
        "data": "jsonb",
        "points": "jsonb",
        "labels": "ARRAY",
        "bbox": "ARRAY",
        "ground_truth": "boolean",
    }


def test_postgres_gets_a_replacement_for_the_one_character_that_it_cannot_hold(
    postgres_conn_id: str, land: Land
) -> None:
    database = Database(postgres_conn_id)
    item = boxes(1).items.to_pylist()[0]
    texts = {"item_key": "a\0\\u0000b", "data": json.dumps({"nul": "\0\0", "literal": "\\u0000"})}
    land(database.operator(), [batch_of([item | texts])])
    assert database.query("select item_key, data->>'nul', data->>'literal' from @items") == [
        ("a\ufffd\\u0000b", "\ufffd", "\\u0000")
    ]


def test_a_label_of_several_classes_counts_for_each_in_the_view(database_with_views: Database, land: Land) -> None:
    database = database_with_views
    batch = boxes(2)
    first, second = batch.labels.to_pylist()
    note = first | {"ordinal": 2, "label_id": "t", "type": "text", "label": None, "text": "a", "labels": ["a", "b"]}
    several = [first | {"labels": ["car", "truck"]}, second, note]
    assert (first["label"], second["label"]) == ("car", "person")
    land(database.operator(views=True), [batch_of(batch.items.to_pylist(), batch.annotations.to_pylist(), several)])
    counts = database.query("select label, labels, items from @class_counts where type <> 'text' order by label")
    assert counts == [("car", 1, 1), ("person", 1, 1), ("truck", 1, 1)]
    assert database.query("select label, labels from @class_counts where type = 'text'") == [(None, 1)]


@pytest.mark.parametrize("prefix", ["50%_", "100%s_%%", "my.labels.", "a:b_"])
def test_a_prefix_may_have_what_sql_uses_otherwise(database: Database, land: Land, prefix: str) -> None:
    prefix = f"{database.prefix}{prefix}"
    has_views = database.warehouse_class.view_sql is not None
    operator = database.operator(table_prefix=prefix, views=has_views)
    if database.kind == "snowflake" and "%" in prefix:
        with pytest.raises(AnnotationError, match="choose another table_prefix"):
            land(operator, [boxes(5)])
        return
    land(operator, [boxes(5)])
    land(operator, [boxes(6)])
    with open_warehouse(make_engine(database.conn_id)).reader() as connection:
        for name, rows in (("items", 6), ("landings", 1), *([("class_counts", 2)] if has_views else [])):
            table = sa.table(prefix + name)
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() == rows
    uris = [asset.uri for asset in operator.landed_assets({})]
    assert [uri.rpartition("/")[2] for uri in uris] == [quote(prefix + name) for name in SCHEMAS]
    with SqlReader(database.conn_id, table_prefix=prefix) as reader:
        assert sum(batch.items.num_rows for batch in reader.read(reader.find_landing())) == 6


def test_a_reader_of_sqlite_waits_for_no_landing_and_no_landing_for_a_reader(
    sqlite_database: Database, land: Land, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [boxes(10)]
    land(sqlite_database.operator(), old)
    seen: list[tuple[int]] = []

    def watch(warehouse: Any, connection: Any, table: Any, batches: Iterable[pa.RecordBatch]) -> None:
        write_rows(warehouse, connection, table, batches)
        with closing(sqlite3.connect(tmp_path / "annotations.db", timeout=0)) as other:
            seen.append(other.execute(f"select count(*) from {table.name}").fetchone())
        with SqlReader(sqlite_database.conn_id, table_prefix=sqlite_database.prefix) as reader:
            landed = reader.find_landing()
            assert sum(batch.items.num_rows for batch in reader.read(landed)) == 10

    write_rows = SqliteWarehouse.write_rows
    monkeypatch.setattr(SqliteWarehouse, "write_rows", watch)
    with closing(sqlite3.connect(tmp_path / "annotations.db", timeout=0)) as slow:
        rows = slow.execute(f"select * from {sqlite_database.prefix}labels")
        assert rows.fetchone()
        land(sqlite_database.operator(), [boxes(3000, per_item=4)])  # more than SQLite keeps in memory
        assert len(rows.fetchall()) == len(rows_of(old)["labels"]) - 1
    assert seen == [(len(rows),) for rows in rows_of(old).values()]
    assert len(sqlite_database.rows()["items"]) == 3000


def test_drivers_that_name_their_parameters_get_the_same_rows(
    sqlite_database: Database, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    get_engine = SqliteHook.get_sqlalchemy_engine

    def get_named_engine(self: SqliteHook, engine_kwargs: dict[str, Any]) -> Any:
        return get_engine(self, engine_kwargs | {"paramstyle": "named"})

    monkeypatch.setattr(SqliteHook, "get_sqlalchemy_engine", get_named_engine)
    land(sqlite_database.operator(), [boxes(5)])
    assert sqlite_database.rows() == rows_of([boxes(5)])
