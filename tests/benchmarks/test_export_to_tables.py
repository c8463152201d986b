"""Bytes of a Label Studio export to Arrow tables, against the bare decode and against the SDK's COCO converter.

Of its own, with another number of tasks: python tests/benchmarks/test_export_to_tables.py [TASKS]

The bare decode is msgspec's, of the same bytes into plain structs that have what the tables have, and nothing is done
with them. Runs take turns, and the fastest of each counts; the SDK, which takes minutes, runs once. A landing reads
pieces of 1,000 tasks, which stay in the processor's caches: these are measured too. Seconds are those of the processor,
which other programs change less.
"""

# ruff: noqa: T201 - a benchmark prints its table

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from label_studio_sdk.converter.converter import Converter

from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.export import ExportSource, tables_from_export
from tests.benchmarks.figures import record

BOXES = 10
PIECE = 1000
CLASSES = ("car", "person", "bicycle")
CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="objects" toName="image">'
    + "".join(f'<Label value="{class_}"/>' for class_ in CLASSES)
    + "</RectangleLabels></View>"
)
SOURCE = ExportSource(
    project="label-studio://studio/projects/1",
    config=LabelingConfig(CONFIG),
    item_url="https://studio/projects/1/data?task={item_id}",
)


class Value(msgspec.Struct, gc=False):
    x: float
    y: float
    width: float
    height: float
    rotation: float
    rectanglelabels: list[str]


class Box(msgspec.Struct, gc=False):
    id: str
    type: str
    from_name: str
    to_name: str
    value: Value
    original_width: int
    original_height: int
    origin: str | None = None
    parentID: str | None = None  # noqa: N815 - Label Studio's name
    score: float | None = None


class Annotation(msgspec.Struct, gc=False):
    id: int
    result: list[Box]
    completed_by: int
    was_cancelled: bool
    ground_truth: bool
    created_at: str
    updated_at: str
    lead_time: float | None


class Task(msgspec.Struct, gc=False):
    id: int
    data: dict[str, Any]
    annotations: list[Annotation]
    created_at: str
    updated_at: str
    total_predictions: int


def export_bytes(tasks: int, first: int = 1, *, submissions: int = 1) -> bytes:
    """Generate the export of a project of boxes, as the server writes it."""
    made = (task(number, submissions) for number in range(first, first + tasks))
    return b"[" + b",".join(json.dumps(one, separators=(",", ":")).encode() for one in made) + b"]"


def task(number: int, submissions: int = 1) -> dict[str, Any]:
    """Generate a task with annotations of :data:`BOXES` boxes each."""
    chance = random.Random(number)
    times = {"created_at": "2026-11-22T17:07:08.624092Z", "updated_at": "2026-11-22T17:07:08.679996Z"}
    annotation: dict[str, Any] = {
        "was_cancelled": False,
        "ground_truth": False,
        **times,
        "draft_created_at": None,
        "lead_time": 12.5,
        "prediction": {},
        "result_count": 0,
        "unique_id": "1d1572cc-f821-4031-959c-7101465a8e1d",
        "import_id": None,
        "last_action": None,
        "bulk_created": False,
        "task": number,
        "project": 1,
        "updated_by": None,
        "parent_prediction": None,
        "parent_annotation": None,
        "last_created_by": None,
    }
    return {
        "id": number,
        "annotations": [
            annotation
            | {
                "id": number * submissions + nth,
                "completed_by": 1 + (number + nth) % 5,
                "result": [box(chance) for _ in range(BOXES)],
            }
            for nth in range(submissions)
        ],
        "drafts": [],
        "predictions": [],
        "data": {"image": f"/data/{number}.jpg", "item_key": f"k{number}", "width": 640, "height": 480},
        "meta": {},
        **times,
        "allow_skip": True,
        "inner_id": number,
        "total_annotations": submissions,
        "cancelled_annotations": 0,
        "total_predictions": 0,
        "comment_count": 0,
        "unresolved_comment_count": 0,
        "last_comment_updated_at": None,
        "project": 1,
        "updated_by": None,
        "comment_authors": [],
    }


def box(chance: random.Random) -> dict[str, Any]:
    """Generate a box as the editor draws it."""
    return {
        "id": f"{chance.getrandbits(50):010x}",
        "type": "rectanglelabels",
        "from_name": "objects",
        "to_name": "image",
        "original_width": 640,
        "original_height": 480,
        "image_rotation": 0,
        "value": {
            **{name: chance.random() * 50 for name in ("x", "y", "width", "height")},
            "rotation": 0,
            "rectanglelabels": [chance.choice(CLASSES)],
        },
        "origin": "manual",
    }


def seconds(action: Callable[[], Any]) -> float:
    """Return how long an action takes the processor."""
    started = time.process_time()
    action()
    return time.process_time() - started


def convert_with_the_sdk(export: Path, folder: Path) -> None:
    """Convert an export to COCO with the SDK's own converter."""
    converter: Any = Converter(CONFIG, project_dir=str(folder), download_resources=False)  # type: ignore[no-untyped-call]
    converter.convert_to_coco(str(export), str(folder), is_dir=False)


def measure(tasks: int = 50_000, rounds: int = 3) -> None:
    """Run the benchmark and print its table."""
    data = export_bytes(tasks)
    tables_from_export(export_bytes(1), SOURCE)  # imports what Arrow imports at its first array
    piece = export_bytes(min(PIECE, tasks))
    bare, ours, bare_piece, our_piece = [], [], [], []
    for _ in range(rounds):
        bare.append(seconds(lambda: msgspec.json.decode(data, type=list[Task])))
        ours.append(seconds(lambda: tables_from_export(data, SOURCE)))
    for _ in range(20 * rounds):
        bare_piece.append(seconds(lambda: msgspec.json.decode(piece, type=list[Task])))
        our_piece.append(seconds(lambda: tables_from_export(piece, SOURCE)))
    with tempfile.TemporaryDirectory() as folder:
        export = Path(folder) / "export.json"
        export.write_bytes(data)
        sdk = seconds(lambda: convert_with_the_sdk(export, Path(folder)))
    print(f"\n{tasks:,} tasks with {BOXES} boxes each, {len(data) / 1e6:,.0f} MB{'seconds':>12}{'to tables':>12}")
    for name, time_ in (("bare decode", min(bare)), ("to tables", min(ours)), ("the SDK's COCO converter", sdk)):
        print(f"{name:<43}{time_:>12.2f}{time_ / min(ours):>11.2f}x")
    print(f"{'to tables, against the bare decode':<55}{min(ours) / min(bare):>11.2f}x")
    print(f"{f'the same in a piece of {PIECE:,} tasks':<55}{min(our_piece) / min(bare_piece):>11.2f}x")
    record("a piece of an export to tables", {"to tables": min(our_piece), "bare decode": min(bare_piece)})
    record("Label Studio's export to tables", {"to tables": min(ours), "bare decode": min(bare)})


@pytest.mark.benchmark
def test_export_to_tables() -> None:
    measure()


if __name__ == "__main__":
    measure(*(int(argument) for argument in sys.argv[1:]))
