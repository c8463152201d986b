"""Landings of a part of a project: what lands, what a refresh does, and what must not be lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from airflow.sdk import DAG, BaseOperator, ObjectStoragePath

from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.datasets.versions import Written, read_manifest
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.item_filter import ItemFilter
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.landing.spool import Spool
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.base import AnnotationsTransfer
from airflow_annotation.transfers.sharded import land_in_shards
from tests.support.connections import airflow_connection
from tests.support.databases import Database
from tests.support.generated import GeneratedHook, OvertakenHook, boxes, rows_of, sorted_rows
from tests.support.task_context import task_context
from tests.transfers.conftest import Land
from tests.transfers.test_sharded import Group

LABELED = {"statuses": ["labeled"]}


def with_status(batch: LabelTables, status: str, *item_ids: str) -> LabelTables:
    """Return a batch in which some items have another status, and were changed when they got it."""
    rows = [
        row | ({"status": status, "annotation_count": 9} if row["item_id"] in item_ids else {})
        for row in batch.items.to_pylist()
    ]
    return batch._replace(items=pa.RecordBatch.from_pylist(rows, schema=batch.items.schema))


def only(batch: LabelTables, *item_ids: str) -> LabelTables:
    return LabelTables(*(table.filter([one in item_ids for one in table["item_id"].to_pylist()]) for table in batch))


def to_dataset(target: Path, **parameters: Any) -> AnnotationsToObjectStorageOperator:
    return AnnotationsToObjectStorageOperator(task_id="land", target=str(target), **parameters)


def rows_in(target: Path) -> dict[str, list[dict[str, Any]]]:
    return sorted_rows({name: table.to_pylist() for name, table in read_dataset(str(target)).items()})


@pytest.mark.parametrize("dataset_format", ["parquet", "delta"])
def test_a_refresh_keeps_to_the_part_and_takes_out_what_does_not_fit_any_more(
    land: Land, tmp_path: Path, dataset_format: str
) -> None:
    if dataset_format == "delta":
        pytest.importorskip("deltalake")
    before = with_status(boxes(6), "unlabeled", "0", "5")
    first = land(to_dataset(tmp_path, items=LABELED, dataset_format=dataset_format), [before])
    assert (first["full"], first["part"]) == (True, LABELED)
    assert rows_in(tmp_path) == rows_of([only(before, "1", "2", "3", "4")])
    assert read_manifest(str(tmp_path), dataset_format=dataset_format).settings["items"] == LABELED

    after = with_status(with_status(boxes(6), "unlabeled", "0", "2"), "labeled", "3")
    again = land(to_dataset(tmp_path, items=LABELED, dataset_format=dataset_format), [after])
    assert (again["full"], again["changed_items"], again["removed_items"], again["unchanged_items"]) == (False, 2, 1, 2)
    assert rows_in(tmp_path) == rows_of([only(after, "1", "3", "4", "5")])
    kept = land(to_dataset(tmp_path, items=LABELED, dataset_format=dataset_format), [after])
    assert (kept["changed_items"], kept["removed_items"]) == (0, 0)


def test_a_part_lands_in_tables_which_say_what_it_is(land: Land, sqlite_database: Database) -> None:
    keys = ["photo-1", "photo-3", "photo-99"]
    landed = land(sqlite_database.operator(items=keys), [boxes(6)])
    assert landed["rows"]["items"] == 2
    prefix = sqlite_database.prefix
    ((settings,),) = sqlite_database.hook.get_records(f"select settings from {prefix}landings")
    assert json.loads(settings)["items"] == {"item_keys": keys}
    changed = land(sqlite_database.operator(items=keys[::-1]), [boxes(6, per_item=3)])
    assert (changed["full"], changed["changed_items"]) == (False, 2)
    found = sqlite_database.hook.get_records(f"select item_key from {prefix}items order by 1")
    assert [key for (key,) in found] == keys[:2]


@pytest.mark.parametrize("dataset_format", ["coco", "jsonl"])
def test_other_formats_have_the_part_only(land: Land, tmp_path: Path, dataset_format: str) -> None:
    landed = land(to_dataset(tmp_path, items=["photo-1", "photo-3"], dataset_format=dataset_format), [boxes(6)])
    assert next(iter(landed["rows"].values())) == 2
    with pytest.raises(AnnotationError, match="part"):
        land(to_dataset(tmp_path, items=["photo-2"], dataset_format=dataset_format), [boxes(6)])
    assert read_manifest(str(tmp_path), dataset_format=dataset_format).version == landed["version"]


def test_another_part_never_takes_the_place_of_what_has_landed_without_being_told_to(
    land: Land, tmp_path: Path, sqlite_database: Database
) -> None:
    one, other = {"items": ["photo-1"]}, {"items": ["photo-2"]}
    for operator in (lambda **given: to_dataset(tmp_path, **given), sqlite_database.operator):
        land(operator(**one), [boxes(6)])
        with pytest.raises(AnnotationError, match=r"photo-1.*photo-2.*full_refresh"):
            land(operator(**other), [boxes(6)])
        assert land(operator(**one), [boxes(6)])["rows"]["items"] == 1
        assert land(operator(full_refresh=True, **other), [boxes(6)])["part"] == {"item_keys": ["photo-2"]}
        whole = land(operator(), [boxes(6)])
        assert (whole["full"], whole["rows"]["items"]) == (True, 6)
        assert "part" not in whole
        with pytest.raises(AnnotationError, match="all items"):
            land(operator(**one), [boxes(6)])


@pytest.mark.parametrize("destination", ["dataset", "tables"])
def test_what_lands_while_a_part_is_read_is_not_replaced_by_it(
    land: Land, tmp_path: Path, sqlite_database: Database, destination: str
) -> None:
    def make(**given: Any) -> AnnotationsTransfer:
        return to_dataset(tmp_path, **given) if destination == "dataset" else sqlite_database.operator(**given)

    late = make(items=["photo-1"], project="1")
    late.__dict__["hook"] = OvertakenHook([boxes(6)], lambda: land(make(), [boxes(6)]))
    with pytest.raises(AnnotationError, match="all items"):
        late.execute(task_context())
    assert land(make(), [boxes(6)])["rows"]["items"] == 6


def test_what_lands_while_a_part_is_written_is_not_replaced_by_it(
    land: Land, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_into, others = Spool.copy_into, [lambda: land(to_dataset(tmp_path), [boxes(6)])]

    def overtaken(spool: Spool, folder: ObjectStoragePath) -> Written:
        if others:
            others.pop()()
        return copy_into(spool, folder)

    monkeypatch.setattr(Spool, "copy_into", overtaken)
    with pytest.raises(AnnotationError, match="all items"):
        land(to_dataset(tmp_path, items=["photo-1"]), [boxes(6)])
    assert rows_in(tmp_path) == rows_of([boxes(6)])


def test_a_part_that_nothing_fits_is_empty_and_not_all_of_the_project(land: Land, tmp_path: Path) -> None:
    landed = land(to_dataset(tmp_path, items=[]), [boxes(6)])
    assert landed["rows"] == {"items": 0, "annotations": 0, "labels": 0}


def test_the_keys_of_a_query_are_asked_for_at_each_landing(land: Land, tmp_path: Path) -> None:
    with airflow_connection(f"keys_{uuid4().hex}", {"conn_type": "sqlite", "host": str(tmp_path / "keys.db")}) as keys:
        run = Database(keys).hook.run
        run("create table chosen (item_key text, night integer)")
        run("insert into chosen values ('photo-1', 1), ('photo-2', 1), ('photo-3', 2)")
        sql = "select item_key from chosen where night = ?"
        items = {"sql": sql, "sql_conn_id": keys, "sql_parameters": (1,)}
        land(to_dataset(tmp_path / "labels", items=items), [boxes(6)])
        run("update chosen set night = 3 - night")
        landed = land(to_dataset(tmp_path / "labels", items=items), [boxes(6)])
        assert (landed["full"], landed["changed_items"], landed["removed_items"]) == (False, 1, 2)
        assert landed["part"] == {**items, "sql_parameters": [1]}, "as it is in JSON"
        both = {"sql": "select night, night + 1 as next from chosen", "sql_conn_id": keys}
        with pytest.raises(AnnotationError, match="night, next"):
            land(to_dataset(tmp_path / "other", items=both), [boxes(6)])


class TakenBackHook(GeneratedHook):
    """A labeling tool in which somebody deletes the only submission of an item just before it is read."""

    def read_tables(self, *arguments: Any) -> Iterator[LabelTables]:
        for batch in super().read_tables(*arguments):
            yield with_status(batch, "unlabeled", "3")


@pytest.mark.parametrize(("labeled", "landed"), [(LABELED, "01245"), ({"completed_before": "2100-01-01"}, "124")])
def test_an_item_that_is_taken_back_while_it_lands_is_not_in_a_part_of_labeled_ones(
    tmp_path: Path, labeled: dict[str, Any], landed: str
) -> None:
    operator = to_dataset(tmp_path, project="1", items=labeled)
    batch = boxes(6)
    dated = [{**row, "created_at": datetime(2026, 1, 1, tzinfo=timezone.utc)} for row in batch.annotations.to_pylist()]
    batch = batch._replace(annotations=pa.RecordBatch.from_pylist(dated, schema=batch.annotations.schema))
    operator.__dict__["hook"] = TakenBackHook([batch])
    operator.execute(task_context())
    assert {row["item_id"] for row in rows_in(tmp_path)["items"]} == set(landed)
    assert {row["item_id"] for row in rows_in(tmp_path)["labels"]} == {"1", "2", "4"}


def test_a_part_is_read_in_shards(tmp_path: Path) -> None:
    with DAG("sharded_part") as dag:
        land_in_shards(
            AnnotationsToObjectStorageOperator,
            group_id="labels",
            staging=f"file://{tmp_path}/staging",
            shard_items=2,
            target=str(tmp_path / "labels"),
            project="1",
            items={"item_keys": ["photo-1", "photo-2", "photo-4"]},
        )
    group = Group(dag, [boxes(6)])
    for batches in ([boxes(6)], [boxes(6, per_item=3)]):
        group.batches = batches
        shards = group.plan()
        assert shards == [0, 1]
        for shard in shards:
            group.read(shard)
        group.land()
        assert rows_in(tmp_path / "labels") == rows_of([only(batches[0], "1", "2", "4")])


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ({}, "empty"),
        ({"status": ["labeled"]}, "unknown field `status`"),
        ({"statuses": ["labelled"]}, "labelled"),
        ({"statuses": []}, "statuses"),
        ({"created_after": "yesterday"}, "created_after"),
        ({"created_after": None}, "created_after"),
        ({"completed_after": "2026-02-01", "completed_before": "2026-01-01T00:00:00+01:00"}, "completed_after"),
        ({"statuses": ["unlabeled"], "completed_after": "2026-02-01"}, "unlabeled"),
        ({"sql": "select 1"}, "sql_conn_id"),
        ({"sql": "select 1", "sql_conn_id": "db", "item_keys": ["a"]}, "either"),
        ({"tab": "{{ params.tab }}", "statuses": ["labelled"]}, "labelled"),
        ([b"photo"], "item_keys"),
        ("photo-1", "items"),
    ],
)
def test_a_filter_that_makes_no_sense_is_an_error_when_the_dag_is_parsed(items: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"'land'.*{message}"):
        to_dataset(Path("/labels"), items=items)


def test_who_lands_no_emails_lands_none_in_the_filter() -> None:
    with pytest.raises(ValueError, match="ids"):
        to_dataset(Path("/labels"), annotators="id", items={"annotators": ["ada@example.com"]})
    assert to_dataset(Path("/labels"), annotators="id", items={"annotators": ["7"]}).settings["items"]


def test_templates_and_other_tasks_say_what_a_part_is(tmp_path: Path) -> None:
    with DAG("parts") as dag:
        select = BaseOperator(task_id="select")
        listed = AnnotationsToObjectStorageOperator(task_id="listed", target=str(tmp_path), items=select.output)
        dated = to_dataset(tmp_path, items={"created_after": "{{ ds }}", "item_keys": select.output})
    assert dag.get_task("select").downstream_task_ids == {"listed", "land"}
    listed.project = "1"
    listed.__dict__["hook"] = GeneratedHook([boxes(2)])
    for nothing in (None, {"item_keys": None}, "['photo-1']"):
        listed.items = nothing
        with pytest.raises(AnnotationError, match="'listed'"):
            listed.execute(task_context())
    dated.items = {"created_after": "2026-11-28", "item_keys": ("photo-1",)}
    assert dated.settings["items"] == {"created_after": "2026-11-28T00:00:00Z", "item_keys": ["photo-1"]}


def test_equal_filters_are_told_alike_and_many_keys_by_their_hash() -> None:
    keys = [f"photo-{number}" for number in range(300)]
    told = ItemFilter.of(keys).describe()
    assert told["item_keys"]["count"] == 300
    assert told == ItemFilter.of({"item_keys": [*reversed(keys), keys[0]]}).describe()
    assert told != ItemFilter.of([*keys[:-1], "photo-300"]).describe()
    assert json.loads(json.dumps(told)) == told
    assert ItemFilter.of({"created_after": "2026-11-28T00:00"}) == ItemFilter.of({"created_after": "2026-11-28"})
    night = {"created_after": "2026-11-28T01:00:00+01:00", "statuses": ["skipped", "labeled"], "tab": 7}
    assert ItemFilter.of(night).describe() == {
        "created_after": "2026-11-28T00:00:00Z",
        "statuses": ["labeled", "skipped"],
        "tab": "7",
    }
