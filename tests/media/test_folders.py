"""Folders of any size are listed page by page, and no listing stays in memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractFileSystem

from airflow_annotation.datasets.stores import FolderStore, remove_folder
from airflow_annotation.media.folders import Entry, list_folder
from airflow_annotation.media.frame_folder import FrameFolder, folder_of
from airflow_annotation.media.listing import list_media
from airflow_annotation.media.partial_files import sweep_partial_files
from airflow_annotation.media.storage import get_filesystem
from tests.servers.paged_s3 import PAGE, PagedS3, paged_s3
from tests.support.connections import airflow_connection

FILES = [f"photos/{number:04d}.jpg" for number in range(20 * PAGE)]


@pytest.fixture
def s3() -> Iterator[tuple[PagedS3, str]]:
    """An S3 with small pages, and the URI of its bucket."""
    pytest.importorskip("airflow.providers.amazon")
    pytest.importorskip("s3fs")
    name = f"paged_{uuid4().hex[:8]}"  # its own: Airflow keeps the store of a connection for the life of the process
    with paged_s3() as (store, connection), airflow_connection(name, connection) as conn_id:
        yield store, f"s3://{conn_id}@bucket"


def test_media_in_s3_are_listed_page_by_page_in_the_order_of_their_names(s3: tuple[PagedS3, str]) -> None:
    store, bucket = s3
    others = ["photos/.cache/x.jpg", "photos/0000/b.png", "photos/0000/a/c.jpg", "photos/z/d.jpg", "photos/notes.txt"]
    store.keys |= {*FILES, *others, "photos/", "photos2/e.jpg"}
    items = iter(list_media(f"{bucket}/photos/"))
    first = next(items).item_key
    assert store.most_listed <= 3 * PAGE  # the folder itself is looked for, too
    found = [first, *(item.item_key for item in items)]
    below = ["photos/0000/b.png", "photos/0000/a/c.jpg", "photos/z/d.jpg"]
    assert found == [f"s3://bucket/{name}" for name in [*FILES, *below]]
    assert not get_filesystem(bucket)[0].dircache


def test_a_glob_of_files_in_s3_is_listed_page_by_page(s3: tuple[PagedS3, str]) -> None:
    store, bucket = s3
    store.keys |= {*FILES, "photos/notes.txt", "photos/x.jpg/a.jpg", "photos/.hidden.jpg", "photos2/e.jpg"}
    items = iter(list_media(f"{bucket}/photos/*.jpg"))
    first = next(items).item_key
    assert store.most_listed <= 3 * PAGE
    assert [first, *(item.item_key for item in items)] == [f"s3://bucket/{name}" for name in FILES]


def test_an_unused_folder_of_s3_is_removed_page_by_page_and_nothing_else_is(s3: tuple[PagedS3, str]) -> None:
    store, bucket = s3
    names = [f"set/versions/1/labels/{number % 3}/[{number}] *.txt" for number in range(20 * PAGE)]
    others = {"set/versions/1", "set/versions/10/a.txt", "set/versions/2/a.txt", "set/labels/0/x *.txt"}
    store.keys |= {*names, *others}
    FolderStore(ObjectStoragePath(f"{bucket}/set")).remove("versions/1")
    assert store.keys == others
    assert store.most_listed <= 6 * PAGE


def test_a_folder_that_is_not_there_needs_no_removal(s3: tuple[PagedS3, str], caplog: Any) -> None:
    remove_folder(ObjectStoragePath(f"{s3[1]}/set/versions/1"))
    assert "Could not remove" not in caplog.text


def test_the_names_of_a_videos_frames_leave_no_listing_behind(s3: tuple[PagedS3, str]) -> None:
    store, bucket = s3
    for video in ("a.mp4", "b.mp4"):
        folder = folder_of("frames", video)
        store.keys |= {f"{folder}/{number:08d}.jpg" for number in range(3 * PAGE)}
        assert len(FrameFolder(f"{bucket}/frames", video).names) == 3 * PAGE
    assert not get_filesystem(bucket)[0].dircache


class _Google(AbstractFileSystem):  # type: ignore[misc] # fsspec has no types
    """Google Cloud Storage with pages of one object."""

    protocol = ("gs", "gcs")
    cachable = False

    def split_path(self, path: str) -> tuple[str, str, None]:
        bucket, _, key = path.partition("/")
        return bucket, key, None

    def call(self, method: str, path: str, bucket: str, **query: Any) -> dict[str, Any]:
        assert (method, path, bucket, query["delimiter"], query["json_out"]) == ("GET", "b/{}/o", "bucket", "/", True)
        assert query["prefix"] == "photos/"
        pages: dict[str, dict[str, Any]] = {
            "": {"items": [{"name": "photos/", "size": "0"}], "nextPageToken": "1"},
            "1": {"items": [{"name": "photos/a.jpg", "size": "7"}], "prefixes": ["photos/b/"], "nextPageToken": "2"},
            "2": {"items": [{"name": "photos/c.jpg", "size": "8"}]},
        }
        return pages[query.get("pageToken", "")]


def test_google_cloud_storage_is_listed_page_by_page() -> None:
    found = list(list_folder(_Google(), "bucket/photos"))
    assert found == [Entry("a.jpg", False, 7), Entry("b", True, 0), Entry("c.jpg", False, 8)]


def test_media_in_google_cloud_storage_are_listed(gcs_conn_id: str) -> None:
    from airflow.providers.google.cloud.hooks.gcs import GCSHook

    bucket = GCSHook(gcs_conn_id).get_conn().create_bucket(f"photos-{uuid4().hex}")
    for name in ("p/b.jpg", "p/a.jpg", "p/deep/c.jpg", "p/deep.jpg", "p2/d.jpg"):
        bucket.blob(name).upload_from_string("x")
    uri = f"gs://{gcs_conn_id}@{bucket.name}/p"
    expected = [f"gs://{bucket.name}/p/{name}" for name in ("a.jpg", "b.jpg", "deep.jpg", "deep/c.jpg")]
    assert [item.item_key for item in list_media(uri)] == expected
    filesystem, path = get_filesystem(uri)
    assert list(list_folder(filesystem, f"{path}/none")) == []
    assert path not in filesystem.dircache


class _Caching(MemoryFileSystem):  # type: ignore[misc] # fsspec has no types
    """A store that caches listings until it is told not to."""

    cached: set[str] = set()  # noqa: RUF012

    def ls(self, path: str, detail: bool = True, **_: Any) -> Any:
        self.cached.add(path)
        return super().ls(path, detail=detail)

    def invalidate_cache(self, path: str | None = None) -> None:
        self.cached.discard(path or "")


def test_other_stores_keep_no_listing() -> None:
    filesystem = _Caching()
    name = f"caching-{uuid4().hex}"
    attach("memory", name, fs=filesystem)
    root = f"/{name}"
    for file in ("b.jpg", "a.jpg", "deep/c.jpg"):
        filesystem.pipe_file(f"{root}/{file}", b"x")
    filesystem.cached.clear()
    assert [item.media.rpartition("/")[2] for item in list_media(f"memory://{name}@{name}")] == [
        "a.jpg",
        "b.jpg",
        "c.jpg",
    ]
    assert filesystem.cached == set()


def test_a_folder_on_a_disk_is_removed_with_all_that_is_below_it_and_nothing_else(tmp_path: Path) -> None:
    other = tmp_path / "other"
    for name in ("other/kept.txt", "set/a.txt", "set/deep/er/b.txt", "set/empty/c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "set/empty/c").unlink()
    (tmp_path / "set/deep/link").symlink_to(other)
    (tmp_path / "linked").symlink_to(other)
    for name in ("set", "linked", "none"):
        remove_folder(ObjectStoragePath(f"file://{tmp_path}/{name}"))
    assert not (tmp_path / "set").exists()
    assert (other / "kept.txt").exists()


class _Scan:
    """What ``os.scandir`` returns, counting the entries that somebody holds."""

    def __init__(self, entries: Any, alive: list[int]) -> None:
        self._entries, self._alive = entries, alive

    def __enter__(self) -> _Scan:
        return self

    def __exit__(self, *_: object) -> None:
        self._entries.close()

    def __iter__(self) -> Iterator[Any]:
        for entry in self._entries:
            yield _Counted(entry, self._alive)


class _Counted:
    """An entry of a folder, counted while it exists."""

    def __init__(self, entry: os.DirEntry[str], alive: list[int]) -> None:
        self._entry, self._alive = entry, alive
        alive[0] += 1
        alive[1] = max(alive)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._entry, name)

    def __del__(self) -> None:
        self._alive[0] -= 1


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many entries of folders exist, and the most that ever existed at once."""
    counts, scandir = [0, 0], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: _Scan(scandir(path), counts))
    return counts


def test_removing_a_folder_from_a_disk_holds_no_folder_in_memory(tmp_path: Path, alive: list[int]) -> None:
    (tmp_path / "set/deep").mkdir(parents=True)
    for number in range(50):
        (tmp_path / f"set/deep/{number}.txt").touch()
    remove_folder(ObjectStoragePath(f"file://{tmp_path}/set"))
    assert not (tmp_path / "set").exists()
    assert alive[1] <= 5


def test_the_sweep_holds_no_folder_in_memory(tmp_path: Path, alive: list[int]) -> None:
    for number in range(50):
        (tmp_path / f"{number}.txt").touch()
    young, old = (tmp_path / f".partial-{name}" for name in ("young", "old"))
    for path in (young, old):
        path.touch()
    os.utime(old, (0, time.time() - 48 * 60 * 60))
    sweep_partial_files(tmp_path)
    assert (young.exists(), old.exists(), len(list(tmp_path.iterdir()))) == (True, False, 51)
    assert alive[1] <= 5
    sweep_partial_files(tmp_path / "none")
