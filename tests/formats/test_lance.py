from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import store
from fsspec.implementations.memory import MemoryFileSystem

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats import lance as lance_format
from airflow_annotation.formats.registry import read_options, write_training_dataset
from airflow_annotation.labels.tables import LabelTables
from tests.support.datasets import SCHEMA, box, image_index, item, photo, write, write_with_files

BATCHES = [
    item("a", [box("person", 0.1, 0.2, 0.25, 0.5), {"type": "classification", "label": "sun"}]),
    item("b.c", [], media_uri="gs://photos/b.c.PNG"),
]


def rows(table: Path) -> list[dict[str, Any]]:
    lance = pytest.importorskip("lance", reason="needs make test-lance's environment")
    found: list[dict[str, Any]] = lance.dataset(str(table)).to_table().to_pylist()
    return found


def photos(folder: Path) -> list[LabelTables]:
    return [photo(folder, "a", [box("person", 0.1, 0.2, 0.25, 0.5)]), photo(folder, "b", [])]


def test_without_its_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(AnnotationError, match=r"airflow-provider-annotation\[lance\]"):
        write(tmp_path, BATCHES, "lance")


def test_what_it_cannot_be_asked_is_refused() -> None:
    with pytest.raises(AnnotationError, match="image_root"):
        read_options("lance", {"image_root": "gs://photos"})


def test_lance_reads_a_row_for_each_image(tmp_path: Path) -> None:
    pytest.importorskip("lance", reason="needs make test-lance's environment")
    files = write(tmp_path, BATCHES, "lance")
    first, second = rows(tmp_path / "train.lance")
    assert first == {
        "file": image_index(tmp_path)["file"][0].as_py(),
        "image": None,
        "item_key": "a",
        "target": None,
        "frame": None,
        "media_uri": "gs://photos/a.jpg",
        "width": 200,
        "height": 100,
        "answers": {"weather": "sun"},
        "objects": {"bbox": [[20, 20, 50, 50]], "categories": ["person"]},
    }
    assert (second["answers"], second["objects"]) == ({"weather": None}, {"bbox": [], "categories": []})
    assert sum(file.rows for file in files["objects"]) == 1
    found = {str(path.relative_to(tmp_path)) for path in (tmp_path / "train.lance").rglob("*") if path.is_file()}
    assert {file.path for file in files["objects"]} == found


def test_rows_hold_the_images(tmp_path: Path) -> None:
    pytest.importorskip("lance", reason="needs make test-lance's environment")
    write_with_files(tmp_path / "dataset", photos(tmp_path / "photos"), "lance")
    images = [(tmp_path / "photos" / f"{key}.jpg").read_bytes() for key in "ab"]
    assert [row["image"] for row in rows(tmp_path / "dataset" / "train.lance")] == images
    assert not list((tmp_path / "dataset").rglob("*.jpg"))


def test_an_image_that_cannot_be_read_is_no_row_and_is_counted(tmp_path: Path) -> None:
    pytest.importorskip("lance", reason="needs make test-lance's environment")
    batches = photos(tmp_path / "photos")
    (tmp_path / "photos" / "a.jpg").unlink()
    left_out: Counter[str] = Counter()
    write_with_files(tmp_path / "dataset", batches, "lance", on_error="keep", left_out=left_out)
    assert [row["item_key"] for row in rows(tmp_path / "dataset" / "train.lance")] == ["b"]
    assert left_out == {"images without a file": 1}


def test_many_parts_are_one_table_in_any_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lance", reason="needs make test-lance's environment")
    monkeypatch.setattr(lance_format, "_PART_ROWS", 2)
    memory = store.ObjectStore(protocol="memory", conn_id=None, fs=MemoryFileSystem(skip_instance_cache=True))
    monkeypatch.setitem(store._STORE_CACHE, "memory", memory)
    folder = ObjectStoragePath("memory://lance/dataset")
    batches = [item(key, [box("car", 0, 0, 0.5, 0.5)]) for key in "abcdefgh"]
    options = read_options("lance", {"splits": {"train": 0.5, "val": 0.5}})
    write_training_dataset(folder, batches, label_schema=SCHEMA, dataset_format="lance", options=options)
    folder.fs.get(folder.path, str(tmp_path / "copy"), recursive=True)
    splits = {
        split: [row["item_key"] for row in rows(tmp_path / "copy" / f"{split}.lance")] for split in ("train", "val")
    }
    assert sorted(splits["train"] + splits["val"]) == list("abcdefgh")
    assert len(list((tmp_path / "copy" / "train.lance" / "data").iterdir())) == (len(splits["train"]) + 1) // 2
