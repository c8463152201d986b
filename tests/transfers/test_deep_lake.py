"""Landings in Deep Lake datasets, read back with Deep Lake itself."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.labels.masks import mask_to_rle
from airflow_annotation.transfers.annotations_to_deep_lake import AnnotationsToDeepLakeOperator
from tests.support.datasets import box, item, mask, point, polygon
from tests.support.lakes import (
    LakeHook,
    clip,
    land,
    messages,
    nothing_read,
    opened,
    photo,
    photos,
    pixels,
    rows_by_key,
    tracked,
    video,
)
from tests.support.task_context import task_context
from tests.support.videos import shown_number

__all__ = ["clip", "photos"]

if sys.version_info >= (3, 14):
    pytest.skip("Deep Lake is not made for this Python yet", allow_module_level=True)
deeplake = pytest.importorskip("deeplake")
GCSHook = pytest.importorskip("airflow.providers.google.cloud.hooks.gcs").GCSHook


def test_a_row_has_the_image_and_what_is_said_of_it(tmp_path: Path, photos: Path) -> None:
    shape = np.zeros((100, 200), np.bool_)
    shape[10:20, 30:60] = True
    labels = [
        box("car", 0.1, 0.2, 0.25, 0.5, attributes='{"occluded": "no", "age": 3, "parts": ["door"]}'),
        box("person", 0.5, 0.5, 0.1, 0.1, rotation=30.0),
        polygon("tree", (0.1, 0.1), (0.2, 0.1), (0.2, 0.4)),
        polygon("car", (0.1, 0.1), (0.2, 0.1), (0.2, 0.4), (0.1, 0.4)),
        point("knee", 0.5, 0.25),
        mask("car", mask_to_rle(shape)),
        mask("car", mask_to_rle(~shape)),
        {"type": "classification", "label": "rain"},
        {"type": "scalar", "number": 0.125},
        {"type": "text", "text": "wet"},
        {"type": "relation", "from_label_id": "r0", "to_label_id": "r1"},
    ]
    landed = land(tmp_path / "lake", photo(photos, "a", *labels), photo(photos, "b"))
    assert (landed["rows"], landed["media"]) == (
        {"images": 2},
        {"pictures": 2, "written": 2, "pictures_not_read": 0},
    )
    ds = opened(tmp_path / "lake")
    row, empty = ds[0], ds[1]
    assert np.array_equal(row["image"], pixels(0))
    assert np.array_equal(empty["image"], pixels(1))
    assert row["objects"].tolist() == [[20, 20, 50, 50], [100, 50, 20, 10]]
    assert ds["objects_labels"].metadata["class_names"] == ["person", "car"]
    assert row["objects_labels"].tolist() == [1, 0]
    assert row["objects_rotation"].tolist() == [0, 30]
    assert row["objects/occluded"].tolist() == [1, -1]
    assert ds["objects/occluded"].metadata["class_names"] == ["yes", "no"]
    assert np.array_equal(row["objects/age"], [3, np.nan], equal_nan=True)
    assert row["objects/parts"] == '[["door"], null]'
    assert row["outlines"][0].tolist() == [[20, 10], [40, 10], [40, 40]]
    assert row["outlines_labels"].tolist() == [1, 0]
    assert row["joints"].tolist() == [[100, 25]]
    assert np.array_equal(row["masks"], np.stack([shape, ~shape], axis=-1))
    assert row["masks_labels"].tolist() == [0, 0]
    assert (row["weather"].tolist(), row["quality"], row["transcript"]) == ([1], 0.125, "wet")
    assert '"to_label_id": "r1"' in row["relations"]
    assert [empty[name] for name in ("objects", "outlines", "masks", "joints", "weather", "quality")] == [None] * 6
    assert not empty["transcript"]
    assert not empty["relations"]
    assert [row[f"lb_meta/{name}"] for name in ("image_name", "id", "width", "height", "project_name", "status")] == [
        *("a", "id-a", 200, 100, "Cars", "labeled"),
    ]


def test_jpeg_files_are_stored_as_they_are_and_others_become_rgb(tmp_path: Path, photos: Path) -> None:
    Image.fromarray(pixels(7)).save(photos / "a.jpg", quality=80)
    Image.fromarray(pixels(7)).convert("P").save(photos / "b.png")
    expected = [np.asarray(Image.open(photos / name).convert("RGB")) for name in ("a.jpg", "b.png")]
    batches = [item("a", media_uri=f"{photos}/a.jpg"), photo(photos, "b")]
    land(tmp_path / "jpeg", *batches, image_format="jpeg")
    land(tmp_path / "png", *batches)
    stored = b"".join(path.read_bytes() for path in (tmp_path / "jpeg").rglob("*") if path.is_file())
    assert (photos / "a.jpg").read_bytes() in stored
    for target in ("jpeg", "png"):
        row = opened(tmp_path / target)[0]
        assert np.abs(row["image"].astype(int) - expected[0]).max() <= 2  # libjpeg's decoders differ by as much
    assert np.array_equal(opened(tmp_path / "png")[1]["image"], expected[1])


def test_images_have_the_pixels_that_people_saw(tmp_path: Path, photos: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels(3)).save(photos / "a.png", exif=exif)
    batch = photo(photos, "a", box("car", 0, 0, 0.5, 0.5), width=100, height=200)
    land(tmp_path / "lake", batch)
    row = opened(tmp_path / "lake")[0]
    assert np.array_equal(row["image"], np.rot90(pixels(3), -1))
    assert row["objects"].tolist() == [[0, 0, 50, 100]]


def test_a_refresh_writes_what_has_changed_and_reads_new_media_only(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "lake"
    car = box("car", 0, 0, 1, 1)
    first = land(target, photo(photos, "a", car), photo(photos, "b", car))
    root = deeplake.open(str(target))
    root.add_column("embedding", deeplake.types.Nullable("float32"))
    root["embedding"][0], root["embedding"][1] = 0.5, 0.75
    root.commit("embeddings")
    with nothing_read(monkeypatch):
        same = land(target, photo(photos, "a", car), photo(photos, "b", car))
        edited = land(target, photo(photos, "a", car), photo(photos, "b", box("lorry", 0, 0, 0.5, 1), changed=1))
    assert (first["full"], same["full"], edited["full"]) == (True, False, False)
    assert (same["changed_items"], edited["changed_items"]) == (0, 1)
    assert (same["media"]["written"], edited["media"]) == (0, {"pictures": 1, "written": 0, "pictures_not_read": 0})
    assert len(messages(target)) == 4  # that of the making, two landings, and that of the embeddings
    ds = opened(target)
    assert ds["lb_meta/item_key"][:] == ["a", "b"]
    assert ds["embedding"][:].tolist() == [0.5, 0.75]
    assert [ds[row]["objects"].tolist() for row in (0, 1)] == [[[0, 0, 200, 100]], [[0, 0, 100, 100]]]
    assert ds["objects_labels"].metadata["class_names"] == ["person", "car", "lorry"]
    assert ds[1]["objects_labels"].tolist() == [2]

    more = land(target, photo(photos, "c", car), photo(photos, "b", box("lorry", 0, 0, 0.5, 1), changed=1))
    assert (more["changed_items"], more["removed_items"], more["media"]["written"]) == (1, 1, 1)
    ds = opened(target)
    assert ds["lb_meta/item_key"][:] == ["b", "c"]
    assert ds["embedding"][0] == 0.75
    assert ds["image_idx"][:].tolist() == [1, 2]
    assert np.array_equal(ds[1]["image"], pixels(2))


def test_a_full_refresh_reads_no_media_again_unless_they_are_stored_otherwise(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "lake"
    batches = [photo(photos, "a", box("car", 0, 0, 1, 1)), photo(photos, "b", {"type": "text", "text": "x"})]
    land(target, *batches)
    with nothing_read(monkeypatch):
        renamed = land(target, *batches, field_mapping={"objects": "boxes", "type:polygon": "shapes"})
    assert (renamed["full"], renamed["media"]["written"]) == (True, 0)
    names = {column.name for column in opened(target).schema.columns}
    assert {"boxes", "boxes_labels", "boxes/age", "shapes"} < names
    assert not {"objects", "objects_labels", "objects/age", "outlines"} & names
    assert opened(target)[0]["boxes"].tolist() == [[0, 0, 200, 100]]
    assert land(target, *batches, image_format="jpeg")["media"]["written"] == 2
    assert len(opened(target)) == 2


def test_media_that_are_others_are_read_again(tmp_path: Path, photos: Path) -> None:
    target = tmp_path / "lake"
    land(target, photo(photos, "a"), photo(photos, "b"))
    moved = photo(photos, "b", media_uri=f"{photos}/c.png", changed=1)
    assert land(target, photo(photos, "a"), moved)["media"]["written"] == 1
    rows = rows_by_key(target)
    assert len(rows["b"]) == 1
    assert np.array_equal(rows["b"][0]["image"], pixels(2))
    assert rows["b"][0]["image_idx"] == 1


def test_videos_have_a_row_for_each_frame_in_which_somebody_set_something(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "lake"
    labels = [tracked(frame, frame / 40, is_keyframe=frame in (2, 6)) for frame in range(2, 9)]
    sun = {"type": "classification", "label": "sun", "frame": 4, "frame_end": 5}
    whole = {"type": "scalar", "number": 7.0}
    landed = land(target, video(clip, [*labels, sun, whole]), photo(clip.parent, "x", media_uri=None))
    assert landed["rows"] == {"images": 4}
    rows = {int(row["frame_idx"]): row for row in rows_by_key(target)["clip"]}
    assert list(rows) == [2, 4, 6]
    for frame, row in rows.items():
        assert shown_number(Image.fromarray(row["frames"])) == frame
        assert np.allclose(row["objects"], [[frame / 40 * 64, 12, 32, 24]], atol=1e-4)
        assert row["quality"] == 7
        assert row["lb_meta/frame_number"] == frame + 1
        assert row["lb_meta/current_frame_name"] == f"clip_{frame + 1:06d}"
    assert [None if row["weather"] is None else row["weather"].tolist() for row in rows.values()] == [None, [0], None]
    with nothing_read(monkeypatch):  # a key frame less
        land(target, video(clip, labels[:4], changed=1), photo(clip.parent, "x", media_uri=None))
    assert [row["frame_idx"] for row in rows_by_key(target)["clip"]] == [2]
    more = land(target, video(clip, labels, changed=2), photo(clip.parent, "x", media_uri=None))
    assert more["media"]["written"] == 1
    land(target, video(clip, [], changed=3), photo(clip.parent, "x", media_uri=None))
    (row,) = rows_by_key(target)["clip"]
    assert (row["frames"], row["frame_idx"], row["video_idx"]) == (None, None, 0)


def test_videos_have_a_row_for_each_frame_on_request(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "lake"
    labels = [tracked(frame, frame / 40, is_keyframe=frame == 2) for frame in range(2, 9)]
    landed = land(target, video(clip, labels), frames="all")
    assert (landed["rows"], landed["media"]["written"]) == ({"images": 20}, 20)
    with nothing_read(monkeypatch):
        land(target, video(clip, labels[2:], changed=1), frames="all")
    ds = opened(target)
    assert ds["frame_idx"][:].tolist() == list(range(20))
    assert [shown_number(Image.fromarray(picture)) for picture in ds["frames"][:]] == list(range(20))
    assert [row["frame_idx"] for row in ds if row["objects"] is not None] == list(range(4, 9))
    with pytest.raises(MediaError, match="has no frame 25"):
        land(tmp_path / "other", video(clip, [tracked(25, 0.5, is_keyframe=True)]), frames="all")
    with pytest.raises(MediaError, match="frame 25"):
        land(tmp_path / "other", video(clip, [tracked(25, 0.5, is_keyframe=True)]))


def test_media_that_cannot_be_read_fail_or_leave_a_row_without_them(tmp_path: Path, photos: Path) -> None:
    (photos / "b.png").write_bytes((photos / "b.png").read_bytes()[:1000])
    target = tmp_path / "lake"
    batches = [photo(photos, "a"), photo(photos, "b", box("car", 0, 0, 1, 1))]
    with pytest.raises(MediaError, match="item 'b'"):
        land(target, *batches)
    assert len(opened(target)) == 0
    kept = land(target, *batches, on_media_error="keep")
    assert kept["media"] == {"pictures": 1, "written": 1, "pictures_not_read": 1}
    row = opened(target)[1]
    assert (row["image"], row["objects"].tolist()) == (None, [[0, 0, 200, 100]])
    Image.fromarray(pixels(1)).save(photos / "b.png")
    again = land(target, *batches, full_refresh=True)
    assert again["media"] == {"pictures": 2, "written": 1, "pictures_not_read": 0}
    assert np.array_equal(rows_by_key(target)["b"][0]["image"], pixels(1))


def test_labels_land_in_a_branch_of_their_own(tmp_path: Path, photos: Path) -> None:
    target = tmp_path / "lake"
    land(target, photo(photos, "a"))
    land(target, photo(photos, "a", box("car", 0, 0, 1, 1), changed=1), branch="labels")
    assert opened(target)[0]["objects"] is None
    assert opened(target, "labels")[0]["objects"].tolist() == [[0, 0, 200, 100]]
    assert sorted(opened(target).branches.names()) == ["labels", "main"]
    assert messages(target, "labels")[-1] == "Landed label-studio://tool.example/projects/1: 1 items new or changed"


def test_what_no_landing_has_made_stays(tmp_path: Path, photos: Path) -> None:
    made = deeplake.create(str(tmp_path / "mine"))
    made.add_column("image", "int32")
    made.append({"image": [1, 2]})
    made.commit()
    for branch in ("main", "labels"):
        with pytest.raises(AnnotationError, match="that no landing has made, with the columns image"):
            land(tmp_path / "mine", photo(photos, "a"), branch=branch)
    land(tmp_path / "lake", photo(photos, "a"))
    operator = AnnotationsToDeepLakeOperator(task_id="land", target=str(tmp_path / "lake"), project="2")
    operator.__dict__["hook"] = hook = LakeHook([photo(photos, "b")], "2")
    hook.project = msgspec.structs.replace(hook.project, run_key="other")
    with pytest.raises(AnnotationError, match="holds the labels of label-studio://tool"):
        operator.execute(task_context())
    root = deeplake.open(str(tmp_path / "lake"))
    root.add_column("joints_other", "int32")
    root.commit()
    span = {"type": "span", "label": "x", "field": "joints"}
    with pytest.raises(AnnotationError, match="has a column 'joints_other' that no landing has made"):
        land(tmp_path / "lake", photo(photos, "a", span, point("hip", 0, 0), changed=1))


def test_what_cannot_be_is_said_when_the_dag_is_parsed() -> None:
    for arguments, message in (
        ({"target": "lake"}, "neither an absolute path nor a URI"),
        ({"target": "ftp://host/lake"}, "neither an absolute path nor a URI"),
        ({"target": "gs://b/lake", "object_storage_conn_id": "x"}, "is for s3://"),
        ({"target": "/lake", "include_media": "files"}, "include_media cannot be given"),
        ({"target": "/lake", "image_format": "webp"}, "image_format"),
        ({"target": "/lake", "frames": "some"}, "frames"),
    ):
        with pytest.raises(ValueError, match=message):
            AnnotationsToDeepLakeOperator(task_id="land", **arguments)  # type: ignore[arg-type] # what is wrong
