"""Landing in Google Cloud Storage through Google's own client, against a server of its protocol."""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import pytest

from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.datasets.versions import read_manifest
from airflow_annotation.exceptions import AnnotationError, LandingMovedError
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.transfers.annotations_to_gcs import AnnotationsToGCSOperator
from tests.support.generated import GeneratedHook, OvertakenHook, boxes, rows_of, sorted_rows
from tests.support.task_context import task_context


@pytest.fixture
def bucket(gcs_conn_id: str) -> Any:
    """A bucket of the test's own."""
    from airflow.providers.google.cloud.hooks.gcs import GCSHook

    return GCSHook(gcs_conn_id).get_conn().create_bucket(f"labels-{uuid4().hex}")


def land(bucket: Any, batches: list[LabelTables], prefix: str = "cars", **kwargs: Any) -> Any:
    operator = AnnotationsToGCSOperator(
        task_id="land", project="1", bucket=bucket.name, prefix=prefix, gcp_conn_id="gcs_test", **kwargs
    )
    operator.__dict__["hook"] = GeneratedHook(batches)
    context: Any = task_context()
    return operator.execute(context)


def landed_rows(bucket: Any, version: str | None = None) -> dict[str, list[dict[str, Any]]]:
    read = read_dataset(f"gs://gcs_test@{bucket.name}/cars", version)
    return sorted_rows({name: table.to_pylist() for name, table in read.items()})


def names(bucket: Any) -> set[str]:
    return {blob.name for blob in bucket.list_blobs()}


def test_versions_land_in_the_bucket_and_read_back(bucket: Any) -> None:
    batches = [boxes(10), boxes(10, first=10)]
    first = land(bucket, batches)
    assert (first["target"], first["path"]) == (
        f"gs://{bucket.name}/cars",
        f"gs://{bucket.name}/cars/versions/{first['version']}",
    )
    again = land(bucket, batches)
    assert again["version"] == first["version"]
    second = land(bucket, [boxes(10), boxes(3, first=15)])
    assert (second["removed_items"], second["unchanged_items"]) == (7, 13)
    assert landed_rows(bucket) == rows_of([boxes(10), boxes(3, first=15)])
    assert landed_rows(bucket, first["version"]) == rows_of(batches)
    third = land(bucket, [boxes(10)])
    folders = {name.split("/")[2] for name in names(bucket) if name.startswith("cars/versions/")}
    assert folders == {second["version"], third["version"]}
    assert bucket.blob("cars/manifest.json").exists()


def test_large_files_go_up_and_come_down_in_parts(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_annotation.datasets import gcs_store

    monkeypatch.setattr(gcs_store, "PART_BYTES", 2000)
    monkeypatch.setattr(gcs_store, "MAX_PARTS", 5)
    batches = [boxes(300, per_item=3)]
    landed = land(bucket, batches)
    land(bucket, [*batches, boxes(10, first=300)])
    assert landed_rows(bucket) == rows_of([*batches, boxes(10, first=300)])
    version = f"cars/versions/{landed['version']}"
    assert {name for name in names(bucket) if name.startswith(version)} == {
        f"{version}/{name}" for name in ("items.parquet", "annotations.parquet", "labels.parquet", "manifest.json")
    }
    file = read_manifest(f"gs://gcs_test@{bucket.name}/cars", version=landed["version"]).files["labels"][0]
    assert bucket.get_blob(f"cars/{file.path}").size == file.size


def test_other_formats_land_with_all_their_files(bucket: Any) -> None:
    landed = land(bucket, [boxes(10)], dataset_format="yolo")
    version = f"cars/versions/{landed['version']}/"
    assert {f"{version}data.yaml", f"{version}images.parquet"} < names(bucket)


def test_of_two_landings_at_once_each_is_whole_and_the_last_is_current(bucket: Any) -> None:
    land(bucket, [boxes(5)])
    start = threading.Barrier(4)
    results: list[Any] = []

    def run(number: int) -> None:
        start.wait()
        results.append(land(bucket, [boxes(5, per_item=number)], full_refresh=True, keep_versions=9)["version"])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    manifest = read_manifest(f"gs://gcs_test@{bucket.name}/cars")
    assert set(results) < set(manifest.versions)
    assert len(manifest.versions) == 5


def test_a_refresh_that_another_landing_overtakes_is_planned_again(bucket: Any) -> None:
    land(bucket, [boxes(10)])

    operator = AnnotationsToGCSOperator(
        task_id="land", project="1", bucket=bucket.name, prefix="cars", gcp_conn_id="gcs_test"
    )
    operator.__dict__["hook"] = OvertakenHook([boxes(9)], lambda: land(bucket, [boxes(8)], keep_versions=1))
    context: Any = task_context()
    assert operator.execute(context)["unchanged_items"] == 8
    assert landed_rows(bucket) == rows_of([boxes(9)])


def test_a_writer_that_finds_another_pointer_is_refused(bucket: Any) -> None:
    from airflow_annotation.datasets.gcs_store import GCSStore

    store = GCSStore(bucket, "x")
    store.replace("manifest.json", b"1", None)
    with pytest.raises(LandingMovedError):
        store.replace("manifest.json", b"2", None)
    found = store.find("manifest.json")
    store.replace("manifest.json", b"3", found)
    with pytest.raises(LandingMovedError):
        store.replace("manifest.json", b"4", found)
    store.replace("manifest.json", b"3", found)  # its own, asked again
    now = store.find("manifest.json")
    assert now is not None
    assert now.content == b"3"


def test_a_landing_that_fails_leaves_the_last_version(bucket: Any) -> None:
    land(bucket, [boxes(5)])
    before = names(bucket)

    def failing() -> Iterator[LabelTables]:
        yield boxes(5)
        raise AnnotationError("The tool went away.")

    with pytest.raises(AnnotationError, match="went away"):
        land(bucket, failing(), full_refresh=True)  # type: ignore[arg-type]
    assert names(bucket) == before


def test_readers_are_not_given_a_pointer_from_a_cache(bucket: Any) -> None:
    land(bucket, [boxes(5)])
    assert bucket.get_blob("cars/manifest.json").cache_control == "no-store"


def test_a_missing_provider_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "airflow.providers.google.cloud.hooks.gcs", None)
    operator = AnnotationsToGCSOperator(task_id="land", project="1", bucket="b", prefix="cars")
    with pytest.raises(AnnotationError, match=r"pip install 'airflow-provider-annotation\[google\]'"):
        operator.store()


