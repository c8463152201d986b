from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import yaml  # type: ignore[import-untyped]  # comes with Airflow, its types do not
from hypothesis import given
from hypothesis import strategies as st

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.masks import mask_to_rle
from tests.support.datasets import add_images, box, files_in, image_index, item, mask, point, polygon, write


def lines(folder: Path, labels: list[dict[str, Any]], **options: Any) -> list[list[float]]:
    """Write one image and return its lines as numbers."""
    write(folder, [item("a", labels)], "yolo", **options)
    (file,) = (folder / "labels" / "train").iterdir()
    return [[float(number) for number in line.split()] for line in file.read_text().splitlines()]


def data_yaml(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((folder / "data.yaml").read_text())
    return content


def test_boxes_have_centres_and_sizes(tmp_path: Path) -> None:
    found = lines(tmp_path, [box("person", 0.1, 0.2, 0.25, 0.5), box("car", 1 / 3, 0, 1 / 3, 1e-5)])
    assert found == [[1, 0.225, 0.45, 0.25, 0.5], [0, 0.5, 0.000005, 0.333333, 0.00001]]
    assert data_yaml(tmp_path)["names"] == {0: "car", 1: "person", 2: "tree"}


def test_what_reaches_out_of_the_image_is_cut_off_and_what_is_outside_left_out(tmp_path: Path) -> None:
    assert lines(tmp_path, [box("car", -0.2, 0.5, 0.4, 1), box("car", 1.5, 0, 1, 1)]) == [[0, 0.1, 0.75, 0.2, 0.5]]


def test_every_shape_has_the_box_around_it(tmp_path: Path) -> None:
    pixels = np.zeros((100, 200), np.uint8)
    pixels[20:60, 40:120] = 1
    found = lines(
        tmp_path,
        [
            box("car", 0.5, 0.2, 0.2, 0.2, rotation=90),
            polygon("tree", (0.2, 0.2), (0.6, 0.2), (0.2, 0.6)),
            mask("car", mask_to_rle(pixels)),
        ],
    )
    assert found == [[0, 0.45, 0.4, 0.1, 0.4], [2, 0.4, 0.4, 0.4, 0.4], [0, 0.4, 0.4, 0.4, 0.4]]


def test_images_without_objects_have_an_empty_file(tmp_path: Path) -> None:
    write(tmp_path, [item("a", [])], "yolo")
    (file,) = (tmp_path / "labels" / "train").iterdir()
    assert file.read_bytes() == b""


@pytest.mark.slow
@pytest.mark.parametrize("full", [0, 599])
def test_a_disk_that_is_full_at_any_file_fails_the_dataset(tmp_path: Path, full: int) -> None:
    items = [item(str(number), []) for number in range(600)]
    write(tmp_path / "whole", items, "yolo")
    paths = image_index(tmp_path / "whole")["file"].to_pylist()
    assert len(paths) == 600
    labels = tmp_path / "full" / "labels" / "train"
    labels.mkdir(parents=True)
    (labels / Path(paths[full]).with_suffix(".txt").name).symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "full", [item(str(number), [box("car", 0, 0, 1, 1)]) for number in range(600)], "yolo")


def test_oriented_boxes_are_their_corners_clockwise(tmp_path: Path) -> None:
    turned, upright = lines(
        tmp_path, [box("car", 0.5, 0.2, 0.2, 0.2, rotation=90), box("car", 0.1, 0.2, 0.3, 0.4)], task="obb"
    )
    assert turned == pytest.approx([0, 0.5, 0.2, 0.5, 0.6, 0.4, 0.6, 0.4, 0.2])
    assert upright == pytest.approx([0, 0.1, 0.2, 0.4, 0.2, 0.4, 0.6, 0.1, 0.6])


