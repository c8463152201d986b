"""A small sample of what ``make test-fuzz`` tries a million times."""

from __future__ import annotations

import json
import random

import pytest

from airflow_annotation.labels.json_repair import repair_json
from tests.fuzz import records
from tests.fuzz.checks import fuzz
from tests.fuzz.mutations import mutate, to_json


@pytest.mark.parametrize("seed", range(4))
def test_no_mutated_record_raises_or_loses_a_label(seed: int) -> None:
    figures = fuzz(250, seed)
    assert figures.records == 250
    assert figures.labels > 250
    assert 0 < figures.others < figures.labels
    assert figures.landings["parquet"] == 250


def test_a_seed_gives_the_same_records() -> None:
    def record(seed: int) -> str:
        return to_json(mutate(records.label_studio_tasks()[-2], random.Random(seed)))

    assert record(5) == record(5) != record(6)
    json.loads(repair_json(record(5).encode()))
