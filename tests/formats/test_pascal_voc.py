from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support.datasets import add_images, box, image_index, item, polygon, write


def test_boxes_are_whole_pixels_that_count_from_one_and_belong_to_the_box(tmp_path: Path) -> None:
    attributes = json.dumps({"truncated": "yes", "difficult": "no", "pose": "Left"})
    labels = [box("car", 0, 0, 0.25, 1, attributes=attributes), polygon("tree", (0.5, 0.5), (2, 0.5), (0.5, 0.7))]
    write(tmp_path, [item("a<b", labels)], "pascal_voc")
    (file,) = (tmp_path / "Annotations").iterdir()
    tree = ElementTree.parse(file)
    assert [[int(side.text or 0) for side in one] for one in tree.iter("bndbox")] == [
        [1, 1, 50, 100],
        [101, 51, 200, 70],
    ]
    first = tree.find("object")
    assert first is not None
    facts = {name: first.findtext(name) for name in ("name", "pose", "truncated", "difficult", "occluded")}
    assert facts == {"name": "car", "pose": "Left", "truncated": "1", "difficult": "0", "occluded": "0"}
    assert tree.findtext("source/database") == "a<b"
    assert tree.findtext("filename") == Path(image_index(tmp_path)["file"][0].as_py()).name


def test_splits_are_lists_of_stems(tmp_path: Path) -> None:
    write(tmp_path, [item(f"{number}", []) for number in range(10)], "pascal_voc", splits={"train": 0.5, "val": 0.5})
    listed = {path.stem: path.read_text().split() for path in (tmp_path / "ImageSets" / "Main").iterdir()}
    index = image_index(tmp_path).to_pylist()
    assert listed == {
        split: [Path(row["file"]).stem for row in index if row["split"] == split] for split in ("train", "val")
    }


def test_labelmap_has_the_classes_with_their_colors(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "a", [item("a", [])], "pascal_voc")
    assert (tmp_path / "a" / "labelmap.txt").read_text().splitlines() == [
        "# label:color_rgb:parts:actions",
        "background:0,0,0::",
        "car:128,0,0::",
        "person:0,128,0::",
        "tree:128,128,0::",
    ]
    write(tmp_path / "b", [item("a", [])], "pascal_voc", classes=["car:red"])
    assert not (tmp_path / "b" / "labelmap.txt").exists()
    assert "cannot have a class that is called 'car:red'" in caplog.text


def test_supervision_agrees(tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision")
    write(
        tmp_path, [item("a", [box("person", 0.1, 0.2, 0.25, 0.5), box("car", 0, 0, 1, 1)]), item("b", [])], "pascal_voc"
    )
    add_images(tmp_path)
    read = supervision.DetectionDataset.from_pascal_voc(str(tmp_path / "JPEGImages"), str(tmp_path / "Annotations"))
    found = {Path(path).name[0]: detections for path, _, detections in read}
    assert found["a"].xyxy.tolist() == [[20, 20, 70, 70], [0, 0, 200, 100]]
    assert [read.classes[one] for one in found["a"].class_id] == ["person", "car"]
    assert len(found["b"]) == 0