@pytest.mark.parametrize("prefix", ["a#b", "a?b"])
def test_a_wrong_folder_fails_when_the_dag_is_parsed(prefix: str) -> None:
    with pytest.raises(AnnotationError, match="has a # or a"):
        AnnotationsToGCSOperator(task_id="land", bucket="b", prefix=prefix)


def test_the_manifest_is_json_that_anybody_reads(bucket: Any) -> None:
    landed = land(bucket, [boxes(5)])
    assert json.loads(bucket.blob("cars/manifest.json").download_as_bytes())["version"] == landed["version"]


class _Blob:
    """An object that takes a moment to be written, copied or deleted."""

    def __init__(self, bucket: _Bucket, name: str) -> None:
        self.bucket, self.name = bucket, name

    def delete(self, **_: Any) -> None:
        self.bucket.finish()

    def upload_from_file(self, file: IO[bytes], **_: Any) -> None:
        file.read()
        self.bucket.finish()


class _Bucket:
    """A bucket with many objects, which counts those that a client holds."""

    name = "labels"

    def __init__(self) -> None:
        self.client = self
        self.finished = self.held = self.most_held = 0
        self._lock = threading.Lock()

    def begin(self) -> None:
        with self._lock:
            self.held += 1
            self.most_held = max(self.most_held, self.held)

    def finish(self) -> None:
        time.sleep(0.001)
        with self._lock:
            self.held -= 1
            self.finished += 1

    def list_blobs(self, _: Any, prefix: str) -> Iterator[_Blob]:
        for number in range(300):
            self.begin()
            yield self.blob(f"{prefix}{number}")

    def blob(self, name: str, **_: Any) -> _Blob:
        return _Blob(self, name)

    def copy_blob(self, *_: Any, **__: Any) -> None:
        self.finish()


class _Paths(list[str]):
    """Paths that count as held from when they are taken."""

    def __init__(self, paths: list[str], bucket: _Bucket) -> None:
        super().__init__(paths)
        self._bucket = bucket

    def __iter__(self) -> Iterator[str]:
        for path in super().__iter__():
            self._bucket.begin()
            yield path


def test_few_objects_of_a_version_with_a_file_for_each_image_are_held_at_once() -> None:
    from airflow_annotation.datasets.gcs_store import WORKERS, GCSStore

    for copies in (False, True):
        bucket: Any = _Bucket()
        store = GCSStore(bucket, "cars")
        if copies:
            store.copy("versions/1", "versions/2", _Paths([f"{number}.txt" for number in range(300)], bucket))
        else:
            store.remove("versions/1")
        assert bucket.finished == 300
        assert bucket.most_held <= 2 * WORKERS + 1


def test_a_version_with_a_file_for_each_image_is_uploaded_without_a_list_of_its_files() -> None:
    from airflow_annotation.datasets.gcs_store import WORKERS, GCSStore

    bucket: Any = _Bucket()
    alive: list[int] = []
    lock = threading.Lock()

    def finish() -> None:
        # What one thread counts would keep alive what another one counts. isinstance would import lazy modules.
        with lock:
            paths = (one for one in gc.get_objects() if issubclass(type(one), Path))
            alive.append(sum(path.suffix == ".counted" for path in paths))

    bucket.finish = finish
    with GCSStore(bucket, "cars").write("versions/1") as folder:
        for number in range(300):
            path = folder / f"labels/{number % 3}/{number}.counted"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
    assert len(alive) == 300
    assert max(alive) <= 2 * WORKERS + 4
