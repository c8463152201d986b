"""Landings in Deep Lake datasets, read back with Deep Lake itself."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from PIL import Image

from airflow_annotation.datasets.deep_lake import DeepLakeDataset, LakeDraft
from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.hooks.ports import ItemChanges
from airflow_annotation.labels.masks import mask_to_rle
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.landing.pictures import Pictures
from airflow_annotation.media.video import VideoReader
from airflow_annotation.transfers.annotations_to_deep_lake import AnnotationsToDeepLakeOperator
from tests.support.datasets import box, item, mask, point, polygon
from tests.support.generated import SCHEMA as BOXES
from tests.support.generated import GeneratedHook, OvertakenHook, boxes
from tests.support.task_context import task_context
from tests.support.videos import make_video, shown_number
from tests.transfers.doomed import DoomedLanding
from tests.transfers.test_s3 import make_bucket

if sys.version_info >= (3, 14):
    pytest.skip("Deep Lake is not made for this Python yet", allow_module_level=True)
deeplake = pytest.importorskip("deeplake")
GCSHook = pytest.importorskip("airflow.providers.google.cloud.hooks.gcs").GCSHook

SCHEMA = LabelSchema.from_dict(
    {
        "objects": {
            "type": "detections",
            "classes": ["person", "car"],
            "attributes": {
                "occluded": {"type": "radio", "values": ["yes", "no"]},
                "age": {"type": "number"},
                "parts": {"type": "checkbox", "values": ["wheel", "door"]},
            },
        },
        "outlines": {"type": "polygons", "classes": ["car", "tree"]},
        "masks": {"type": "instances", "classes": ["car"]},
        "joints": {"type": "keypoints", "classes": ["hip", "knee"]},
        "weather": {"type": "classification", "classes": ["sun", "rain"]},
        "quality": {"type": "scalar"},
        "transcript": {"type": "text"},
    }
)
_EPOCH = datetime(2026, 1, 1, tzinfo=timezone.utc)


class _Hook(GeneratedHook):
    label_schema = SCHEMA

    def get_label_schema(self, _: str) -> LabelSchema:
        return self.label_schema


def land(target: Path | str, *batches: LabelTables, schema: LabelSchema = SCHEMA, **kwargs: Any) -> Any:
    operator = AnnotationsToDeepLakeOperator(task_id="land", target=str(target), **{"media_roots": ["/"], **kwargs})
    operator.project = "1"
    operator.__dict__["hook"] = hook = _Hook(batches)
    hook.label_schema = schema
    return operator.execute(task_context())


_OPENED: list[Any] = []
"""Deep Lake's datasets are gone for their columns and branches when nothing refers to them."""


def opened(target: Path | str, branch: str = "main") -> Any:
    root = deeplake.open_read_only(str(target))
    _OPENED.append(root)
    if branch != "main":
        _OPENED.append(root.branches[branch].open())
    return _OPENED[-1]


def rows_by_key(target: Path | str) -> dict[str, list[Any]]:
    rows: dict[str, list[Any]] = {}
    for row in opened(target):
        rows.setdefault(row["lb_meta/item_key"], []).append(row)
    return rows


