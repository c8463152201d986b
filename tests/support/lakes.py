"""Landings in Deep Lake datasets, and what is read of them with Deep Lake itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.landing.pictures import Pictures
from airflow_annotation.media.video import VideoReader
from airflow_annotation.transfers.annotations_to_deep_lake import AnnotationsToDeepLakeOperator
from tests.support.datasets import box, item
from tests.support.generated import GeneratedHook
from tests.support.task_context import task_context
from tests.support.videos import make_video

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
EPOCH = datetime(2026, 1, 1, tzinfo=timezone.utc)


class LakeHook(GeneratedHook):
    label_schema = SCHEMA

    def get_label_schema(self, _: str) -> LabelSchema:
        return self.label_schema


def land(target: Path | str, *batches: LabelTables, schema: LabelSchema = SCHEMA, **kwargs: Any) -> Any:
    operator = AnnotationsToDeepLakeOperator(task_id="land", target=str(target), **{"media_roots": ["/"], **kwargs})
    operator.project = "1"
    operator.__dict__["hook"] = hook = LakeHook(batches)
    hook.label_schema = schema
    return operator.execute(task_context())


_OPENED: list[Any] = []
"""Deep Lake's datasets are gone for their columns and branches when nothing refers to them."""


def opened(target: Path | str, branch: str = "main") -> Any:
    import deeplake

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
    facts = {"media_uri": f"{folder}/{name}.png", "updated_at": EPOCH + timedelta(seconds=changed), **more}
    return item(name, *submissions, **facts)


def tracked(frame: int, x: float, *, is_keyframe: bool) -> dict[str, Any]:
    return box("car", x, 0.25, 0.5, 0.5, frame=frame, track_id="t", tool_frame=frame + 1, is_keyframe=is_keyframe)


def video(media: Path, labels: list[dict[str, Any]], *, changed: int = 0, key: str = "clip") -> LabelTables:
    facts = {"media_type": "video", "width": 64, "height": 48, "frame_rate": 30.0, "frame_count": 20}
    return item(key, labels, media_uri=str(media), updated_at=EPOCH + timedelta(seconds=changed), **facts)


@contextmanager
def nothing_read(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let landings fail that read media."""
    with monkeypatch.context() as patched:
        patched.setattr(Pictures, "read_image", None)
        patched.setattr(VideoReader, "read_frames", None)
        yield


def messages(target: Path | str, branch: str = "main") -> list[str]:
    return [version.message for version in opened(target, branch).history]
