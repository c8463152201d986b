"""Landings that many tasks read: the same as those of a single task, whatever becomes of the tasks."""

from __future__ import annotations

import errno
import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import pyarrow as pa
import pytest
from airflow.sdk import DAG

from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.datasets.results import LandingResult
from airflow_annotation.datasets.stores import FolderStore
from airflow_annotation.datasets.versions import read_manifest
from airflow_annotation.exceptions import AnnotationError, LandingMovedError
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.labels.tables import ITEM_STATES, SCHEMAS, TABLES_VERSION, LabelTables
from airflow_annotation.landing.plan import LandingPlan
from airflow_annotation.landing.refresh import Landed
from airflow_annotation.landing.spool import Spool
from airflow_annotation.landing.sql_reader import SqlReader
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from airflow_annotation.transfers.base import AnnotationsTransfer
from airflow_annotation.transfers.sharded import land_in_shards
from devtools.airflow import Airflow
from devtools.label_studio import LabelStudio
from tests.support.connections import airflow_connection
from tests.support.datasets import box, item
from tests.support.generated import SCHEMA, GeneratedHook, boxes, rows_of, sorted_rows
from tests.support.s3_blocks import record_blocks
from tests.support.stored_dag import store_and_read_back
from tests.support.task_context import task_context
from tests.support.three_people import labeled_by_three
from tests.transfers.conftest import Land
from tests.transfers.test_s3 import make_bucket


@dataclass
class Group:
    """A group of tasks, run by hand.

    :param tasks: its DAG
    :param batches: what the labeling tool has
    """

    dag: DAG
    batches: list[LabelTables]
    reports: list[dict[str, Any]] = field(default_factory=list)
    run_id: str = "manual__1"
    staged: str = ""

    def plan(self) -> list[int]:
        context = task_context(run_id=self.run_id)
        shards: list[int] = self._with_hook(self.dag.get_task("labels.plan")).execute(context)
        ti: Any = context["ti"]
        self.staged = ti.xcoms["staging"]
        return shards

    def read(self, shard: int, try_number: int = 1) -> dict[str, Any]:
        task: Any = self.dag.get_task("labels.read")
        operator = self._with_hook(task.unmap({"shard": shard}))
        operator.staged = self.staged
        context = task_context(run_id=self.run_id, map_index=shard)
        context["ti"].try_number = try_number
        report: dict[str, Any] = operator.execute(context)
        self.reports = [kept for kept in self.reports if kept["shard"] != shard or kept["staged"] != self.staged]
        self.reports.append(report)
        return report

    def land(self) -> dict[str, Any]:
        operator = self._with_hook(self.dag.get_task("labels.land"))
        operator.staged = self.staged
        operator.shard_reports = self.reports
        landed: dict[str, Any] = operator.execute(task_context(run_id=self.run_id))
        return landed

    def run(self) -> dict[str, Any]:
        for shard in reversed(self.plan()):
            self.read(shard)
        return self.land()

    def _with_hook(self, operator: Any) -> Any:
        operator.project = "1"
        operator.__dict__["hook"] = GeneratedHook(self.batches)
        return operator


class Shelf(AnnotationsTransfer):
    """A destination in memory, which lands refreshes."""

    rows: ClassVar[dict[str, list[dict[str, Any]]]]
    landed: ClassVar[Landed | None]

    @staticmethod
    def clear() -> None:
        Shelf.rows = {name: [] for name in SCHEMAS}
        Shelf.landed = None

    def find_landed(self, _: AnnotationProject) -> Landed | None:
        return self.landed

    def land(self, landing: LandingPlan, spool: Spool) -> LandingResult:
        version = Shelf.landed.version if Shelf.landed else None
        if not landing.full and version != landing.landed_version:
            raise LandingMovedError("Another landing was committed.")
        replaced = set(landing.replaced.to_pylist())
        for name, rows in Shelf.rows.items():
            kept = [] if landing.full else [row for row in rows if row["item_id"] not in replaced]
            Shelf.rows[name] = kept + [row for batch in spool.read(name) for row in batch.to_pylist()]
        Shelf.landed = Landed(
            version=uuid4().hex,
            run_key=landing.project.run_key,
            tables_version=TABLES_VERSION,
            label_schema=landing.label_schema.to_dict(),
            label_schema_digest=landing.label_schema.digest(),
            settings=landing.settings,
            full_at=datetime.now(timezone.utc),
            read_states=lambda: iter(self._states()),
        )
        return {"rows": {name: len(rows) for name, rows in Shelf.rows.items()}}

    def _states(self) -> Iterator[Any]:
        rows = [{name: row[name] for name in ITEM_STATES.names} for row in Shelf.rows["items"]]
        yield pa.RecordBatch.from_pylist(rows, schema=ITEM_STATES)


