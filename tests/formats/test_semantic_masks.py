from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.masks import mask_to_rle
from airflow_annotation.labels.schema import LabelSchema
from tests.support.datasets import box, item, mask, write


def pixels_of(folder: Path) -> Any:
    (file,) = (folder / "masks" / "train").iterdir()
    with Image.open(file) as image:
        return image.mode, np.asarray(image).copy()


def test_later_shapes_cover_earlier_ones(tmp_path: Path) -> None:
    ring = np.zeros((100, 200), np.uint8)
    ring[20:60, 40:120] = 1
    ring[30:50, 60:80] = 0
    write(tmp_path, [item("a", [box("person", 0, 0, 0.5, 0.5), mask("car", mask_to_rle(ring))])], "semantic_masks")
    expected = np.zeros((100, 200), np.uint8)
    expected[:50, :100] = 2
    expected[ring == 1] = 1
    mode, pixels = pixels_of(tmp_path)
    assert mode == "L"
    assert np.array_equal(pixels, expected)
    assert json.loads((tmp_path / "mask_targets.json").read_text()) == {"1": "car", "2": "person", "3": "tree"}


def test_opencv_reads_the_numbers_of_gray_masks_and_pillow_those_of_a_palette(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    batches = [item("a", [box("person", 0, 0, 0.5, 0.5), box("tree", 0.5, 0.5, 0.5, 0.5)])]
    expected = np.zeros((100, 200), np.uint8)
    expected[:50, :100], expected[50:, 100:] = 2, 3
    write(tmp_path / "gray", batches, "semantic_masks")
    (gray,) = (tmp_path / "gray" / "masks" / "train").iterdir()
    for flag in (cv2.IMREAD_UNCHANGED, cv2.IMREAD_GRAYSCALE):
        assert np.array_equal(cv2.imread(str(gray), flag), expected)
    write(tmp_path / "palette", batches, "semantic_masks", mask_palette=True)
    mode, pixels = pixels_of(tmp_path / "palette")
    assert (mode, np.array_equal(pixels, expected)) == ("P", True)
    (indexed,) = (tmp_path / "palette" / "masks" / "train").iterdir()
    with Image.open(indexed) as picture:
        assert picture.convert("RGB").getpixel((0, 0)) == (0, 128, 0)


def test_a_palette_has_256_colors(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="numbers up to 900, and mask_palette takes numbers to 255"):
        write(tmp_path, [], "semantic_masks", mask_targets={"900": "car"}, mask_palette=True)


def test_an_image_without_labels_is_all_background(tmp_path: Path) -> None:
    write(tmp_path, [item("a", [])], "semantic_masks")
    assert not pixels_of(tmp_path)[1].any()


def test_the_schemas_mask_targets_hold_unless_others_are_given(tmp_path: Path) -> None:
    schema = LabelSchema.from_dict({"masks": {"type": "segmentation", "mask_targets": {7: "car", 3: "road"}}})
    batches = [item("a", [mask("car", mask_to_rle(np.ones((100, 200), np.uint8)), type="segmentation")])]
    write(tmp_path / "a", batches, "semantic_masks", schema=schema)
    assert set(pixels_of(tmp_path / "a")[1].flat) == {7}
    write(tmp_path / "b", batches, "semantic_masks", schema=schema, mask_targets={"900": "car"})
    mode, pixels = pixels_of(tmp_path / "b")
    assert (mode, set(pixels.flat)) == ("I;16", {900})
    assert json.loads((tmp_path / "b" / "mask_targets.json").read_text()) == {"900": "car"}


def test_what_cannot_be_drawn_is_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other_size = mask("car", mask_to_rle(np.ones((4, 5), np.uint8)))
    far = box("car", 1e300, 0.5, 0.5, 0.5)
    large = item("b", [box("car", 0.5, 0.5, 0.5, 0.5)], width=2**31 - 1, height=2**31 - 1)
    written = write(
        tmp_path, [item("a", [other_size, far, box("car", 0, 0, 0.5, 1)]), large], "semantic_masks", classes=["car"]
    )
    assert [file.rows for file in written["objects"]] == [1]
    assert (
        "1 labels far outside of their image, 1 labels of images that are too large, "
        "1 masks of another size than their image"
    ) in caplog.text
    (png,) = (tmp_path / "masks").rglob("*.png")
    assert np.asarray(Image.open(png)).sum() == 100 * 100


def test_a_shape_that_covers_no_pixel_is_counted(tmp_path: Path) -> None:
    left_out: Counter[str] = Counter()
    labels = [box("car", 0.501, 0.5, 0.001, 0.001), box("car", 0, 0, 0.5, 1)]
    (file,) = write(tmp_path, [item("a", labels)], "semantic_masks", left_out=left_out, classes=["car"])["objects"]
    assert (file.rows, left_out) == (1, {"shapes that cover no pixel": 1})


@pytest.mark.parametrize("targets", [{0: "car"}, {1: "car", 2: "car"}, {70000: "car"}])
def test_mask_targets_that_are_no_pixel_values_are_refused(tmp_path: Path, targets: dict[int, str]) -> None:
    with pytest.raises(AnnotationError, match="one number from 1 to 65535"):
        write(tmp_path, [], "semantic_masks", mask_targets=targets)
