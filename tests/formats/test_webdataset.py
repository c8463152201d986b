from __future__ import annotations

import json
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats.registry import read_options
from airflow_annotation.labels.tables import LabelTables
from tests.support.datasets import box, files_in, image_index, item, photo, write, write_with_files

BATCHES = [
    item("a", [box("person", 0.1, 0.2, 0.25, 0.5), {"type": "classification", "label": "sun"}]),
    item("b.c", [], media_uri="gs://photos/b.c.PNG"),
]


def samples(folder: Path, split: str = "train") -> list[dict[str, Any]]:
    """Return the JSON of the samples in their order."""
    found = []
    for path in sorted(folder.glob(f"{split}-*.tar")):
        with tarfile.open(path) as tar:
            found += [json.load(file) for member in tar if (file := tar.extractfile(member)) is not None]
    return found


def test_a_sample_has_an_images_boxes_in_pixels_and_its_answers(tmp_path: Path) -> None:
    files = write(tmp_path, BATCHES, "webdataset")
    first, second = samples(tmp_path)
    assert first == {
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
    assert [(file.path, file.rows) for file in files["objects"]] == [("train-000000.tar", 1)]


def test_a_key_has_no_dot_and_images_parquet_has_the_names_in_the_shards(tmp_path: Path) -> None:
    write(tmp_path, BATCHES, "webdataset")
    with tarfile.open(tmp_path / "train-000000.tar") as tar:
        names = tar.getnames()
    assert [name.count(".") for name in names] == [1, 1]
    stems = [row["file"].rpartition(".") for row in image_index(tmp_path).to_pylist()]
    assert [f"{key}.json" for key, _, _ in stems] == names
    assert [suffix for _, _, suffix in stems] == ["jpg", "PNG"]


def test_a_shard_ends_before_it_is_too_large_and_splits_have_their_own(tmp_path: Path) -> None:
    batches = [item(key, [box("car", 0, 0, 0.5, 0.5)]) for key in "abcdefgh"]
    files = write(tmp_path / "one", batches, "webdataset", splits={"train": 0.5, "val": 0.5})
    counts = Counter({file.path: file.rows for file in files["objects"]})
    assert counts.keys() == {"train-000000.tar", "val-000000.tar"}
    most = 2 * max(map(len, map(json.dumps, samples(tmp_path / "one"))))
    write(tmp_path / "more", batches, "webdataset", splits={"train": 0.5, "val": 0.5}, shard_bytes=most)
    write(tmp_path / "each", batches, "webdataset", splits={"train": 0.5, "val": 0.5}, shard_bytes=1)
    for split in ("train", "val"):
        assert samples(tmp_path / "each", split) == samples(tmp_path / "one", split)
        assert samples(tmp_path / "more", split) == samples(tmp_path / "one", split)
        shards = len(samples(tmp_path / "one", split))
        assert len(list((tmp_path / "each").glob(f"{split}-*.tar"))) == shards == counts[f"{split}-000000.tar"]
        assert len(list((tmp_path / "more").glob(f"{split}-*.tar"))) == (shards + 1) // 2


def test_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a", BATCHES, "webdataset")
    write(tmp_path / "b", BATCHES, "webdataset")
    assert files_in(tmp_path / "a") == files_in(tmp_path / "b")


@pytest.mark.parametrize("options", [{"shard_bytes": 0}, {"image_root": "gs://photos"}])
def test_what_it_cannot_be_asked_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(AnnotationError, match=next(iter(options))):
        read_options("webdataset", options)


def photos(folder: Path) -> list[LabelTables]:
    return [
        photo(folder, "a", [box("person", 0.1, 0.2, 0.25, 0.5), {"type": "classification", "label": "sun"}]),
        photo(folder, "b.c", []),
    ]


def test_a_sample_has_its_image_before_its_json(tmp_path: Path) -> None:
    write_with_files(tmp_path / "dataset", photos(tmp_path / "photos"), "webdataset")
    with tarfile.open(tmp_path / "dataset" / "train-000000.tar") as tar:
        contents = {name: file.read() for name in tar.getnames() if (file := tar.extractfile(name)) is not None}
    images = [row["file"] for row in image_index(tmp_path / "dataset").to_pylist()]
    assert list(contents) == [name for image in images for name in (image, image.replace(".jpg", ".json"))]
    assert contents[images[0]] == (tmp_path / "photos" / "a.jpg").read_bytes()
    assert contents[images[1]] == (tmp_path / "photos" / "b.c.jpg").read_bytes()
    assert not list((tmp_path / "dataset").rglob("*.jpg"))


def test_an_image_that_cannot_be_read_is_no_sample_and_is_counted(tmp_path: Path) -> None:
    batches = photos(tmp_path / "photos")
    (tmp_path / "photos" / "a.jpg").unlink()
    left_out: Counter[str] = Counter()
    write_with_files(tmp_path / "dataset", batches, "webdataset", on_error="keep", left_out=left_out)
    with tarfile.open(tmp_path / "dataset" / "train-000000.tar") as tar:
        assert [name.partition("-")[0] for name in tar.getnames()] == ["b_c", "b_c"]
    assert left_out == {"images without a file": 1}


@pytest.mark.slow
def test_datasets_loads_it(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    write_with_files(tmp_path / "dataset", photos(tmp_path / "photos"), "webdataset", shard_bytes=1)
    shards = sorted(map(str, (tmp_path / "dataset").glob("train-*.tar")))
    assert len(shards) == 2
    first, second = datasets.load_dataset(
        "webdataset", data_files={"train": shards}, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert first["json"]["objects"] == {"bbox": [[20, 20, 50, 50]], "categories": ["person"]}
    assert first["jpg"].size == (200, 100)
    assert [row["jpg"].getpixel((0, 0))[0] for row in (first, second)] == [ord("a"), ord("b")]
    assert [row["json"]["answers"]["weather"] for row in (first, second)] == ["sun", None]
