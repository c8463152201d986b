"""Lines of a Labelbox export to Arrow tables, against the bare decode, and in how much memory.

Of its own, with another number of data rows: python tests/benchmarks/test_labelbox_export.py [ROWS]

The bare decode is msgspec's, of the same bytes into plain structs that have what the tables have, and nothing is done
with them. Runs take turns, and the fastest of each counts.
"""

# ruff: noqa: T201 - a benchmark prints its table

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from airflow_annotation.labels.labelbox.export import ExportSource, read_export
from airflow_annotation.labels.labelbox.features import Ontology
from tests.benchmarks.figures import record

BOXES = 10
CLASSES = ("car", "person", "bicycle")
PROJECT = "cl1x0000000000000000000pr"
SOURCE = ExportSource(
    project=f"labelbox://app.labelbox.com/projects/{PROJECT}",
    project_id=PROJECT,
    ontology=Ontology(
        {
            "tools": [
                {"tool": "rectangle", "name": f"objects: {name}", "featureSchemaId": f"cl1x{name:x>21}"}
                for name in CLASSES
            ]
        }
    ),
    item_url=f"https://app.labelbox.com/projects/{PROJECT}/data-rows/{{item_id}}",
)


class BoundingBox(msgspec.Struct, gc=False):
    top: float
    left: float
    height: float
    width: float


class Object(msgspec.Struct, gc=False):
    feature_id: str
    feature_schema_id: str
    name: str
    annotation_kind: str
    bounding_box: BoundingBox
    classifications: list[Any]


class Annotations(msgspec.Struct, gc=False):
    objects: list[Object]
    classifications: list[Any]


class LabelDetails(msgspec.Struct, gc=False):
    created_at: str
    updated_at: str
    created_by: str


class PerformanceDetails(msgspec.Struct, gc=False):
    seconds_to_create: float
    skipped: bool


class Label(msgspec.Struct, gc=False):
    id: str
    label_details: LabelDetails
    performance_details: PerformanceDetails
    annotations: Annotations


class ProjectDetails(msgspec.Struct, gc=False):
    ontology_id: str
    batch_id: str
    batch_name: str
    workflow_status: str
    priority: int
    selected_label_id: str


class Project(msgspec.Struct, gc=False):
    name: str
    labels: list[Label]
    project_details: ProjectDetails


class DataRowDetails(msgspec.Struct, gc=False):
    dataset_id: str
    dataset_name: str
    created_at: str
    updated_at: str
    last_activity_at: str


class DataRow(msgspec.Struct, gc=False):
    id: str
    global_key: str
    row_data: str
    details: DataRowDetails


class MediaAttributes(msgspec.Struct, gc=False):
    width: int
    height: int
    mime_type: str


class Row(msgspec.Struct, gc=False):
    data_row: DataRow
    media_attributes: MediaAttributes
    metadata_fields: list[Any]
    attachments: list[Any]
    projects: dict[str, Project]


def line(number: int) -> bytes:
    """Generate a data row with one label of :data:`BOXES` boxes, as the service writes it."""
    chance = random.Random(number)
    moment = "2026-11-22T17:07:08.624+00:00"
    label = {
        "label_kind": "Default",
        "version": "1.0.0",
        "id": f"cl1x{number:021}",
        "label_details": {
            "created_at": moment,
            "updated_at": moment,
            "created_by": f"labeler{number % 5}@example.com",
            "content_last_updated_at": moment,
            "reviews": [],
        },
        "performance_details": {"seconds_to_create": 12, "seconds_to_review": 0, "skipped": False},
        "annotations": {
            "objects": [box(chance) for _ in range(BOXES)],
            "classifications": [],
            "relationships": [],
        },
    }
    row = {
        "data_row": {
            "id": f"cl1y{number:021}",
            "global_key": f"photos/{number}.jpg",
            "row_data": f"https://photos.example.com/{number}.jpg",
            "details": {
                "dataset_id": "cl1z000000000000000000000",
                "dataset_name": "photos",
                "created_at": moment,
                "updated_at": moment,
                "last_activity_at": moment,
                "created_by": "owner@example.com",
            },
        },
        "media_attributes": {"height": 480, "width": 640, "mime_type": "image/jpeg", "exif_rotation": "1"},
        "attachments": [],
        "metadata_fields": [],
        "projects": {
            PROJECT: {
                "name": "Streets",
                "labels": [label],
                "project_details": {
                    "ontology_id": "cl1o000000000000000000000",
                    "task_name": "Done",
                    "batch_id": "cl1b000000000000000000000",
                    "batch_name": "first",
                    "workflow_status": "DONE",
                    "priority": 5,
                    "selected_label_id": label["id"],
                    "consensus_expected_label_count": 1,
                    "workflow_history": [],
                },
            }
        },
    }
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"


