"""Agreement and consensus where people say the same in other forms, or nothing, or what makes no sense."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from airflow_annotation.labels.agreement import AgreementMeter
from airflow_annotation.labels.consensus import ConsensusOptions, merge_submissions
from airflow_annotation.labels.masks import RLE, mask_to_rle, rle_to_mask
from tests.support.annotators import Label, agreement, box, choice, item_rows, landing, value


def merged(*labels: Sequence[Label], **settings: Any) -> list[dict[str, Any]]:
    """Return the labels that people agree on in one item."""
    batch = landing(dict(zip("abcdefgh", labels, strict=False)))
    rows: list[dict[str, Any]] = merge_submissions(batch, ConsensusOptions(**settings)).tables.labels.to_pylist()
    return rows


def said(paragraphs: tuple[int, int], start: int, end: int, text: str | None = None, **attributes: Any) -> Label:
    """Return a span of a dialogue, whose characters are counted in each paragraph, as Label Studio does."""
    first, last = map(str, paragraphs)
    places = json.dumps({"start": first, "end": last, **attributes})
    return {"type": "span", "label": "name", "span_start": start, "span_end": end, "text": text, "attributes": places}


def test_spans_of_a_dialogue_are_compared_and_merged_within_their_paragraphs() -> None:
    assert value([said((0, 0), 0, 4)], [said((1, 1), 0, 4)]) == 0
    assert value([said((1, 1), 0, 4)], [said((1, 1), 2, 6)]) == pytest.approx(2 / 6)
    assert value([said((0, 2), 9, 4)], [said((0, 2), 9, 4)]) == 1
    assert 0.9 < value([said((0, 2), 9, 4)], [said((0, 2), 9, 5)]) < 1
    assert merged([said((0, 0), 0, 4)], [said((1, 1), 0, 4)]) == []
    (row,) = merged([said((1, 1), 0, 4, "Anna", tone="calm")], [said((1, 1), 0, 4, "Anna", tone="calm")])
    assert (row["span_start"], row["span_end"], row["text"]) == (0, 4, "Anna")
    assert json.loads(row["attributes"]) == {"start": "1", "end": "1", "tone": "calm"}
    (row,) = merged([said((0, 2), 9, 4, "Anna\nBen\nCleo")], [said((0, 2), 9, 4, "Anna\nBen\nCleo")])
    assert (row["span_start"], row["span_end"], row["text"]) == (9, 4, "Anna\nBen\nCleo")
    assert json.loads(row["attributes"]) == {"start": "0", "end": "2"}


def test_a_merged_span_is_in_the_elements_where_its_begin_and_its_end_are() -> None:
    def marked(start: int, end: int, first: str, last: str) -> Label:
        places = {"start": first, "end": last, "startOffset": start % 10, "endOffset": end % 10}
        return {"type": "span", "label": "x", "span_start": start, "span_end": end, "attributes": json.dumps(places)}

    (row,) = merged([marked(2, 25, "p1", "p3")], [marked(13, 25, "p2", "p3")], [marked(13, 37, "p2", "p4")])
    assert (row["span_start"], row["span_end"]) == (13, 25)
    assert json.loads(row["attributes"]) == {"start": "p2", "startOffset": 3, "end": "p3", "endOffset": 5}


@pytest.mark.parametrize(
    "shape", [{"type": "detection", "bbox": [0.1, 0.1, 0.2, 0.2]}, {"type": "span", "span_start": 0, "span_end": 4}]
)
def test_the_order_of_an_objects_classes_does_not_matter(shape: Label) -> None:
    one, other = ({**shape, "label": names[0], "labels": names} for names in (["car", "red"], ["red", "car"]))
    assert value([one], [other]) == 1
    (row,) = merged([one], [other], [{**shape, "label": "bus"}])
    assert sorted(row["labels"]) == ["car", "red"]
    assert row["label"] == row["labels"][0]


@pytest.mark.parametrize("type_", ["segmentation", "instance"])
def test_masks_of_several_sizes_vote_in_the_largest(type_: str) -> None:
    large = np.zeros((40, 60), np.bool_)
    large[10:30, 20:50] = True
    masks = [large, large[::2, ::2], large[:, ::2]]
    painted = []
    for mask in map(mask_to_rle, masks):
        own = {"mask_size": list(mask.size), "mask_counts": mask.counts}
        painted.append([{"type": type_, "label": "road", **own}])
    assert value(*painted) == 1
    (row,) = merged(*painted)
    assert row["mask_size"] == [40, 60]
    assert np.array_equal(rle_to_mask(RLE((40, 60), row["mask_counts"])), large)


@pytest.mark.parametrize(
    "type_", ["detection", "ellipse", "polygon", "polyline", "keypoint", "instance", "segmentation"]
)
def test_shapes_without_their_columns_are_not_compared(type_: str) -> None:
    empty: Label = {"type": type_, "label": "car"}
    assert item_rows(agreement({"a": [empty], "b": [empty]})) == []
    assert merged([empty], [empty]) == []


def test_a_person_alone_agrees_with_nobody_and_is_a_consensus_of_one_by_choice() -> None:
    boxes = [box(0.1, 0.1, 0.2, 0.2)]
    assert agreement({"a": boxes}, {}, {"a": []}).items.num_rows == 0
    assert merged(boxes) == []
    (row,) = merged(boxes, min_annotators=1)
    assert (row["bbox"], json.loads(row["raw"])) == (boxes[0]["bbox"], {"agreement": 1.0, "annotators": ["a"]})


def test_two_who_found_nothing_agree_only_where_somebody_found_something() -> None:
    found = [box(0.1, 0.1, 0.2, 0.2)]
    assert item_rows(agreement({"a": [], "b": []})) == []
    assert value([], [], found) == pytest.approx(1 / 3)
    assert value(choice("sun"), [], choice("sun")) == 1  # who left it open is not compared


def test_several_ground_truths_of_an_item_are_compared_with_each_other() -> None:
    batch = landing(
        {"a": choice("sun"), "b": choice("rain"), "c": choice("sun")},
        a={"ground_truth": True},
        b={"ground_truth": True},
    )
    rows = {row["annotator"]: row for row in AgreementMeter().add(batch).to_pylist()}
    assert (rows["a"]["ground_truth"], rows["b"]["ground_truth"]) == (0, 0)
    assert rows["c"]["ground_truth"] == 1 / 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"spans": {"stars": 0}},
        {"spans": {"stars": float("nan")}},
        {"keypoint_sigmas": 0},
        {"keypoint_sigmas": {"eye": -1}},
    ],
)
def test_measures_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        AgreementMeter(**wrong)
