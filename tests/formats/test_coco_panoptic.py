from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from airflow_annotation.labels.masks import mask_to_rle
from airflow_annotation.labels.schema import LabelSchema
from tests.support.datasets import box, item, mask, write

SKY = LabelSchema.from_dict(
    {
        "objects": {"type": "detections", "classes": ["car", "person"]},
        "areas": {"type": "segmentation", "classes": ["sky", "road"]},
    }
)


def area(label: str, pixels: Any) -> dict[str, Any]:
    return {**mask(label, mask_to_rle(pixels)), "type": "segmentation", "field": "areas"}


def read_panoptic(folder: Path, split: str = "train") -> tuple[dict[str, Any], list[Any]]:
    """Read a split as the panoptic API does: the file, and for each image the id of the segment of each pixel."""
    read = json.loads((folder / "annotations" / f"panoptic_{split}.json").read_text())
    pictures = []
    for annotation in read["annotations"]:
        with Image.open(folder / "annotations" / f"panoptic_{split}" / annotation["file_name"]) as image:
            assert image.mode == "RGB"
            color = np.asarray(image).astype(np.uint32)
            pictures.append(color[:, :, 0] + 256 * color[:, :, 1] + 256 * 256 * color[:, :, 2])
    return read, pictures


def test_each_pixel_is_of_one_segment_and_stuff_is_one_segment_an_image(tmp_path: Path) -> None:
    left, right = np.zeros((100, 200), np.uint8), np.zeros((100, 200), np.uint8)
    left[:50, :100] = 1
    right[:20, 100:] = 1
    labels = [area("sky", left), area("sky", right), box("car", 0.25, 0.25, 0.5, 0.5), box("car", 0.5, 0.5, 0.5, 0.5)]
    write(tmp_path, [item("a", labels), item("b", [])], "coco_panoptic", schema=SKY)
    read, (picture, empty) = read_panoptic(tmp_path)
    names = {category["id"]: category["name"] for category in read["categories"]}
    assert {category["name"]: category["isthing"] for category in read["categories"]} == {
        "car": 1,
        "person": 1,
        "road": 0,
        "sky": 0,
    }
    segments = read["annotations"][0]["segments_info"]
    assert [names[segment["category_id"]] for segment in segments] == ["sky", "car", "car"]
    expected = np.zeros((100, 200), np.int64)
    expected[left + right == 1] = 1
    expected[25:75, 50:150] = 2
    expected[50:, 100:] = 3
    ids = [0, *(segment["id"] for segment in segments)]
    assert np.array_equal(picture, np.array(ids)[expected])
    for number, segment in enumerate(segments, 1):
        rows, columns = np.nonzero(expected == number)
        assert segment["area"] == len(rows)
        box_ = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert segment["bbox"] == box_
    assert not empty.any()
    assert [image["item_key"] for image in read["images"]] == ["a", "b"]


def test_objects_that_others_cover_are_counted(tmp_path: Path) -> None:
    left_out: Counter[str] = Counter()
    labels = [box("car", 0.25, 0.25, 0.25, 0.25), box("person", 0, 0, 1, 1)]
    write(tmp_path, [item("a", labels)], "coco_panoptic", schema=SKY, left_out=left_out)
    read, _ = read_panoptic(tmp_path)
    assert len(read["annotations"][0]["segments_info"]) == 1
    assert left_out == {"shapes that cover no pixel": 1}
