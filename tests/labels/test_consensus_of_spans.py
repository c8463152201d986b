"""Spans of text, of sound and of video of several people, as one."""

from __future__ import annotations

import pytest

from tests.support.annotators import Label
from tests.support.consensus import agreed, labels_of


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


def test_spans_of_video_say_frames_and_times_alike() -> None:
    def span(first: int, last: int) -> list[Label]:
        frames = {"frame": first, "frame_end": last, "tool_frame": first + 1}
        return [{"type": "classification", "label": "goal", **frames, "time": first / 25, "time_end": (last + 1) / 25}]

    (row,) = labels_of(span(0, 49), span(25, 99), span(10, 74))
    assert (row["frame"], row["frame_end"], row["tool_frame"]) == (10, 74, 11)
    assert (row["time"], row["time_end"]) == (10 / 25, 75 / 25)
