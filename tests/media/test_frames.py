from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Literal

import av
import numpy as np
import pytest
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.labels.video_frames import FRAMES
from airflow_annotation.media.encoding import ImageFormat
from airflow_annotation.media.frame_folder import FrameSettings, read_frames_table
from airflow_annotation.media.frames import FramesReport, OnError, add_frames, extract_frames, read_frames
from airflow_annotation.media.items import MediaItem
from airflow_annotation.media.listing import list_media
from airflow_annotation.media.probe import probe_media
from airflow_annotation.media.selections import EveryNth, FrameSelection, KeyFrames, Listed
from tests.support.videos import make_video, picture, shown_number, with_matrix
from tests.transfers.doomed import DoomedProcess

VIDEO = make_video()


def extract(
    target: Path | str,
    selection: FrameSelection,
    *,
    video: bytes = VIDEO,
    video_key: str = "cams/street.mp4",
    asked: str = "",
    image_format: ImageFormat = "jpeg",
    quality: int = 95,
    on_error: OnError = "fail",
    stopped: threading.Event | None = None,
) -> FramesReport:
    return extract_frames(
        MediaItem(media="/videos/street.mp4", item_key=video_key, media_type="video"),
        lambda: io.BytesIO(video),
        selection,
        str(target),
        settings=FrameSettings(
            selection={"asked": asked or repr(vars(selection))}, image_format=image_format, quality=quality
        ),
        on_error=on_error,
        stopped=stopped,
    )


def add(target: Path | str, *frames: int, video: bytes = VIDEO, on_error: OnError = "fail") -> FramesReport:
    return add_frames(
        MediaItem(media="/videos/street.mp4", item_key="cams/street.mp4", media_type="video"),
        lambda: io.BytesIO(video),
        Listed(frames),
        str(target),
        on_error=on_error,
    )


def unread() -> BinaryIO:
    raise AssertionError("the video was opened")


def images(report: FramesReport) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(report.folder).iterdir() if path.suffix != ".parquet"}


@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp"])
def test_each_image_shows_the_frame_that_the_table_says(tmp_path: Path, image_format: ImageFormat) -> None:
    report = extract(tmp_path, EveryNth(7), image_format=image_format)
    table = read_frames_table(report.table)
    assert table.schema.equals(FRAMES)
    rows = table.to_pylist()
    assert [row["frame"] for row in rows] == list(range(0, 60, 7))
    for row in rows:
        assert row["video_key"] == "cams/street.mp4"
        assert row["item_key"] == f"cams/street.mp4#frame={row['frame']}"
        assert row["pts"] == row["frame"] * 512
        assert row["time"] == pytest.approx(row["frame"] / 30)
        assert row["is_keyframe"] == (row["frame"] % 12 == 0)
        with Image.open(row["file"]) as image:
            assert image.format == image_format.upper()
            assert image.size == (row["width"], row["height"]) == (64, 48)
            assert shown_number(image) == row["frame"]
    assert (report.frames, report.written, report.skipped, report.stopped_at) == (9, 9, 0, None)
    assert len(images(report)) == 9


def test_the_table_is_media_that_can_be_uploaded(tmp_path: Path) -> None:
    table = read_frames_table(extract(tmp_path, EveryNth(30)).table)
    first, second = list_media(table, media_field="file")
    assert (first.item_key, second.item_key) == ("cams/street.mp4#frame=0", "cams/street.mp4#frame=30")
    assert (second.media_type, second.width, second.height) == ("image", 64, 48)
    assert second.data["video_key"] == "cams/street.mp4"
    assert second.data["frame"] == 30


def test_png_has_the_pixels_that_pyav_decodes(tmp_path: Path) -> None:
    video = make_video(3, codec="libx264rgb", pix_fmt="rgb24", codec_options={"qp": "0"}, size=(63, 47))
    rows = read_frames_table(extract(tmp_path, EveryNth(1), video=video, image_format="png").table).to_pylist()
    for row in rows:
        with Image.open(row["file"]) as image:
            assert np.array_equal(np.asarray(image), picture(row["frame"], (63, 47)))


