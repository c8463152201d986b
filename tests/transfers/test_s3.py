"""Landing in S3 through ObjectStoragePath, against a server of its protocol."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk import ObjectStoragePath

from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.datasets.stores import FolderStore
from airflow_annotation.datasets.versions import read_manifest
from airflow_annotation.exceptions import AnnotationError, LandingMovedError
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from tests.servers.faults import Fault, fault_server
from tests.support.connections import airflow_connection
from tests.support.datasets import box, item
from tests.support.generated import GeneratedHook, OvertakenHook, boxes, rows_of, sorted_rows
from tests.support.s3_blocks import record_blocks
from tests.support.task_context import task_context

MEGABYTE = 1 << 20


def make_bucket(conn_id: str) -> str:
    """Make a bucket of the test's own."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    name = f"labels-{uuid4().hex}"
    S3Hook(conn_id).create_bucket(name)
    return name


@pytest.fixture
def target(s3_conn_id: str) -> str:
    return f"s3://{s3_conn_id}@{make_bucket(s3_conn_id)}/cars"


def land(target: str, batches: list[LabelTables], **kwargs: Any) -> Any:
    operator = AnnotationsToObjectStorageOperator(task_id="land", project="1", target=target, **kwargs)
    operator.__dict__["hook"] = kwargs.pop("hook", None) or GeneratedHook(batches)
    context: Any = task_context()
    return operator.execute(context)


def landed_rows(target: str, version: str | None = None) -> dict[str, list[dict[str, Any]]]:
    return sorted_rows({name: table.to_pylist() for name, table in read_dataset(target, version).items()})


def names(target: str) -> set[str]:
    path = ObjectStoragePath(target)
    return {name.removeprefix(path.path.lstrip("/")).lstrip("/") for name in path.fs.find(path.path, refresh=True)}


def test_versions_land_in_the_bucket_and_read_back(target: str) -> None:
    batches = [boxes(10), boxes(10, first=10)]
    first = land(target, batches)
    assert land(target, batches)["version"] == first["version"]
    second = land(target, [boxes(10), boxes(3, first=15)])
    assert (second["removed_items"], second["unchanged_items"]) == (7, 13)
    assert landed_rows(target) == rows_of([boxes(10), boxes(3, first=15)])
    assert landed_rows(target, first["version"]) == rows_of(batches)
    third = land(target, [boxes(10)])
    folders = {name.split("/")[1] for name in names(target) if name.startswith("versions/")}
    assert folders == {second["version"], third["version"]}


@pytest.mark.parametrize("dataset_format", ["jsonl", "yolo"])
def test_other_formats_land_with_all_their_files(target: str, dataset_format: str) -> None:
    landed = land(target, [boxes(10)], dataset_format=dataset_format)
    assert any(name.startswith(f"versions/{landed['version']}/") for name in names(target))


@pytest.mark.parametrize("dataset_format", ["parquet", "jsonl", "coco"])
def test_an_open_file_of_a_dataset_holds_a_small_block(
    target: str, dataset_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = record_blocks(monkeypatch)
    land(target, [boxes(5)], dataset_format=dataset_format)
    land(target, [boxes(6)], dataset_format=dataset_format)
    assert blocks
    assert max(blocks) <= 16 * MEGABYTE


def test_of_two_landings_at_once_each_is_whole_and_the_last_is_current(target: str) -> None:
    land(target, [boxes(5)])
    start = threading.Barrier(4)
    results: list[Any] = []

    def run(number: int) -> None:
        start.wait()
        results.append(land(target, [boxes(5, per_item=number)], full_refresh=True, keep_versions=9)["version"])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    manifest = read_manifest(target)
    assert set(results) < set(manifest.versions)
    assert len(manifest.versions) == 5


def test_a_refresh_that_another_landing_overtakes_is_planned_again(target: str) -> None:
    land(target, [boxes(10)])

    operator = AnnotationsToObjectStorageOperator(task_id="land", project="1", target=target)
    operator.__dict__["hook"] = OvertakenHook([boxes(9)], lambda: land(target, [boxes(8)], keep_versions=1))
    context: Any = task_context()
    assert operator.execute(context)["unchanged_items"] == 8
    assert landed_rows(target) == rows_of([boxes(9)])


def test_a_writer_that_finds_another_pointer_is_refused(target: str) -> None:
    store = FolderStore(ObjectStoragePath(target))
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


def test_a_large_file_of_which_a_part_is_refused_is_not_there_and_lands_whole_at_the_next_try(
    s3_conn_id: str, tmp_path: Path
) -> None:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    bucket = make_bucket(s3_conn_id)
    content = bytes(range(256)) * (40 << 12)  # more than two parts
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(content)
    batch = item("clip", [box("car", 0, 0, 1, 1)], media_uri=str(clip))
    moto = S3Hook(s3_conn_id).conn_config.endpoint_url
    assert moto is not None
    with fault_server(moto) as server:
        extra = {"endpoint_url": server.url, "region_name": "us-east-1"}
        connection = {"conn_type": "aws", "login": "test", "password": "test", "extra": extra}
        with airflow_connection(f"s3_{uuid4().hex}", connection) as conn_id:
            target = f"s3://{conn_id}@{bucket}/clips"
            server.faults.append(Fault(method="PUT", path="clip-", status=403))
            with pytest.raises(AnnotationError, match="the right to write"):
                land(target, [batch], include_media="files", media_roots=[str(tmp_path)])
            assert names(target) == set()
            assert land(target, [batch], include_media="files", media_roots=[str(tmp_path)])["media"][
                "bytes_written"
            ] == len(content)
            (name,) = (name for name in names(target) if name.startswith("media/"))
            assert ObjectStoragePath(f"{target}/{name}").read_bytes() == content


def test_keys_with_odd_characters_are_read_and_get_names_that_readers_find(s3_conn_id: str, target: str) -> None:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    bucket = make_bucket(s3_conn_id)
    keys = ["photos/shot#12.png", "photos/why?.jpg", "photos/50%20off.jpg", "photos/a b+c&d.jpg"]
    items = []
    for key in keys:
        S3Hook(s3_conn_id).load_string(key, key, bucket)
        items.append(item(key, [box("car", 0, 0, 0.5, 0.5)], media_uri=f"s3://{bucket}/{key}"))
    landed = land(
        target,
        items,
        dataset_format="yolo",
        include_media="files",
        media_roots=[f"s3://{s3_conn_id}@{bucket}/photos/"],
    )
    assert (landed["media"]["files"], landed["media"]["files_not_read"]) == (4, 0)
    folder = ObjectStoragePath(landed["path"])
    files = [name for name in folder.fs.find(folder.path) if "/images/" in name]
    assert sorted(folder.fs.cat_file(name).decode() for name in files) == sorted(keys)
    stems = {Path(name).stem for name in files}
    assert {name.rpartition("-")[0] for name in stems} == {"shot_12", "why", "50_20off", "a_b_c_d"}
    assert stems == {Path(name).stem for name in folder.fs.find(folder.path) if "/labels/" in name}
