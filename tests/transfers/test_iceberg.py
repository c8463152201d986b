from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from airflow.sdk import ObjectStoragePath
from hypothesis import HealthCheck, given, settings

pytest.importorskip("pyiceberg")
pytest.importorskip("airflow.providers.apache.iceberg")

from pyiceberg.catalog import Catalog

from airflow_annotation.datasets import parquet
from airflow_annotation.exceptions import AnnotationError, LandingMovedError
from airflow_annotation.labels.agreement import measure_agreement
from airflow_annotation.labels.tables import SCHEMAS, LabelTables
from airflow_annotation.landing.iceberg_reader import read_iceberg
from airflow_annotation.transfers.annotations_to_iceberg import AnnotationsToIcebergOperator
from airflow_annotation.warehouses import iceberg
from airflow_annotation.warehouses.iceberg import IcebergTables
from tests.support.connections import airflow_connection
from tests.support.generated import GeneratedHook, OvertakenHook, boxes, label_tables, project_uri, rows_of, sorted_rows
from tests.support.task_context import task_context
from tests.support.three_people import labeled_by_three
from tests.transfers.conftest import Land, at_once
from tests.transfers.doomed import DoomedProcess
from tests.transfers.test_delta import relabeled

Rows = dict[str, list[dict[str, Any]]]


class Lake:
    """A catalog in a file of SQLite, and what its readers see."""

    def __init__(self, conn_id: str) -> None:
        self.conn_id = conn_id

    @property
    def catalog(self) -> Catalog:
        from airflow.providers.apache.iceberg.hooks.iceberg import IcebergHook

        return IcebergHook(self.conn_id).catalog

    def operator(self, **kwargs: Any) -> AnnotationsToIcebergOperator:
        return AnnotationsToIcebergOperator(task_id="land", iceberg_conn_id=self.conn_id, namespace="labels", **kwargs)

    def rows(self, project_id: str = "1") -> Rows:
        """Return the rows that ``landings`` names."""
        tables = read_iceberg(self.conn_id, "labels", project=project_uri(project_id))
        return sorted_rows({name: table.to_pylist() for name, table in tables.items()})

    def newest_rows(self, project_id: str = "1") -> Rows:
        """Return what readers see that know nothing of landings."""
        own = f"project == '{project_uri(project_id)}'"
        return sorted_rows(
            {name: self.table(name).scan(own).to_arrow().select(SCHEMAS[name].names).to_pylist() for name in SCHEMAS}
        )

    def table(self, name: str) -> Any:
        return self.catalog.load_table(f"labels.{name}")

    def snapshots(self) -> dict[str, int]:
        return {name: len(self.table(name).snapshots()) for name in SCHEMAS}


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    extra = {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db", "warehouse": f"file://{tmp_path}/warehouse"}
    with airflow_connection(f"iceberg_{uuid4().hex}", {"conn_type": "iceberg", "extra": extra}) as conn_id:
        yield Lake(conn_id)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=4, deadline=None)
@given(batches=label_tables())
def test_rows_read_back_equal(lake: Lake, land: Land, batches: list[LabelTables]) -> None:
    land(lake.operator(full_refresh=True), batches)
    assert lake.rows() == lake.newest_rows() == rows_of(batches)


def test_a_refresh_is_a_snapshot_of_each_table_that_changes(lake: Lake, land: Land) -> None:
    first = land(lake.operator(), [boxes(10)])
    assert lake.snapshots() == dict.fromkeys(SCHEMAS, 1)
    edited = relabeled(boxes(12), {"3", "4"}, without={"7", "9"})
    landed = land(lake.operator(), [edited])
    assert (landed["full"], landed["changed_items"], landed["removed_items"]) == (False, 4, 2)
    assert lake.snapshots() == dict.fromkeys(SCHEMAS, 2)
    assert lake.rows() == lake.newest_rows() == rows_of([edited])
    assert landed["rows"] == {name: len(rows) for name, rows in lake.rows().items()}
    before = lake.table("labels").scan(snapshot_id=first["snapshots"]["labels"]).to_arrow()
    assert before.num_rows == first["rows"]["labels"]
    (row,) = lake.table("landings").scan().to_arrow().to_pylist()
    assert {name: row[f"{name}_snapshot"] for name in SCHEMAS} == landed["snapshots"]
    assert {name: row[name] for name in SCHEMAS} == landed["rows"]