@pytest.mark.parametrize("full_range", [False, True])
def test_black_and_white_are_as_they_were_filmed(tmp_path: Path, full_range: bool) -> None:
    video = make_video(2, full_range=full_range, codec_options={"qp": "1"})
    with av.open(io.BytesIO(video)) as container:
        assert next(container.decode(video=0)).color_range == (2 if full_range else 0)
    report = extract(tmp_path, Listed([1]), video=video, image_format="png")
    with Image.open(Path(report.folder) / "00000001.png") as image:
        levels = np.asarray(image.convert("L"))[24]
    assert abs(int(levels[4]) - 230) < 4
    assert abs(int(levels[40]) - 25) < 4


MATRICES: dict[tuple[int, int, int, int], Callable[[Any], Any]] = {
    (1, 0, 0, 1): lambda pixels: pixels,
    (0, 1, -1, 0): lambda pixels: np.rot90(pixels, -1),
    (-1, 0, 0, -1): lambda pixels: np.rot90(pixels, 2),
    (0, -1, 1, 0): np.rot90,
    (-1, 0, 0, 1): np.fliplr,
    (1, 0, 0, -1): np.flipud,
    (0, 1, 1, 0): lambda pixels: np.swapaxes(pixels, 0, 1),
    (0, -1, -1, 0): lambda pixels: np.swapaxes(np.rot90(pixels, 2), 0, 1),
}
"""ISO 14496-12: a point moves to (a x + c y, b x + d y), y downwards."""


@pytest.mark.parametrize("image_format", ["png", "webp"])
@pytest.mark.parametrize("matrix", MATRICES)
def test_images_are_turned_as_the_video_is_shown(
    tmp_path: Path, matrix: tuple[int, int, int, int], image_format: Literal["png", "webp"]
) -> None:
    video = make_video(6, size=(64, 32))
    stored = Image.open(
        io.BytesIO(images(extract(tmp_path / "stored", Listed([5]), video=video, image_format="png")).popitem()[1])
    )
    turned = with_matrix(video, *matrix)
    report = extract(tmp_path / "turned", Listed([5]), video=turned, image_format=image_format, quality=100)
    row = read_frames_table(report.table).to_pylist()[0]
    expected = MATRICES[matrix](np.asarray(stored)).astype(int)
    with Image.open(row["file"]) as image:
        assert image.size == (row["width"], row["height"])
        assert np.abs(np.asarray(image).astype(int) - expected).max() <= (0 if image_format == "png" else 40)
    probe = probe_media(io.BytesIO(turned), "a.mp4", "video")
    assert (probe.width, probe.height) == (row["width"], row["height"])


def test_a_second_run_writes_nothing_and_does_not_decode(tmp_path: Path) -> None:
    first = extract(tmp_path, KeyFrames(), asked="key frames")
    before = {path: path.stat().st_mtime_ns for path in Path(first.folder).iterdir()}

    class Unread(EveryNth):
        def takes(self, *_: object) -> bool:
            raise AssertionError("the video was decoded")

    second = extract(tmp_path, Unread(1), asked="key frames")
    assert (second.frames, second.written, second.skipped) == (5, 0, 5)
    assert {path: path.stat().st_mtime_ns for path in Path(first.folder).iterdir()} == before


def test_a_retry_writes_only_the_images_that_are_missing(tmp_path: Path) -> None:
    report = extract(tmp_path, EveryNth(6))
    whole = images(report)
    kept = Path(report.folder) / "00000006.jpg"
    time = kept.stat().st_mtime_ns
    (Path(report.folder) / "00000012.jpg").unlink()
    (Path(report.folder) / "00000018.jpg").write_bytes(b"")
    for name in ("frames.parquet", None):
        if name:
            (Path(report.folder) / name).unlink()
        again = extract(tmp_path, EveryNth(6))
        assert (again.frames, again.written, again.skipped) == ((10, 2, 8) if name else (10, 0, 10))
    assert images(again) == whole
    assert kept.stat().st_mtime_ns == time


