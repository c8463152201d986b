"""What DuckDB has of its own: threads of a process take turns in a file, or it would refuse what they delete."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.warehouses.base import Warehouse
from airflow_annotation.warehouses.registry import open_warehouse
from tests.support.databases import Database
from tests.support.generated import boxes, rows_of
from tests.transfers.conftest import Land

pytest.importorskip("duckdb_engine")
PROJECT = "label-studio://host/projects/1"


@pytest.fixture(params=["the same path", "a link to it"])
def warehouses(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Warehouse, Warehouse]:
    """A file as two landings of this process have it."""
    path, other = tmp_path / "annotations.duckdb", tmp_path / "annotations.duckdb"
    if request.param == "a link to it":
        other = tmp_path / "link" / "annotations.duckdb"
        other.parent.symlink_to(tmp_path)
    first, second = (open_warehouse(sa.create_engine(f"duckdb:///{file}")) for file in (path, other))
    first.prepare(PROJECT)
    return first, second


def lock(warehouse: Warehouse, project: str = PROJECT, then: str = "SELECT 1") -> None:
    with warehouse.engine.begin() as connection:
        warehouse.lock(connection, project)
        connection.exec_driver_sql(then)


def test_a_landing_waits_for_the_turn_of_another_one(
    warehouses: tuple[Warehouse, Warehouse], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = warehouses
    with first.engine.begin() as connection:
        first.lock(connection, PROJECT)
        waiting = threading.Thread(target=lock, args=(second,))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        with monkeypatch.context() as short:
            short.setattr("airflow_annotation.warehouses.duckdb.BUSY_TIMEOUT", 0.1)
            with pytest.raises(AnnotationError, match=r"Another landing of this process in .*duckdb has not ended"):
                lock(second)
    waiting.join(30)
    assert not waiting.is_alive()


def test_a_turn_ends_however_the_landing_does(
    warehouses: tuple[Warehouse, Warehouse], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = warehouses
    monkeypatch.setattr("airflow_annotation.warehouses.duckdb.BUSY_TIMEOUT", 5.0)
    with pytest.raises(sa.exc.NoResultFound):
        lock(first, "label-studio://host/projects/unknown")
    lock(second)
    with pytest.raises(sa.exc.DBAPIError):
        lock(first, then="SELECT * FROM nowhere")
    lock(second)
    with first.engine.connect() as connection:
        connection.begin()
        first.lock(connection, PROJECT)
        connection.invalidate()
        lock(second)


@pytest.mark.parametrize("folder", ["plain", "project=other", "some [1] *"])
def test_rows_land_from_files_in_any_folder(
    duckdb_database: Database, land: Land, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    (tmp_path / folder).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / folder))
    land(duckdb_database.operator(), [boxes(5)])
    land(duckdb_database.operator(), [boxes(6)])
    assert duckdb_database.rows() == rows_of([boxes(6)])


def test_a_database_that_may_read_no_files_is_given_the_rows(warehouses: tuple[Warehouse, Warehouse]) -> None:
    warehouse, _ = warehouses
    table, batch = warehouse.tables["labels"], boxes(5).labels
    with warehouse.engine.begin() as connection:
        connection.exec_driver_sql("SET enable_external_access = false")
        warehouse.write_files(connection, table, ["/no/such/file"], [batch])
        assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() == batch.num_rows
