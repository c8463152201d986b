"""Labels on their way to Label Studio, and back."""

from __future__ import annotations

import json
import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk.label_interface.interface import LabelInterface

from airflow_annotation.labels.diff import diff_labels
from airflow_annotation.labels.errors import UnwritableLabelError
from airflow_annotation.labels.label_studio.config import label_config_from_schema
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.results import results_from_labels
from airflow_annotation.labels.schema import LabelSchema
from tests.support.label_studio_exports import BOX, read, read_labels, region, task
from tests.support.label_studio_rows import (
    CONFIG,
    DATA,
    FRAME_RATE,
    FRAMES,
    HEIGHT,
    WIDTH,
    assert_same_rows,
    submissions,
)


@given(st.text(st.characters(codec="utf-8"), max_size=12), st.integers(0, 15), st.integers(0, 15))
def test_spans_of_paragraphs_count_characters_and_go_back_as_they_were(text: str, start: int, length: int) -> None:
    data = {**DATA, "talk": [{"author": "anna", "text": text}]}
    row: dict[str, Any] = {"field": "tones", "type": "span", "label_id": "a", "label": "glad"}
    row |= {"span_start": start, "span_end": start + length, "attributes": '{"start": "0", "end": "0"}'}
    (record,) = results_from_labels([row], LabelingConfig(CONFIG), data=data)
    units = [len(text[:end].encode("utf-16-le")) // 2 + max(end - len(text), 0) for end in (start, start + length)]
    assert [record["value"]["startOffset"], record["value"]["endOffset"]] == units
    (landed,) = read(task([record], data=data)).labels.to_pylist()
    assert (landed["span_start"], landed["span_end"]) == (start, start + length)
    assert results_from_labels([landed], LabelingConfig(CONFIG)) == [record]


@given(submissions())
def test_labels_survive_being_written_and_read(rows: list[dict[str, Any]]) -> None:
    results = results_from_labels(
        rows,
        LabelingConfig(CONFIG),
        find_size=lambda _: (WIDTH, HEIGHT),
        duration=FRAMES / FRAME_RATE,
        data=DATA,
    )
    data = {**DATA, "frame_rate": FRAME_RATE, "frame_count": FRAMES}
    assert_same_rows(read(task(results, data=data)).labels.to_pylist(), rows)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"field": "objcts", "type": "detection"}, "no such field"),
        ({"field": "objects", "type": "polygon", "points": []}, "no such field for labels of type polygon"),
        ({"field": "objects", "type": "detection", "bbox": [0.9, 0, 0.2, 0.1], "label": "car"}, "outside its media"),
        ({"field": "objects", "type": "detection", "bbox": [math.nan, 0, 0.2, 0.1], "label": "car"}, "outside"),
        ({"field": "objects", "type": "detection", "bbox": [0, 0, 0.2, 0.1], "label": "cat"}, "class 'cat'"),
        ({"field": "weather", "type": "classification", "label": "snow"}, "class 'snow'"),
        ({"field": "stars", "type": "rating", "number": 9.0}, "rating 9.0: the project takes whole numbers up to 5"),
        ({"field": "stars", "type": "rating", "number": 2.5}, "rating 2.5"),
        ({"field": "stars", "type": "rating", "number": -1.0}, "rating -1.0"),
    ],
)
def test_labels_that_the_project_cannot_take_are_named(row: dict[str, Any], said: str) -> None:
    with pytest.raises(UnwritableLabelError) as raised:
        results_from_labels([{"label_id": "r1", **row}], LabelingConfig(CONFIG))
    assert said in str(raised.value)
    assert "'r1'" in str(raised.value)


def test_a_question_that_comes_with_an_answer_to_another_is_about_the_region_too() -> None:
    config = """
      <View><Image name="image" value="$photo"/>
        <RectangleLabels name="objects" toName="image"><Label value="car"/></RectangleLabels>
        <View visibleWhen="region-selected" whenTagName="objects">
          <Choices name="damaged" toName="image" perRegion="true"><Choice value="yes"/></Choices>
          <View visibleWhen="choice-selected" whenTagName="damaged" whenChoiceValue="yes">
            <Choices name="part" toName="image" perRegion="true"><Choice value="door"/></Choices>
          </View>
        </View>
      </View>
    """
    records = [
        region("rectanglelabels", "objects", {**BOX, "rectanglelabels": ["car"]}),
        region("choices", "damaged", {**BOX, "choices": ["yes"]}),
        region("choices", "part", {**BOX, "choices": ["door"]}),
    ]
    rows = read_labels(records, config=config)
    assert [json.loads(row["attributes"]) for row in rows] == [{"damaged": "yes", "part": "door"}]
    written = results_from_labels(rows, LabelingConfig(config))
    assert [(record["from_name"], record["id"]) for record in written] == [
        (name, "r1") for name in ("objects", "damaged", "part")
    ]


def test_a_pair_is_written_about_what_it_compares_as_the_server_wants_it() -> None:
    row = {"label_id": "r1", "field": "better", "type": "pairwise", "label": "left"}
    (record,) = results_from_labels([row], LabelingConfig(CONFIG))
    assert (record["from_name"], record["to_name"], record["value"]) == ("better", "left", {"selected": "left"})
    assert read_labels([record]) == [{"ordinal": 0, **row}]


def test_messages_and_what_is_said_of_them_go_back_as_the_server_takes_them() -> None:
    tone = {"type": "radio", "values": ["kind", "rude"]}
    schema = LabelSchema.from_dict({"talk": {"type": "messages", "attributes": {"tone": tone}}})
    config = label_config_from_schema(schema)
    said = {"chatmessage": {"role": "assistant", "content": "Because.", "createdAt": 1_700_000_000_000}}
    records = [
        {"id": "m", "type": "chatmessage", "from_name": "talk", "to_name": "talk", "value": said},
        {"id": "m", "type": "choices", "from_name": "talk.tone", "to_name": "talk", "value": {"choices": ["kind"]}},
    ]
    landed = read(task(records), config=config).labels
    (row,) = landed.to_pylist()
    assert (row["type"], row["label"], row["text"], row["target"]) == ("message", "assistant", "Because.", "talk")
    assert json.loads(row["attributes"]) == {"tone": "kind", "createdAt": 1_700_000_000_000}
    assert LabelSchema.from_labels(pa.table(landed)).fields["talk"].type == "messages"

    written = results_from_labels([row], LabelingConfig(config))
    assert written == records
    refused = LabelInterface(config).validate_prediction({"result": written}, return_errors=True)  # type: ignore[no-untyped-call]
    assert refused == []
    other = pa.Table.from_pylist([{**row, "text": "Never."}], schema=landed.schema)
    changes = diff_labels({"labels": pa.table(landed)}, {"labels": other}).to_pylist()
    assert [(change["change"], change["columns"]) for change in changes] == [("changed", ["text"])]


def test_boxes_of_a_video_of_unknown_length_have_one_as_the_server_wants_it() -> None:
    config = '<View><Video name="clip" value="$clip"/><VideoRectangle name="box" toName="clip"/></View>'
    key = {"enabled": True, "rotation": 0, "x": 10, "y": 10, "width": 5, "height": 5}
    value = {"sequence": [{**key, "frame": 12, "time": 0.5}, {**key, "frame": 48, "time": 2.0}]}
    made = region("videorectangle", "box", value, to_name="clip")
    (record,) = results_from_labels(read_labels([made], config=config), LabelingConfig(config))
    assert (record["value"]["framesCount"], record["value"]["duration"]) == (48, 2.0)
    assert [frame["frame"] for frame in record["value"]["sequence"]] == [12, 48]