def test_another_selection_adds_to_the_images_that_are_there(tmp_path: Path) -> None:
    extract(tmp_path, EveryNth(20))
    report = extract(tmp_path, EveryNth(10))
    assert (report.frames, report.written, report.skipped) == (6, 3, 3)


@pytest.mark.parametrize("changed", [{"quality": 40}, {"video": make_video(61)}])
def test_images_of_another_file_or_of_other_settings_are_written_anew(tmp_path: Path, changed: dict[str, Any]) -> None:
    extract(tmp_path, EveryNth(1))
    report = extract(tmp_path, EveryNth(10), **changed)
    assert report.written == report.frames == len(images(report))


def test_an_extraction_that_is_stopped_leaves_whole_images_and_no_table(tmp_path: Path) -> None:
    stopped = threading.Event()

    class StopsAt30(EveryNth):
        def takes(self, index: int, *_: object) -> bool:
            if index == 30:
                stopped.set()
            return True

    with pytest.raises(AnnotationError, match="Running the task again"):
        extract(tmp_path, StopsAt30(1), stopped=stopped)
    (folder,) = tmp_path.iterdir()
    assert not (folder / "frames.parquet").exists()
    for path in folder.iterdir():
        with Image.open(path) as image:
            assert shown_number(image) == int(path.stem)
    report = extract(tmp_path, EveryNth(1))
    assert report.frames == 60
    assert report.skipped >= 20


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_video_that_is_cut_off_fails_or_gives_what_is_there(tmp_path: Path, container: str) -> None:
    options = {"movflags": "faststart"} if container == "mp4" else {}
    video = make_video(120, container=container, container_options=options)[:-1500]
    with pytest.raises(MediaError, match=r"street\.mp4 cannot be decoded from frame \d+ on: .*Choose 'keep' on errors"):
        extract(tmp_path, EveryNth(1), video=video)
    report = extract(tmp_path, EveryNth(1), video=video, on_error="keep")
    assert report.stopped_at == report.frames == len(images(report)) > 10
    assert report.reason
    assert extract(tmp_path, EveryNth(1), video=video, on_error="keep") == report.__class__(
        **{name: getattr(report, name) for name in report.__struct_fields__} | {"written": 0, "skipped": report.frames}
    )
    with pytest.raises(MediaError):
        extract(tmp_path, EveryNth(1), video=video)


def test_a_frame_that_the_video_does_not_have_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="from frame 60 on: the video ends before it"):
        extract(tmp_path, Listed([3, (58, 70)]))
    report = extract(tmp_path, Listed([3, (58, 70)]), on_error="keep")
    assert (report.frames, report.stopped_at) == (3, 60)


def test_no_frames_are_an_empty_table(tmp_path: Path) -> None:
    table = read_frames_table(extract(tmp_path, Listed([])).table)
    assert table.num_rows == 0
    assert table.schema.equals(FRAMES)


def test_frames_go_to_any_object_storage() -> None:
    filesystem = MemoryFileSystem()
    attach("memory", fs=filesystem)
    for written in (3, 0):
        report = extract("memory://frames-bucket/out", EveryNth(20))
        assert (report.frames, report.written) == (3, written)
        for row in read_frames_table(report.table).to_pylist():
            assert row["file"].startswith("memory://frames-bucket/out/street-")
            assert shown_number(Image.open(io.BytesIO(filesystem.cat_file(row["file"])))) == row["frame"]
    filesystem.rm("/frames-bucket", recursive=True)


def test_videos_of_one_name_have_folders_of_their_own(tmp_path: Path) -> None:
    reports = [extract(tmp_path, Listed([0]), video_key=key) for key in ("a/cam 1.mp4", "b/cam 1.mp4", "../..", "#?")]
    assert len({report.folder for report in reports}) == 4
    assert all(Path(report.folder).parent == tmp_path for report in reports)


def test_a_table_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    report = extract(tmp_path, Listed([0]))
    pq.write_table(pa.table({"a": [1]}), report.table)
    with pytest.raises(AnnotationError, match="not a frames table"):
        extract(tmp_path, Listed([0]))


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"none\.parquet does not exist"):
        read_frames_table(f"{tmp_path}/none.parquet")


