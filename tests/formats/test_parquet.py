from __future__ import annotations

import hashlib
import io
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from airflow.sdk.io import store
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, given, settings

from airflow_annotation.datasets import parquet
from airflow_annotation.datasets.landed import read_landed_tables
from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.datasets.stores import FolderStore
from airflow_annotation.datasets.versions import Manifest, dataset_path, read_manifest
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.tables import SCHEMAS, LabelTables, collect_tables
from tests.support.datasets import write_dataset
from tests.support.generated import SCHEMA, boxes, label_tables, project_uri


def write(target: str, batches: Any, *, run_key: str | None = "cars/1", **kwargs: Any) -> Manifest:
    asked = {"label_schema": SCHEMA, "settings": {"annotations": "all"}, **kwargs}
    return write_dataset(FolderStore(dataset_path(target)), batches, run_key=run_key, **asked)


def versions_in(target: str) -> set[str]:
    folder = dataset_path(target) / "versions"
    return {path.rstrip("/").rpartition("/")[2] for path in folder.fs.ls(folder.path, detail=False)}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(batches=label_tables())
def test_a_dataset_reads_back_equal(tmp_path: Path, batches: list[LabelTables]) -> None:
    write(str(tmp_path), batches)
    assert read_dataset(str(tmp_path)) == collect_tables(batches)


def test_an_empty_project_lands_as_three_empty_tables_with_all_their_columns(tmp_path: Path) -> None:
    write(str(tmp_path), [])
    read = read_dataset(str(tmp_path))
    assert {name: (table.num_rows, table.schema) for name, table in read.items()} == {
        name: (0, schema) for name, schema in SCHEMAS.items()
    }


def test_the_manifest_says_what_was_landed(tmp_path: Path) -> None:
    written = write(str(tmp_path), [boxes(10, per_item=3)])
    manifest = read_manifest(str(tmp_path))
    assert manifest == written
    assert (manifest.project, manifest.run_key) == (project_uri(), "cars/1")
    assert (manifest.label_schema, manifest.label_schema_digest) == (SCHEMA.to_dict(), SCHEMA.digest())
    assert manifest.rows == {"items": 10, "annotations": 8, "labels": 24}
    for files in manifest.files.values():
        for file in files:
            assert (tmp_path / file.path).stat().st_size == file.size


def test_the_files_that_the_manifest_names_are_read_by_any_parquet_reader(tmp_path: Path) -> None:
    manifest = write(str(tmp_path), [boxes(10), boxes(10, first=10)])
    labels = pyarrow.dataset.dataset([tmp_path / file.path for file in manifest.files["labels"]])
    assert labels.count_rows(filter=pyarrow.dataset.field("label") == "car") == 16


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (write(str(tmp_path / name), [boxes(50)]) for name in ("a", "b"))
    assert {name: files[0].sha256 for name, files in first.files.items()} == {
        name: files[0].sha256 for name, files in second.files.items()
    }


def test_a_changed_file_is_noticed_and_named(tmp_path: Path) -> None:
    manifest = write(str(tmp_path), [boxes(10)])
    path = tmp_path / manifest.files["labels"][0].path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(AnnotationError, match=r"labels\.parquet is not the file that was landed"):
        read_dataset(str(tmp_path))


def test_as_many_versions_stay_as_are_to_be_kept(tmp_path: Path) -> None:
    written = [write(str(tmp_path), [boxes(5)], keep_versions=3).version for _ in range(5)]
    assert versions_in(str(tmp_path)) == set(written[-3:])
    assert read_manifest(str(tmp_path)).versions == written[:1:-1]


@pytest.mark.parametrize("run_key", ["cars/2", None])
def test_the_labels_of_another_project_are_replaced_only_when_asked(tmp_path: Path, run_key: str | None) -> None:
    first = write(str(tmp_path), [boxes(5)])
    with pytest.raises(AnnotationError, match=rf"holds the labels of {project_uri()} .*replace_project=True"):
        write(str(tmp_path), [boxes(5)], project="label-studio://other/projects/2", run_key=run_key)
    assert read_manifest(str(tmp_path)) == first
    write(str(tmp_path), [boxes(5)], project="label-studio://other/projects/2", run_key=run_key, replace_project=True)
    assert read_manifest(str(tmp_path)).project == "label-studio://other/projects/2"


