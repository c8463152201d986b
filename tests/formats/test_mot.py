from __future__ import annotations

import configparser
from pathlib import Path
from typing import Any

import pytest

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.tables import LabelTables
from tests.support.datasets import box, image_index, item, write


def clip(key: str, *labels: dict[str, Any]) -> LabelTables:
    facts = {"media_type": "video", "media_uri": f"gs://v/{key}.mp4", "frame_rate": 25.0, "frame_count": 100}
    return item(key, list(labels), **facts)


def test_every_video_has_its_tracks_counted_from_one(tmp_path: Path) -> None:
    first = clip(
        "a",
        box("person", 0.1, 0.2, 0.25, 0.5, frame=4, track_id="x"),
        box("car", 0, 0, 0.5, 1, frame=0, track_id="y"),
        box("person", 0.11, 0.2, 0.25, 0.5, frame=5, track_id="x"),
    )
    write(tmp_path, [first, clip("b", box("car", 0, 0, 1, 1, frame=9, track_id="z"))], "mot")
    a, b = sorted(path.name for path in (tmp_path / "train").iterdir())
    rows = (tmp_path / "train" / a / "gt" / "gt.txt").read_text().splitlines()
    assert rows == ["1,1,1,1,100,100,1,1,1", "5,2,21,21,50,50,1,2,1", "6,2,23,21,50,50,1,2,1"]
    assert (tmp_path / "train" / b / "gt" / "gt.txt").read_text() == "10,1,1,1,200,100,1,1,1\n"
    assert (tmp_path / "train" / a / "gt" / "labels.txt").read_text().split() == ["car", "person", "tree"]
    assert (tmp_path / "seqmaps" / "train.txt").read_text().splitlines() == ["name", a, b]
    assert [row["file"] for row in image_index(tmp_path).to_pylist()] == [
        f"train/{name}/img1/{number:06d}.jpg" for name in (a, b) for number in range(1, 101)
    ]
    info = configparser.ConfigParser()
    info.read(tmp_path / "train" / a / "seqinfo.ini")
    assert {name: info["Sequence"][name] for name in ("frameRate", "seqLength", "imWidth", "imHeight", "imExt")} == {
        "frameRate": "25",
        "seqLength": "100",
        "imWidth": "200",
        "imHeight": "100",
        "imExt": ".jpg",
    }


def test_a_video_of_unknown_length_has_the_frames_with_boxes(tmp_path: Path) -> None:
    unknown = {"media_type": "video", "frame_rate": 25.0, "frame_count": None}
    labels = [box("car", 0, 0, 1, 1, frame=frame, track_id="x") for frame in (3, 7)]
    write(tmp_path, [item("a", labels, **unknown)], "mot")
    assert [row["frame"] for row in image_index(tmp_path).to_pylist()] == [3, 7]
    assert "seqLength" not in next(tmp_path.glob("train/*/seqinfo.ini")).read_text()


def test_all_frames_of_a_video_are_in_one_split(tmp_path: Path) -> None:
    clips = [
        clip(f"{key}", *(box("car", 0, 0, 1, 1, frame=frame, track_id="x") for frame in range(5))) for key in range(8)
    ]
    write(tmp_path, clips, "mot", splits={"train": 0.5, "val": 0.5})
    rows = image_index(tmp_path).to_pylist()
    assert len({(row["item_key"], row["split"]) for row in rows}) == 8
    assert {row["split"] for row in rows} == {"train", "val"}


def test_images_and_labels_without_tracks_are_named(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="Item 'a' is an image"):
        write(tmp_path, [item("a", [])], "mot")
    with pytest.raises(AnnotationError, match="Frame 3 of item 'v' has a label without a track"):
        write(tmp_path, [clip("v", box("car", 0, 0, 1, 1, frame=3))], "mot")


def test_frames_with_a_key_frame_are_chosen_with_all_their_objects(tmp_path: Path) -> None:
    labels = [
        box("car", 0, 0, 1, 1, frame=frame, track_id=track, is_keyframe=keyframe)
        for frame, track, keyframe in [(0, "x", True), (0, "y", False), (1, "x", False), (2, "y", True)]
    ]
    write(tmp_path, [clip("a", *labels)], "mot", video_frames="keyframes")
    (video,) = (tmp_path / "train").iterdir()
    rows = [line.split(",")[:2] for line in (video / "gt" / "gt.txt").read_text().splitlines()]
    assert rows == [["1", "1"], ["1", "2"], ["3", "2"]]
