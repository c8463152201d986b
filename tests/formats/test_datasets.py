from __future__ import annotations

import logging
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import store
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from airflow_annotation.datasets.landed import join_tables, read_landed_tables
from airflow_annotation.datasets.stores import FolderStore
from airflow_annotation.datasets.versions import dataset_path
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats.image_names import ImageNames
from airflow_annotation.formats.registry import IMAGE_FORMATS, read_options, write_training_dataset
from airflow_annotation.labels.tables import LabelTables, collect_tables
from tests.support.datasets import SCHEMA, box, files_in, image_index, item, read_coco, submission, write, write_dataset
from tests.support.generated import boxes, label_tables, project_uri

PHOTOS = Path(__file__).parents[2] / "demo" / "photos"

BYTE_FOR_BYTE = [name for name in IMAGE_FORMATS if name != "lance"]  # which names its files at random


def at(minute: int) -> dict[str, Any]:
    return {"updated_at": datetime(2026, 1, 1, 12, minute, tzinfo=timezone.utc)}


def labels_in(folder: Path, *batches: LabelTables, **options: Any) -> list[float]:
    """Return the left edges of the boxes: which of them are in the dataset."""
    write(folder, batches, "coco", **options)
    return [round(one["bbox"][0]) for one in read_coco(folder)["annotations"]]


SEVERAL = item(
    "a",
    submission([box("car", 0.1, 0, 0.1, 0.1)], **at(1), ground_truth=True),
    submission([box("car", 0.2, 0, 0.1, 0.1)], **at(3)),
    submission([box("car", 0.3, 0, 0.1, 0.1)], **at(2)),
    submission([box("car", 0.4, 0, 0.1, 0.1)], **at(9), status="skipped"),
    submission([box("car", 0.5, 0, 0.1, 0.1)], **at(9), status="draft"),
    submission([box("car", 0.6, 0, 0.1, 0.1)], **at(9), origin="prediction"),
)


@pytest.mark.parametrize(("annotations", "expected"), [("latest", [40]), ("all", [20, 40, 60]), ("ground_truth", [20])])
def test_the_submissions_that_count_are_chosen(tmp_path: Path, annotations: str, expected: list[float]) -> None:
    assert labels_in(tmp_path, SEVERAL, annotations=annotations) == expected


def test_predictions_stand_in_for_people_only_where_asked(tmp_path: Path) -> None:
    predicted = item("b", submission([box("car", 0.6, 0, 0.1, 0.1)], origin="prediction"))
    assert labels_in(tmp_path / "a", SEVERAL, predicted) == [40]
    assert labels_in(tmp_path / "b", SEVERAL, predicted, include_predictions=True) == [40, 120]


def test_unknown_classes_are_an_error_or_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    batch = item("a", [box("bus", 0, 0, 1, 1), box(None, 0, 0, 1, 1), box("car", 0.5, 0, 0.5, 1)])
    with pytest.raises(AnnotationError, match=r"Item 'a' has a label \(detection 'r0'\) of the class 'bus'"):
        labels_in(tmp_path / "a", batch)
    with caplog.at_level(logging.WARNING):
        assert labels_in(tmp_path / "b", batch, unknown_classes="drop") == [100]
    assert "2 labels of unknown classes" in caplog.text


def test_labels_that_a_format_has_no_place_for_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    line = {"type": "polyline", "label": "car", "points": [[0, 0], [1, 1]]}
    with caplog.at_level(logging.WARNING):
        assert labels_in(tmp_path, item("a", [line, {"type": "classification", "label": "sun"}])) == []
    assert "1 labels of type classification, 1 labels of type polyline" in caplog.text


def test_only_the_chosen_fields_are_in_the_dataset(tmp_path: Path) -> None:
    batch = item("a", [box("car", 0, 0, 1, 1), box("car", 0.5, 0, 0.5, 1, field="outlines")])
    assert labels_in(tmp_path, batch, label_fields=["outlines"]) == [100]
    with pytest.raises(AnnotationError, match=r"label_fields names 'nope'.*'objects'"):
        labels_in(tmp_path, batch, label_fields=["nope"])


def test_text_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="Item 'a' is of type text"):
        write(tmp_path, [item("a", [], media_type="text")], "coco")