MakeGroup = Callable[..., Group]


@pytest.fixture
def make_group(tmp_path: Path) -> MakeGroup:
    def make(
        operator_class: type[AnnotationsTransfer], batches: list[LabelTables], shard_items: int = 3, **arguments: Any
    ) -> Group:
        arguments = {"staging": f"file://{tmp_path}/staging", "shard_items": shard_items, **arguments}
        with DAG("cycle", schedule=None) as dag:
            land_in_shards(operator_class, group_id="labels", **arguments)
        return Group(dag, batches)

    return make


def staged(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "staging").iterdir())


@pytest.mark.parametrize("coordinates", ["relative", "pixels"])
def test_shards_land_what_a_single_task_lands(
    make_group: MakeGroup, land: Land, tmp_path: Path, coordinates: Any
) -> None:
    batches = [labeled_by_three(4, per_item=2), labeled_by_three(6, first=4, per_item=2)]
    options: dict[str, Any] = {"coordinates": coordinates, "field_mapping": {"objects": "things"}, "agreement": True}
    whole = AnnotationsToObjectStorageOperator(task_id="whole", target=f"{tmp_path}/whole", **options)
    expected = land(whole, batches)
    group = make_group(AnnotationsToObjectStorageOperator, batches, target=f"{tmp_path}/sharded", **options)
    landed = group.run()
    assert [report["rows"]["items"] for report in group.reports] == [1, 3, 3, 3]
    assert {key: landed[key] for key in landed.keys() - {"target", "path", "version", "seconds"}} == {
        key: expected[key] for key in expected.keys() - {"target", "path", "version", "seconds"}
    }
    tables = {name: read_dataset(f"{tmp_path}/{name}") for name in ("whole", "sharded")}
    assert sorted_rows({name: table.to_pylist() for name, table in tables["sharded"].items()}) == sorted_rows(
        {name: table.to_pylist() for name, table in tables["whole"].items()}
    )
    assert len(tables["whole"]["agreement"])
    assert staged(tmp_path) == []


def test_the_files_of_shards_are_those_of_the_dataset(make_group: MakeGroup, tmp_path: Path) -> None:
    group = make_group(AnnotationsToObjectStorageOperator, [boxes(10)], target=f"{tmp_path}/dataset")
    for shard in group.plan():
        group.read(shard)
    written = sorted(
        hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.glob("staging/*/shards/*/labels.parquet")
    )
    landed = group.land()
    files = read_manifest(f"{tmp_path}/dataset").files["labels"]
    assert (len(files), sum(file.rows for file in files)) == (4, landed["rows"]["labels"])
    assert sorted(file.sha256 for file in files) == written


def test_shards_are_still_there_for_the_next_try_of_a_landing_that_fails(
    make_group: MakeGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = make_group(AnnotationsToObjectStorageOperator, [boxes(5)], target=f"{tmp_path}/dataset")
    for shard in group.plan():
        group.read(shard)
    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "replace", _full_disk)
        with pytest.raises(AnnotationError, match="No space left"):
            group.land()
    assert group.land()["rows"]["items"] == 5
    dataset = read_dataset(f"{tmp_path}/dataset")
    assert sorted_rows({name: table.to_pylist() for name, table in dataset.items()}) == rows_of(group.batches)


@pytest.mark.parametrize("folders", ["within a bucket", "from a bucket to a disk", "from a disk to a bucket"])
def test_shards_land_wherever_they_and_the_dataset_are(
    make_group: MakeGroup, s3_conn_id: str, tmp_path: Path, folders: str
) -> None:
    bucket, disk = f"s3://{s3_conn_id}@{make_bucket(s3_conn_id)}", tmp_path.as_uri()
    staging = disk if folders.startswith("from a disk") else bucket
    target = f"{disk if folders.endswith('disk') else bucket}/dataset"
    group = make_group(AnnotationsToObjectStorageOperator, [boxes(7)], staging=f"{staging}/staging", target=target)
    group.run()
    dataset = read_dataset(target)
    assert sorted_rows({name: table.to_pylist() for name, table in dataset.items()}) == rows_of(group.batches)


