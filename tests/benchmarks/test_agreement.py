"""How far three annotators agree, against landing what they labeled as Parquet.

Of its own, with another number of items: python tests/benchmarks/test_agreement.py [ITEMS [ROUNDS]]

The batches are in memory beforehand. Each person has the same objects a little elsewhere, and now and then another one.
Runs take turns, and the fastest of each counts.
"""

# ruff: noqa: T201 - a benchmark prints its table

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from airflow_annotation.labels.agreement import AgreementMeter
from airflow_annotation.labels.tables import LabelTables
from tests.benchmarks.test_dataset_landing import land
from tests.support.three_people import labeled_by_three

BATCH_ITEMS = 1000


@pytest.mark.benchmark
def test_agreement_of_a_million_labels_against_landing_them() -> None:
    assert measure(items=41_700, rounds=3) < 3


def measure(*, items: int, rounds: int) -> float:
    """Run the benchmark, print its table and return the ratio."""
    batches = [labeled_by_three(min(BATCH_ITEMS, items - first), first) for first in range(0, items, BATCH_ITEMS)]
    labels = sum(batch.labels.num_rows for batch in batches)
    ours, landing, both = [], [], []
    for _ in range(rounds):
        landing.append(land(batches))
        ours.append(seconds_of(batches))
        both.append(land(batches, agreement=True))
    print(f"\n{f'{labels:,} label rows of three annotators':<46}{'seconds':>10}{'ratio':>8}")
    print(f"{'landed as Parquet':<46}{min(landing):>10.2f}{1:>8.2f}")
    print(f"{'AgreementMeter':<46}{min(ours):>10.2f}{min(ours) / min(landing):>8.2f}")
    print(f"{'landed with the table agreement':<46}{min(both):>10.2f}{min(both) / min(landing):>8.2f}")
    return min(ours) / min(landing)


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
