"""A first landing as a Parquet dataset, against writing the same rows once.

Of its own, with another number of items: python tests/benchmarks/test_dataset_landing.py [ITEMS [ROUNDS]]

The batches are in memory beforehand. So the ratio says how often the rows are written: 1 and a little where what was
read becomes the dataset as it is, 2 and more where it is decoded and written again. Runs take turns, and the fastest of
each counts.
"""

# ruff: noqa: T201 - a benchmark prints its table

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath

sys.path.insert(0, str(Path(__file__).parents[2]))

from airflow_annotation.datasets.parquet import write_tables
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from tests.benchmarks.figures import record
from tests.benchmarks.test_sql_landing import varied
from tests.support.generated import GeneratedHook, boxes
from tests.support.task_context import task_context

BATCH_ITEMS = 1000
BOXES = 10


@pytest.mark.benchmark
def test_a_first_landing_against_writing_the_rows_once() -> None:
    measure(items=63_000, rounds=3)


def measure(*, items: int, rounds: int) -> None:
    """Run the benchmark and print its table."""
    batches = [varied(boxes(BATCH_ITEMS, per_item=BOXES, first=first)) for first in range(0, items, BATCH_ITEMS)]
    labels = sum(batch.labels.num_rows for batch in batches)
    ours, bare = [], []
    for _ in range(rounds):
        with TemporaryDirectory() as folder:
            started = time.perf_counter()
            write_tables(ObjectStoragePath(f"file://{folder}"), batches)
            bare.append(time.perf_counter() - started)
        ours.append(land(batches))
    print(f"\n{f'{labels:,} label rows as Parquet':<38}{'seconds':>10}{'ratio':>8}")
    print(f"{'written once':<38}{min(bare):>10.2f}{1:>8.2f}")
    print(f"{'AnnotationsToObjectStorageOperator':<38}{min(ours):>10.2f}{min(ours) / min(bare):>8.2f}")
    record("a first landing as Parquet", {"landed": min(ours), "written once": min(bare)})


def land(batches: list[LabelTables], **parameters: Any) -> float:
    """Land them for the first time, and return the seconds that it took."""
    with TemporaryDirectory() as folder:
        operator = AnnotationsToObjectStorageOperator(task_id="land", project="1", target=folder, **parameters)
        operator.__dict__["hook"] = GeneratedHook(batches)
        started = time.perf_counter()
        operator.execute(task_context())
        return time.perf_counter() - started


if __name__ == "__main__":
    measure(items=int(sys.argv[1]) if sys.argv[1:] else 63_000, rounds=int(sys.argv[2]) if sys.argv[2:] else 3)