def test_a_segment_with_a_hole_is_one_path_that_covers_what_the_mask_does(tmp_path: Path) -> None:
    from PIL import Image, ImageDraw

    pixels = np.zeros((100, 200), np.uint8)
    pixels[20:60, 40:120] = 1
    pixels[30:50, 60:80] = 0
    pixels[80:90, 150:190] = 1
    (line,) = lines(tmp_path, [mask("car", mask_to_rle(pixels))], task="segment")
    path = np.array(line[1:]).reshape(-1, 2) * (200, 100)
    x, y = path.T
    area = (x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    assert abs(area) == pytest.approx(pixels.sum())
    canvas = Image.new("1", (200, 100))
    ImageDraw.Draw(canvas).polygon([tuple(corner) for corner in path.tolist()], fill=1)
    assert np.abs(np.asarray(canvas) - pixels.astype(int)).sum() < 300  # the edges' pixels


def test_a_segment_of_very_many_parts_is_one_path_that_covers_what_the_mask_does(tmp_path: Path) -> None:
    pixels = np.indices((100, 200)).sum(axis=0) % 2
    (line,) = lines(tmp_path, [mask("car", mask_to_rle(pixels))], task="segment")
    x, y = (np.array(line[1:]).reshape(-1, 2) * (200, 100)).T
    assert (x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2 == pytest.approx(pixels.sum(), rel=1e-3)
    corners = np.argwhere(pixels)[:, None, ::-1] + [[0, 0], [1, 0], [1, 1], [0, 1]]
    assert {*zip(np.rint(x).tolist(), np.rint(y).tolist(), strict=True)} == set(
        map(tuple, corners.reshape(-1, 2).tolist())
    )


def test_a_mask_of_too_many_parts_is_left_out_and_counted(tmp_path: Path) -> None:
    left_out: Counter[str] = Counter()
    pixels = np.indices((400, 400)).sum(axis=0) % 2
    labels = [mask("car", mask_to_rle(pixels)), box("car", 0, 0, 0.5, 0.5)]
    write(tmp_path, [item("a", labels)], "yolo", left_out=left_out, task="segment")
    assert left_out == {"masks of too many parts": 1}


def test_boxes_and_polygons_are_segments(tmp_path: Path) -> None:
    found = lines(tmp_path, [box("car", 0, 0, 0.5, 0.5), polygon("tree", (0, 0), (1, 0), (1.5, 1))], task="segment")
    assert found == [[0, 0, 0, 0.5, 0, 0.5, 0.5, 0, 0.5], [2, 0, 0, 1, 0, 1, 1]]


def test_poses_have_a_box_and_all_points(tmp_path: Path) -> None:
    labels = [
        box("person", 0, 0, 0.5, 1, label_id="p"),
        point("foot", 0.25, 1, parent_label_id="p", point_index=2, visibility=1),
        box("car", 0, 0, 1, 1),
    ]
    found = lines(tmp_path, labels, task="pose", flip_idx=[0, 1, 2])
    assert found == [[1, 0.25, 0.5, 0.5, 1, *[0] * 6, 0.25, 1, 1], [0, 0.5, 0.5, 1, 1, *[0] * 9]]
    assert data_yaml(tmp_path)["kpt_shape"] == [3, 3]
    assert data_yaml(tmp_path)["flip_idx"] == [0, 1, 2]


def test_classification_puts_images_into_folders_by_class(tmp_path: Path) -> None:
    def weather(label: str) -> dict[str, Any]:
        return {"type": "classification", "label": label}

    write(tmp_path, [item("a", [weather("sun")]), item("b", [])], "yolo", task="classify")
    (row,) = image_index(tmp_path).to_pylist()
    assert row["item_key"] == "a"
    assert row["file"].startswith("train/sun/a-")
    with pytest.raises(AnnotationError, match="Item 'c' has several classes"):
        write(tmp_path, [item("c", [weather("sun"), weather("rain")])], "yolo", task="classify")


def test_splits_are_folders_and_the_training_split_validates_where_there_is_no_other(tmp_path: Path) -> None:
    write(tmp_path / "one", [item("a", [])], "yolo")
    assert data_yaml(tmp_path / "one") == {
        "train": "images/train",
        "val": "images/train",
        "names": {0: "car", 1: "person", 2: "tree"},
    }
    batches = [item(f"{number}", []) for number in range(40)]
    write(tmp_path / "two", batches, "yolo", splits={"train": 0.5, "val": 0.3, "test": 0.2})
    assert {name: data_yaml(tmp_path / "two")[name] for name in ("train", "val", "test")} == {
        name: f"images/{name}" for name in ("train", "val", "test")
    }
    with pytest.raises(AnnotationError, match="YOLO's splits are train, val, test"):
        write(tmp_path / "three", batches, "yolo", splits={"train": 0.5, "holdout": 0.5})


def test_class_names_survive_whatever_is_in_them(tmp_path: Path) -> None:
    names = ["yes", "a: b", '"quoted" \\', "#1", "Straße 🚲", "3"]
    write(tmp_path, [item("a", [])], "yolo", classes=names)
    assert list(data_yaml(tmp_path)["names"].values()) == names


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda name: name.strip() == name))
def test_every_class_name_survives(name: str) -> None:
    with TemporaryDirectory() as folder:
        write(Path(folder), [item("a", [])], "yolo", classes=[name])
        assert data_yaml(Path(folder))["names"] == {0: name}


def test_frames_of_videos_have_files_of_their_own(tmp_path: Path) -> None:
    labels = [box("car", 0.1, 0.1, 0.1, 0.1, frame=frame, track_id="x") for frame in (3, 4)]
    write(tmp_path, [item("v", labels, media_type="video")], "yolo")
    assert sorted(path.name[-11:] for path in (tmp_path / "labels" / "train").iterdir()) == [
        "-000003.txt",
        "-000004.txt",
    ]
    assert [row["frame"] for row in image_index(tmp_path).to_pylist()] == [3, 4]


@pytest.mark.parametrize(("task", "masks"), [("detect", False), ("obb", False), ("segment", True)])
def test_supervision_agrees(tmp_path: Path, task: str, masks: bool) -> None:
    supervision = pytest.importorskip("supervision")
    labels = [box("person", 0.1, 0.2, 0.25, 0.5), box("car", 0, 0, 0.5, 1)]
    write(tmp_path, [item("a", labels), item("b", [])], "yolo", task=task)
    add_images(tmp_path)
    read = supervision.DetectionDataset.from_yolo(
        str(tmp_path / "images" / "train"),
        str(tmp_path / "labels" / "train"),
        str(tmp_path / "data.yaml"),
        is_obb=task == "obb",
    )
    found = {Path(path).name[0]: detections for path, _, detections in read}
    assert read.classes == ["car", "person", "tree"]
    assert found["a"].xyxy == pytest.approx(np.array([[20, 20, 70, 70], [0, 0, 100, 100]]), abs=1 if masks else 1e-3)
    assert found["a"].class_id.tolist() == [1, 0]
    assert len(found["b"]) == 0


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    batches = [item(f"{number}", [box("car", 0.1, 0.1, number / 30, 0.3)]) for number in range(20)]
    for name in ("a", "b"):
        write(tmp_path / name, batches, "yolo", splits={"train": 0.5, "val": 0.5})
    assert files_in(tmp_path / "a") == files_in(tmp_path / "b")
