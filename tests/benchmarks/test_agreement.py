"""How far three annotators agree, against landing what they labeled as Parquet.

Of its own, with another number of items: python tests/benchmarks/test_agreement.py [ITEMS [ROUNDS]]

A landing reads them out of the export of a Label Studio first, which is measured apart, from bytes in memory. The
batches that are measured and written are in memory beforehand. Each person has the same objects a little elsewhere, and
now and then another one. Runs take turns, and the fastest of each counts.
"""

# ruff: noqa: T201 - a benchmark prints its table

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from airflow_annotation.labels.agreement import AgreementMeter
from airflow_annotation.labels.label_studio.export import tables_from_export
from airflow_annotation.labels.tables import LabelTables
from tests.benchmarks.figures import record
from tests.benchmarks.test_dataset_landing import land
from tests.benchmarks.test_export_to_tables import SOURCE, export_bytes
from tests.support.three_people import labeled_by_three

BATCH_ITEMS = 1000


@pytest.mark.benchmark
def test_agreement_of_a_million_labels_against_landing_them() -> None:
    assert measure(items=41_700, rounds=3) < 3


def measure(*, items: int, rounds: int) -> float:
    """Run the benchmark, print its table and return the ratio."""
    batches = [labeled_by_three(min(BATCH_ITEMS, items - first), first) for first in range(0, items, BATCH_ITEMS)]
    labels = sum(batch.labels.num_rows for batch in batches)
    read, ours, landing, both = [], [], [], []
    for _ in range(rounds):
        read.append(seconds_of_reading(items))
        landing.append(land(batches))
        ours.append(seconds_of(batches))
        both.append(land(batches, agreement=True))
    whole = min(read) + min(landing)
    print(f"\n{f'{labels:,} label rows of three annotators':<46}{'seconds':>10}{'ratio':>8}")
    for what, seconds in (
        ("read out of an export and landed as Parquet", whole),
        ("  of which landed as Parquet", min(landing)),
        ("AgreementMeter", min(ours)),
        ("read, and landed with the table agreement", min(read) + min(both)),
    ):
        print(f"{what:<46}{seconds:>10.2f}{seconds / whole:>8.2f}")
    record("agreement of three people", {"AgreementMeter": min(ours), "read and landed as Parquet": whole})
    return min(ours) / whole


def seconds_of_reading(items: int) -> float:
    """Make tables of an export of as many submissions, of as many boxes each, and return the seconds that it took."""
    seconds = 0.0
    for first in range(1, items + 1, BATCH_ITEMS):
        export = export_bytes(min(BATCH_ITEMS, items + 1 - first), first, submissions=3)
        started = time.perf_counter()
        assert tables_from_export(export, SOURCE).labels.num_rows
        seconds += time.perf_counter() - started
    return seconds


def seconds_of(batches: list[LabelTables]) -> float:
    """Measure agreement, and return the seconds that it took."""
    meter = AgreementMeter()
    started = time.perf_counter()
    rows = sum(meter.add(batch).num_rows for batch in batches)
    assert rows
    assert meter.summary().num_rows
    return time.perf_counter() - started


if __name__ == "__main__":
    measure(items=int(sys.argv[1]) if sys.argv[1:] else 41_700, rounds=int(sys.argv[2]) if sys.argv[2:] else 3)
