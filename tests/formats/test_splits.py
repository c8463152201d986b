from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats.splits import check_splits, read_splits
from tests.support.datasets import image_index, item, write
from tests.support.generated import boxes

RATIOS = {"train": 0.7, "val": 0.2, "test": 0.1}


def splits_of(keys: list[str], splits: Any) -> dict[str, str]:
    batches = [item(key).items for key in keys]
    return {key: read_splits(batch, splits)(0) for key, batch in zip(keys, batches, strict=True)}


@given(st.lists(st.text(min_size=1), unique=True, max_size=8), st.lists(st.text(min_size=1), unique=True, max_size=8))
def test_an_item_stays_in_its_split_when_others_come(before: list[str], after: list[str]) -> None:
    first, second = splits_of(before, RATIOS), splits_of(before + [key for key in after if key not in before], RATIOS)
    assert {key: second[key] for key in first} == first


def test_an_item_only_leaves_its_split_for_another_when_the_ratios_between_them_change(tmp_path: Path) -> None:
    keys = [f"{number}" for number in range(200)]
    more = splits_of(keys, {"train": 0.8, "val": 0.1, "test": 0.1})
    assert all(more[key] == "train" for key, split in splits_of(keys, RATIOS).items() if split == "train")


def test_shares_are_near_the_ratios(tmp_path: Path) -> None:
    write(tmp_path, [boxes(3000, per_item=0)], "coco", include_unlabeled=True, splits=RATIOS)
    shares = Counter(image_index(tmp_path)["split"].to_pylist())
    assert {split: count / 3000 for split, count in shares.items()} == pytest.approx(RATIOS, abs=0.03)


def test_a_column_or_a_key_of_the_data_names_the_split(tmp_path: Path) -> None:
    batches = [item("a", [], data='{"fold": "val"}'), item("b", [], data='{"fold": "train"}')]
    write(tmp_path, batches, "coco", splits="data.fold")
    assert image_index(tmp_path)["split"].to_pylist() == ["val", "train"]
    assert splits_of(["a"], "status") == {"a": "labeled"}


def test_an_item_without_a_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"Item 'a' has nothing in data\.fold"):
        write(tmp_path, [item("a", [], data="{}")], "coco", splits="data.fold")
    with pytest.raises(AnnotationError, match=r"'\.\./x' cannot be a split"):
        write(tmp_path, [item("a", [], data='{"fold": "../x"}')], "coco", splits="data.fold")


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": 0.5}, "add up to 0.5"),
        ({"train": 1.5, "val": -0.5}, "none of them below 0"),
        ({}, "a ratio for each split"),
        ({"a/b": 1.0}, "cannot be a split"),
        ("fold", r"written data\.fold"),
        ("data.", "a key in its data"),
    ],
)
def test_splits_that_cannot_be_are_refused(splits: Any, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        check_splits(splits)
