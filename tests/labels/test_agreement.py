"""How far people agree, against other implementations of the same measures."""

from __future__ import annotations

import itertools
import random
import time
import tracemalloc
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from airflow_annotation.labels.agreement import AGREEMENT, AgreementMeter, measure_agreement
from airflow_annotation.labels.agreement.answers import edit_distance
from airflow_annotation.labels.tables import LabelTables
from tests.support.annotators import Item, Label, agreement, box, choice, item_rows, landing, summary, value
from tests.support.three_people import labeled_by_three

# Answers

ANSWERS = st.lists(
    st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["sun", "rain", "snow"]), max_size=4),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40)
@given(ANSWERS)
def test_alpha_of_classes_is_that_of_the_package_krippendorff(answers: list[dict[str, str]]) -> None:
    krippendorff = pytest.importorskip("krippendorff")
    report = agreement(*({who: choice(name) for who, name in item.items()} for item in answers))
    data = [[item.get(who) for item in answers] for who in "abcd"]
    try:
        expected = krippendorff.alpha(value_counts=counts_of(data), level_of_measurement="nominal")
    except (ValueError, AssertionError):
        expected = None
    found = report.summary.to_pylist()
    alpha = next((row["alpha"] for row in found if row["annotator"] is None and row["label"] is None), None)
    assert_close(alpha, expected)


@settings(max_examples=40)
@given(
    st.lists(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 5), max_size=4), min_size=1, max_size=12),
    st.sampled_from([("scalar", "interval"), ("rating", "ordinal")]),
)
def test_alpha_of_numbers_is_that_of_the_package_krippendorff(
    answers: list[dict[str, int]], kind: tuple[str, str]
) -> None:
    krippendorff = pytest.importorskip("krippendorff")
    type_, level = kind
    report = agreement(
        *({who: [{"type": type_, "number": float(number)}] for who, number in item.items()} for item in answers)
    )
    data = [[item.get(who) for item in answers] for who in "abcd"]
    counts, domain = counts_of(data), sorted({number for row in data for number in row if number is not None})
    try:
        expected = krippendorff.alpha(value_counts=counts, value_domain=domain, level_of_measurement=level)
    except (ValueError, AssertionError):
        expected = None
    alpha = next((row["alpha"] for row in report.summary.to_pylist() if row["annotator"] is None), None)
    assert_close(alpha, expected)


def counts_of(data: list[list[Any]]) -> Any:
    """Return how often each value is in each unit."""
    domain = sorted({name for row in data for name in row if name is not None})
    return np.array([[[row[unit] for row in data].count(name) for name in domain] for unit in range(len(data[0]))])


def assert_close(found: float | None, expected: float | None) -> None:
    if expected is None or not np.isfinite(expected):
        assert found is None
    else:
        assert found == pytest.approx(expected, abs=1e-9)


def test_alpha_of_the_example_in_krippendorffs_paper() -> None:
    # Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), example C: four observers, twelve units.
    data = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
    ]
    answers = [
        {who: row[unit] for who, row in zip("abcd", data, strict=True) if row[unit] is not None} for unit in range(12)
    ]
    nominal = agreement(*({who: choice(str(number)) for who, number in item.items()} for item in answers))
    assert summary(nominal)["alpha"] == pytest.approx(0.743, abs=5e-4)
    for type_, alpha in (("rating", 0.815), ("scalar", 0.849)):
        report = agreement(
            *({who: [{"type": type_, "number": number}] for who, number in item.items()} for item in answers)
        )
        assert summary(report)["alpha"] == pytest.approx(alpha, abs=5e-4)