def test_added_frames_join_those_that_are_there(tmp_path: Path) -> None:
    assert add(tmp_path, 40, 3).written == 2
    first = {path: path.stat().st_mtime_ns for path in Path(add(tmp_path).folder).glob("*.jpg")}
    report = add(tmp_path, 3, 17, 59)
    assert (report.frames, report.written, report.skipped) == (4, 2, 2)
    rows = read_frames_table(report.table).to_pylist()
    assert [row["frame"] for row in rows] == [3, 17, 40, 59]
    for row in rows:
        with Image.open(row["file"]) as image:
            assert shown_number(image) == row["frame"]
    assert {path: path.stat().st_mtime_ns for path in first} == first


def test_a_video_is_not_opened_where_all_its_frames_are_there(tmp_path: Path) -> None:
    add(tmp_path, 3, 17)
    video = MediaItem(media="/videos/street.mp4", item_key="cams/street.mp4", media_type="video")
    report = add_frames(video, unread, Listed([17]), str(tmp_path))
    assert (report.frames, report.written, report.skipped) == (2, 0, 2)


def test_a_lost_image_is_added_again(tmp_path: Path) -> None:
    report = add(tmp_path, 3, 17, 40)
    lost = Path(report.folder) / "00000017.jpg"
    lost.unlink()
    assert add(tmp_path, 3, 17).written == 1
    assert lost.exists()
    assert read_frames_table(report.table)["frame"].to_pylist() == [3, 17, 40]


def test_frames_of_another_file_take_the_place_of_all(tmp_path: Path) -> None:
    add(tmp_path, 3, 17)
    report = add(tmp_path, 40, video=make_video(61))
    assert read_frames_table(report.table)["frame"].to_pylist() == [40]
    assert images(report).keys() == {"00000040.jpg"}


def test_a_cut_off_video_gives_what_is_there_once(tmp_path: Path) -> None:
    video = make_video(120, container_options={"movflags": "faststart"})[:-1500]
    with pytest.raises(MediaError, match="cannot be decoded from frame"):
        add(tmp_path, 3, 119, video=video)
    report = add(tmp_path, 3, 119, video=video, on_error="keep")
    assert (report.frames, report.stopped_at is not None) == (1, True)
    item = MediaItem(media="/videos/street.mp4", item_key="cams/street.mp4", media_type="video")
    again = add_frames(item, unread, Listed([3, 119]), str(tmp_path), on_error="keep")
    assert (again.frames, again.stopped_at) == (1, report.stopped_at)
    assert add(tmp_path, 3, 30, video=video, on_error="keep").frames == 2


def test_the_frames_of_all_videos_are_read_as_one_table(tmp_path: Path) -> None:
    assert read_frames(str(tmp_path)).equals(FRAMES.empty_table())
    for key in ("b.mp4", "a.mp4"):
        extract(tmp_path, Listed([0, 5]), video_key=key)
    (tmp_path / "photo.jpg").write_bytes(b"no video")
    table = read_frames(f"file://{tmp_path}")
    assert table.schema.equals(FRAMES)
    assert sorted(table["item_key"].to_pylist()) == [f"{key}.mp4#frame={n}" for key in "ab" for n in (0, 5)]


def _extract_into(target: str, image_format: ImageFormat) -> None:
    extract(target, EveryNth(20), image_format=image_format)


@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp"])
def test_a_disk_that_takes_only_a_part_leaves_no_part_of_an_image(tmp_path: Path, image_format: ImageFormat) -> None:
    whole = images(extract(tmp_path / "whole", EveryNth(20), image_format=image_format))
    for room in (100, min(map(len, whole.values())) - 1):
        target = tmp_path / f"room for {room}"
        doomed = DoomedProcess(_extract_into, str(target), image_format, counts_steps=False, largest_file=room)
        assert not doomed.wait()
        assert images(extract(target, EveryNth(20), image_format=image_format)) == whole
