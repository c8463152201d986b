"""Files copied between the worker's disk and stores: whole, and large ones block by block."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from fsspec import AbstractFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from airflow_annotation.datasets.stores import FolderStore
from airflow_annotation.media.copying import copy_files
from airflow_annotation.media.ranges import open_media_in_place
from airflow_annotation.media.storage import get_filesystem, open_media
from airflow_annotation.media.tables import read_table_files
from tests.support.s3_blocks import record_blocks
from tests.transfers.test_s3 import make_bucket

MEGABYTE = 1 << 20
SIZES = {"empty": 0, "small [1].txt": 5, "frame#2.png": 3 * MEGABYTE, "edge": 8 * MEGABYTE, "labels": 20 * MEGABYTE + 7}

Place = tuple[AbstractFileSystem, str]
Stores = dict[str, Callable[[], Place]]


@pytest.fixture
def stores(s3_conn_id: str, tmp_path: Path) -> Stores:
    return {
        "disk": lambda: get_filesystem(str(tmp_path / uuid4().hex)),
        "s3": lambda: get_filesystem(f"s3://{s3_conn_id}@{make_bucket(s3_conn_id)}/{uuid4().hex}"),
        "memory": lambda: (MemoryFileSystem(), f"/{uuid4().hex}"),
    }


@pytest.mark.parametrize(
    ("source", "target"),
    [("disk", "disk"), ("disk", "s3"), ("s3", "disk"), ("s3", "s3"), ("s3", "memory"), ("memory", "s3")],
)
def test_files_of_all_sizes_are_copied_whole(stores: Stores, source: str, target: str) -> None:
    from_, folder = stores[source]()
    to, new_folder = stores[target]()
    contents = {name: os.urandom(size) for name, size in SIZES.items()}
    from_.makedirs(folder, exist_ok=True)
    for name, content in contents.items():
        from_.pipe_file(f"{folder}/{name}", content)
    copy_files(from_, to, {f"{folder}/{name}": f"{new_folder}/sub/{name}" for name in SIZES})
    for name, content in contents.items():
        assert to.cat_file(f"{new_folder}/sub/{name}") == content, name


def test_the_worker_holds_a_block_of_a_large_file(stores: Stores) -> None:
    (disk, folder), (s3, new_folder) = stores["disk"](), stores["s3"]()
    disk.makedirs(folder)
    disk.pipe_file(f"{folder}/labels", bytes(20 * MEGABYTE))
    copy_files(disk, s3, {f"{folder}/labels": f"{new_folder}/labels"})
    mark = s3.info(f"{new_folder}/labels", refresh=True)["ETag"]
    assert mark.strip('"').endswith("-3")  # it went in blocks of 8 MB


@pytest.mark.parametrize(
    ("read", "megabytes"),
    [
        (lambda uri: open_media(uri).read(), 4),
        (lambda uri: open_media_in_place(uri).read(), 4),
        (lambda uri: list(read_table_files(uri)), 8),
    ],
    ids=["an upload", "a landing", "a table"],
)
def test_a_reader_holds_a_small_block_of_a_file(
    s3_conn_id: str, monkeypatch: pytest.MonkeyPatch, read: Callable[[str], object], megabytes: int
) -> None:
    uri = f"s3://{s3_conn_id}@{make_bucket(s3_conn_id)}/photos.csv"
    filesystem, path = get_filesystem(uri)
    filesystem.pipe_file(path, b"media\ns3://photos/1.jpg\n")
    blocks = record_blocks(monkeypatch)
    read(uri)
    assert blocks == [megabytes * MEGABYTE]


def test_a_store_gets_some_thousand_copies_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[int] = []
    monkeypatch.setattr(MemoryFileSystem, "copy", lambda _, old, new: copied.append(len({*zip(old, new, strict=True)})))
    attach("memory", fs=MemoryFileSystem())
    paths = [f"labels/{number}.txt" for number in range(25_000)]
    FolderStore(ObjectStoragePath(f"memory://{uuid4().hex}")).copy("v1", "v2", paths)
    assert sum(copied) == len(paths)
    assert max(copied) <= 10_000
