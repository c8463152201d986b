"""Redshift's statements, in Postgres, which is of the same family. No test lands in a Redshift."""

from __future__ import annotations

import re

import pytest
from sqlalchemy.schema import CreateTable

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.sql import make_engine
from airflow_annotation.labels.tables import SCHEMAS
from airflow_annotation.warehouses import redshift
from airflow_annotation.warehouses.postgres import PostgresWarehouse
from airflow_annotation.warehouses.redshift import RedshiftWarehouse
from airflow_annotation.warehouses.registry import DIALECTS, WAREHOUSES, open_warehouse
from tests.support.connections import airflow_connection
from tests.support.databases import Database
from tests.support.generated import boxes, rows_of
from tests.transfers.conftest import Land, at_once


class OnPostgres(RedshiftWarehouse):
    """Redshift's statements, whose tables are Postgres's assets: its tests' server is a folder and no host."""

    table_uri = PostgresWarehouse.table_uri


@pytest.fixture
def database(postgres_conn_id: str, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setitem(WAREHOUSES, "postgresql", OnPostgres)
    monkeypatch.setattr(redshift, "PARAMETERS", 100)
    return Database(postgres_conn_id)


def test_landings_replace_what_has_changed_of_their_project_alone(database: Database, land: Land) -> None:
    other = [boxes(3, project_id="2")]
    land(database.operator(), [boxes(10)])
    land(database.operator(), other, "2")
    now = [boxes(4), boxes(3, first=4, per_item=5, classes=("it's 100 %", "back\\slash", '"'))]
    landed = land(database.operator(), now)
    assert (landed["full"], landed["changed_items"], landed["removed_items"]) == (False, 3, 3)
    assert database.rows() == rows_of(now)
    assert database.rows("2") == rows_of(other)
    assert land(database.operator(), now)["changed_items"] == 0


def test_a_project_has_one_row_however_many_land_it_first(database: Database, land: Land) -> None:
    assert at_once([[boxes(5)]] * 3, lambda batches: land(database.operator(), batches)) == []
    assert database.query("select count(*) from @landings") == [(1,)]
    assert database.rows() == rows_of([boxes(5)])


def test_the_types_are_those_of_redshift() -> None:
    for package in ("redshift_connector", "sqlalchemy_redshift"):
        pytest.importorskip(package)
    with airflow_connection("redshift_types", {"conn_type": "redshift", "host": "h.example", "schema": "labels"}) as it:
        engine = make_engine(it)
    warehouse = open_warehouse(engine)
    assert (type(warehouse), engine.dialect.driver) == (RedshiftWarehouse, "redshift_connector")
    assert warehouse.asset_uri("labels") == "redshift://h.example:5439/labels/public/labels"
    labels = str(CreateTable(warehouse.tables["labels"]).compile(dialect=engine.dialect))
    for column, type_ in {"item_id": "VARCHAR(255)", "bbox": "VARCHAR(65535)", "number": "DOUBLE PRECISION"}.items():
        assert re.search(rf"\b{column} {re.escape(type_)}", labels), labels
    assert "updated_at TIMESTAMP WITH TIME ZONE" in str(
        CreateTable(warehouse.tables["items"]).compile(dialect=engine.dialect)
    )
    for name in SCHEMAS:
        assert str(warehouse.tables[name].delete().compile(dialect=engine.dialect))


def test_a_missing_dialect_is_an_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("redshift_connector")
    monkeypatch.setitem(DIALECTS, "redshift", "nowhere+none")
    with (
        airflow_connection("redshift_bare", {"conn_type": "redshift", "host": "h.example"}) as conn_id,
        pytest.raises(AnnotationError, match=r"pip install 'airflow-provider-annotation\[redshift\]'"),
    ):
        make_engine(conn_id)
