"""Landing what has changed as a new version of a Parquet dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from airflow_annotation.datasets import parquet
from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.datasets.versions import read_manifest
from airflow_annotation.exceptions import AnnotationError, LandingMovedError
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.tables import LabelTables, collect_tables
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from tests.support.generated import GeneratedHook, boxes, rows_of, sorted_rows
from tests.support.task_context import task_context

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


class ChangingTool(GeneratedHook):
    """A tool whose items change, and that remembers what was read."""

    def __init__(self, *batches: LabelTables) -> None:
        super().__init__(list(batches))
        self.read: list[list[str] | None] = []

    def read_tables(
        self,
        project: AnnotationProject,
        options: ReadOptions = ReadOptions(),
        item_ids: Iterable[str] | None = None,
    ) -> Iterator[LabelTables]:
        ids = None if item_ids is None else list(item_ids)
        self.read.append(ids)
        return super().read_tables(project, options, ids)

    def get_last_change(self, _: str) -> datetime | None:
        return START + timedelta(days=len(self.read))

    def change(self, *batches: LabelTables) -> None:
        self.batches = list(batches)


def changed(batch: LabelTables, day: int) -> LabelTables:
    """Return a batch whose items were changed on another day."""
    times = pa.array([START + timedelta(days=day)] * batch.items.num_rows, pa.timestamp("us", tz="UTC"))
    index = batch.items.schema.get_field_index("updated_at")
    return batch._replace(items=batch.items.set_column(index, batch.items.schema.field(index), times))


def land(tool: GeneratedHook, target: Path | str, **kwargs: Any) -> Any:
    operator = AnnotationsToObjectStorageOperator(task_id="land", target=str(target), project="1", **kwargs)
    operator.__dict__["hook"] = tool
    context: Any = task_context()
    return operator.execute(context)


def landed_rows(target: Path | str, version: str | None = None) -> dict[str, list[dict[str, Any]]]:
    return sorted_rows({name: table.to_pylist() for name, table in read_dataset(str(target), version).items()})


def test_only_what_has_changed_is_read_and_the_rest_is_taken_over(tmp_path: Path) -> None:
    tool = ChangingTool(boxes(10), boxes(10, first=10))
    first = land(tool, tmp_path)
    seen = landed_rows(tmp_path)
    tool.change(boxes(6), changed(boxes(3, first=6, per_item=5), 1), boxes(10, first=10), boxes(2, first=20))
    second = land(tool, tmp_path)
    assert tool.read == [None, ["6", "7", "8", "20", "21"]]
    assert (second["changed_items"], second["removed_items"], second["unchanged_items"]) == (5, 1, 16)
    assert second["rows"] == {name: len(rows) for name, rows in landed_rows(tmp_path).items()}
    assert landed_rows(tmp_path) == rows_of(tool.batches)
    assert landed_rows(tmp_path, first["version"]) == seen
    manifest = read_manifest(str(tmp_path))
    assert manifest.versions == [second["version"], first["version"]]
    assert manifest.changes == {"changed_items": 5, "removed_items": 1}
    assert manifest.watermark == START + timedelta(days=1)
    assert manifest.full_at == read_manifest(str(tmp_path), version=first["version"]).created_at


def test_where_nothing_has_changed_the_version_stays_and_says_when_that_was_found(tmp_path: Path) -> None:
    tool = ChangingTool(boxes(10))
    first = land(tool, tmp_path)
    before = read_manifest(str(tmp_path))
    again = land(tool, tmp_path)
    after = read_manifest(str(tmp_path))
    assert (again["version"], again["changed_items"], tool.read) == (first["version"], 0, [None])
    assert [path.name for path in (tmp_path / "versions").iterdir()] == [first["version"]]
    assert before.landed_at is not None
    assert after.landed_at is not None
    assert after.landed_at > before.landed_at
    assert after.watermark == START + timedelta(days=1)
    assert before.watermark == START


@pytest.mark.parametrize("rows", [3, 50, 10**6])
def test_many_refreshes_give_what_one_full_landing_gives(
    tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", rows)
    tool = ChangingTool(boxes(40))
    for day in range(1, 15):
        land(tool, tmp_path / "kept")
        tool.change(*(changed(boxes(9, first=n * 9 + day, per_item=(n + day) % 4), (n + day) % 4) for n in range(5)))
    land(tool, tmp_path / "kept")
    land(tool, tmp_path / "fresh")
    assert landed_rows(tmp_path / "kept") == landed_rows(tmp_path / "fresh") == rows_of(tool.batches)
    assert len(list((tmp_path / "kept" / "versions").iterdir())) == 2


def test_all_items_are_read_by_choice_and_where_another_run_project_or_setting_landed(tmp_path: Path) -> None:
    tool = ChangingTool(boxes(5))
    for _ in range(2):
        land(tool, tmp_path)
    land(tool, tmp_path, full_refresh=True)
    land(tool, tmp_path, annotators="id")
    other = ChangingTool(boxes(5, project_id="2"))
    other.project = GeneratedHook([], "2").project
    operator = AnnotationsToObjectStorageOperator(
        task_id="land", target=str(tmp_path), project="2", annotators="id", replace_project=True
    )
    operator.__dict__["hook"] = other
    context: Any = task_context()
    operator.execute(context)
    assert (tool.read, other.read) == ([None] * 3, [None])
    assert landed_rows(tmp_path) == rows_of(other.batches)


def test_a_refresh_that_another_landing_overtakes_is_planned_again(tmp_path: Path) -> None:
    tool = ChangingTool(boxes(10))
    land(tool, tmp_path)

    class Overtaken(ChangingTool):
        def list_item_states(self, project_id: str, **settings: Any) -> Iterator[pa.RecordBatch]:
            if not self.read:
                land(ChangingTool(changed(boxes(10, per_item=1), 5)), tmp_path, keep_versions=1)
            return super().list_item_states(project_id, **settings)

    overtaken = Overtaken(changed(boxes(5), 7), changed(boxes(5, first=5, per_item=1), 5))
    land(overtaken, tmp_path)
    assert overtaken.read[-1] == ["0", "1", "2", "3", "4"]
    assert landed_rows(tmp_path) == rows_of(overtaken.batches)


def test_a_refresh_whose_version_is_removed_under_it_leaves_nothing(tmp_path: Path) -> None:
    tool = ChangingTool(boxes(10))
    land(tool, tmp_path)
    operator = AnnotationsToObjectStorageOperator(task_id="land", target=str(tmp_path), project="1")
    tool.change(changed(boxes(10, per_item=3), 1))
    operator.__dict__["hook"] = tool
    landing = operator.plan(tool.project)
    spool = operator.read(landing, folder_of(tmp_path / "spool"))
    newer = land(ChangingTool(changed(boxes(10, per_item=1), 5)), tmp_path, keep_versions=1)
    with pytest.raises(LandingMovedError):
        operator.land(landing, spool)
    assert [path.name for path in (tmp_path / "versions").iterdir()] == [newer["version"]]


def folder_of(path: Path) -> Any:
    from airflow_annotation.datasets.versions import dataset_path

    return dataset_path(str(path))


def versions(target: Path) -> Sequence[str]:
    return read_manifest(str(target)).versions


@pytest.mark.parametrize("full", [False, True])
def test_items_that_are_gone_go_from_older_versions_where_that_is_asked_for(tmp_path: Path, full: bool) -> None:
    tool = ChangingTool(boxes(10))
    old = land(tool, tmp_path, keep_versions=5)["version"]
    tool.change(boxes(8))
    without = land(tool, tmp_path, keep_versions=5)["version"]
    assert versions(tmp_path) == [without, old]
    tool.change(boxes(8), boxes(1, first=30))
    last = land(tool, tmp_path, keep_versions=5, purge_versions=True, full_refresh=full)["version"]
    assert versions(tmp_path) == [last, without]
    assert {path.name for path in (tmp_path / "versions").iterdir()} == {last, without}
    with pytest.raises(AnnotationError, match=rf"no version '{old}'.*keeps {last}, {without}"):
        read_dataset(str(tmp_path), old)


def test_older_versions_that_name_people_go_where_that_is_asked_for(tmp_path: Path) -> None:
    tool = ChangingTool(boxes(10))
    for _ in range(2):
        land(tool, tmp_path, keep_versions=5, full_refresh=True)
    last = land(tool, tmp_path, keep_versions=5, annotators="id", purge_versions=True)["version"]
    assert versions(tmp_path) == [last]


def test_a_corrupt_version_is_not_carried_over(tmp_path: Path) -> None:
    tool = ChangingTool(boxes(200))
    land(tool, tmp_path)
    path = tmp_path / read_manifest(str(tmp_path)).files["labels"][0].path
    content = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(0).column(3)  # annotation_id
    content[column.dictionary_page_offset + column.total_compressed_size - 1] ^= 1
    path.write_bytes(content)
    tool.change(boxes(199))
    with pytest.raises(AnnotationError, match=r"labels.parquet is damaged: .*CRC.*full_refresh=True") as raised:
        land(tool, tmp_path)
    assert "right to write" not in str(raised.value)
    land(tool, tmp_path, full_refresh=True)
    assert landed_rows(tmp_path) == rows_of([boxes(199)])


def test_a_version_reads_as_pandas_by_choice(tmp_path: Path) -> None:
    land(ChangingTool(boxes(10)), tmp_path)
    read = read_dataset(str(tmp_path), as_pandas=True)
    assert read["labels"].groupby("label").size().to_dict() == {"car": 8, "person": 8}


def test_plain_readers_read_the_files_of_a_refreshed_version(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    tool = ChangingTool(boxes(10))
    land(tool, tmp_path)
    tool.change(boxes(5), changed(boxes(5, first=5, classes=("bus",)), 1))
    landed = land(tool, tmp_path)
    folder = landed["path"].removeprefix("file://")
    labels = pyarrow.dataset.dataset(f"{folder}/labels.parquet")
    assert labels.count_rows(filter=pyarrow.dataset.field("label") == "bus") == 8
    with closing(duckdb.connect()) as database:
        query = (
            f"select label, count(*) from '{folder}/labels.parquet'"
            f" join '{folder}/items.parquet' using (project, item_id) group by label order by label"
        )
        assert database.execute(query).fetchall() == [("bus", 8), ("car", 4), ("person", 4)]


def test_media_that_were_not_asked_for_before_are_landed_of_all_items(tmp_path: Path) -> None:
    tool = ChangingTool(boxes(5))
    land(tool, tmp_path)
    land(tool, tmp_path, include_media="frames")
    land(tool, tmp_path, include_media="frames")
    assert tool.read == [None, None]


def test_memory_does_not_grow_with_the_rows_that_are_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 1000)

    def peak(items: int) -> int:
        tool = ChangingTool(*(boxes(200, per_item=10, first=start) for start in range(0, items, 200)))
        target = tmp_path / str(items)
        land(tool, target)
        tool.change(changed(boxes(10), 1), *list(tool.batches)[1:])
        before = pa.total_allocated_bytes()
        peaks: list[int] = []

        write = parquet.TableWriter.write

        def measured(self: Any, batch: pa.RecordBatch) -> None:
            write(self, batch)
            peaks.append(pa.total_allocated_bytes() - before)

        with mock.patch.object(parquet.TableWriter, "write", measured):
            land(tool, target)
        return max(peaks)

    assert peak(8000) < 1.5 * peak(1600)


def test_collected_tables_are_in_the_order_of_their_items(tmp_path: Path) -> None:
    tool = ChangingTool(boxes(10))
    land(tool, tmp_path)
    tool.change(changed(boxes(3, per_item=1), 1), boxes(7, first=3))
    land(tool, tmp_path)
    from airflow_annotation.datasets.landed import read_landed_tables

    read = collect_tables(read_landed_tables(str(tmp_path))[1])
    assert sorted_rows({name: table.to_pylist() for name, table in read.items()}) == rows_of(tool.batches)
