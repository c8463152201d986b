from __future__ import annotations

import configparser
import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.datasets.versions import read_manifest
from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.labels.video_frames import labels_to_frames
from airflow_annotation.media.frames import read_frames
from airflow_annotation.media.video import VideoReader
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from airflow_annotation.transfers.landed_annotations_to_object_storage import LandedAnnotationsToObjectStorageOperator
from tests.support.datasets import box, image_index, item
from tests.support.task_context import task_context
from tests.support.videos import make_video, shown_number
from tests.transfers.conftest import Land

SIGNED: list[str] = []


def signed(uri: str) -> tuple[str, dict[str, str]]:
    SIGNED.append(uri)
    return uri.replace("https://private.example/", "file:///"), {}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "clip.mp4"
    path.write_bytes(make_video(60))
    return path


def video(media: Path | str, *frames: int, key: str = "clip", **more: Any) -> LabelTables:
    """Return a video with a box on some frames."""
    labels = [box("car", 0.1, 0.2, 0.3, 0.4, frame=frame, track_id="x", tool_frame=frame + 1) for frame in frames]
    facts = {"media_type": "video", "width": 64, "height": 48, "frame_rate": 30.0, "frame_count": 60}
    return item(key, labels, media_uri=str(media), **facts, **more)


def land_frames(land: Land, target: Path | str, *batches: LabelTables, **kwargs: Any) -> dict[str, Any]:
    kwargs = {"include_media": "frames", "media_roots": ["/"], "full_refresh": True, **kwargs}
    return land(AnnotationsToObjectStorageOperator(task_id="land", target=str(target), **kwargs), list(batches))


@contextmanager
def nothing_decoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setattr(VideoReader, "read_frames", None)
        yield


def joined(target: Path | str, media: str) -> pa.Table:
    return labels_to_frames(read_dataset(str(target))["labels"], read_frames(media))


def test_labeled_frames_land_with_their_labels(land: Land, tmp_path: Path, clip: Path) -> None:
    photo = item("photo", [box("car", 0, 0, 1, 1)])
    landed = land_frames(land, tmp_path, photo, video(clip, 3, 17), video(clip, 40, key="again"), video(clip, key="no"))
    assert landed["media"] == {
        "target": f"file://{tmp_path}/media",
        "videos": 2,
        "frames": 3,
        "written": 3,
        "videos_not_read": 0,
    }
    frames = read_frames(landed["media"]["target"])
    on_frames = joined(tmp_path, landed["media"]["target"])
    assert sorted(on_frames["item_key"].to_pylist()) == ["again#frame=40", "clip#frame=17", "clip#frame=3"]
    assert frames.num_rows == 3
    for row in frames.to_pylist():
        with Image.open(row["file"].removeprefix("file://")) as image:
            assert shown_number(image) == row["frame"]
            assert image.size == (64, 48)