def test_an_open_file_of_a_shard_holds_a_small_block(
    make_group: MakeGroup, s3_conn_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = record_blocks(monkeypatch)
    target = f"s3://{s3_conn_id}@{make_bucket(s3_conn_id)}/dataset"
    make_group(AnnotationsToObjectStorageOperator, [boxes(7)], target=target, dataset_format="jsonl").run()
    assert blocks
    assert max(blocks) <= 16 << 20


def _full_disk(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_training_dataset_lands_in_shards(make_group: MakeGroup, tmp_path: Path) -> None:
    group = make_group(
        AnnotationsToObjectStorageOperator, [boxes(10)], target=f"{tmp_path}/coco", dataset_format="coco"
    )
    assert group.run()["rows"] == {"images": 8, "objects": 16}


def test_a_file_that_no_shard_could_read_is_left_out_of_the_dataset(make_group: MakeGroup, tmp_path: Path) -> None:
    (tmp_path / "there.jpg").write_bytes(b"there")
    batches = [
        item(name, [box("car", 0, 0, 1, 1)], media_uri=f"{tmp_path}/{name}.jpg") for name in ("there", "missing")
    ]
    group = make_group(
        AnnotationsToObjectStorageOperator,
        batches,
        target=f"{tmp_path}/yolo",
        dataset_format="yolo",
        include_media="files",
        media_roots=[str(tmp_path)],
        on_media_error="keep",
    )
    landed = group.run()
    assert landed["rows"]["images"] == 2
    assert len(list(Path(landed["path"].removeprefix("file://")).rglob("*.jpg"))) == 1


def test_an_empty_project_lands(make_group: MakeGroup, tmp_path: Path) -> None:
    group = make_group(AnnotationsToObjectStorageOperator, [], target=f"{tmp_path}/empty")
    assert group.plan() == [0]
    group.read(0)
    assert group.land()["rows"] == {"items": 0, "annotations": 0, "labels": 0}


def test_a_shard_that_is_read_again_counts_once_and_what_its_lost_worker_still_writes_counts_for_nothing(
    make_group: MakeGroup,
) -> None:
    Shelf.clear()
    group = make_group(Shelf, [boxes(5)])
    assert group.plan() == [0, 1]
    group.read(0)
    group.read(1)
    group.batches = [boxes(5, per_item=4)]
    group.read(1, try_number=2)
    latest = group.reports
    group.read(1, try_number=1)  # by a worker that Airflow has given up
    group.reports = latest
    group.land()
    assert sorted_rows(Shelf.rows) == rows_of([boxes(3), boxes(2, first=3, per_item=4)])


def test_a_refresh_reads_only_what_has_changed_in_shards(make_group: MakeGroup) -> None:
    Shelf.clear()
    group = make_group(Shelf, [boxes(9)], shard_items=2)
    group.run()
    group.batches = [boxes(4, first=2), boxes(4, first=6, per_item=3)]  # 0 and 1 are gone, 9 is new
    assert group.plan() == [0, 1]
    for shard in (0, 1):
        group.read(shard)
    landed = group.land()
    assert (landed["full"], landed["changed_items"], landed["removed_items"], landed["unchanged_items"]) == (
        False,
        4,
        2,
        4,
    )
    assert sorted_rows(Shelf.rows) == rows_of(group.batches)
    assert group.plan() == [0]  # nothing has changed, and that lands too
    group.read(0)
    before = Shelf.landed
    assert group.land()["changed_items"] == 0
    assert before is not Shelf.landed
    assert sorted_rows(Shelf.rows) == rows_of(group.batches)


def test_files_and_databases_are_refreshed_in_shards(make_group: MakeGroup, tmp_path: Path) -> None:
    database = {"conn_type": "sqlite", "host": str(tmp_path / "annotations.db")}
    with airflow_connection(f"sqlite_{uuid4().hex}", database) as conn_id:
        groups = (
            make_group(AnnotationsToObjectStorageOperator, [boxes(9)], target=f"{tmp_path}/dataset"),
            make_group(AnnotationsToSqlOperator, [boxes(9)], sql_conn_id=conn_id),
        )
        for group in groups:
            group.run()
            group.batches = [boxes(4, first=2), boxes(4, first=6, per_item=3)]
            landed = group.run()
            assert (landed["full"], landed["changed_items"], landed["unchanged_items"]) == (False, 4, 4)
        expected = rows_of(group.batches)
        with SqlReader(conn_id) as reader:
            assert rows_of(reader.read(reader.find_landing())) == expected
    dataset = read_dataset(f"{tmp_path}/dataset")
    assert sorted_rows({name: table.to_pylist() for name, table in dataset.items()}) == expected


def test_a_landing_of_others_meanwhile_is_not_undone(make_group: MakeGroup, land: Land) -> None:
    Shelf.clear()
    group = make_group(Shelf, [boxes(4)])
    group.run()
    group.batches = [boxes(6)]
    group.plan()
    group.read(0)
    land(Shelf(task_id="other"), [boxes(8)])
    group.batches = [boxes(9)]
    landed = group.land()
    assert (landed["changed_items"], landed["unchanged_items"]) == (1, 8)
    assert sorted_rows(Shelf.rows) == rows_of([boxes(9)])


def test_landing_again_after_all_is_removed_reads_what_has_changed_since(make_group: MakeGroup, tmp_path: Path) -> None:
    Shelf.clear()
    group = make_group(Shelf, [boxes(4)])
    group.run()
    assert staged(tmp_path) == []
    assert group.land()["changed_items"] == 0
    assert sorted_rows(Shelf.rows) == rows_of([boxes(4)])
    with pytest.raises(AnnotationError, match=r"is gone, since it has landed.*Clear the task 'labels.plan'"):
        group.read(0)


def test_what_was_left_goes_when_the_run_is_planned_again_and_what_others_left_after_a_week(
    make_group: MakeGroup, tmp_path: Path
) -> None:
    Shelf.clear()
    group = make_group(Shelf, [boxes(4)])
    foreign = tmp_path / "staging" / "notes"
    old = tmp_path / "staging" / "20260101T000000Z-0123456789abcdef-01234567"
    for folder in (foreign, old):
        folder.mkdir(parents=True)
    group.plan()
    group.read(0)
    (first,) = set(staged(tmp_path)) - {"notes"}
    group.run_id = "manual__2"
    group.plan()
    assert first in staged(tmp_path)
    group.run_id = "manual__1"
    group.plan()
    assert first not in staged(tmp_path)
    assert len(staged(tmp_path)) == 3  # the notes, and a plan of each run


def test_shards_of_an_earlier_plan_do_not_land_and_missing_ones_are_an_error(make_group: MakeGroup) -> None:
    Shelf.clear()
    group = make_group(Shelf, [boxes(9)])
    group.plan()
    for shard in range(3):
        group.read(shard)
    group.batches = [boxes(6)]
    assert group.plan() == [0, 1]
    group.read(0)
    with pytest.raises(AnnotationError, match=r"Shards 1 of .* were not read"):
        group.land()
    group.read(1)
    group.land()
    assert sorted_rows(Shelf.rows) == rows_of([boxes(6)])


def test_a_dag_that_has_changed_since_the_plan_is_an_error(make_group: MakeGroup) -> None:
    Shelf.clear()
    group = make_group(Shelf, [boxes(4)], annotators="email")
    group.plan()
    other = make_group(Shelf, [boxes(4)], annotators="id")
    other.staged = group.staged
    with pytest.raises(AnnotationError, match="the DAG has changed since"):
        other.read(0)


def test_there_are_no_more_shards_than_airflow_maps(make_group: MakeGroup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "4")
    Shelf.clear()
    group = make_group(Shelf, [boxes(9)], shard_items=2)
    landed = group.run()
    assert [report["rows"]["items"] for report in group.reports] == [3, 3, 3]
    assert landed["rows"]["items"] == 9


def test_mistakes_are_found_when_the_dag_is_parsed(make_group: MakeGroup) -> None:
    with pytest.raises(ValueError, match="shard_items must be at least 1"):
        make_group(Shelf, [], shard_items=0)
    with pytest.raises(ValueError, match="annotations is one of"):
        make_group(Shelf, [], annotations="best")
    with pytest.raises(AnnotationError, match="neither a URI"), DAG("cycle", schedule=None):
        land_in_shards(Shelf, group_id="labels", staging="staging")


def test_the_group_can_be_stored_and_says_which_task_has_what() -> None:
    with DAG("stored", schedule=None, default_args={"retries": 2}) as dag:
        land_in_shards(
            AnnotationsToObjectStorageOperator,
            group_id="labels",
            staging="{{ var.value.staging }}",
            shard_arguments={"max_active_tis_per_dagrun": 3, "pool": "readers"},
            trigger_rule="all_done",
            target="file:///tmp/labels",
        )
    stored = store_and_read_back(dag)
    plan, read, last = (stored.get_task(f"labels.{name}") for name in ("plan", "read", "land"))
    assert (plan.upstream_task_ids, read.upstream_task_ids) == (set(), {"labels.plan"})
    assert last.upstream_task_ids == {"labels.plan", "labels.read"}
    assert (plan.trigger_rule, read.trigger_rule, last.trigger_rule) == ("all_done", "all_success", "all_success")
    assert (plan.retries, read.retries, last.retries) == (2, 2, 2)
    assert (read.pool, last.pool) == ("readers", "default_pool")
    assert read.max_active_tis_per_dagrun == 3


@pytest.mark.live_airflow
def test_workers_of_a_live_airflow_land_what_one_lands_though_one_of_them_is_killed(
    airflow: Airflow, label_studio: LabelStudio, project_of_many: str, tmp_path: Path
) -> None:
    airflow.add_dag_file("dag_of_shards.py", Path(__file__).with_name("dag_of_shards.py").read_text())
    airflow.wait_for_dag("shards")
    run_id = airflow.trigger("shards", {"project": project_of_many, "folder": tmp_path.as_uri()})
    state = airflow.wait_for_run("shards", run_id)
    tasks = airflow.tasks("shards", run_id)
    failed = [task_id for task_id, task in tasks.items() if task["state"] == "failed"]
    assert state == "success", "\n".join(airflow.task_log("shards", run_id, task_id) for task_id in failed)
    tries = {task_id: task["try_number"] for task_id, task in tasks.items() if ".read/" in task_id}
    assert tries == {f"sharded_sql.read/{n}": 2 if n == 1 else 1 for n in range(3)} | {
        f"sharded_files.read/{n}": 1 for n in range(2)
    }
    assert airflow.xcom("shards", run_id, "sharded_sql.plan") == [0, 1, 2]
    assert airflow.xcom("shards", run_id, "sharded_sql.land")["rows"] == {"items": 11, "annotations": 11, "labels": 11}

    with closing(sqlite3.connect(Path(airflow.home) / "annotations.db", timeout=60)) as database:
        for name, schema in SCHEMAS.items():
            columns = ", ".join(f'"{column}"' for column in schema.names)
            whole, sharded = (
                database.execute(f"select {columns} from {prefix}{name} order by {columns}").fetchall()
                for prefix in ("whole_", "sharded_")
            )
            assert len(whole) == 11
            assert sharded == whole
    files = {name: read_dataset(f"{tmp_path}/{name}") for name in ("whole", "sharded")}
    for name, table in files["whole"].items():
        assert files["sharded"][name].sort_by("item_id").equals(table.sort_by("item_id"))
    assert list((tmp_path / "staging").iterdir()) == []


@pytest.fixture
def project_of_many(label_studio_conn_id: str) -> Iterator[str]:
    """A project of eleven items: ten have a label, and one of them two, one a prediction."""
    from airflow_annotation.hooks.label_studio import LabelStudioHook

    hook = LabelStudioHook(label_studio_conn_id)
    project = hook.create_project(title="Shards", run_key=f"shards/{uuid4()}", label_schema=SCHEMA)
    choice = {"from_name": "weather", "to_name": "image", "type": "choices", "value": {"choices": ["sun"]}}
    tasks: list[dict[str, Any]] = [
        {"data": {"image": f"https://example.com/{n}.jpg"}, "annotations": [{"result": [choice]}]} for n in range(10)
    ]
    tasks.append({"data": {"image": "https://example.com/10.jpg"}, "predictions": [{"result": [choice]}]})
    hook.client.request("POST", f"/api/projects/{project.id}/import", json=tasks)
    yield project.id
    hook.delete_project(project.id)
