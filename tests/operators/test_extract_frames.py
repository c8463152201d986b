from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, ObjectStoragePath
from PIL import Image

from airflow_annotation.datasets.stores import FolderStore
from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.media.frame_folder import read_frames_table
from airflow_annotation.media.video import VideoReader
from airflow_annotation.operators.frames import ExtractFramesOperator
from tests.support.datasets import write_dataset
from tests.support.generated import batch_of, project_uri
from tests.support.task_context import task_context
from tests.support.videos import make_video, shown_number


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("videos") / "street.mp4"
    path.write_bytes(make_video(100, codec_options={"g": "25", "bf": "2", "sc_threshold": "0"}))
    return str(path)


def extract(**arguments: Any) -> dict[str, Any]:
    task = ExtractFramesOperator(task_id="extract", **arguments)
    result: dict[str, Any] = task.execute(task_context())
    return result


def frames_of(result: dict[str, Any]) -> list[int]:
    numbers: list[int] = read_frames_table(result["table"])["frame"].to_pylist()
    return numbers


def label_on(item_key: str, frame: int, frame_end: int | None = None) -> dict[str, Any]:
    return {
        "project": project_uri(),
        "item_id": "1",
        "item_key": item_key,
        "annotation_id": "1",
        "origin": "person",
        "ordinal": frame,
        "label_id": "a",
        "field": "objects",
        "type": "detection",
        "frame": frame,
        "frame_end": frame_end,
        "tool_frame": frame + 1,
    }


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ({"every_n": 30}, [0, 30, 60, 90]),
        ({"every_n": "30"}, [0, 30, 60, 90]),
        ({"fps": 2}, range(0, 100, 15)),
        ({"fps": "30000/10010"}, [0, 11, 21, 31, 41, 51, 61, 71, 81, 91]),
        ({"frames": [99, 3, [10, 12]]}, [3, 10, 11, 12, 99]),
        ({"frames": range(0, 100, 40)}, [0, 40, 80]),
        ({"keyframes_only": True}, [0, 25, 50, 75]),
    ],
    ids=str,
)
def test_each_way_to_choose_gives_its_frames(
    video: str, tmp_path: Path, selection: dict[str, Any], expected: Iterable[int]
) -> None:
    result = extract(video=video, target=str(tmp_path), **selection)
    assert frames_of(result) == list(expected)
    assert result == {
        "video_key": video,
        "folder": result["folder"],
        "table": f"{result['folder']}/frames.parquet",
        "frames": len(list(expected)),
        "written": len(list(expected)),
        "skipped": 0,
    }
    for path in Path(result["folder"]).glob("*.jpg"):
        assert shown_number(Image.open(path)) == int(path.stem)


def test_a_retry_where_all_is_there_does_not_decode(
    video: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = extract(video=video, target=str(tmp_path), frames=[3, [10, 12]])
    monkeypatch.setattr(VideoReader, "read_frames", None)
    assert extract(video=video, target=str(tmp_path), frames=[[10, 12], 3]) == {**first, "written": 0, "skipped": 4}


def test_labeled_frames_are_those_of_the_landed_dataset(video: str, tmp_path: Path) -> None:
    dataset = ObjectStoragePath(f"file://{tmp_path}/labels")
    write_dataset(
        FolderStore(dataset),
        [batch_of(labels=[label_on("the street", 4), label_on("the street", 20, 22), label_on("another video", 50)])],
        label_schema=LabelSchema.from_dict({"objects": {"type": "detections", "classes": ["car"]}}),
    )
    item = {"media": video, "item_key": "the street"}
    result = extract(video=item, target=f"file://{tmp_path}/frames", labeled_only=str(dataset))
    assert frames_of(result) == [4, 20, 21, 22]
    assert result["video_key"] == "the street"
    none = extract(video={**item, "item_key": "x"}, target=f"file://{tmp_path}/frames", labeled_only=str(dataset))
    assert none["frames"] == 0


def test_one_task_a_video_and_templates_say_what(video: str, tmp_path: Path) -> None:
    with DAG("videos", params={"folder": str(tmp_path), "every": 50}) as dag:
        ExtractFramesOperator.partial(
            task_id="extract", target="{{ params.folder }}/frames", every_n="{{ params.every }}"
        ).expand(video=[video, {"media": video, "item_key": "again"}])
        ExtractFramesOperator(task_id="one", video=video, target="{{ params.folder }}", every_n="{{ params.every }}")
    task: Any = dag.get_task("one")
    task.render_template_fields({"params": {"folder": str(tmp_path), "every": 50}})
    assert frames_of(task.execute(task_context())) == [0, 50]
    assert dag.get_task("extract").is_mapped


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Which frames"),
        ({"every_n": 2, "fps": 1}, "every_n and fps"),
        ({"every_n": "many"}, "whole number"),
        ({"every_n": 1, "image_format": "gif"}, "image_format"),
        ({"every_n": 1, "quality": 0}, "quality"),
        ({"every_n": 1, "on_error": "ignore"}, "on_error"),
        ({"every_n": 1, "target": "frames"}, "neither a URI"),
        ({"frames": "[1, 2]"}, "render_template_as_native_obj"),
    ],
)
def test_arguments_that_cannot_be_meant_are_an_error_when_the_dag_is_parsed(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises((AnnotationError, ValueError), match=message):
        ExtractFramesOperator(task_id="extract", **{"video": "a.mp4", "target": "/frames", **arguments})


def test_a_folder_is_not_one_video(video: str, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(Path(video).read_bytes())
    with pytest.raises(AnnotationError, match=r"\.expand\(video="):
        extract(video=[video, str(tmp_path / "a.mp4")], target=str(tmp_path), every_n=1)


def test_what_is_wrong_with_a_video_is_said_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    for name, message in {"none.mp4": "does not exist", "text.mp4": "is not a video"}.items():
        with pytest.raises(MediaError, match=f"{name} {message}"):
            extract(video=str(tmp_path / name), target=str(tmp_path), every_n=1)


def test_a_cut_off_video_says_where_it_stopped(video: str, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(make_video(100, container_options={"movflags": "faststart"})[:-1500])
    result = extract(video=str(cut), target=str(tmp_path), every_n=1, on_error="keep")
    assert result["stopped_at"] == result["frames"] < 100
    assert "damaged or missing" in result["reason"]