def test_frames_are_decoded_once_however_often_labels_land(
    land: Land, tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = land_frames(land, tmp_path, video(clip, 3, 17))
    with nothing_decoded(monkeypatch):
        again = land_frames(land, tmp_path, video(clip, 3))
    assert again["media"] == {**first["media"], "written": 0}
    more = land_frames(land, tmp_path, video(clip, 3, 50))
    assert (more["media"]["frames"], more["media"]["written"]) == (3, 1)
    assert joined(tmp_path, first["media"]["target"])["frame"].to_pylist() == [3, 50]


@pytest.mark.parametrize(
    ("dataset_format", "options"),
    [
        ("coco", {}),
        ("yolo", {"splits": {"train": 0.5, "val": 0.5}}),
        ("pascal_voc", {}),
        ("semantic_masks", {}),
        ("mot", {}),
        ("image_folder", {}),
    ],
)
def test_a_dataset_to_train_with_has_its_frames_where_it_says(
    land: Land, tmp_path: Path, clip: Path, dataset_format: str, options: dict[str, Any]
) -> None:
    batches = [video(clip, 3, 17), *(video(clip, 40, key=f"clip {n}") for n in range(6))]
    landed = land_frames(
        land, tmp_path, *batches, dataset_format=dataset_format, dataset_options=options, image_format="png"
    )
    folder = Path(landed["path"].removeprefix("file://"))
    rows = image_index(folder).to_pylist()
    assert len(rows) == (7 * 60 if dataset_format == "mot" else 8)
    for row in rows:
        assert row["file"].endswith(".png")
        with Image.open(folder / row["file"]) as image:
            assert shown_number(image) == row["frame"]


def test_the_shards_of_webdataset_hold_the_frames(land: Land, tmp_path: Path, clip: Path) -> None:
    batches = [video(clip, 3, 17), *(video(clip, 40, key=f"clip {n}") for n in range(2))]
    landed = land_frames(land, tmp_path, *batches, dataset_format="webdataset", image_format="png")
    folder = Path(landed["path"].removeprefix("file://"))
    rows = image_index(folder).to_pylist()
    assert sorted(row["frame"] for row in rows) == [3, 17, 40, 40]
    with tarfile.open(folder / "train-000000.tar") as tar:
        for row in rows:
            assert row["file"].endswith(".png")
            with Image.open(io.BytesIO(tar.extractfile(row["file"]).read())) as image:  # type: ignore[union-attr]
                assert shown_number(image) == row["frame"]


def test_a_sequence_of_mot_has_all_frames_of_its_length(land: Land, tmp_path: Path, clip: Path) -> None:
    landed = land_frames(land, tmp_path, video(clip, 3, 17), dataset_format="mot")
    (sequence,) = (Path(landed["path"].removeprefix("file://")) / "train").iterdir()
    info = configparser.ConfigParser()
    info.read(sequence / "seqinfo.ini")
    images = sorted((sequence / info["Sequence"]["imDir"]).iterdir())
    assert len(images) == int(info["Sequence"]["seqLength"]) == 60
    assert [shown_number(Image.open(image)) for image in images] == list(range(60))
    assert [line.split(",")[0] for line in (sequence / "gt" / "gt.txt").read_text().splitlines()] == ["4", "18"]


def test_supervision_trains_from_what_has_landed_of_a_video(land: Land, tmp_path: Path, clip: Path) -> None:
    supervision = pytest.importorskip("supervision")
    landed = land_frames(land, tmp_path, video(clip, 3, 17), dataset_format="yolo")
    folder = landed["path"].removeprefix("file://")
    read = supervision.DetectionDataset.from_yolo(
        f"{folder}/images/train", f"{folder}/labels/train", f"{folder}/data.yaml"
    )
    found = [(shown_number(Image.fromarray(image)), detections.xyxy.tolist()) for _, image, detections in read]
    assert sorted(number for number, _ in found) == [3, 17]
    assert all(boxes == [pytest.approx([6.4, 9.6, 25.6, 28.8], abs=1e-3)] for _, boxes in found)


def test_a_landing_converts_to_a_dataset_with_frames(land: Land, tmp_path: Path, clip: Path) -> None:
    landed = land_frames(land, tmp_path / "a", video(clip, 3, 17), include_media=None, frames="all")
    assert "media" not in landed
    assert not (tmp_path / "a" / "media").exists()
    operator = LandedAnnotationsToObjectStorageOperator(
        task_id="convert",
        source=landed,
        target=str(tmp_path / "b"),
        dataset_format="yolo",
        include_media="frames",
        media_roots=["/"],
        media_url_signer="tests.transfers.test_media.signed",
    )
    context: Any = task_context()
    converted = operator.execute(context)
    assert converted["media"]["written"] == 2
    folder = Path(converted["path"].removeprefix("file://"))
    assert all((folder / row["file"]).exists() for row in image_index(folder).to_pylist())


def test_rows_in_a_database_have_their_frames_in_a_folder(land: Land, tmp_path: Path, clip: Path) -> None:
    arguments: dict[str, Any] = {"task_id": "land", "include_media": "frames", "media_roots": ["/"]}
    with pytest.raises(AnnotationError, match="include_media needs media_target"):
        land(AnnotationsToSqlOperator(**arguments), [video(clip, 3)])


def test_frames_go_to_any_object_storage_with_the_dataset(land: Land, clip: Path) -> None:
    filesystem = MemoryFileSystem()
    attach("memory", fs=filesystem)
    try:
        landed = land_frames(land, "memory://frames/yolo", video(clip, 3, 17), dataset_format="yolo")
        assert landed["media"]["target"] == str(ObjectStoragePath("memory://frames/yolo") / "media")
        assert read_frames(landed["media"]["target"]).num_rows == 2
        images = filesystem.glob(f"{landed['path'].removeprefix('memory:/')}/images/train/*.jpg")
        assert len(images) == 2
    finally:
        filesystem.rm("/frames", recursive=True)


def test_private_videos_are_read_by_signed_urls(land: Land, tmp_path: Path, clip: Path) -> None:
    uri = f"https://private.example{clip}"
    land_frames(land, tmp_path, video(uri, 3), media_url_signer="tests.transfers.test_media.signed")
    assert SIGNED[-1] == uri


@pytest.mark.parametrize(
    ("media", "frames", "message"),
    [
        ("none.mp4", [3], "none.mp4 does not exist"),
        (None, [3], "It is not known where"),
        ("clip", [3, 90], "from frame 90 on: the video ends"),
    ],
)
def test_media_that_cannot_be_read_fail_the_landing_or_are_left_out(  # noqa: PLR0917 - pytest passes them by name
    land: Land, tmp_path: Path, clip: Path, media: str | None, frames: list[int], message: str
) -> None:
    there = {"none.mp4": str(tmp_path / "none.mp4"), "clip": str(clip)}.get(media or "")
    batch = video(clip, *frames)
    items = batch.items.set_column(
        batch.items.schema.get_field_index("media_uri"),
        batch.items.schema.field("media_uri"),
        pa.array([there], pa.string()),
    )
    batch = batch._replace(items=items)
    with pytest.raises(MediaError, match=message):
        land_frames(land, tmp_path, batch)
    with pytest.raises(AnnotationError, match="There is no dataset"):
        read_manifest(str(tmp_path))
    landed = land_frames(land, tmp_path, batch, on_media_error="keep")
    assert landed["media"]["videos_not_read"] == (media != "clip")
    assert landed["media"]["frames"] == (media == "clip")
    assert read_dataset(str(tmp_path))["labels"].num_rows == len(frames)


def test_labels_whose_frames_nobody_knows_are_named(land: Land, tmp_path: Path, clip: Path) -> None:
    batch = item("clip", [box("car", 0, 0, 1, 1, tool_frame=3)], media_type="video", media_uri=str(clip))
    with pytest.raises(AnnotationError, match="'clip' have frame numbers of the labeling tool only"):
        land_frames(land, tmp_path, batch)


def test_a_killed_landing_stops_at_the_next_frame(land: Land, tmp_path: Path, clip: Path) -> None:
    operator = AnnotationsToObjectStorageOperator(
        task_id="land", target=str(tmp_path), include_media="frames", media_roots=["/"]
    )

    def batches() -> Iterator[LabelTables]:
        yield video(clip, 3)
        assert operator.dataset_media is not None
        operator.dataset_media.stopped.set()
        yield video(clip, 17, key="later")

    with pytest.raises(AnnotationError, match="was stopped"):
        land(operator, batches())
    assert read_frames(str(tmp_path / "media"))["item_key"].to_pylist() == ["clip#frame=3"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"include_media": "all"}, "include_media is one of 'files', 'frames'"),
        ({"image_format": "gif"}, "image_format is one of"),
        ({"on_media_error": "ignore"}, "on_media_error is one of"),
    ],
)
def test_arguments_that_cannot_be_meant_fail_when_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AnnotationsToObjectStorageOperator(task_id="land", target="/data", **arguments)


def test_frames_have_one_suffix(land: Land, tmp_path: Path, clip: Path) -> None:
    with pytest.raises(AnnotationError, match=r"frame_suffix is '\.png', and frames in jpeg end in \.jpg"):
        land_frames(land, tmp_path, video(clip, 3), dataset_format="coco", dataset_options={"frame_suffix": ".png"})