@pytest.mark.parametrize("dataset_format", BYTE_FOR_BYTE)
def test_the_same_rows_give_the_same_bytes_however_they_are_batched(tmp_path: Path, dataset_format: str) -> None:
    labels = [
        box("car", 0.1, 0.1, 0.2, 0.3, frame=1, track_id="x"),
        box("person", 0, 0, 0.5, 0.5, frame=2, track_id="y"),
    ]
    video = {"media_type": "video", "frame_rate": 25.0, "frame_count": 9} if dataset_format == "mot" else {}
    batches = [item(f"{number}", labels, **video) for number in range(6)]
    tables = [pa.Table.combine_chunks(table).to_batches()[0] for table in collect_tables(batches).values()]
    write(tmp_path / "a", batches, dataset_format, label_fields=["objects"], splits={"train": 0.5, "val": 0.5})
    write(
        tmp_path / "b",
        [LabelTables(*tables)],
        dataset_format,
        label_fields=["objects"],
        splits={"train": 0.5, "val": 0.5},
    )
    assert files_in(tmp_path / "a") == files_in(tmp_path / "b")


@pytest.mark.parametrize("dataset_format", [name for name in BYTE_FOR_BYTE if name != "mot"])
def test_a_store_has_the_same_files_as_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset_format: str
) -> None:
    memory = store.ObjectStore(protocol="memory", conn_id=None, fs=MemoryFileSystem(skip_instance_cache=True))
    monkeypatch.setitem(store._STORE_CACHE, "memory", memory)
    batches = [boxes(20, classes=("car", "person"))]
    write(tmp_path, batches, dataset_format)
    folder = ObjectStoragePath(f"memory://{dataset_format}/dataset")
    options = read_options(dataset_format, {})
    write_training_dataset(folder, batches, label_schema=SCHEMA, dataset_format=dataset_format, options=options)
    found = {path.removeprefix(folder.path + "/"): folder.fs.cat_file(path) for path in folder.fs.find(folder.path)}
    assert found == files_in(tmp_path)


_SIDES = st.floats(0.001, 0.5)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    drawn=st.lists(
        st.lists(st.tuples(_SIDES, _SIDES, _SIDES, _SIDES, st.sampled_from(["car", "person"])), max_size=3), max_size=4
    ),
    size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
)
def test_boxes_are_the_same_in_every_format(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[list[Any]], size: tuple[int, int]
) -> None:
    folder = tmp_path_factory.mktemp("boxes")
    width, height = size
    batches = [
        item(f"{number}", [box(label, x, y, w, h) for x, y, w, h, label in image], width=width, height=height)
        for number, image in enumerate(drawn)
    ]
    for dataset_format in ("coco", "yolo", "image_folder"):
        write(folder / dataset_format, batches, dataset_format)
    if not drawn:
        assert len(image_index(folder / "coco")) == 0
        return
    coco = read_coco(folder / "coco")
    names = {category["id"]: category["name"] for category in coco["categories"]}
    for image, expected in zip(coco["images"], drawn, strict=True):
        found = [one for one in coco["annotations"] if one["image_id"] == image["id"]]
        assert [names[one["category_id"]] for one in found] == [one[4] for one in expected]
        pixels = [[x * width, y * height, w * width, h * height] for x, y, w, h, _ in expected]
        assert [one["bbox"] for one in found] == [pytest.approx(one) for one in pixels]
        stem = Path(image["file_name"]).stem
        lines = (folder / "yolo" / "labels" / "train" / f"{stem}.txt").read_text().splitlines()
        for line, (x, y, w, h, label) in zip(lines, expected, strict=True):
            number, *numbers = (float(word) for word in line.split())
            assert numbers == pytest.approx([x + w / 2, y + h / 2, w, h], abs=1e-6)
            assert ["car", "person"][int(number)] == label


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(batches=label_tables())
def test_a_landed_dataset_is_read_in_whole_items(tmp_path_factory: pytest.TempPathFactory, batches: Any) -> None:
    target = FolderStore(dataset_path(str(tmp_path_factory.mktemp("landed"))))
    write_dataset(target, batches, run_key="r", label_schema=SCHEMA, settings={"annotations": "all"})
    landing, read = read_landed_tables(target.uri)
    assert collect_tables(read) == collect_tables(batches)
    assert (landing.project, landing.run_key, landing.label_schema) == (project_uri(), "r", SCHEMA)


def test_labels_of_items_that_are_not_there_are_named() -> None:
    whole = boxes(3)
    with pytest.raises(AnnotationError, match="annotations has item '1', which is not in items"):
        list(join_tables([whole.items.slice(2)], [whole.annotations], [whole.labels]))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_project(tmp_path: Path) -> None:
    def peak(batches: int) -> int:
        before = pa.total_allocated_bytes()
        peaks: list[int] = []

        def stream() -> Any:
            for number in range(batches):
                yield boxes(200, per_item=10, first=200 * number)
                peaks.append(pa.total_allocated_bytes() - before)

        write(tmp_path / f"{batches}", stream(), "coco")
        return max(peaks)

    assert peak(20) < 1.5 * peak(4)  # five times the rows