def test_a_run_that_was_given_another_project_lands_where_it_did_before(tmp_path: Path) -> None:
    write(str(tmp_path), [boxes(5)])
    again = write(str(tmp_path), [boxes(5)], project="label-studio://other/projects/2")
    assert read_manifest(str(tmp_path)) == again


def test_a_landing_removes_what_crashed_landings_left_but_not_what_may_still_be_written(tmp_path: Path) -> None:
    def begun(ago: timedelta) -> str:
        version = (datetime.now(timezone.utc) - ago).strftime("%Y%m%dT%H%M%SZ-0123abcd")
        (tmp_path / "versions" / version).mkdir(parents=True)
        (tmp_path / "versions" / version / "items.parquet").write_bytes(b"half a fi")
        return version

    abandoned, running = begun(timedelta(days=2)), begun(timedelta(hours=3))
    (tmp_path / "versions" / "0-notes").mkdir()
    current = write(str(tmp_path), [boxes(5)]).version
    assert versions_in(str(tmp_path)) == {running, current, "0-notes"}
    assert abandoned not in versions_in(str(tmp_path))


def test_a_landing_that_fails_while_it_reads_leaves_nothing_behind(tmp_path: Path) -> None:
    def failing() -> Any:
        yield boxes(5)
        raise AnnotationError("The tool went away.")

    current = write(str(tmp_path), [boxes(5)]).version
    with pytest.raises(AnnotationError, match="went away"):
        write(str(tmp_path), failing())
    assert versions_in(str(tmp_path)) == {current}


@pytest.mark.parametrize("target", ["labels", "./labels", "/data/labels#1", "gs://bucket/labels?x=1"])
def test_a_target_that_is_no_folder_is_refused_by_name(target: str) -> None:
    with pytest.raises(AnnotationError) as error:
        dataset_path(target)
    assert repr(target) in str(error.value)


def test_a_scheme_that_nothing_serves_is_named_with_what_to_install() -> None:
    with pytest.raises(AnnotationError, match=r"serves hdfs:// .*install"):
        dataset_path("hdfs://host/labels")


def test_a_folder_without_a_dataset_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="no dataset"):
        read_dataset(str(tmp_path))


def test_a_foreign_manifest_is_neither_read_nor_replaced(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "web app"}')

    def unread() -> Any:
        yield pytest.fail("was read")

    with pytest.raises(AnnotationError, match="not the manifest of a dataset"):
        write(str(tmp_path), unread())
    assert (tmp_path / "manifest.json").read_text() == '{"name": "web app"}'


def test_a_dataset_of_an_earlier_release_is_read_with_nulls_for_what_it_lacks(tmp_path: Path) -> None:
    batches = [boxes(5), boxes(3, first=5)]
    manifest = write(str(tmp_path), batches)
    (items,) = manifest.files["items"]
    path = tmp_path / items.path
    pq.write_table(pq.read_table(path).drop_columns(["media"]), path)
    content = path.read_bytes()
    (tmp_path / "manifest.json").write_text(
        (tmp_path / "manifest.json")
        .read_text()
        .replace('"tables_version": 2', '"tables_version": 1')
        .replace(items.sha256, hashlib.sha256(content).hexdigest())
        .replace(f'"size": {items.size}', f'"size": {len(content)}')
    )
    assert read_dataset(str(tmp_path))["items"].equals(collect_tables(batches)["items"])
    _, landed = read_landed_tables(str(tmp_path))
    assert collect_tables(landed)["items"].equals(collect_tables(batches)["items"])


def test_a_dataset_of_a_newer_release_is_not_touched(tmp_path: Path) -> None:
    write(str(tmp_path), [boxes(5)])
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace('"tables_version": 2', '"tables_version": 99'))
    with pytest.raises(AnnotationError, match="newer release"):
        write(str(tmp_path), [boxes(5)])


def test_row_groups_have_the_rows_that_readers_are_fastest_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 100)
    batches = [boxes(count, first=first) for first, count in ((0, 7), (100, 80), (200, 300))]
    written = write(str(tmp_path), batches)
    metadata = pq.read_metadata(tmp_path / written.files["labels"][0].path)
    rows = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    total = sum(batch.labels.num_rows for batch in batches)
    assert rows == [100] * (total // 100) + [total % 100]
    assert read_dataset(str(tmp_path))["labels"].equals(collect_tables(batches)["labels"])
    _, landed = read_landed_tables(str(tmp_path))
    assert collect_tables(landed)["labels"].equals(collect_tables(batches)["labels"])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 2**20)

    def peak(batches: int) -> int:
        before = pa.total_allocated_bytes()
        peaks: list[int] = []

        def stream() -> Any:
            for number in range(batches):
                yield boxes(200, per_item=10, first=200 * number)
                peaks.append(pa.total_allocated_bytes() - before)

        write(str(tmp_path), stream())
        return max(peaks)

    assert peak(100) < 1.5 * peak(20)  # five times the rows


