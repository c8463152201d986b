"""Answers of several people, as one."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_annotation.labels.consensus import ConsensusOptions, merge_batches, merge_submissions
from airflow_annotation.labels.masks import mask_to_rle
from airflow_annotation.labels.schema import LabelSchema
from tests.support.annotators import HEIGHT, WIDTH, Label, box, choice, landing
from tests.support.consensus import agreed, classes_of, labels_of, merged


@given(st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["sun", "rain", "fog"]), min_size=2))
def test_a_class_is_that_of_the_majority(answers: dict[str, str]) -> None:
    counts = Counter(answers.values()).most_common()
    found = [
        row["label"] for row in merged({who: choice(name) for who, name in answers.items()}).tables.labels.to_pylist()
    ]
    assert found == [counts[0][0]] or counts[0][1] == counts[1][1]


def test_weights_decide_and_of_equal_weights_the_last_submission() -> None:
    assert classes_of(choice("sun"), choice("rain"), choice("rain"), weights={"a": 3}) == ["sun"]
    item = {"a": choice("sun"), "b": choice("rain")}
    for who, name in (("a", "sun"), ("b", "rain")):
        late: dict[str, Any] = {who: {"updated_at": datetime(2026, 1, 1, tzinfo=timezone.utc)}}
        assert merged(item, **late).tables.labels["label"].to_pylist() == [name]


def test_rounding_makes_no_majority_of_half() -> None:
    assert 0.1 + 0.2 > (0.1 + 0.2 + 0.2 + 0.1) / 2
    weights = {"a": 0.1, "b": 0.2, "c": 0.2, "d": 0.1}
    mask = mask_to_rle(np.ones((HEIGHT, WIDTH), np.bool_))
    for label in (
        {"type": "classification", "label": "sun"},
        {"type": "ranking", "labels": ["x", "y"]},
        {"type": "span", "label": "name", "span_start": 0, "span_end": 4},
        {"type": "segmentation", "label": "road", "mask_size": list(mask.size), "mask_counts": mask.counts},
        box(0.1, 0.1, 0.2, 0.2),
    ):
        assert not labels_of([label], [label], [], [], weights=weights)
    several = choice("sun", "fog"), choice("rain", "snow")
    assert not classes_of(several[0], several[0], several[1], several[1], weights=weights)
    equal = {"a": 0.1, "b": 0.2, "c": 0.3}
    assert classes_of(choice("sun"), choice("sun"), choice("rain"), weights=equal) == ["rain"]


def test_what_half_left_open_stays_open() -> None:
    assert classes_of(choice("sun"), []) == []
    assert classes_of(choice("sun"), choice("sun"), []) == ["sun"]


def test_each_of_several_classes_is_voted_on() -> None:
    def several(*names: str) -> list[Label]:
        return [{"type": "classifications", "label": names[0], "labels": list(names) if len(names) > 1 else None}]

    (row,) = labels_of(several("sun", "wind"), several("wind"), several("wind", "sun", "fog"))
    assert (row["label"], row["labels"]) == ("sun", ["sun", "wind"])
    assert classes_of(several("sun"), several("rain")) == []


def test_numbers_are_the_median() -> None:
    numbers = [[{"type": "scalar", "number": number}] for number in (1.0, 2.0, 50.0)]
    assert [row["number"] for row in labels_of(*numbers)] == [2.0]
    assert [row["number"] for row in labels_of(*numbers, weights={"c": 5})] == [50.0]


@pytest.mark.parametrize("last", ["a", "b"])
def test_of_two_numbers_it_is_the_one_that_was_given_last(last: str) -> None:
    later = {"updated_at": datetime(2026, 1, 1, tzinfo=timezone.utc)}
    numbers = {"a": 2.0, "b": 8.0}
    item = {who: [{"type": "scalar", "number": one}] for who, one in numbers.items()}
    found = merge_submissions(landing(item, **{last: later}))
    assert found.tables.labels["number"].to_pylist() == [numbers[last]]


def test_ratings_in_a_renamed_field_agree_as_its_schema_says() -> None:
    schema = LabelSchema.from_dict({"stars": {"type": "rating", "max": 5}})
    batch = landing({who: [{"type": "rating", "number": number}] for who, number in (("a", 1.0), ("b", 5.0))})
    for mapping in ({"stars": "field"}, {"type:rating": "field"}):
        (merged,) = merge_batches([batch], ConsensusOptions(), schema, Counter(), mapping)
        assert merged.annotations["score"].to_pylist() == [0]


def test_numbers_that_differ_agree_by_their_distance_from_the_median() -> None:
    ratings = [[{"type": "rating", "number": number}] for number in (1.0, 3.0, 5.0)]
    batch = landing(dict(zip("abc", ratings, strict=True)))
    (row,) = merge_submissions(batch, ConsensusOptions(), {"field": 4}).tables.labels.to_pylist()
    assert agreed(row)[0] == pytest.approx((0.5 + 1 + 0.5) / 3, abs=1e-6)
    assert agreed(labels_of(*ratings)[0])[0] == pytest.approx((0.5 + 1 + 0.75) / 3, abs=1e-6)


def test_a_text_is_the_one_that_is_most_like_the_others() -> None:
    texts = [[{"type": "text", "text": text}] for text in ("a cat sits", "a cat sit", "nothing")]
    assert next(row["text"] for row in labels_of(*texts)).startswith("a cat")


def test_answers_of_several_kinds_in_one_field_are_several_labels() -> None:
    answers = [
        *choice("sun"),
        {"type": "classifications", "label": "sun"},
        {"type": "scalar", "number": 1.0},
        {"type": "text", "text": "warm"},
    ]
    rows = labels_of(answers, answers)
    assert len({row["label_id"] for row in rows}) == len(rows) == 4


def test_rankings_are_in_the_order_of_their_mean_places() -> None:
    rankings = [[{"type": "ranking", "labels": list(ranking)}] for ranking in ("abc", "acb", "bac")]
    assert [row["labels"] for row in labels_of(*rankings)] == [["a", "b", "c"]]
    buckets = [
        [
            {"type": "ranking", "label": name, "labels": list(entries), "parent_label_id": "r"}
            for name, entries in ranking.items()
        ]
        for ranking in ({"good": "ab", "bad": "c"}, {"good": "a", "bad": "bc"}, {"good": "ba", "bad": "c"})
    ]
    found = {row["label"]: row["labels"] for row in labels_of(*buckets)}
    assert {name: sorted(entries) for name, entries in found.items()} == {"good": ["a", "b"], "bad": ["c"]}
