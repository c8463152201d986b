"""Items as the page draws them: what is said of labels that are on pages, or between times that are no numbers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from airflow_annotation.labels.masks import mask_to_rle
from airflow_annotation.labels.tables import collect_tables
from airflow_annotation.plugins.page.shown_items import Outlines, ShownItem, show_items
from tests.support.generated import batch_of, project_uri


def shown(item: dict[str, Any], *labels: dict[str, Any]) -> ShownItem:
    own = {"project": project_uri(), "item_id": "1", "item_key": "one"}
    rows = [own | {"tool": "labelbox", "status": "labeled", "annotation_count": 1, "prediction_count": 0} | item]
    key = own | {"annotation_id": "a", "origin": "person"}
    submission = key | {"annotator": "ada", "status": "submitted", "label_count": len(labels)}
    made = [key | {"ordinal": n, "label_id": f"r{n}", "field": "field"} | label for n, label in enumerate(labels)]
    (found,) = show_items(collect_tables([batch_of(rows, [submission], made)]), ["1", "gone"], 5, Outlines())
    return found


def test_a_box_on_a_page_says_which_and_how_large_the_page_is() -> None:
    box = {"type": "detection", "target": "pdf[1]", "bbox": [0.1, 0.2, 0.3, 0.4], "label": "total"}
    item = shown(
        {"media_type": "pdf", "media_uri": "https://example.com/a.pdf"},
        box | {"attributes": json.dumps({"page_size": [600, 800]})},
        box | {"target": "pdf[0]"},
    )
    assert [(label["page"], label["page_size"]) for label in item.labels] == [(1, [600, 800]), (0, None)]
    assert item.has_file
    assert item.annotators == [label["annotator"] for label in item.labels[:1]] == ["ada"]


def test_a_span_between_times_that_are_no_numbers_says_them() -> None:
    def span(**attributes: Any) -> dict[str, Any]:
        return {"type": "span", "label": "spike", "attributes": json.dumps(attributes)}

    item = shown(
        {"media_type": "time_series", "media_uri": "s3://bucket/a.csv"},
        span(start="2026-01-01 00:00:00", end="2026-01-01 00:01:00"),
        span(start="monday", end="tuesday"),
        span(start=1, end=None),
        {"type": "span", "label": "spike", "time": 1.0, "time_end": 2.0},
    )
    dates, words, odd, numbers = item.labels
    assert dates["clock"][1] - dates["clock"][0] == 60
    assert words["times"] == ["monday", "tuesday"]
    assert "clock" not in words
    assert not {"times", "clock"} & (odd.keys() | numbers.keys())


def test_a_file_is_read_only_where_the_text_is_not_in_the_data() -> None:
    place = {"media_uri": "s3://bucket/a.txt", "media_type": "text"}
    assert not shown(place | {"data": '{"text": "Hello"}'}).has_file
    assert shown(place | {"data": "{}"}).has_file
    assert not shown(place | {"media_uri": None, "data": "{}"}).has_file
    (text,) = shown({"media_type": "html", "data": '{"html": "<p>It <b>rains</b></p>"}'}).texts
    assert text.text == "It rains"


def test_a_span_of_a_conversation_says_in_which_message_it_is() -> None:
    turns = [{"role": "user", "content": "😀 Hi"}, {"content": "Ho", "role": "bot"}]
    item = shown(
        {"media_type": "conversation", "data": json.dumps({"turns": turns})},
        {"type": "span", "span_start": 2, "span_end": 4, "text": "Hi", "attributes": '{"start": "0", "end": "0"}'},
        {"type": "span", "span_start": 0, "span_end": 2, "text": "Ho", "attributes": '{"start": "1", "end": "1"}'},
        {"type": "span", "span_start": 0, "span_end": 2, "attributes": '{"start": "/p[1]", "end": "/p[1]"}'},
    )
    (text,) = item.texts
    *said, element = item.labels
    for label in said:
        start, end = (text.starts[message] for message in label["messages"])
        assert text.text[start + label["span_start"] : end + label["span_end"]] == label["text"]
    assert not {"messages", "times"} & element.keys()


def test_masks_of_very_many_parts_are_drawn_as_far_as_a_page_goes_and_then_their_boxes() -> None:
    def board(side: int) -> dict[str, Any]:
        rle = mask_to_rle(np.indices((side, side)).sum(axis=0) % 2 == 0)
        return {"type": "instance", "label": "leaf", "mask_size": list(rle.size), "mask_counts": rle.counts}

    item = shown({"media_type": "image", "width": 100, "height": 100}, *[board(180)] * 17, board(300), board(1))
    drawn = [sum(map(len, label.get("polygons", ()))) for label in item.labels]
    # Where the machine is busy, time runs out before the corners do.
    assert drawn[0] == 180 * 180 / 2
    assert sum(drawn) <= 16 * drawn[0] + 1
    assert item.labels[-2]["bbox"] == [0, 0, 1, 1]
    assert all(("polygons" in label) != ("bbox" in label) for label in item.labels)
