"""One submission of several people's: which items have one, and what it says."""

from __future__ import annotations

import random
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pytest

from airflow_annotation.labels.consensus import ConsensusOptions, merge_submissions
from airflow_annotation.labels.tables import LabelTables
from tests.support.annotators import Item, box, choice, landing
from tests.support.consensus import agreed, merged


def test_the_merged_submission_says_how_far_its_people_agree() -> None:
    one, other = (datetime(2026, 1, day, tzinfo=timezone.utc) for day in (1, 2))
    found = merged(
        {"a": choice("sun"), "b": choice("sun"), "c": choice("rain")},
        a={"updated_at": other, "lead_time": 2.0},
        b={"created_at": one, "lead_time": 3.0},
    )
    (annotation,) = found.tables.annotations.to_pylist()
    assert annotation["annotation_id"] == "consensus-0"
    assert (annotation["origin"], annotation["status"], annotation["annotator"]) == ("person", "submitted", None)
    assert annotation["score"] == pytest.approx(1 / 3)
    assert (annotation["created_at"], annotation["updated_at"], annotation["lead_time"]) == (one, other, 5.0)
    assert annotation["label_count"] == 1
    (label,) = found.tables.labels.to_pylist()
    assert (label["label"], label["annotation_id"], label["label_origin"]) == ("sun", "consensus-0", "consensus")
    share, names = agreed(label)
    assert share == pytest.approx(2 / 3, abs=1e-6)
    assert names == ["a", "b"]
    assert not found.left_out


def test_items_that_fall_short_are_left_out_and_counted() -> None:
    items = ({"a": choice("sun")}, {"a": choice("sun"), "b": choice("rain")}, {"a": choice("sun"), "b": choice("sun")})
    found = merged(*items, {}, options=ConsensusOptions(min_agreement=0.5))
    assert found.left_out == {"items without consensus": 2}
    assert found.tables.items.num_rows == 4
    assert found.tables.annotations["item_id"].to_pylist() == ["2"]
    assert found.tables.labels["item_id"].to_pylist() == ["2"]


def test_items_that_fall_short_have_the_latest_submission_by_choice() -> None:
    later = {"updated_at": datetime(2026, 1, 1, tzinfo=timezone.utc)}
    batch = landing({"a": choice("sun")}, {"a": choice("sun"), "b": choice("rain")}, a=later)
    found = merge_submissions(batch, ConsensusOptions(min_agreement=0.5, on_shortfall="latest"))
    assert found.tables.annotations["annotation_id"].to_pylist() == ["0-a", "1-a"]
    assert found.tables.labels["label"].to_pylist() == ["sun", "sun"]
    assert not found.left_out


def test_the_least_agreement_of_all_fields_counts() -> None:
    boxes = [{**box(0.1, 0.1, 0.2, 0.2), "field": "boxes"}]
    item = {"a": [*choice("sun"), *boxes], "b": [*choice("rain"), *boxes]}
    assert merged(item, options=ConsensusOptions(min_agreement=0.5)).left_out
    assert merged({who: labels[1:] for who, labels in item.items()}, options=ConsensusOptions(min_agreement=0.9))


def test_ground_truth_wins_as_it_is() -> None:
    truth = {"ground_truth": True}
    found = merged(
        {"a": choice("sun"), "b": choice("sun"), "expert": choice("rain")}, {"expert": choice("fog")}, expert=truth
    )
    assert found.tables.annotations["annotation_id"].to_pylist() == ["0-expert", "1-expert"]
    assert found.tables.labels["label"].to_pylist() == ["rain", "fog"]
    assert not found.left_out


def test_ground_truth_wins_over_what_the_same_person_submitted_later() -> None:
    later = {"annotator": "a", "updated_at": datetime(2026, 1, 1, tzinfo=timezone.utc)}
    item = {"a": choice("sun"), "again": choice("rain"), "b": choice("rain")}
    found = merged(item, a={"ground_truth": True}, again=later)
    assert found.tables.annotations["annotation_id"].to_pylist() == ["0-a"]
    assert found.tables.labels["label"].to_pylist() == ["sun"]


def test_two_who_found_nothing_agree_on_an_empty_submission() -> None:
    found = merged({"a": [], "b": []})
    (annotation,) = found.tables.annotations.to_pylist()
    assert (annotation["score"], annotation["label_count"]) == (1, 0)


def test_predictions_stay_beside_the_consensus() -> None:
    batch = landing({"a": choice("sun"), "b": choice("sun"), "m": choice("rain")}, m={"origin": "prediction"})
    origins = pa.array(["person", "person", "prediction"])
    batch = batch._replace(labels=batch.labels.set_column(4, batch.labels.schema.field("origin"), origins))
    found = merge_submissions(batch)
    assert found.tables.annotations["annotation_id"].to_pylist() == ["0-m", "consensus-0"]
    assert found.tables.labels["label"].to_pylist() == ["rain", "sun"]


@pytest.mark.parametrize(
    "wrong", [{"min_annotators": 0}, {"min_agreement": 2}, {"min_overlap": -1}, {"weights": {"a": 0}}]
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).replace("weights", "weight")):
        ConsensusOptions(**wrong)


def test_labels_that_cannot_be_merged_are_counted() -> None:
    other = [{"type": "other", "raw": "{}"}]
    assert merged({"a": other, "b": other}).left_out == {"labels that cannot be merged": 2}


@pytest.mark.parametrize("size", [1, 2, 5])
def test_an_items_consensus_does_not_depend_on_the_other_items(size: int) -> None:
    chance = random.Random(3)
    items: list[Item] = [
        {
            who: [
                *choice(chance.choice(["sun", "rain"])),
                {**box(0.1, chance.random() / 9, 0.3, 0.3), "field": "boxes"},
            ]
            for who in "abc"
        }
        for _ in range(5)
    ]
    whole = landing(*items)
    expected = merge_submissions(whole).tables.labels
    parts = []
    for first in range(0, len(items), size):
        ids = pa.array([str(number) for number in range(first, first + size)])
        batch = LabelTables(*(table.filter(pa.compute.is_in(table["item_id"], value_set=ids)) for table in whole))
        parts.append(merge_submissions(batch).tables.labels)
    assert pa.Table.from_batches(parts).combine_chunks() == pa.Table.from_batches([expected])