def test_agreement_is_refreshed_with_the_three_tables_and_goes_when_it_does_not_land(lake: Lake, land: Land) -> None:
    def landed(batches: list[LabelTables], *, agreement: bool = True) -> dict[str, Any]:
        result = land(lake.operator(agreement=agreement), batches)
        tables = read_iceberg(lake.conn_id, "labels", project=project_uri())
        assert result["rows"] == {name: len(table) for name, table in tables.items()}
        if agreement:
            expected = measure_agreement(batches).items.to_pylist()
            assert sorted(tables["agreement"].to_pylist(), key=str) == sorted(expected, key=str)
        return result

    batches = [labeled_by_three(6, per_item=2), labeled_by_three(4, first=6, per_item=2)]
    assert landed(batches)["full"]
    assert not landed([batches[0], labeled_by_three(4, first=6, per_item=3)])["full"]
    assert landed(batches[:1])["removed_items"] == 4
    assert "agreement" not in landed(batches[:1], agreement=False)["rows"]
    assert lake.table("agreement").scan().to_arrow().num_rows == 0


def test_landing_no_change_makes_no_snapshot(lake: Lake, land: Land) -> None:
    first = land(lake.operator(), [boxes(10)])
    again = land(lake.operator(), [boxes(10)])
    assert (again["full"], again["unchanged_items"], again["snapshots"]) == (False, 10, first["snapshots"])
    assert again["rows"] == first["rows"]
    assert lake.snapshots() == dict.fromkeys(SCHEMAS, 1)


def test_large_files_without_changed_items_stay(lake: Lake, land: Land, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 10)
    monkeypatch.setattr(iceberg, "FILE_BYTES", 2000)
    monkeypatch.setattr(iceberg, "SMALL_FILE_BYTES", 0)
    land(lake.operator(), [boxes(5, first=first) for first in range(0, 50, 5)])
    before = {task.file.file_path for task in lake.table("labels").scan().plan_files()}
    edited = relabeled(boxes(50), {"7"}, without=set())
    land(lake.operator(), [edited])
    after = {task.file.file_path for task in lake.table("labels").scan().plan_files()}
    assert len(before) > 4
    assert len(before - after) == 1
    assert lake.rows() == rows_of([edited])


def test_a_year_of_refreshes_leaves_no_heap_of_small_files(lake: Lake, land: Land) -> None:
    for night in range(6):
        batch = relabeled(boxes(20), {str(night), str(night + 1)}, without={str(night + 10)})
        land(lake.operator(), [batch])
        assert lake.rows() == rows_of([batch])
    assert len(list(lake.table("labels").scan().plan_files())) == 1


def test_projects_share_the_tables(lake: Lake, land: Land) -> None:
    other = boxes(6, project_id="2")
    land(lake.operator(), [boxes(10)])
    land(lake.operator(), [other], "2")
    edited = relabeled(boxes(10), {"1"}, without={"2"})
    assert land(lake.operator(), [edited])["changed_items"] == 1
    assert (lake.rows(), lake.rows("2")) == (rows_of([edited]), rows_of([other]))
    assert land(lake.operator(full_refresh=True), [boxes(3)])["full"] is True
    assert (lake.newest_rows(), lake.newest_rows("2")) == (rows_of([boxes(3)]), rows_of([other]))
    with pytest.raises(AnnotationError, match="which landing"):
        read_iceberg(lake.conn_id, "labels")


