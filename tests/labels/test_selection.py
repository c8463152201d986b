from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_annotation.labels.selection import select_items, uncertainty

SCORED: list[dict[str, Any]] = [
    {"item_key": "a", "score": 0.9, "cluster": "x"},
    {"item_key": "b", "score": 0.2, "cluster": "x"},
    {"item_key": "b", "score": 0.8, "cluster": "y"},
    {"item_key": "c", "score": None, "cluster": "y"},
    {"item_key": "c", "score": 0.5, "cluster": "y"},
    {"item_key": "d", "score": math.nan, "cluster": "z"},
    {"item_key": "e", "score": 0.3, "cluster": None},
]
FORMS = {"rows": list, "arrow": pa.Table.from_pylist, "pandas": pd.DataFrame, "batch": pa.RecordBatch.from_pylist}

rows = st.lists(
    st.fixed_dictionaries(
        {
            "item_key": st.sampled_from("abcdefgh"),
            "score": st.none() | st.floats(0, 1) | st.just(math.nan),
            "cluster": st.sampled_from(["x", "y", None]),
        }
    )
)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_an_item_counts_with_the_label_that_a_model_is_least_sure_of(form: Any) -> None:
    table = form(SCORED)
    assert select_items(table, 3, lowest="score") == ["b", "e", "c"]
    assert select_items(table, 3, highest="score") == ["a", "b", "c"]
    assert select_items(table, lowest="score") == ["b", "e", "c", "a"], "d has no score"
    assert select_items(table, 2, lowest="score", exclude=["b", "a"]) == ["e", "c"]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_each_cluster_has_its_turn(form: Any) -> None:
    table = form(SCORED)
    assert select_items(table, of_each="cluster", lowest="score") == ["b", "e", "c"]
    assert select_items(table, 4, of_each="cluster", lowest="score") == ["b", "e", "c", "a"]
    one = select_items(table, of_each="cluster", seed=3)
    assert len(one) == len({"x", "y", "z", None} & {row["cluster"] for row in SCORED if row["item_key"] in one}) == 4


@given(rows, st.randoms(use_true_random=False), st.integers(0, 9), st.integers(0, 3))
def test_neither_the_order_of_rows_nor_other_items_change_the_choice(
    given_rows: list[dict[str, Any]], random: Any, count: int, seed: int
) -> None:
    shuffled = random.sample(given_rows, len(given_rows))
    orders: tuple[dict[str, Any], ...] = ({"lowest": "score"}, {"highest": "score"}, {})
    for order in orders:
        chosen = select_items(given_rows, count, seed=seed, **order)
        assert chosen == select_items(shuffled, count, seed=seed, **order)
        everything = select_items(given_rows, seed=seed, **order)
        assert chosen == everything[:count]
        assert sorted(everything) == sorted(set(everything))
        if everything:
            fewer = [row for row in given_rows if row["item_key"] != everything[0]]
            assert select_items(fewer, seed=seed, **order) == everything[1:]


def test_a_random_sample_is_fair_and_another_with_another_seed() -> None:
    items = [{"item_key": str(number)} for number in range(100)]
    samples = [select_items(items, 10, seed=seed) for seed in range(300)]
    assert len({tuple(sample) for sample in samples}) == 300
    chosen = np.bincount([int(key) for sample in samples for key in sample], minlength=100)
    assert 10 < chosen.min() <= chosen.max() < 60, "30 times each, on average"
    assert select_items(items, 5) == ["76", "2", "70", "33", "75"], "the same on any machine"


@pytest.mark.parametrize(
    ("given_rows", "arguments", "message"),
    [
        (SCORED, {"lowest": "scores"}, r"rows has no column 'scores'\. It has item_key, score, cluster"),
        ([{"key": "a"}], {}, "rows has no column 'item_key'"),
        ([{"item_key": None}], {}, "Row 0 of rows has the item_key None"),
        (SCORED, {"lowest": "cluster"}, "The column 'cluster' of rows is not of numbers"),
        (SCORED, {"lowest": "score", "highest": "score"}, "either lowest or highest"),
        (SCORED, {"count": -1}, "count is -1"),
        (SCORED, {"count": True}, "count is True"),
        (SCORED, {"exclude": "ab"}, "exclude takes a list"),
        ("abc", {}, "rows is of type str"),
        (["a"], {}, "rows must be dictionaries"),
    ],
)
def test_what_is_wrong_is_named(given_rows: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select_items(given_rows, **arguments)


def test_there_may_be_nothing_to_choose_from() -> None:
    assert select_items([], 3, lowest="score") == []
    assert select_items(SCORED, 0) == []


def test_uncertainty_is_0_for_the_sure_and_1_for_the_unsure() -> None:
    probabilities = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3], [2.0, 1.0, 1.0]]
    assert uncertainty(probabilities) == pytest.approx([0, 1, 1, 0.75])
    halves = math.log(2) / math.log(3)
    quarters = -(0.5 * math.log(0.5) + 0.5 * math.log(0.25)) / math.log(3)
    assert uncertainty(probabilities, "entropy") == pytest.approx([0, halves, 1, quarters])
    assert uncertainty(probabilities, "least_confident") == pytest.approx([0, 0.5, 2 / 3, 0.5])
    for wrong, message in (([[1.0]], "two classes"), ([[0.0, 0.0]], "all 0"), ([[-1.0, 2.0]], "negative")):
        with pytest.raises(ValueError, match=message):
            uncertainty(wrong)
    with pytest.raises(ValueError, match="measure is one of"):
        uncertainty(probabilities, "guess")
