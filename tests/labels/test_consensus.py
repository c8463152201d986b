"""One submission of several people's."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_annotation.labels.consensus import Consensus, ConsensusOptions, merge_batches, merge_submissions
from airflow_annotation.labels.consensus.dawid_skene import dawid_skene, estimate_weights
from airflow_annotation.labels.masks import RLE, mask_to_rle, rle_to_mask
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import LabelTables
from tests.support.annotators import BOXES, HEIGHT, WIDTH, Item, Label, box, choice, landing

Row = dict[str, Any]


def merged(*items: Item, options: ConsensusOptions | None = None, **columns: Row) -> Consensus:
    return merge_submissions(landing(*items, **columns), options or ConsensusOptions())


def labels_of(*labels: Sequence[Label], **settings: Any) -> list[Row]:
    """Return what one item's people agree on."""
    found = merged(dict(zip("abcdefgh", labels, strict=False)), options=ConsensusOptions(**settings))
    rows: list[Row] = found.tables.labels.to_pylist()
    return rows


def classes_of(*labels: Sequence[Label], **settings: Any) -> list[str | None]:
    return [row["label"] for row in labels_of(*labels, **settings)]


def agreed(row: Row) -> tuple[float, list[str]]:
    record = json.loads(row["raw"])
    return record["agreement"], record["annotators"]


# Which items


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


# Answers


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


# Objects


def test_boxes_of_most_people_are_the_mean_of_their_corners() -> None:
    first, second, third = box(0.1, 0.1, 0.2, 0.2), box(0.12, 0.1, 0.2, 0.2), box(0.1, 0.13, 0.2, 0.2)
    alone = box(0.6, 0.6, 0.2, 0.2)
    (row,) = labels_of([first], [second, alone], [third])
    assert row["bbox"] == pytest.approx([0.32 / 3, 0.33 / 3, 0.2, 0.2])
    share, names = agreed(row)
    assert names == ["a", "b", "c"]
    assert 0.6 < share < 1
    (row,) = labels_of([first], [second], weights={"a": 3})
    assert row["bbox"][0] == pytest.approx(0.105)


def test_the_class_and_the_attributes_of_an_object_are_voted_on() -> None:
    boxes = [
        [box(0.1, 0.1, 0.2, 0.2, name, attributes=json.dumps({"hidden": hidden}))]
        for name, hidden in (("car", "yes"), ("van", "no"), ("car", "no"))
    ]
    (row,) = labels_of(*boxes)
    assert (row["label"], json.loads(row["attributes"])) == ("car", {"hidden": "no"})


def test_objects_that_overlap_less_are_two() -> None:
    boxes = [[box(0.1, 0.1, 0.2, 0.2)], [box(0.2, 0.1, 0.2, 0.2)]]  # a third of both
    assert not labels_of(*boxes)
    assert len(labels_of(*boxes, min_overlap=0.3)) == 1


def test_the_order_of_boxes_that_are_one_another_does_not_matter() -> None:
    place = (0.0, 0.0, 0.5, 0.5)
    named = {who: [box(*place, label_id=f"{who}{number}") for number in range(2)] for who in "abc"}
    expected = merged(named).tables.labels.to_pylist()
    for orders in itertools.product((1, -1), repeat=3):
        turned = {who: own[::order] for (who, own), order in zip(named.items(), orders, strict=True)}
        assert merged(turned).tables.labels.to_pylist() == expected


@settings(max_examples=50)
@given(BOXES, BOXES, BOXES, st.randoms())
def test_the_order_of_annotators_and_labels_does_not_matter(
    one: list[Label], two: list[Label], three: list[Label], chance: random.Random
) -> None:
    labels = {"a": one, "b": two, "c": three}
    named = {
        who: [{**label, "label_id": f"{who}{place}"} for place, label in enumerate(own)] for who, own in labels.items()
    }
    expected = merged(named).tables.labels.to_pylist()
    shuffled = {who: chance.sample(named[who], len(named[who])) for who in chance.sample("abc", 3)}
    for row, other in zip(expected, merged(shuffled).tables.labels.to_pylist(), strict=True):
        assert row["bbox"] == pytest.approx(other["bbox"])
        assert {**row, "bbox": None} == {**other, "bbox": None}