def test_projects_that_land_at_once_do_not_disturb_each_other(lake: Lake, land: Land) -> None:
    land(lake.operator(), [boxes(2)])
    errors = at_once("2345", lambda project_id: land(lake.operator(), [boxes(10, project_id=project_id)], project_id))
    assert errors == []
    for project_id in "2345":
        assert lake.rows(project_id) == lake.newest_rows(project_id) == rows_of([boxes(10, project_id=project_id)])
    assert lake.rows() == rows_of([boxes(2)])


def test_two_landings_of_a_project_at_once_leave_a_whole_one(lake: Lake, land: Land) -> None:
    land(lake.operator(), [boxes(4)])
    errors = at_once((30, 50), lambda count: land(lake.operator(), [boxes(count)]))
    assert len(errors) < 2, errors
    assert lake.rows() in (rows_of([boxes(30)]), rows_of([boxes(50)]))
    land(lake.operator(), [boxes(8)])
    assert lake.rows() == lake.newest_rows() == rows_of([boxes(8)])


def test_a_refresh_is_not_applied_to_another_landing_than_it_was_planned_for(
    lake: Lake, land: Land, tmp_path: Path
) -> None:
    land(lake.operator(), [boxes(5)])
    late = lake.operator(project="1")
    late.__dict__["hook"] = GeneratedHook([boxes(6)])
    landing = late.plan(late.hook.get_project("1"))
    spool = late.read(landing, ObjectStoragePath((tmp_path / "spool").as_uri()))
    land(lake.operator(), [boxes(7)])
    with pytest.raises(LandingMovedError):
        late.land(landing, spool)
    assert lake.rows() == lake.newest_rows() == rows_of([boxes(7)])


