"""What Postgres has of its own: the states of items, by a cursor of the driver."""

from __future__ import annotations

from datetime import datetime, timezone

import pyarrow as pa
import pytest
import sqlalchemy as sa
from airflow.sdk import BaseHook

from airflow_annotation.labels.tables import ITEM_STATES
from airflow_annotation.warehouses.postgres import PostgresWarehouse
from tests.support.databases import Database
from tests.support.generated import batch_of, boxes, project_uri
from tests.transfers.conftest import Land

IDS = ["", "a,b", 'a "word"', "two\nlines", "two\r\nlines", "\\N", "NULL", "é😀", " a", "\\."]
TIMES = [None, *(datetime(year, 5, 1, 12, 30, 15, 123457, timezone.utc) for year in (1, 1969, 2026, 9999))]


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_states_are_read_as_they_landed(
    postgres_conn_id: str, land: Land, monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    pytest.importorskip(driver)
    database = Database(postgres_conn_id)
    item = boxes(1).items.to_pylist()[0]
    items = [
        item | {"item_id": name, "item_key": name, "status": name, "updated_at": TIMES[number % len(TIMES)]}
        for number, name in enumerate(IDS)
    ]
    land(database.operator(), [batch_of(items)])
    connection = BaseHook.get_connection(postgres_conn_id)
    url = sa.URL.create(
        f"postgresql+{driver}",
        username=connection.login,
        database=connection.schema,
        query={"host": str(connection.host)},
    )
    for name, value in {"PGTZ": "Asia/Kolkata", "PGDATESTYLE": "German"}.items():
        monkeypatch.setenv(name, value)  # as a server may have it
    warehouse = PostgresWarehouse(sa.create_engine(url, poolclass=sa.pool.NullPool), database.prefix)
    states = pa.Table.from_batches(warehouse.read_states(project_uri()), ITEM_STATES).to_pylist()
    assert sorted(states, key=lambda state: state["item_id"]) == [
        {name: item[name] for name in ITEM_STATES.names} for item in sorted(items, key=lambda item: item["item_id"])
    ]
    assert list(warehouse.read_states(project_uri("2"))) == []
