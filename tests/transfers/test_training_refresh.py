"""Datasets of other formats than Parquet, landed again: only what has changed is read, and written."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from airflow.sdk import ObjectStoragePath
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from airflow_annotation.datasets.companion import refreshed_batches
from airflow_annotation.datasets.stores import FolderStore
from airflow_annotation.datasets.versions import dataset_path, read_manifest
from airflow_annotation.labels.tables import LabelTables, collect_tables
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from tests.support.datasets import SCHEMA, box, item, polygon
from tests.support.generated import boxes
from tests.support.task_context import task_context
from tests.transfers.test_dataset_versions import ChangingTool, changed
from tests.transfers.test_s3 import make_bucket

FORMATS: dict[str, dict[str, Any]] = {
    "coco": {"splits": {"train": 0.7, "val": 0.3}},
    "yolo": {"splits": {"train": 0.7, "val": 0.3}},
    "yolo segment": {"task": "segment"},
    "pascal_voc": {},
    "semantic_masks": {},
    "image_folder": {},
    "webdataset": {"splits": {"train": 0.7, "val": 0.3}},
    "jsonl": {},
    "csv": {},
}


class Tool(ChangingTool):
    label_schema = SCHEMA

    def get_label_schema(self, _: str) -> Any:
        return SCHEMA


def photos(*keys: str, day: int = 0, size: float = 0.25, home: Path | None = None) -> list[LabelTables]:
    """Return items of a batch each, whose labels are of a size."""
    return [
        changed(
            item(
                key,
                [box("car", 0.1, 0.1, size, size), polygon("tree", (0.5, 0.5), (0.5 + size, 0.5), (0.5, 0.5 + size))],
                **({} if home is None else {"media_uri": str(home / f"{key}.png")}),
            ),
            day,
        )
        for key in keys
    ]


def land(tool: ChangingTool, target: Path | str, dataset_format: str, **kwargs: Any) -> Any:
    options = FORMATS[dataset_format]
    operator = AnnotationsToObjectStorageOperator(
        task_id="land",
        target=str(target),
        project="1",
        dataset_format=dataset_format.partition(" ")[0],
        **{"dataset_options": options or None} | kwargs,
    )
    operator.__dict__["hook"] = tool
    context: Any = task_context()
    return operator.execute(context)


def digests(landed: dict[str, Any]) -> dict[str, str]:
    """Return what a version's files have, but for what is kept for the next landing."""
    folder = Path(landed["path"].removeprefix("file://"))
    files = (file for file in folder.rglob("*") if file.is_file())
    found = {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    return {
        name: digest for name, digest in found.items() if name != "manifest.json" and not name.startswith("tables/")
    }


@pytest.mark.parametrize("dataset_format", FORMATS)
def test_only_what_has_changed_is_read_and_the_files_are_those_of_a_landing_of_all(
    tmp_path: Path, dataset_format: str
) -> None:
    tool = Tool(*photos(*"abcdefgh"))
    first = land(tool, tmp_path / "kept", dataset_format)
    tool.change(*photos("a"), *photos("b", day=1, size=0.5), *photos(*"cdf"), *photos("g", day=2), *photos("h", "new"))
    again = land(tool, tmp_path / "kept", dataset_format)
    assert tool.read == [None, ["id-b", "id-g", "id-new"]]
    assert (again["full"], again["changed_items"], again["removed_items"]) == (False, 3, 1)
    fresh = land(Tool(*tool.batches), tmp_path / "fresh", dataset_format)
    assert digests(again) == digests(fresh) != digests(first)
    assert again["rows"] == fresh["rows"]
    assert read_manifest(str(tmp_path / "kept"), dataset_format=None).files.keys() == first["rows"].keys()


@pytest.mark.parametrize(
    ("dataset_format", "pattern"),
    [("yolo segment", "labels/*/*.txt"), ("pascal_voc", "Annotations/*.xml"), ("semantic_masks", "masks/*/*.png")],
)
def test_files_of_items_that_have_not_changed_are_not_written_again(
    tmp_path: Path, dataset_format: str, pattern: str
) -> None:
    tool = Tool(*photos(*"abcd"))

    def nodes(landed: dict[str, Any]) -> set[int]:
        return {file.stat().st_ino for file in Path(landed["path"].removeprefix("file://")).glob(pattern)}

    first = land(tool, tmp_path, dataset_format, keep_versions=3)
    tool.change(*photos("a", "b"), *photos("c", day=1, size=0.5), *photos("d"))
    again = land(tool, tmp_path, dataset_format, keep_versions=3)
    assert len(nodes(again)) == 4
    assert len(nodes(again) & nodes(first)) == 3
    tool.change(*photos("a", "b"), *photos("c", day=1, size=0.5), *photos("d", day=4, size=0.5))
    third = land(tool, tmp_path, dataset_format, keep_versions=3)
    assert len(nodes(third) & nodes(first)) == 2
    assert third["rows"] == first["rows"]


def test_where_nothing_has_changed_the_version_stays_and_other_options_ask_the_tool_for_nothing(tmp_path: Path) -> None:
    tool = Tool(*photos(*"abcd"))
    first = land(tool, tmp_path / "kept", "yolo")
    assert land(tool, tmp_path / "kept", "yolo")["version"] == first["version"]
    options = {"classes": ["tree", "car", "person"]}
    other = land(tool, tmp_path / "kept", "yolo", dataset_options=options)
    assert tool.read == [None]
    assert digests(other) == digests(land(Tool(*tool.batches), tmp_path / "fresh", "yolo", dataset_options=options))


@pytest.mark.parametrize(("dataset_format", "start", "count"), [("yolo", "images/", 3), ("webdataset", "train-", 1)])
def test_media_are_copied_once_and_are_in_every_version(
    tmp_path: Path, dataset_format: str, start: str, count: int
) -> None:
    home = tmp_path / "photos"
    home.mkdir()
    for number, key in enumerate("abc"):
        Image.new("RGB", (200, 100), (number, 0, 0)).save(home / f"{key}.png")
    tool = Tool(*photos("a", "b", home=home))
    media: dict[str, Any] = {"include_media": "files", "media_roots": [str(home)]}
    land(tool, tmp_path / "kept", dataset_format, keep_versions=1, **media)
    tool.change(*photos("a", home=home), *photos("b", day=1, size=0.5, home=home), *photos("c", home=home))
    (home / "a.png").unlink()
    again = land(tool, tmp_path / "kept", dataset_format, keep_versions=1, **media)
    assert again["media"]["written"] == 1
    found = digests(again)
    assert sum(name.startswith(start) for name in found) == count
    Image.new("RGB", (200, 100), (0, 0, 0)).save(home / "a.png")
    assert found == {
        name: digest
        for name, digest in digests(land(Tool(*tool.batches), tmp_path / "fresh", dataset_format, **media)).items()
        if not name.startswith("media/")
    }


def test_what_another_release_has_written_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = Tool(*photos(*"abc"))
    with monkeypatch.context() as older:
        older.setattr("airflow_annotation.datasets.versions.__version__", "0.0.1")
        first = land(tool, tmp_path, "yolo")
    damaged = next(Path(first["path"].removeprefix("file://")).glob("labels/*/a-*.txt"))
    damaged.write_text("as it was then")
    tool.change(*photos("a", "b"), *photos("c", day=1))
    again = land(tool, tmp_path, "yolo")
    assert tool.read == [None, ["id-c"]]
    assert "as it was then" not in [file.read_text() for file in Path(again["path"]).glob("labels/*/*.txt")]


def test_versions_whose_rows_have_items_that_are_gone_are_purged(tmp_path: Path) -> None:
    unlabeled = item("u")
    tool = Tool(*photos("a"), unlabeled)
    first = land(tool, tmp_path, "coco")
    tool.change(*photos("a", day=1))
    again = land(tool, tmp_path, "coco", purge_versions=True, keep_versions=5)
    assert read_manifest(str(tmp_path), dataset_format="coco").versions == [again["version"]]
    assert not Path(first["path"].removeprefix("file://")).exists()


def test_google_cloud_storage_copies_files_of_items_that_have_not_changed(gcs_conn_id: str) -> None:
    pytest.importorskip("airflow.providers.google")
    from airflow.providers.google.cloud.hooks.gcs import GCSHook

    from airflow_annotation.transfers.annotations_to_gcs import AnnotationsToGCSOperator

    bucket = GCSHook(gcs_conn_id).get_conn().create_bucket(f"labels-{uuid4().hex}")
    tool = Tool(*photos(*"abcd"))
    landed = []
    for prefix, batches in (
        ("kept", photos(*"abcd")),
        ("kept", [*photos("a", "b"), *photos("c", day=1, size=0.5), *photos("d")]),
        ("fresh", [*photos("a", "b"), *photos("c", day=1, size=0.5), *photos("d")]),
    ):
        tool.change(*batches)
        operator = AnnotationsToGCSOperator(
            task_id="land",
            bucket=bucket.name,
            prefix=prefix,
            gcp_conn_id=gcs_conn_id,
            project="1",
            dataset_format="yolo",
        )
        operator.__dict__["hook"] = tool
        context: Any = task_context()
        landed.append(operator.execute(context))
    assert tool.read == [None, ["id-c"], None]

    def files(result: Any) -> dict[str, str]:
        root = result["path"].removeprefix(f"gs://{bucket.name}/") + "/"
        found = {blob.name.removeprefix(root): blob.md5_hash for blob in bucket.list_blobs(prefix=root)}
        return {name: digest for name, digest in found.items() if name.startswith(("labels/", "data.yaml", "images."))}

    assert files(landed[1]) == files(landed[2])
    assert len(files(landed[1])) == 6


def test_s3_copies_files_of_items_that_have_not_changed(s3_conn_id: str) -> None:
    bucket = make_bucket(s3_conn_id)
    tool = Tool(*photos(*"abcd"))
    landed = [land(tool, f"s3://s3_test@{bucket}/kept", "yolo")]
    tool.change(*photos("a", "b"), *photos("c", day=1, size=0.5), *photos("d"))
    landed += [land(tool, f"s3://s3_test@{bucket}/{name}", "yolo") for name in ("kept", "fresh")]
    assert tool.read == [None, ["id-c"], None]

    def files(result: dict[str, Any]) -> dict[str, bytes]:
        root = ObjectStoragePath(result["path"])
        found = {path: root.fs.cat_file(path) for path in root.fs.find(root.path)}
        names = {path.partition(f"/{result['version']}/")[2]: content for path, content in found.items()}
        return {
            name: content for name, content in names.items() if name.startswith(("labels/", "data.yaml", "images."))
        }

    assert files(landed[1]) == files(landed[2])
    assert len(files(landed[1])) == 6


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20)
@given(
    fates=st.lists(st.sampled_from(["kept", "changed", "vanished", "went while it was read"]), min_size=1, max_size=30),
    new=st.integers(0, 3),
    random=st.randoms(use_true_random=False),
)
def test_rows_are_replaced_in_their_place(
    tmp_path_factory: pytest.TempPathFactory, fates: list[str], new: int, random: Any
) -> None:
    target = tmp_path_factory.mktemp("dataset")
    tool = ChangingTool(boxes(len(fates)))
    land(tool, target, "jsonl")
    version = read_manifest(str(target), dataset_format="jsonl")
    ids = {fate: [str(n) for n, other in enumerate(fates) if other == fate] for fate in fates}
    edited = {n: boxes(1, first=int(n), per_item=3) for n in ids.get("changed", [])}
    added = [boxes(1, first=len(fates) + n) for n in range(new)]
    expected = [
        edited.get(str(n), boxes(1, first=n)) for n, fate in enumerate(fates) if fate in ("kept", "changed")
    ] + added
    first = [*edited.values()]
    random.shuffle(first)
    asked = [*edited, *ids.get("went while it was read", []), *(str(len(fates) + n) for n in range(new))]
    found = refreshed_batches(
        FolderStore(dataset_path(str(target))),
        version,
        pa.array(asked, pa.string()),
        pa.array(ids.get("vanished", []), pa.string()),
        [*first, *added],
    )
    assert collect_tables(found) == collect_tables(expected)
