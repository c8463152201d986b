from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from airflow.sdk import ObjectStoragePath
from hypothesis import HealthCheck, given, settings

pytest.importorskip("deltalake")

import deltalake

from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.datasets.versions import read_manifest
from airflow_annotation.exceptions import LandingMovedError
from airflow_annotation.labels.tables import SCHEMAS, LabelTables
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from devtools.processes import REPOSITORY
from tests.support.generated import GeneratedHook, boxes, label_tables, rows_of, sorted_rows
from tests.transfers.conftest import Land, at_once


def operator(target: Path, **kwargs: Any) -> AnnotationsToObjectStorageOperator:
    return AnnotationsToObjectStorageOperator(task_id="land", target=str(target), dataset_format="delta", **kwargs)


def landed_rows(target: Path, version: str | None = None) -> dict[str, list[dict[str, Any]]]:
    return sorted_rows({name: table.to_pylist() for name, table in read_dataset(str(target), version).items()})


def relabeled(batch: LabelTables, item_ids: set[str], *, without: set[str]) -> LabelTables:
    """Return a batch as it is after people have edited some items, and others are gone."""

    def rows(table: str, **edited: Any) -> pa.RecordBatch:
        return pa.RecordBatch.from_pylist(
            [
                row | (edited if row["item_id"] in item_ids else {})
                for row in getattr(batch, table).to_pylist()
                if row["item_id"] not in without
            ],
            schema=SCHEMAS[table],
        )

    return LabelTables(rows("items", annotation_count=7), rows("annotations"), rows("labels", label="bus"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(batches=label_tables())
def test_rows_read_back_equal(tmp_path: Path, land: Land, batches: list[LabelTables]) -> None:
    land(operator(tmp_path, full_refresh=True), batches)
    assert landed_rows(tmp_path) == rows_of(batches)


def test_only_what_has_changed_is_merged_and_older_versions_stay_readable(land: Land, tmp_path: Path) -> None:
    first = land(operator(tmp_path), [boxes(10)])
    edited = relabeled(boxes(12), {"3", "4"}, without={"7", "9"})
    landed = land(operator(tmp_path), [edited])
    assert (landed["full"], landed["changed_items"], landed["removed_items"]) == (False, 4, 2)
    assert landed_rows(tmp_path) == rows_of([edited])
    assert landed["rows"] == {name: len(rows) for name, rows in landed_rows(tmp_path).items()}
    assert landed_rows(tmp_path, first["version"]) == rows_of([boxes(10)])
    labels = deltalake.DeltaTable(
        tmp_path / "labels", version=read_manifest(str(tmp_path), dataset_format="delta").delta_versions["labels"]
    )
    assert labels.history(1)[0]["operation"] != "WRITE"
    assert labels.to_pyarrow_table().num_rows == landed["rows"]["labels"]


def test_old_readers_of_delta_read_what_is_landed_and_refreshed(land: Land, tmp_path: Path) -> None:
    land(operator(tmp_path), [boxes(4)])
    land(operator(tmp_path), [boxes(3)])
    for name in SCHEMAS:
        protocol = deltalake.DeltaTable(tmp_path / name).protocol()
        assert (protocol.min_reader_version, protocol.reader_features) == (1, None)


def test_tables_of_an_earlier_release_are_read_and_get_the_columns_that_they_lack(land: Land, tmp_path: Path) -> None:
    land(operator(tmp_path), [boxes(4)])
    older = deltalake.DeltaTable(tmp_path / "items").to_pyarrow_table().drop_columns(["media"])
    deltalake.write_deltalake(tmp_path / "items", older, mode="overwrite", schema_mode="overwrite")
    path = tmp_path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["delta_versions"]["items"] += 1
    path.write_text(json.dumps(manifest | {"tables_version": 1}))
    assert landed_rows(tmp_path) == rows_of([boxes(4)])
    assert land(operator(tmp_path), [boxes(4)])["full"] is True
    assert "media" in deltalake.DeltaTable(tmp_path / "items").schema().to_arrow().names
    assert landed_rows(tmp_path) == rows_of([boxes(4)])


def test_landing_no_change_makes_no_version(land: Land, tmp_path: Path) -> None:
    first = land(operator(tmp_path), [boxes(10)])
    again = land(operator(tmp_path), [boxes(10)])
    assert again["version"] == first["version"]
    assert landed_rows(tmp_path) == rows_of([boxes(10)])


def test_a_year_of_landings_keeps_the_versions_asked_for_and_no_other_files(land: Land, tmp_path: Path) -> None:
    for night in range(8):
        batch = relabeled(boxes(20), {str(night), str(night + 1)}, without={str(night + 10)})
        last = land(operator(tmp_path, keep_versions=3), [batch])
        assert landed_rows(tmp_path) == rows_of([batch])
    manifest = read_manifest(str(tmp_path), dataset_format="delta")
    assert manifest.versions[0] == last["version"]
    assert len(manifest.versions) == 3
    for name in SCHEMAS:
        wanted: set[str] = set()
        for version in manifest.versions:
            kept = read_manifest(str(tmp_path), dataset_format="delta", version=version)
            wanted.update(
                Path(uri).name
                for uri in deltalake.DeltaTable(tmp_path / name, version=kept.delta_versions[name]).file_uris()
            )
        assert {file.name for file in (tmp_path / name).glob("*.parquet")} == wanted


KILLED = """
import os, signal, sys
from pathlib import Path
from airflow_annotation.datasets import delta
from tests.support.task_context import task_context
from tests.support.generated import GeneratedHook, boxes
from tests.transfers.test_delta import operator, relabeled

step, target = sys.argv[1], Path(sys.argv[2])
task = operator(target, project="1", full_refresh=step.startswith("full"))
task.__dict__["hook"] = GeneratedHook([relabeled(boxes(10), {"1", "2"}, without={"3"})])
method, table = step.split()[1:]
original = getattr(delta.DeltaTables, method)

def open_(self, name, *rest):
    if name == table:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, name, *rest)

setattr(delta.DeltaTables, method, open_)
task.execute(task_context())
"""


@pytest.mark.parametrize(
    "step",
    ["merge _open annotations", "merge _open labels", "merge count items", "full _find labels", "full count items"],
)
def test_a_killed_landing_leaves_the_last_one_and_the_next_is_as_if_nothing_had_been(
    land: Land, tmp_path: Path, step: str
) -> None:
    land(operator(tmp_path), [boxes(10)])
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, step, tmp_path],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        check=False,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    assert landed_rows(tmp_path) == rows_of([boxes(10)])
    edited = relabeled(boxes(10), {"1", "5"}, without={"8"})
    assert land(operator(tmp_path), [edited])["full"] is False
    assert landed_rows(tmp_path) == rows_of([edited])


def test_a_refresh_is_not_applied_to_another_landing_than_it_was_planned_for(land: Land, tmp_path: Path) -> None:
    target = tmp_path / "target"
    land(operator(target), [boxes(5)])
    late = operator(target, project="1")
    late.__dict__["hook"] = GeneratedHook([boxes(6)])
    landing = late.plan(late.hook.get_project("1"))
    spool = late.read(landing, ObjectStoragePath((tmp_path / "spool").as_uri()))
    land(operator(target), [boxes(7)])
    with pytest.raises(LandingMovedError):
        late.land(landing, spool)
    assert landed_rows(target) == rows_of([boxes(7)])


def test_two_landings_at_once_leave_a_whole_one(land: Land, tmp_path: Path) -> None:
    land(operator(tmp_path), [boxes(4)])
    errors = at_once((30, 50), lambda count: land(operator(tmp_path), [boxes(count)]))
    assert len(errors) < 2, errors
    assert landed_rows(tmp_path) in (rows_of([boxes(30)]), rows_of([boxes(50)]))
    land(operator(tmp_path), [boxes(8)])
    assert landed_rows(tmp_path) == rows_of([boxes(8)])