def box(chance: random.Random) -> dict[str, Any]:
    """Generate a box as people draw it."""
    name = chance.choice(CLASSES)
    return {
        "feature_id": f"cl1f{chance.getrandbits(80):021x}",
        "feature_schema_id": f"cl1x{name:x>21}",
        "name": f"objects: {name}",
        "value": f"objects_{name}",
        "annotation_kind": "ImageBoundingBox",
        "classifications": [],
        "bounding_box": {
            "top": round(chance.random() * 240, 3),
            "left": round(chance.random() * 320, 3),
            "height": round(chance.random() * 240, 3),
            "width": round(chance.random() * 320, 3),
        },
    }


def chunks(rows: int) -> Iterator[bytes]:
    """Generate an export in pieces of about a megabyte."""
    piece: list[bytes] = []
    for number in range(rows):
        piece.append(line(number))
        if len(piece) == 400:
            yield b"".join(piece)
            piece = []
    yield b"".join(piece)


def seconds(action: Callable[[], Any]) -> float:
    """Return how long an action takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def read(pieces: Iterator[bytes]) -> int:
    """Read an export, and keep nothing of it."""
    return sum(len(batch.labels) for batch in read_export(pieces, SOURCE))


def measure(rows: int = 20_000, rounds: int = 3) -> None:
    """Run the benchmark, and print its table."""
    pieces = list(chunks(rows))
    decoder = msgspec.json.Decoder(Row)
    read(chunks(1))  # imports what Arrow imports at its first array
    bare, ours = [], []
    for _ in range(rounds):
        bare.append(seconds(lambda: decoder.decode_lines(b"".join(pieces))))
        ours.append(seconds(lambda: read(iter(pieces))))
    size = sum(map(len, pieces)) / 1e6
    print(f"\n{rows:,} data rows with {BOXES} boxes each, {size:,.0f} MB{'seconds':>12}{'times':>12}")
    for name, time_ in (("bare decode", min(bare)), ("to tables", min(ours))):
        print(f"{name:<47}{time_:>12.2f}{time_ / min(bare):>11.2f}x")
    record("Labelbox's export to tables", {"to tables": min(ours), "bare decode": min(bare)})


def peak_megabytes(rows: int) -> float:
    """Return the most memory that a process of its own takes to read an export that is generated as it is read."""
    ran = subprocess.run([sys.executable, __file__, "peak", str(rows)], check=True, capture_output=True, text=True)
    return float(ran.stdout)


@pytest.mark.benchmark
def test_an_export_becomes_tables_in_little_more_than_its_decode() -> None:
    measure()


@pytest.mark.benchmark
def test_memory_does_not_grow_with_the_export() -> None:
    few, many = peak_megabytes(2_000), peak_megabytes(20_000)
    print(f"\npeak memory: 2,000 data rows {few:.0f} MB, 20,000 data rows {many:.0f} MB")
    record("memory of Labelbox's export", {"20,000 data rows": many, "2,000 data rows": few}, "MB")
    assert many <= few * 1.2


if __name__ == "__main__":
    if sys.argv[1:2] == ["peak"]:
        read(chunks(int(sys.argv[2])))
        # Not getrusage: what it says of a process may be the peak of the one that started it.
        status = dict(entry.split(":", 1) for entry in Path("/proc/self/status").read_text().splitlines())
        print(int(status["VmHWM"].split()[0]) / 1024)
    else:
        measure(*(int(argument) for argument in sys.argv[1:]))