@pytest.mark.slow
@pytest.mark.parametrize("dataset_format", ["coco", "yolo", "pascal_voc"])
def test_supervision_reads_the_demo_photos(tmp_path: Path, dataset_format: str) -> None:
    supervision = pytest.importorskip("supervision")
    batches = []
    for photo in sorted(PHOTOS.glob("*.jpg")):
        with Image.open(photo) as image:
            width, height = image.size
        labels = [box("car", 0.25, 0.25, 0.5, 0.5)]
        batches.append(item(photo.stem, labels, media_uri=str(photo), width=width, height=height))
    write(tmp_path, batches, dataset_format)
    rows = image_index(tmp_path).to_pylist()
    for row in rows:
        path = tmp_path / row["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(Path(row["media_uri"]).read_bytes())
    folders = {
        "coco": ("images/train", "annotations/instances_train.json"),
        "yolo": ("images/train", "labels/train", "data.yaml"),
        "pascal_voc": ("JPEGImages", "Annotations"),
    }[dataset_format]
    load = getattr(supervision.DetectionDataset, f"from_{dataset_format}")
    sizes = {Path(row["file"]).name: (row["width"], row["height"]) for row in rows}
    read = load(*(str(tmp_path / folder) for folder in folders))
    assert len(read) == len(rows) == 12
    for path, image, detections in read:
        width, height = sizes[Path(path).name]
        assert image.shape[:2] == (height, width)
        expected = np.array([[width, height, 3 * width, 3 * height]]) / 4
        assert detections.xyxy == pytest.approx(expected, abs=0.5)


@pytest.mark.parametrize(
    ("media_uri", "stem", "suffix"),
    [
        ("gs://bucket/pets/cat.jpg", "cat", ".jpg"),
        ("https://host/a/dog%20one.PNG?signature=x/y.z", "dog_one", ".PNG"),
        ("/data/local-files/?d=photos/moose.jpg", "moose", ".jpg"),
        ("/data/upload/7/abc-panda.webp", "abc-panda", ".webp"),
        ("../../etc/passwd", "passwd", ""),
        ("Straße/Überblick.jpeg", "Überblick", ".jpeg"),
        (None, "key_1", ""),
        ("gs://bucket/....", "item", ""),
    ],
)
def test_images_are_called_after_their_media_with_a_hash(media_uri: str | None, stem: str, suffix: str) -> None:
    name = ImageNames().item_name("1", "key:1", media_uri)
    start, _, end = name.rpartition("-")
    assert (start, end[12:]) == (stem, suffix)
    assert ImageNames().item_name("1", "key:1", media_uri) == name
    assert ImageNames().item_name("2", "key:1", media_uri) != name


def test_images_below_a_root_keep_their_paths(tmp_path: Path) -> None:
    batches = [item("a", [], media_uri="gs://b/pets/x/cat.jpg"), item("b", [], media_uri="gs://b/pets/dog.jpg")]
    write(tmp_path, batches, "coco", image_root="gs://b/pets")
    assert [image["file_name"] for image in read_coco(tmp_path)["images"]] == ["x/cat.jpg", "dog.jpg"]
    with pytest.raises(AnnotationError, match=r"item 'a', 'gs://b/pets/x/cat.jpg', is not below image_root='gs://c/'"):
        write(tmp_path, batches, "coco", image_root="gs://c")
    twice = [item("a", [], media_uri="gs://b/x.jpg"), item("b", [], media_uri="gs://b/x.png")]
    with pytest.raises(AnnotationError, match=r"'a' and 'b' are both called 'x'"):
        write(tmp_path, twice, "yolo", image_root="gs://b")


@pytest.mark.parametrize(
    ("dataset_format", "options", "message"),
    [
        ("coca", {}, "dataset_format is one of parquet, .*coco, yolo"),
        ("coco", {"task": "obb"}, "coco has no option 'task'"),
        ("yolo", {"task": "track"}, r"options of yolo.*track"),
        ("yolo", {"classes": []}, "classes is a list of names"),
        ("yolo", {"splits": {"train": "many"}}, r"options of yolo"),
    ],
)
def test_options_that_are_none_are_refused_by_name(dataset_format: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        read_options(dataset_format, options)


def test_a_schema_without_classes_asks_for_them(tmp_path: Path) -> None:
    from airflow_annotation.labels.schema import LabelSchema

    with pytest.raises(AnnotationError, match="give classes"):
        write(tmp_path, [], "coco", schema=LabelSchema({}))
    write(tmp_path, [item("a", [box("bus", 0, 0, 1, 1)])], "coco", schema=LabelSchema({}), classes=["bus"])
    assert len(read_coco(tmp_path)["annotations"]) == 1