@settings(max_examples=40)
@given(st.lists(st.tuples(*[st.sampled_from(["sun", "rain", "snow"])] * 2), min_size=1, max_size=20))
def test_kappa_is_that_of_scikit_learn(answers: list[tuple[str, str]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    report = agreement(*({"ada": choice(one), "ben": choice(other)} for one, other in answers))
    ada, ben = zip(*answers, strict=True)
    found = summary(report, annotator="ada", other="ben")
    assert found["value"] == pytest.approx(metrics.accuracy_score(ada, ben))
    assert found["pairs"] == len(answers)
    expected = metrics.cohen_kappa_score(ada, ben) if len({*ada, *ben}) > 1 else None
    assert_close(found["kappa"], expected)
    for name in {*ada, *ben}:
        one, other = ([answer == name for answer in side] for side in (ada, ben))
        of_class = summary(report, label=name, annotator="ada", other="ben")
        assert of_class["value"] == pytest.approx(metrics.f1_score(one, other))
        assert_close(of_class["kappa"], metrics.cohen_kappa_score(one, other) if len({*one, *other}) > 1 else None)


def test_answers_of_several_classes_agree_by_what_they_share() -> None:
    several = {"type": "classifications"}
    sun, rain, wind = ({**several, "label": name} for name in ("sun", "rain", "wind"))
    assert value([sun, rain], [sun, wind]) == pytest.approx(1 / 3)
    assert value([sun], [{**several, "label": "sun", "labels": ["sun", "rain"]}]) == pytest.approx(1 / 2)
    # Nothing chosen is an answer, too, and two who have chosen nothing agree.
    assert value([sun], []) == 0
    assert value([sun], [], []) == pytest.approx(1 / 3)


def test_who_leaves_a_question_open_is_not_compared() -> None:
    report = agreement({"a": choice("sun"), "b": choice("sun"), "c": []})
    (row,) = item_rows(report)
    assert row["value"] == 1
    assert row["annotators"] == ["a", "b"]


def test_numbers_agree_by_their_distance() -> None:
    def number(of: float, type_: str = "scalar") -> list[Label]:
        return [{"type": type_, "number": of}]

    assert value(number(10), number(30)) == pytest.approx(1 - 20 / 40)
    assert value(number(0), number(0)) == 1
    assert value(number(-1), number(1)) == 0
    assert value(number(2, "rating"), number(3, "rating"), spans={"field": 4}) == pytest.approx(3 / 4)


@given(st.text(max_size=12), st.text(max_size=12))
def test_edits_are_counted_as_the_textbook_does(one: str, other: str) -> None:
    rows = [[*range(len(other) + 1)]]
    for number, character in enumerate(one, 1):
        row = [number]
        for place, facing in enumerate(other):
            row.append(min(row[-1] + 1, rows[-1][place + 1] + 1, rows[-1][place] + (character != facing)))
        rows.append(row)
    assert edit_distance(one, other) == rows[-1][-1]


def test_texts_agree_by_their_edit_distance() -> None:
    texts = [[{"type": "text", "text": text}] for text in ("kitten", "sitting")]
    assert value(*texts) == pytest.approx(1 - 3 / 7)


@given(st.permutations("abcde"), st.permutations("abcde"))
def test_rankings_agree_as_kendalls_tau_says(one: list[str], other: list[str]) -> None:
    rankings = [[{"type": "ranking", "labels": ranking}] for ranking in (one, other)]
    tau = kendalltau(*([ranking.index(entry) for entry in "abcde"] for ranking in (one, other))).statistic
    assert value(*rankings) == pytest.approx((1 + tau) / 2)


def test_rankings_with_buckets_agree_where_entries_are_in_the_same_ones() -> None:
    def ranking(**buckets: list[str]) -> list[Label]:
        # As those of a Ranker land: the record is the parent of its buckets.
        own = {"type": "ranking", "parent_label_id": "r"}
        return [{**own, "label": name, "labels": entries} for name, entries in buckets.items()]

    assert value(ranking(good=["a", "b"], bad=["c"]), ranking(bad=["c"], good=["a", "b"])) == 1
    # Of a-b, a-c and b-c the last two are as they were.
    assert value(ranking(good=["a", "b"], bad=["c"]), ranking(good=["b", "a"], bad=["c"])) == pytest.approx(2 / 3)
    assert value(ranking(good=["a"]), ranking(bad=["a"])) == 0


# Who is compared


def test_each_annotator_counts_once_and_only_with_what_was_submitted() -> None:
    later = {"annotator": "a", "updated_at": datetime(2026, 1, 1, tzinfo=timezone.utc)}
    item = {"a": choice("sun"), "b": choice("sun"), "c": choice("rain"), "d": choice("rain")}
    batch = landing(item, b=later, c={"status": "skipped"})
    report = measure_agreement([batch])
    # The later one of a's two is compared with d's.
    assert [row["annotator"] for row in report.items.to_pylist()] == [None, "a", "d"]
    assert [row["annotation_id"] for row in report.items.to_pylist()] == [None, "0-b", "0-d"]


def test_a_model_is_an_annotator_by_choice() -> None:
    model = {"origin": "prediction", "annotator": None, "model_version": "v1"}
    batch = landing({"a": choice("sun"), "model": choice("sun")}, model=model)
    origins = pa.array(["person", "prediction"])
    labels = batch.labels.set_column(4, batch.labels.schema.field("origin"), origins)
    batch = batch._replace(labels=labels)
    assert not measure_agreement([batch]).items.num_rows
    report = measure_agreement([batch], include_predictions=True)
    assert summary(report, annotator="a", other="v1")["value"] == 1


def test_people_without_a_name_are_different_people() -> None:
    nameless = {"annotator": None}
    batch = landing({"a": choice("sun"), "b": choice("sun"), "c": choice("rain")}, a=nameless, b=nameless, c=nameless)
    report = measure_agreement([batch])
    assert item_rows(report)[0]["value"] == pytest.approx(1 / 3)
    assert not [row for row in report.summary.to_pylist() if row["annotator"] is not None]


def test_agreement_with_the_ground_truth_is_said_of_each_submission() -> None:
    item = {"a": choice("sun"), "b": choice("rain"), "expert": choice("sun")}
    report = measure_agreement([landing(item, expert={"ground_truth": True})])
    found = {row["annotator"]: (row["value"], row["ground_truth"]) for row in report.items.to_pylist()}
    assert found == {None: (pytest.approx(1 / 3), None), "a": (0.5, 1), "b": (0, 0), "expert": (0.5, None)}


def test_ground_truth_counts_before_what_the_same_person_submitted_later() -> None:
    later = {"annotator": "a", "updated_at": datetime(2026, 1, 1, tzinfo=timezone.utc)}
    item = {"a": choice("sun"), "again": choice("rain"), "b": choice("sun")}
    report = measure_agreement([landing(item, a={"ground_truth": True}, again=later)])
    found = {row["annotation_id"]: row["ground_truth"] for row in report.items.to_pylist()}
    assert found == {None: None, "0-a": None, "0-b": 1}


def test_answers_of_several_kinds_in_one_field_are_counted_by_themselves() -> None:
    def answers(name: str, stars: float, count: float) -> list[Label]:
        return [*choice(name), {"type": "rating", "number": stars}, {"type": "scalar", "number": count}]

    one, other = answers("sun", 4, 10), answers("sun", 2, 10)
    report = agreement({"a": one[:2], "b": other[:2]}, {"a": other[:2], "b": other[:2]})
    values = {row["measure"]: row for row in report.summary.to_pylist() if row["annotator"] is row["label"] is None}
    assert values["match"]["value"] == 1
    assert values["distance"]["value"] == pytest.approx((1 - 2 / 6 + 1) / 2)
    # Krippendorff's alpha of ranks, for the units (4, 2) and (2, 2).
    assert values["distance"]["alpha"] == pytest.approx(0)
    batches = [landing({"a": one[2:], "b": other[2:]}), landing({"a": one[1:2], "b": other[1:2]})]
    (row,) = (row for row in measure_agreement(batches).summary.to_pylist() if row["annotator"] is None)
    assert row["alpha"] == pytest.approx(1 - 3 * (2 * 4) / (2 * 4 * (100 + 100 + 16 + 4) - 2 * 26**2))


@given(st.integers(1, 4))
def test_batches_of_any_size_give_the_same(size: int) -> None:
    chance = random.Random(7)
    items: list[Item] = [
        {
            who: [
                *choice(chance.choice(["sun", "rain"])),
                {**box(0.1, chance.random() / 2, 0.3, 0.3), "field": "boxes"},
            ]
            for who in chance.sample("abc", chance.randint(0, 3))
        }
        for _ in range(9)
    ]
    whole = landing(*items)
    meter = AgreementMeter()
    rows = []
    for first in range(0, len(items), size):
        ids = pa.array([str(number) for number in range(first, first + size)])
        parts = (table.filter(pa.compute.is_in(table["item_id"], value_set=ids)) for table in whole)
        rows.append(meter.add(LabelTables(*parts)))
    expected = measure_agreement([whole])
    key = lambda row: str([row[name] for name in ("item_id", "field", "annotation_id")])  # noqa: E731
    found = sorted(pa.Table.from_batches(rows, AGREEMENT).to_pylist(), key=key)
    assert found == sorted(expected.items.to_pylist(), key=key)
    for one, other in itertools.zip_longest(meter.summary().to_pylist(), expected.summary.to_pylist()):
        assert one == pytest.approx(other)


def test_memory_and_time_do_not_grow_with_the_items() -> None:
    batch = labeled_by_three(100)

    def cost(batches: int) -> tuple[float, int]:
        meter = AgreementMeter()
        meter.add(batch)  # imports, caches
        tracemalloc.start()
        started = time.process_time()
        for _ in range(batches):
            meter.add(batch)
        seconds, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return seconds, peak

    (few, least), (many, most) = cost(3), cost(30)
    assert most < least * 1.2
    assert many < few * 30
    # A million labels take some 13 seconds of the processor; this is far from a loop over labels or pairs of them.
    assert many / (30 * batch.labels.num_rows) < 200e-6


def test_an_empty_landing_has_no_agreement() -> None:
    report = measure_agreement([landing()])
    assert not report.items.num_rows
    assert not report.summary.num_rows