def pixels(seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 255, (100, 200, 3), dtype=np.uint8)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with a.png to c.png, each with other pixels."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed, name in enumerate("abc"):
        Image.fromarray(pixels(seed)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "clip.mp4"
    path.write_bytes(make_video(20))
    return path


def photo(folder: Path, name: str, *labels: dict[str, Any], changed: int = 0, **more: Any) -> LabelTables:
    submissions = [list(labels)] if labels else []
    facts = {"media_uri": f"{folder}/{name}.png", "updated_at": _EPOCH + timedelta(seconds=changed), **more}
    return item(name, *submissions, **facts)


def tracked(frame: int, x: float, *, is_keyframe: bool) -> dict[str, Any]:
    return box("car", x, 0.25, 0.5, 0.5, frame=frame, track_id="t", tool_frame=frame + 1, is_keyframe=is_keyframe)


def video(media: Path, labels: list[dict[str, Any]], *, changed: int = 0, key: str = "clip") -> LabelTables:
    facts = {"media_type": "video", "width": 64, "height": 48, "frame_rate": 30.0, "frame_count": 20}
    return item(key, labels, media_uri=str(media), updated_at=_EPOCH + timedelta(seconds=changed), **facts)


@contextmanager
def nothing_read(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let landings fail that read media."""
    with monkeypatch.context() as patched:
        patched.setattr(Pictures, "read_image", None)
        patched.setattr(VideoReader, "read_frames", None)
        yield


def messages(target: Path | str, branch: str = "main") -> list[str]:
    return [version.message for version in opened(target, branch).history]


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
    operator.__dict__["hook"] = hook = _Hook([photo(photos, "b")], "2")
    hook.project = msgspec.structs.replace(hook.project, run_key="other")
    with pytest.raises(AnnotationError, match="holds the labels of label-studio://tool"):
        operator.execute(task_context())
    root = deeplake.open(str(tmp_path / "lake"))
    root.add_column("joints_other", "int32")
    root.commit()
    span = {"type": "span", "label": "x", "field": "joints"}
    with pytest.raises(AnnotationError, match="has a column 'joints_other' that no landing has made"):
        land(tmp_path / "lake", photo(photos, "a", span, point("hip", 0, 0), changed=1))


def test_a_landing_that_another_one_overtakes_plans_again(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "lake"
    land(target, photo(photos, "a"))
    publish, others = LakeDraft.publish, [lambda: land(target, photo(photos, "a"), photo(photos, "b"))]

    def overtaken(*arguments: Any) -> None:
        if others:
            others.pop()()
        publish(*arguments)

    monkeypatch.setattr(LakeDraft, "publish", overtaken)
    landed = land(target, photo(photos, "a"), photo(photos, "b"), photo(photos, "c"))
    assert (landed["changed_items"], landed["unchanged_items"]) == (1, 2)
    assert opened(target)["lb_meta/item_key"][:] == ["a", "b", "c"]
    assert opened(target).branches.names() == ["main"]


def test_what_lands_while_a_part_is_read_is_not_replaced_by_it(tmp_path: Path, photos: Path) -> None:
    target, items = tmp_path / "lake", [photo(photos, "a"), photo(photos, "b")]
    late = AnnotationsToDeepLakeOperator(
        task_id="land", target=str(target), media_roots=["/"], items=["a"], project="1"
    )
    late.__dict__["hook"] = OvertakenHook(items, lambda: land(target, *items, schema=BOXES))
    with pytest.raises(AnnotationError, match="all items"):
        late.execute(task_context())
    assert opened(target)["lb_meta/item_key"][:] == ["a", "b"]
    assert land(target, *items, schema=BOXES, items=["a"], full_refresh=True)["rows"] == {"images": 1}


def test_two_landings_at_once_do_not_cross(tmp_path: Path, photos: Path) -> None:
    target = tmp_path / "lake"
    land(target, photo(photos, "a"))
    batches = [photo(photos, "a", changed=1), photo(photos, "b")]
    with ThreadPoolExecutor(3) as pool:
        landed = list(pool.map(lambda _: land(target, *batches), range(3)))
    assert [one["rows"] for one in landed] == [{"images": 2}] * 3
    assert sorted(opened(target)["lb_meta/item_key"][:]) == ["a", "b"]


def test_rows_that_are_there_twice_are_repaired(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing locks a store, two landings may cross at the moment of their merges."""
    target = tmp_path / "lake"
    land(target, photo(photos, "a"))
    with monkeypatch.context() as patched:
        publish, others = LakeDraft.publish, [lambda: land(target, photo(photos, "a"), photo(photos, "b"))]

        def crossed(*arguments: Any) -> None:
            if others:
                others.pop()()
            publish(*arguments)

        patched.setattr(LakeDraft, "publish", crossed)
        patched.setattr(DeepLakeDataset, "_merge", lambda *all_: all_[1].merge(all_[2], message=all_[4]))
        land(target, photo(photos, "a"), photo(photos, "b"))
    assert opened(target)["lb_meta/item_key"][:] == ["a", "b", "b"]
    assert land(target, photo(photos, "a"), photo(photos, "b"))["changed_items"] == 1
    assert opened(target)["lb_meta/item_key"][:] == ["a", "b"]


@pytest.mark.parametrize("tries", [2, pytest.param(40, marks=pytest.mark.faults)])
def test_a_landing_that_is_killed_is_whole_or_not_there(tmp_path: Path, tries: int) -> None:
    def keys(target: Path) -> list[tuple[str, int]]:
        rows = ((row["lb_meta/item_key"], row["objects"]) for row in opened(target))
        return sorted((key, 0 if found is None else len(found)) for key, found in rows)

    def doomed(target: Path, step: int | None = None) -> DoomedLanding:
        return DoomedLanding(AnnotationsToDeepLakeOperator, new, target=str(target), media_roots=["/"], step=step)

    new = [boxes(4), boxes(3, first=4, per_item=5), boxes(2, first=20)]  # 4 to 6 edited, 7 to 9 gone, two new
    old = tmp_path / "old"
    land(old, boxes(10), schema=BOXES)
    shutil.copytree(old, tmp_path / "new")
    counted = doomed(tmp_path / "new")
    assert counted.wait(), counted.error
    before, after = keys(old), keys(tmp_path / "new")
    assert before != after
    for step in random.sample(range(1, counted.steps + 1), tries):
        target = tmp_path / str(step)
        shutil.copytree(old, target)
        doomed(target, step).wait()
        assert keys(target) in (before, after), step
        land(target, *new, schema=BOXES)
        assert keys(target) == after, step


def test_what_dead_landings_left_goes_after_a_day(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "lake"
    land(target, photo(photos, "a"))
    deeplake.open(str(target)).branch("landing-dead")
    land(target, photo(photos, "a", changed=1))
    assert sorted(opened(target).branches.names()) == ["landing-dead", "main"]
    monkeypatch.setattr("airflow_annotation.datasets.deep_lake.ABANDONED_AFTER", timedelta(0))
    land(target, photo(photos, "a", changed=2))
    assert opened(target).branches.names() == ["main"]


class _MarkedHook(_Hook):
    """A tool that says what has changed, nothing, and counts how often all items are listed."""

    marks = 0
    listed = 0

    def mark_changes(self, _: str) -> dict[str, Any]:
        self.marks += 1
        return {"number": self.marks}

    def list_changes(
        self, _: str, before: Mapping[str, Any], now: Mapping[str, Any], *, include_predictions: bool = False
    ) -> ItemChanges:
        del include_predictions
        assert before["number"] == now["number"] - 1, "the mark of the last landing, that of a quiet night, too"
        return ItemChanges([], {"items": len([*self.batches])})

    def list_item_states(self, *arguments: Any, **more: Any) -> Iterator[Any]:
        self.listed += 1
        return super().list_item_states(*arguments, **more)


def test_quiet_nights_make_no_version_and_list_all_items_once_a_day(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "lake"
    operator = AnnotationsToDeepLakeOperator(
        task_id="land", target=str(target), branch="a/b", media_roots=["/"], project="1"
    )
    operator.__dict__["hook"] = hook = _MarkedHook([photo(photos, "a")])
    assert operator.execute(task_context())["full"]
    for _ in range(2):
        assert operator.execute(task_context())["unchanged_items"] == 1
    assert (hook.listed, len(messages(target, "a/b"))) == (0, 2)
    operator.full_listing_every = timedelta(0)
    operator.execute(task_context())
    operator.full_listing_every = timedelta(days=1)
    operator.execute(task_context())
    assert hook.listed == 1
    hook.batches = [photo(photos, "a"), photo(photos, "b")]
    assert operator.execute(task_context())["changed_items"] == 1, "of two items, one is not among those that landed"
    assert operator.execute(task_context())["unchanged_items"] == 2
    assert (hook.listed, len(messages(target, "a/b"))) == (2, 3)
    monkeypatch.setattr("deeplake.storage.Writer", None)
    assert operator.execute(task_context())["unchanged_items"] == 2, "without a note"


def test_datasets_land_in_google_cloud_storage(
    gcs_conn_id: str, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the key of a service account, which Deep Lake's client signs with, and no server looks at."""
    bucket = f"lake-{uuid4().hex}"
    GCSHook(gcp_conn_id=gcs_conn_id).get_conn().create_bucket(bucket)
    key = rsa.generate_private_key(65537, 2048)
    encoding, shape = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(encoding, shape, serialization.NoEncryption()).decode()
    account = {"type": "service_account", "client_email": "a@b.iam.gserviceaccount.com", "private_key": pem}
    account |= {"private_key_id": "1", "client_id": "1", "token_uri": "http://127.0.0.1:1/token"}
    (tmp_path / "account.json").write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
    monkeypatch.setenv("CLOUD_STORAGE_EMULATOR_ENDPOINT", os.environ["STORAGE_EMULATOR_HOST"])
    target = f"gs://{bucket}/lake"
    land(target, photo(photos, "a"))
    landed = land(target, photo(photos, "a"), photo(photos, "b"))
    assert (landed["changed_items"], landed["rows"]) == (1, {"images": 2})
    assert np.array_equal(rows_by_key(target)["b"][0]["image"], pixels(1))


def test_datasets_land_in_s3(s3_conn_id: str, photos: Path) -> None:
    target = f"s3://{make_bucket(s3_conn_id)}/lake"
    land(target, photo(photos, "a"), object_storage_conn_id=s3_conn_id)
    landed = land(target, photo(photos, "a"), photo(photos, "b"), object_storage_conn_id=s3_conn_id)
    assert (landed["changed_items"], landed["rows"]) == (1, {"images": 2})


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