@settings(max_examples=50)
@given(BOXES)
def test_people_who_say_the_same_are_merged_to_just_that(labels: list[Label]) -> None:
    found = labels_of(labels, labels, labels)
    # Two boxes that are one another's neighbors may have changed partners, where that is as good.
    assert len(found) == len(labels)
    assert np.sum([row["bbox"] for row in found], axis=0) == pytest.approx(
        np.sum([one["bbox"] for one in labels], axis=0)
    )
    assert all(agreed(row)[1] == ["a", "b", "c"] for row in found)


def test_masks_have_the_pixels_of_most() -> None:
    def painted(type_: str, rows: slice) -> list[Label]:
        mask = np.zeros((HEIGHT, WIDTH), np.bool_)
        mask[rows] = True
        rle = mask_to_rle(mask)
        return [{"type": type_, "label": "road", "mask_size": rle.size, "mask_counts": rle.counts}]

    for type_ in ("instance", "segmentation"):
        (row,) = labels_of(*(painted(type_, slice(first, first + 40)) for first in (0, 10, 20)))
        mask = rle_to_mask(RLE(tuple(row["mask_size"]), row["mask_counts"]))
        assert mask.sum() == 40 * WIDTH
        assert mask[10:50].all()


def test_keypoints_are_the_mean_of_each_point_that_most_have() -> None:
    def person(nose: float, ear: float | None = None) -> list[Label]:
        points = {"nose": nose} | ({} if ear is None else {"ear": ear})
        return [{**box(0.2, 0.2, 0.5, 0.5, "person"), "label_id": "body"}] + [
            {"type": "keypoint", "field": "points", "label": name, "label_id": name, "parent_label_id": "body"}
            | {"points": [[x, 0.5]]}
            for name, x in points.items()
        ]

    rows = labels_of(person(0.30, 0.5), person(0.32, 0.52), person(0.31))
    parent = next(row for row in rows if row["type"] == "detection")
    points = {row["label"]: row for row in rows if row["type"] == "keypoint"}
    assert points["nose"]["points"] == [[pytest.approx(0.31), pytest.approx(0.5)]]
    assert points["ear"]["points"] == [[pytest.approx(0.51), pytest.approx(0.5)]]
    assert {row["parent_label_id"] for row in points.values()} == {parent["label_id"]}
    assert len({row["label_id"] for row in rows}) == 3


def test_other_shapes_are_the_one_that_is_most_like_the_others() -> None:
    def polygon(x: float) -> list[Label]:
        return [{"type": "polygon", "label": "car", "points": [[x, 0.1], [x + 0.3, 0.1], [x + 0.3, 0.6]]}]

    (row,) = labels_of(polygon(0.1), polygon(0.12), polygon(0.14))
    assert row["points"] == polygon(0.12)[0]["points"]


def test_a_track_is_one_object_with_all_its_frames() -> None:
    def track(x: float, name: str) -> list[Label]:
        return [box(x + frame / 100, 0.1, 0.2, 0.2, track_id=name, label_id=name, frame=frame) for frame in (0, 10)]

    rows = labels_of(track(0.1, "t"), track(0.11, "u"))
    assert [row["frame"] for row in rows] == [0, 10]
    assert len({row["track_id"] for row in rows}) == len({row["label_id"] for row in rows}) == 1


def test_spans_have_the_characters_of_most() -> None:
    text = "Ada Lovelace of London"

    def span(start: int, end: int, label: str = "name") -> Label:
        return {"type": "span", "label": label, "span_start": start, "span_end": end, "text": text[start:end]}

    rows = labels_of([span(0, 12), span(16, 22, "place")], [span(4, 12)], [span(0, 8), span(16, 22, "place")])
    assert [
        (row["span_start"], row["span_end"], row["text"], row["label"]) for row in rows if row["label"] == "name"
    ] == [(0, 12, "Ada Lovelace", "name")]
    assert [row["text"] for row in rows if row["label"] == "place"] == ["London"]
    times = [[{"type": "span", "label": "song", "time": start, "time_end": start + 2.0}] for start in (0.0, 0.5, 1.0)]
    (row,) = labels_of(*times)
    assert (row["time"], row["time_end"]) == (0.5, 2.5)


