"""Training formats read by the readers that people use, in the environment that ``make test-readers`` makes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from airflow_annotation.labels.tables import LabelTables
from devtools.processes import REPOSITORY
from tests.support.datasets import add_images, box, item, photo, point, write, write_with_files

pytestmark = pytest.mark.readers

PYTHON = REPOSITORY / ".venv-readers" / "bin" / "python"
PHOTOS = [
    item(
        "a",
        [
            box("person", 0.1, 0.2, 0.25, 0.5),
            box("car", 0.5, 0.5, 0.5, 0.5),
            {"type": "classification", "label": "sun"},
        ],
    ),
    item("b", [box("tree", 0, 0, 0.5, 1), {"type": "classification", "label": "rain"}]),
]
BOXES = {"a": [["person", [20, 20, 50, 50]], ["car", [100, 50, 100, 50]]], "b": [["tree", [0, 0, 100, 100]]]}
HUMAN = item(
    "a",
    [
        box("person", 0, 0, 0.5, 1, label_id="p"),
        point("hip", 0.25, 0.5, parent_label_id="p", point_index=0),
        point("foot", 0.3, 0.9, parent_label_id="p", point_index=2),
    ],
)
FACTS = {"media_type": "video", "media_uri": "gs://v/v.mp4", "frame_rate": 25.0, "frame_count": 4}
VIDEO = item("v", [box("car", 0.1, 0.1, 0.2, 0.2, frame=frame, track_id="x") for frame in (0, 2)], **FACTS)
ANSWERS = {"a": "sun", "b": "rain"}


def shifted(boxes: dict[str, Any], by: float, size: float) -> dict[str, Any]:
    """Return boxes as a reader has them that takes Pascal VOC's pixels as they are written."""
    return {
        name: [[label, [x + by, y + by, width + size, height + size]] for label, (x, y, width, height) in rows]
        for name, rows in boxes.items()
    }


@pytest.mark.parametrize(
    ("reader", "batches", "dataset_format", "options", "expected"),
    [
        *((f"ultralytics_{task}", PHOTOS, "yolo", {"task": task}, BOXES) for task in ("detect", "obb", "segment")),
        (
            "ultralytics_pose",
            [HUMAN],
            "yolo",
            {"task": "pose"},
            {"a": [["person", [0, 0, 100, 100]]], "keypoints": [[[0.25, 0.5, 2], [0, 0, 0], [0.3, 0.9, 2]]]},
        ),
        ("ultralytics_classify", PHOTOS, "yolo", {"task": "classify", "label_fields": ["weather"]}, ANSWERS),
        ("torchvision_classify", PHOTOS, "yolo", {"task": "classify", "label_fields": ["weather"]}, ANSWERS),
        ("torchvision_coco", PHOTOS, "coco", {}, BOXES),
        ("datumaro_coco_instances", PHOTOS, "coco", {}, BOXES),
        ("datumaro_coco_panoptic", PHOTOS, "coco_panoptic", {}, BOXES),
        ("datumaro_voc", PHOTOS, "pascal_voc", {}, shifted(BOXES, 1, -1)),
        ("datumaro_yolo", PHOTOS, "yolo", {}, BOXES),
        (
            "datumaro_mot",
            [VIDEO],
            "mot",
            {},
            {"1": [["car", [21, 11, 40, 20]]], "2": [], "3": [["car", [21, 11, 40, 20]]], "4": []},
        ),
        ("fiftyone_coco", PHOTOS, "coco", {}, BOXES),
        ("fiftyone_yolo", PHOTOS, "yolo", {}, BOXES),
        ("fiftyone_voc", PHOTOS, "pascal_voc", {}, shifted(BOXES, 1, -1)),
        ("fiftyone_masks", PHOTOS, "semantic_masks", {}, {"a": [0, 2, 1], "b": [3, 3, 0]}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_reader_finds_what_was_labeled(  # noqa: PLR0917 - pytest passes them by name
    tmp_path: Path,
    reader: str,
    batches: list[LabelTables],
    dataset_format: str,
    options: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    write(tmp_path, batches, dataset_format, **options)
    add_images(tmp_path)
    check_reader(reader, tmp_path, expected)


def test_webdataset_finds_the_images_in_the_shards(tmp_path: Path) -> None:
    boxes = [box("person", 0.1, 0.2, 0.25, 0.5), box("car", 0.5, 0.5, 0.5, 0.5)]
    photos = [photo(tmp_path / "photos", "a", boxes), photo(tmp_path / "photos", "b", [box("tree", 0, 0, 0.5, 1)])]
    write_with_files(tmp_path / "dataset", photos, "webdataset", shard_bytes=1)
    check_reader("webdataset", tmp_path / "dataset", BOXES)


def check_reader(reader: str, folder: Path, expected: dict[str, Any]) -> None:
    script = Path(__file__).with_name("read_dataset.py")
    done = subprocess.run(
        [PYTHON, script, reader, folder],
        env={**os.environ, "YOLO_CONFIG_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    read = json.loads(done.stdout.splitlines()[-1])
    assert {name: comparable(value) for name, value in read.items()} == {
        name: comparable(value) for name, value in expected.items()
    }


def comparable(value: Any) -> Any:
    """Return objects in an order that does not depend on the reader, and numbers as far as formats have them."""
    if isinstance(value, str):
        return value
    if value and isinstance(value[0], list) and isinstance(value[0][0], str):
        return sorted([label, *(round(number, 1) for number in box)] for label, box in value)
    return np.round(np.array(value, float), 3).ravel().tolist()