class DyingStore:
    """Counts what is asked of a file system, and dies at one of these steps, for once or for good."""

    def __init__(self) -> None:
        self.steps = 0
        self.dies_at = 0
        self.for_good = False

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.dies_at or (self.for_good and self.steps > self.dies_at > 0):
            raise OSError(5, f"storage failed at step {self.steps}")


def dying(base: type[AbstractFileSystem], store: DyingStore) -> AbstractFileSystem:
    """Return a file system whose every step may fail, a write in two halves included."""

    class DyingFile(io.RawIOBase):
        def __init__(self, file: Any) -> None:
            self.file = file
            self.written = 0

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            half = len(data) // 2
            self.file.write(bytes(data)[:half])
            if (self.written + len(data)) // 1024 > self.written // 1024:  # once a kilobyte: Parquet is many writes
                store.step()
            self.file.write(bytes(data)[half:])
            self.written += len(data)
            return len(data)

        def close(self) -> None:
            if not self.closed:
                super().close()
                self.file.close()

    def before(name: str) -> Any:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            store.step()
            return getattr(base, name)(self, *args, **kwargs)

        return method

    def open_(self: Any, path: str, mode: str = "rb", **kwargs: Any) -> Any:
        store.step()
        file = base.open(self, path, mode, **kwargs)
        return DyingFile(file) if "w" in mode else file

    methods = {name: before(name) for name in ("makedirs", "cat_file", "ls", "rm")}
    if base is MemoryFileSystem:

        def pipe_file(self: Any, path: str, value: bytes, **kwargs: Any) -> None:
            store.step()  # an object store takes an object or does not
            base.pipe_file(self, path, value, **kwargs)

        methods["pipe_file"] = pipe_file
    file_system: AbstractFileSystem = type("Dying", (base,), {**methods, "open": open_, "cachable": False})()
    return file_system


@pytest.mark.slow
@pytest.mark.parametrize("for_good", [False, True], ids=["fails once", "dies"])
@pytest.mark.parametrize(
    ("base", "scheme"), [(LocalFileSystem, "file"), (MemoryFileSystem, "memory")], ids=["files", "objects"]
)
def test_readers_see_a_whole_landing_whatever_step_fails_and_a_retry_lands_the_rest(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    base: type[AbstractFileSystem],
    scheme: str,
    for_good: bool,
) -> None:
    dying_store = DyingStore()
    replace = Path.replace

    def dying_replace(self: Path, target: Path) -> Path:
        dying_store.step()
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", dying_replace)
    sound = store.ObjectStore(protocol=scheme, conn_id=None, fs=base(skip_instance_cache=True))
    faulty = store.ObjectStore(protocol=scheme, conn_id=None, fs=dying(base, dying_store))

    def land(batches: list[LabelTables], target: str, dies_at: int) -> bool:
        monkeypatch.setitem(store._STORE_CACHE, scheme, faulty)
        dying_store.steps, dying_store.dies_at, dying_store.for_good = 0, dies_at, for_good
        try:
            write(target, batches)
        except OSError:
            return False
        finally:
            dying_store.dies_at = 0
            monkeypatch.setitem(store._STORE_CACHE, scheme, sound)
        return True

    target = f"{scheme}://{tmp_path}"
    seen = [boxes(10)]
    for _ in range(2):  # so that the next one has something to remove
        assert land(seen, target, 0)
    outcomes = set()
    step = 0
    while dying_store.steps >= step:
        step += 1
        new = [boxes(7, classes=(f"class {step}",)), boxes(7, first=7)]
        landed = land(new, target, step)
        moved = read_dataset(target) == collect_tables(new)
        assert moved or read_dataset(target) == collect_tables(seen)
        assert moved or not landed
        outcomes.add((landed, moved))
        if not moved:
            steps = dying_store.steps
            assert land(new, target, 0)
            assert read_dataset(target) == collect_tables(new)
            dying_store.steps = steps
        seen = new
    assert outcomes >= {(False, False), (True, True)}
    assert step > 10