def test_an_instant_is_a_span_that_most_have_at_the_same_time() -> None:
    def beat(*ends: float) -> Label:
        return {"type": "span", "label": "beat", "time": ends[0], "time_end": ends[-1]}

    rows = labels_of(
        [beat(2.0), beat(5.0), beat(1.0, 3.0)],
        [beat(2.0), beat(1.0, 3.0)],
        [beat(7.0), beat(2.0, 3.0), {"type": "span", "label": "other", "time": 2.0, "time_end": 2.0}],
    )
    assert [(row["time"], row["time_end"], row["label"]) for row in rows if row["time"] == row["time_end"]] == [
        (2.0, 2.0, "beat")
    ]
    assert sorted((row["time"], row["time_end"]) for row in rows) == [(1.0, 3.0), (2.0, 2.0)]
    instant = next(row for row in rows if row["time_end"] == 2.0)
    share, names = agreed(instant)
    assert share == pytest.approx(2 / 3, abs=1e-6)
    assert names == ["a", "b"]
    caret = {"type": "span", "label": "gap", "span_start": 3, "span_end": 3, "text": ""}
    (row,) = labels_of([caret], [caret])
    assert (row["span_start"], row["span_end"], row["text"]) == (3, 3, "")


def test_relations_lead_to_the_merged_labels() -> None:
    def pair(first: str, second: str) -> list[Label]:
        ends = {"from_label_id": first, "to_label_id": second}
        return [
            {**box(0.1, 0.1, 0.2, 0.2), "label_id": first},
            {**box(0.6, 0.1, 0.2, 0.2), "label_id": second},
            {"type": "relation", "label_id": "r", "label": "beside", "field": "relation", **ends},
        ]

    rows = labels_of(pair("p", "q"), pair("x", "y"), pair("m", "n")[:2])
    (relation,) = (row for row in rows if row["type"] == "relation")
    left, right = (row["label_id"] for row in sorted(rows, key=lambda row: row["bbox"] or [9])[:2])
    assert (relation["from_label_id"], relation["to_label_id"]) == (left, right)


def test_relations_lead_to_merged_spans() -> None:
    def related(start: int) -> list[Label]:
        ends = {"from_label_id": "p", "to_label_id": "q"}
        spans = [(start, 12, "p"), (16, 22, "q")]
        return [
            *(
                {"type": "span", "label": "name", "span_start": first, "span_end": last, "label_id": name}
                for first, last, name in spans
            ),
            {"type": "relation", "label_id": "r", "label": "of", "field": "relation", **ends},
        ]

    rows = labels_of(related(0), related(4), related(0))
    (relation,) = (row for row in rows if row["type"] == "relation")
    spans = {row["label_id"]: row["span_start"] for row in rows if row["type"] == "span"}
    assert (spans[relation["from_label_id"]], spans[relation["to_label_id"]]) == (0, 16)


def test_a_label_whose_parent_is_in_no_consensus_has_none() -> None:
    wheel = {**box(0.1, 0.1, 0.2, 0.2, "wheel"), "label_id": "wheel", "parent_label_id": "car"}
    cars = [{**box(at, 0.5, 0.2, 0.2), "label_id": "car"} for at in (0.1, 0.7)]
    (row,) = labels_of(*([car, wheel] for car in cars))
    assert (row["label"], row["parent_label_id"]) == ("wheel", None)


def test_spans_of_video_say_frames_and_times_alike() -> None:
    def span(first: int, last: int) -> list[Label]:
        frames = {"frame": first, "frame_end": last, "tool_frame": first + 1}
        return [{"type": "classification", "label": "goal", **frames, "time": first / 25, "time_end": (last + 1) / 25}]

    (row,) = labels_of(span(0, 49), span(25, 99), span(10, 74))
    assert (row["frame"], row["frame_end"], row["tool_frame"]) == (10, 74, 11)
    assert (row["time"], row["time_end"]) == (10 / 25, 75 / 25)


