"""Training formats landed again, 1 percent of the images changed: what it costs the task alone, without a server.

Of its own, with another number of images: python tests/benchmarks/test_format_refresh.py [IMAGES]

Exports are in memory, as a server sends them, and decoded as a landing does. Seconds are those of the task's processor,
which other programs change less. A real server takes as long again, or longer, for each item that is read; so the
ratios of :mod:`tests.benchmarks.test_refresh`, with a live one, are smaller.
"""

# ruff: noqa: T201 - a benchmark prints its table

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.ports import ItemChanges
from airflow_annotation.labels.label_studio.export import tables_from_export
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import ITEM_STATES, LabelTables
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from tests.benchmarks.figures import record
from tests.benchmarks.test_export_to_tables import BOXES, CLASSES, SOURCE, task
from tests.benchmarks.test_refresh import FORMATS
from tests.support.generated import GeneratedHook
from tests.support.task_context import task_context

PIECE = 900
EVERY = 100
LATER = "2026-11-29T12:00:00.000000Z"


class Exported(GeneratedHook):
    """A tool with exports in memory, which says which items have changed.

    :param images: how many items there are
    """

    def __init__(self, images: int) -> None:
        super().__init__([])
        self._tasks = [_encoded(number) for number in range(1, images + 1)]
        self._changed: list[int] = []
        self._marks = 0

    def change(self) -> None:
        """Let one item in a hundred have changed."""
        self._changed = [*range(1, len(self._tasks) + 1, EVERY)]
        for number in self._changed:
            self._tasks[number - 1] = _encoded(number, updated_at=LATER)

    def get_label_schema(self, _: str) -> LabelSchema:
        return LabelSchema.from_dict({"objects": {"type": "detections", "classes": list(CLASSES)}})

    def read_tables(
        self, project: AnnotationProject, options: ReadOptions = ReadOptions(), item_ids: Iterable[str] | None = None
    ) -> Iterator[LabelTables]:
        del project, options
        chosen = self._tasks if item_ids is None else [self._tasks[int(number) - 1] for number in item_ids]
        for first in range(0, len(chosen), PIECE):
            yield from _decoded(chosen[first : first + PIECE])

    def mark_changes(self, _: str) -> dict[str, Any]:
        self._marks += 1
        return {"number": self._marks}

    def list_changes(self, *_: Any, **__: Any) -> ItemChanges:
        tasks = [self._tasks[number - 1] for number in self._changed]
        states: list[pa.RecordBatch] = [tables.items.select(ITEM_STATES.names) for tables in _decoded(tasks)]
        return ItemChanges(states, {"items": len(self._tasks)})


def _encoded(number: int, **changed: Any) -> bytes:
    return json.dumps({**task(number), **changed}, separators=(",", ":")).encode()


def _decoded(tasks: Sequence[bytes]) -> Iterator[LabelTables]:
    yield tables_from_export(b"[" + b",".join(tasks) + b"]", SOURCE)


@pytest.mark.benchmark
def test_training_formats_landed_again_without_a_server() -> None:
    measure(20_000)


def measure(images: int) -> None:
    """Run the benchmark and print its table."""
    hook = Exported(images)
    with TemporaryDirectory() as folder:
        operators = {name: _operator(hook, name, f"{folder}/{name}") for name in FORMATS}
        first = {name: _seconds(operator, changed=images) for name, operator in operators.items()}
        hook.change()
        again = {name: _seconds(operator, changed=len(range(0, images, EVERY))) for name, operator in operators.items()}
    title = f"{images // EVERY:,} of {images:,} images with {BOXES} boxes"
    print(f"\n{title:<42}{'all':>10}{'again':>10}{'ratio':>8}")
    for name in FORMATS:
        print(f"{name:<42}{first[name]:>8.2f} s{again[name]:>8.2f} s{again[name] / first[name]:>8.3f}")
        record(f"the task's part of a refresh of {name}", {"1 percent": again[name], "all": first[name]})


def _operator(hook: Exported, name: str, target: str) -> AnnotationsToObjectStorageOperator:
    operator = AnnotationsToObjectStorageOperator(task_id=name, target=target, dataset_format=name, project="1")
    operator.__dict__["hook"] = hook
    return operator


def _seconds(operator: AnnotationsToObjectStorageOperator, *, changed: int) -> float:
    started = time.process_time()
    landed = operator.execute(task_context())
    assert landed["changed_items"] == changed, landed
    return time.process_time() - started


if __name__ == "__main__":
    measure(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