@pytest.mark.parametrize("moment", ["read", "written"])
def test_what_lands_while_a_part_lands_is_not_replaced_by_it(
    lake: Lake, land: Land, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    others: list[Any] = [lambda: land(lake.operator(), [boxes(6)])]
    late = lake.operator(items=["photo-1"], project="1")
    late.__dict__["hook"] = GeneratedHook([boxes(6)])
    if moment == "read":
        late.__dict__["hook"] = OvertakenHook([boxes(6)], others.pop())
    replace = IcebergTables.replace

    def overtaken(tables: IcebergTables, name: str, *arguments: Any) -> Any:
        replaced = replace(tables, name, *arguments)
        if name == "labels" and others:
            others.pop()()
        return replaced

    monkeypatch.setattr(IcebergTables, "replace", overtaken)
    with pytest.raises(AnnotationError, match="all items"):
        late.execute(task_context())
    assert not others
    assert lake.rows() == lake.newest_rows() == rows_of([boxes(6)])
    assert land(lake.operator(items=["photo-1"], full_refresh=True), [boxes(6)])["rows"]["items"] == 1


def land_until(conn_id: str, kind: str, function: str, table: str) -> None:
    """Land in a process that is killed where a function is called for a table."""
    original = getattr(iceberg, function)

    def killed(of: Any, *rest: Any) -> Any:
        if of.name()[-1] == table:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(of, *rest)

    setattr(iceberg, function, killed)
    task = Lake(conn_id).operator(project="1", full_refresh=kind == "full")
    task.__dict__["hook"] = GeneratedHook([relabeled(boxes(10), {"1", "2"}, without={"3"})])
    task.execute(task_context())


def kill_at(lake: Lake, step: str) -> None:
    process = DoomedProcess(land_until, lake.conn_id, *step.split(), counts_steps=False)
    assert not process.wait()
    assert process.error is None, process.error


@pytest.mark.parametrize("step", ["refresh _commit labels", "full _write landings"])
def test_a_killed_landing_leaves_the_last_one_and_the_next_is_as_if_nothing_had_been(
    lake: Lake, land: Land, step: str
) -> None:
    land(lake.operator(), [boxes(10)])
    land(lake.operator(), [boxes(4, project_id="2")], "2")
    kill_at(lake, step)
    assert lake.rows() == rows_of([boxes(10)])
    assert lake.newest_rows() != rows_of([boxes(10)])
    land(lake.operator(), [boxes(5, project_id="2")], "2")
    edited = relabeled(boxes(10), {"1", "5"}, without={"8"})
    assert land(lake.operator(), [edited])["full"] is False
    assert lake.rows() == lake.newest_rows() == rows_of([edited])
    assert lake.rows("2") == rows_of([boxes(5, project_id="2")])


def test_a_killed_landing_is_taken_back_even_where_nothing_has_changed(lake: Lake, land: Land) -> None:
    land(lake.operator(), [boxes(10)])
    kill_at(lake, "refresh _commit landings")
    assert land(lake.operator(), [boxes(10)])["changed_items"] == 0
    assert lake.rows() == lake.newest_rows() == rows_of([boxes(10)])


def test_expired_snapshots_cost_a_full_landing_only_where_a_landing_died(lake: Lake, land: Land) -> None:
    def expire() -> None:
        for name in SCHEMAS:
            table = lake.table(name)
            old = [one.snapshot_id for one in table.snapshots() if one != table.current_snapshot()]
            table.maintenance.expire_snapshots().by_ids(old).commit()

    land(lake.operator(), [boxes(10)])
    land(lake.operator(), [boxes(4, project_id="2")], "2")
    expire()
    assert lake.rows() == rows_of([boxes(10)])
    assert land(lake.operator(), [boxes(11)])["full"] is False
    kill_at(lake, "refresh _commit landings")
    expire()
    assert land(lake.operator(), [boxes(12)])["full"] is True
    assert lake.rows() == lake.newest_rows() == rows_of([boxes(12)])


def test_what_others_change_in_the_tables_stays(lake: Lake, land: Land) -> None:
    land(lake.operator(), [boxes(10)])
    for name in ("items", "annotations", "labels"):
        lake.table(name).delete("item_id == '3'")
    with lake.table("labels").update_schema() as update:
        update.union_by_name(pa.schema([("reviewed_by", pa.string())]))
    land(lake.operator(), [relabeled(boxes(10), {"6"}, without={"3"})])
    assert lake.rows() == rows_of([relabeled(boxes(10), {"6"}, without={"3"})])
    assert "reviewed_by" in lake.table("labels").schema().column_names


def test_tables_of_an_earlier_release_get_the_columns_that_they_lack(lake: Lake, land: Land) -> None:
    land(lake.operator(), [boxes(4)])
    with lake.table("items").update_schema(allow_incompatible_changes=True) as update:
        update.delete_column("media")
    assert lake.rows() == rows_of([boxes(4)])
    assert land(lake.operator(), [boxes(5)])["full"] is False
    assert lake.rows() == rows_of([boxes(5)])
    assert "media" in lake.table("items").schema().column_names


def test_somebody_elses_table_is_left_alone(lake: Lake, land: Land) -> None:
    lake.catalog.create_namespace("labels")
    lake.catalog.create_table("labels.items", pa.schema([("sku", pa.string())]))
    with pytest.raises(AnnotationError, match=r"labels\.items exists"):
        land(lake.operator(), [boxes(4)])
    land(lake.operator(table_prefix="photo_"), [boxes(4)])


def test_a_connection_of_no_catalog_is_said(land: Land) -> None:
    with (
        airflow_connection("iceberg_without_uri", {"conn_type": "iceberg", "extra": {"type": "magic"}}) as conn_id,
        pytest.raises(AnnotationError, match="'iceberg_without_uri' is not that of an Iceberg catalog"),
    ):
        land(Lake(conn_id).operator(), [boxes(1)])
    with pytest.raises(ValueError, match="namespace"):
        AnnotationsToIcebergOperator(task_id="land", namespace="labels.", project="1")


def test_two_that_prepare_the_tables_at_once_make_them_once(lake: Lake) -> None:
    threads = [threading.Thread(target=IcebergTables(lake.catalog, "labels").prepare) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lake.catalog.list_tables("labels")) == 4