def test_pixels_that_nobody_shares_are_no_mask() -> None:
    masks = []
    for first in (0, 50):
        mask = np.zeros((HEIGHT, WIDTH), np.bool_)
        mask[first : first + 40] = True
        rle = mask_to_rle(mask)
        masks.append([{"type": "segmentation", "label": "road", "mask_size": rle.size, "mask_counts": rle.counts}])
    assert not labels_of(*masks)


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


def test_which_of_two_equal_shapes_is_which_does_not_depend_on_the_other_items() -> None:
    def shapes(*ids: str) -> list[Label]:
        points = [[0.1, 0.1], [0.4, 0.1], [0.4, 0.6]]
        return [{"type": "polygon", "label": "car", "label_id": one, "points": points} for one in ids]

    item = {"a": shapes("p", "q"), "b": shapes("x", "y")}
    alone, beside = (merged(first, item).tables.labels.to_pylist() for first in ({}, {"a": shapes("q"), "b": []}))
    assert [row["label_id"] for row in alone] == [row["label_id"] for row in beside]
    assert len(alone) == 2


# Dawid and Skene

ANESTHETISTS = """
    111 1 1 1 1;333 4 3 3 4;112 2 1 2 2;222 3 1 2 1;222 3 2 2 2;222 3 3 2 2;122 2 1 1 1;333 3 4 3 3;222 2 2 2 3;
    232 2 2 2 3;444 4 4 4 4;222 3 3 4 3;111 1 1 1 1;222 3 2 1 2;121 1 1 1 1;111 2 1 1 1;111 1 1 1 1;111 1 1 1 1;
    222 2 2 2 1;222 1 3 2 2;222 2 2 2 2;222 2 2 2 1;222 3 2 2 2;221 2 2 2 2;111 1 1 1 1;111 1 1 1 1;232 2 2 2 2;
    111 1 1 1 1;111 1 1 1 1;112 1 1 2 1;111 1 1 1 1;333 3 2 3 3;111 1 1 1 1;222 2 2 2 2;222 3 2 3 2;433 4 3 4 3;
    221 2 2 3 2;232 3 2 3 3;333 3 4 3 2;111 1 1 1 1;111 1 1 1 1;121 2 1 1 1;232 2 2 2 2;121 1 1 1 1;222 2 2 2 2
"""
"""Table 1 of Dawid and Skene (1979): how fit for anesthesia five people held 45 patients, the first one three times."""


def test_dawid_skene_estimates_what_its_paper_does() -> None:
    answers = [
        {str(observer): list(own) for observer, own in enumerate(patient.split(), 1)}
        for patient in ANESTHETISTS.replace("\n", "").split(";")
    ]
    assert len(answers) == 45
    found = dawid_skene(answers)
    assert found.classes == ["1", "2", "3", "4"]
    assert found.priors == pytest.approx([0.40, 0.42, 0.11, 0.07], abs=0.005)  # table 3
    assert found.confusions["1"][0] == pytest.approx([0.89, 0.11, 0, 0], abs=0.005)
    assert found.posterior[0, 0] == pytest.approx(1, abs=1e-4)


def test_people_who_are_right_more_often_weigh_more() -> None:
    chance = random.Random(1)
    answers = []
    for _ in range(300):
        truth = chance.choice("xyz")
        wrong = {"good": 0.05, "fair": 0.25, "poor": 0.6}
        answers.append(
            {who: [truth if chance.random() > rate else chance.choice("xyz")] for who, rate in wrong.items()}
        )
    weights = estimate_weights(answers)
    assert weights["good"] > weights["fair"] > weights["poor"] > 0
    assert sum(weights.values()) == pytest.approx(3)
    assert estimate_weights([]) == {}


def test_objects_are_merged_with_those_they_match_in_whatever_order_they_come() -> None:
    low, high = box(0.0, 0.0, 0.5, 0.25), box(0.0, 0.0, 0.5, 0.5)
    named = {"c0": high, "c1": high, "c2": high, "c3": low}
    for order in itertools.permutations(named):
        own = [{**named[name], "label_id": name} for name in order]
        (row,) = merged({"a": [], "b": [{**low, "label_id": "b0"}], "c": own}).tables.labels.to_pylist()
        assert row["bbox"] == low["bbox"]
