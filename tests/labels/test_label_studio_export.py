"""Label Studio's export as tables, and labels there and back."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Collection
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
from airflow_annotation.labels.label_studio.export import ExportSource, tables_from_export
from airflow_annotation.labels.label_studio.results import results_from_labels
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import SCHEMAS, LabelTables
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
from tests.support.read_options import with_options

SIZE = {"original_width": 640, "original_height": 480}


def source(**settings: Any) -> ExportSource:
    return ExportSource(
        project="label-studio://studio/projects/7",
        config=LabelingConfig(settings.pop("config", CONFIG)),
        item_url="https://studio/projects/7/data?task={item_id}",
        **with_options(settings),
    )


def task(*results: list[Any] | dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A task with one annotation for each result."""
    annotations = [
        {"id": 100 + n, "completed_by": 3, **(result if isinstance(result, dict) else {"result": result})}
        for n, result in enumerate(results)
    ]
    return {"id": 1, "data": {"photo": "https://photos/1.jpg"}, "annotations": annotations, **fields}


def read(*tasks: dict[str, Any], unfinished: Collection[int] = (), **settings: Any) -> LabelTables:
    tables = tables_from_export(json.dumps(tasks).encode(), source(**settings), unfinished=unfinished)
    for name, batch in tables._asdict().items():
        assert batch.schema == SCHEMAS[name]
        batch.validate(full=True)
        for field in batch.schema:
            assert field.nullable or batch.column(field.name).null_count == 0, field.name
    return tables


def read_labels(*results: list[Any], **settings: Any) -> list[dict[str, Any]]:
    """The label rows of a task, without what is null and what says where the label is from."""
    common = ("project", "item_id", "item_key", "annotation_id", "origin")
    rows = read(task(*results), **settings).labels.to_pylist()
    return [{name: value for name, value in row.items() if value is not None and name not in common} for row in rows]


def region(type_: str, from_name: str, value: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"id": "r1", "type": type_, "from_name": from_name, "to_name": "image", "value": value, **SIZE, **fields}


BOX = {"x": 10.0, "y": 20.0, "width": 30.0, "height": 40.0, "rotation": 0}


def test_a_box_lands_with_its_class_and_place() -> None:
    row = region("rectanglelabels", "objects", {**BOX, "rectanglelabels": ["car"]}, origin="manual", parentID="r0")
    assert read_labels([row]) == [
        {
            "ordinal": 0,
            "label_id": "r1",
            "parent_label_id": "r0",
            "field": "objects",
            "target": "image",
            "type": "detection",
            "label": "car",
            "bbox": pytest.approx([0.1, 0.2, 0.3, 0.4]),
            "rotation": 0.0,
            "label_origin": "manual",
        }
    ]


def test_items_keep_what_the_caller_attached() -> None:
    data = {
        "photo": "/data/upload/1.jpg",
        "item_key": "k1",
        "media_uri": "gs://bucket/1.jpg",
        "width": 640,
        "height": 480,
        "camera": {"id": 4},
    }
    times = {"created_at": "2026-11-22T17:07:08.624092Z", "updated_at": "2026-11-22T17:07:08Z"}
    (row,) = read(task([], data=data, total_predictions=2, **times), run_key="run").items.to_pylist()
    assert row == {
        "project": "label-studio://studio/projects/7",
        "tool": "label_studio",
        "run_key": "run",
        "item_id": "1",
        "item_key": "k1",
        "media_uri": "gs://bucket/1.jpg",
        "media_type": "image",
        "width": 640,
        "height": 480,
        "frame_count": None,
        "frame_rate": None,
        "status": "labeled",
        "annotation_count": 1,
        "prediction_count": 2,
        "agreement": None,
        "media": None,
        "created_at": datetime.datetime(2026, 11, 22, 17, 7, 8, 624092, tzinfo=datetime.timezone.utc),
        "updated_at": datetime.datetime(2026, 11, 22, 17, 7, 8, tzinfo=datetime.timezone.utc),
        "item_url": "https://studio/projects/7/data?task=1",
        "data": '{"camera":{"id":4}}',
    } | {"data": row["data"]}
    assert json.loads(row["data"])["camera"] == {"id": 4}


def test_items_that_somebody_else_uploaded_are_known_by_their_media_and_sized_by_their_labels() -> None:
    box = region("rectanglelabels", "objects", {**BOX, "rectanglelabels": ["car"]})
    (row,) = read(task([box])).items.to_pylist()
    assert (row["item_key"], row["media_uri"]) == ("https://photos/1.jpg", "https://photos/1.jpg")
    assert (row["width"], row["height"]) == (640, 480)
    (row,) = read(task(predictions=[{"id": 9, "result": [box]}])).items.to_pylist()
    assert (row["width"], row["height"]) == (640, 480)
    (row,) = read(task(data={"photo": ["a.jpg", "b.jpg"], "width": "wide"})).items.to_pylist()
    assert (row["item_key"], row["media_uri"], row["width"]) == ("a.jpg", None, None)
    assert json.loads(row["data"]) == {"photo": ["a.jpg", "b.jpg"], "width": "wide"}


@pytest.mark.parametrize(
    ("annotations", "unfinished", "status"),
    [
        ([], (), "unlabeled"),
        ([[]], (), "labeled"),
        ([[]], (1,), "partial"),
        ([{"was_cancelled": True}], (1,), "skipped"),
        ([{"was_cancelled": True}, []], (), "labeled"),
    ],
)
def test_item_status(annotations: list[Any], unfinished: Collection[int], status: str) -> None:
    assert read(task(*annotations), unfinished=unfinished).items["status"].to_pylist() == [status]


def test_empty_skipped_and_draft_submissions_are_told_apart() -> None:
    box = region("rectanglelabels", "objects", {**BOX, "rectanglelabels": ["car"]})
    draft = {"id": 100, "user": "anna", "result": [box], "created_at": None}
    tables = read(
        task([box], [], {"was_cancelled": True, "result": [box]}, drafts=[draft, 7]), find_email="user{}".format
    )
    assert [
        tuple(row[name] for name in ("annotation_id", "status", "label_count", "annotator"))
        for row in tables.annotations.to_pylist()
    ] == [
        ("100", "submitted", 1, "user3"),
        ("101", "submitted", 0, "user3"),
        ("102", "skipped", 1, "user3"),
        ("draft-100", "draft", 0, "anna"),
    ]
    assert tables.labels["annotation_id"].to_pylist() == ["100", "102"]


def test_people_can_stay_unnamed() -> None:
    draft = {"id": 5, "user": "anna@example.com"}
    expanded = {"completed_by": {"id": 8, "email": "ben@example.com"}}
    tables = read(task([], expanded, drafts=[draft]), annotators="id", find_email="user{}".format)
    assert tables.annotations["annotator"].to_pylist() == ["3", "8", None]


def test_annotations_are_chosen_and_items_never_left_out() -> None:
    submissions = [
        {"updated_at": "2026-01-03T00:00:00Z", "ground_truth": False, "result": []},
        {"updated_at": "2026-01-02T00:00:00Z", "ground_truth": True, "result": []},
        {"updated_at": "2026-01-04T00:00:00Z", "was_cancelled": True, "result": []},
    ]
    chosen = {
        choice: read(task(*submissions), task(), annotations=choice) for choice in ("all", "latest", "ground_truth")
    }
    assert {choice: tables.annotations["annotation_id"].to_pylist() for choice, tables in chosen.items()} == {
        "all": ["100", "101", "102"],
        "latest": ["100"],
        "ground_truth": ["101"],
    }
    assert all(tables.items["annotation_count"].to_pylist() == [3, 0] for tables in chosen.values())


def test_predictions_are_rows_of_their_own_origin() -> None:
    box = region("rectanglelabels", "objects", {**BOX, "rectanglelabels": ["car"]}, score=0.5)
    prediction = {"id": 100, "model_version": "v1", "score": 0.9, "result": [box]}
    data = json.dumps([task([box], predictions=[100])]).encode()
    tables = tables_from_export(data, source(), predictions={1: [json.dumps(prediction).encode()]})  # type: ignore[list-item]
    assert tables.annotations["origin"].to_pylist() == ["person", "prediction"]
    assert tables.annotations["model_version"].to_pylist() == [None, "v1"]
    assert tables.labels["origin"].to_pylist() == ["person", "prediction"]
    assert tables.labels["attributes"].to_pylist() == ['{"score":0.5}'] * 2


def test_answers_about_a_region_are_its_attributes() -> None:
    rows = read_labels(
        [
            region("textarea", "objects.plate", {**BOX, "text": ["AB 12"]}),
            region("rectanglelabels", "objects", {**BOX, "rectanglelabels": ["car"]}),
            region("choices", "objects.occluded", {**BOX, "choices": ["yes"]}),
            region("choices", "objects.parts", {**BOX, "choices": ["door"]}),
            region("number", "objects.age", {**BOX, "number": 3}),
            region("rectanglelabels", "objects", {**BOX, "rectanglelabels": ["person"]}, id="r2"),
        ]
    )
    assert [(row["label"], row["ordinal"]) for row in rows] == [("car", 0), ("person", 1)]
    assert json.loads(rows[0]["attributes"]) == {"plate": "AB 12", "occluded": "yes", "parts": ["door"], "age": 3}
    assert "attributes" not in rows[1]


def test_the_same_region_id_in_two_annotations_is_two_regions() -> None:
    box = region("rectanglelabels", "objects", {**BOX, "rectanglelabels": ["car"]})
    rows = read_labels([box, region("choices", "objects.occluded", {"choices": ["yes"]})], [box])
    assert [row.get("attributes") for row in rows] == ['{"occluded":"yes"}', None]


def test_a_shape_gets_its_class_from_the_labels_beside_it() -> None:
    rows = read_labels([region("rectangle", "frame", BOX), region("labels", "kind", {**BOX, "labels": ["old", "new"]})])
    assert len(rows) == 1
    assert (rows[0]["field"], rows[0]["type"], rows[0]["label"]) == ("kind", "detection", "old")
    assert rows[0]["labels"] == ["old", "new"]


def test_regions_without_a_label_land() -> None:
    (row,) = read_labels([region("rectangle", "frame", BOX)])
    assert (row["type"], row["field"], row.get("label")) == ("detection", "kind", None)


def test_keypoints_of_a_parent_are_ordered_by_the_skeleton() -> None:
    points = [("foot", "b1"), ("hip", "b1"), ("knee", None)]
    rows = read_labels(
        [
            region("keypointlabels", "joints", {"x": 50, "y": 25, "keypointlabels": [label]}, id=label, parentID=parent)
            for label, parent in points
        ]
    )
    assert [(row["label"], row.get("point_index")) for row in rows] == [("foot", 2), ("hip", 0), ("knee", None)]
    assert rows[0]["points"] == [[0.5, 0.25]]


def test_a_turned_ellipse_turns_about_its_boxs_corner_in_the_table() -> None:
    value = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "rotation": 90, "ellipselabels": ["wheel"]}
    (row,) = read_labels([region("ellipselabels", "rounds", value)])
    # In pixels: middle (320, 240), radii 64 and 96; the corner (-64, -96) turned by 90 degrees is (96, -64).
    assert row["bbox"] == pytest.approx([(320 + 96) / 640, (240 - 64) / 480, 0.2, 0.4])
    assert (row["type"], row["rotation"]) == ("ellipse", 90)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (region("choices", "weather", {"choices": ["sun"]}), {"type": "classification", "label": "sun"}),
        (
            region("choices", "tags", {"choices": ["day", "wet"]}),
            {"type": "classifications", "label": "day", "labels": ["day", "wet"]},
        ),
        (region("choices", "tags", {"choices": ["day"]}), {"type": "classifications", "label": "day"}),
        (region("taxonomy", "place", {"taxonomy": [["EU", "FR"]]}), {"type": "classifications", "label": "EU/FR"}),
        (region("number", "count", {"number": 3}), {"type": "scalar", "number": 3.0}),
        (region("rating", "stars", {"rating": 4}), {"type": "rating", "number": 4.0}),
        (region("textarea", "note", {"text": ["a", "b"]}), {"type": "text", "text": "a\nb", "labels": ["a", "b"]}),
        (region("datetime", "seen", {"datetime": "2026-01-01"}), {"type": "text", "text": "2026-01-01"}),
        (
            region(
                "vectorlabels",
                "lines",
                {"vertices": [{"x": 10, "y": 20}, {"x": 30, "y": 40}], "vectorlabels": ["lane"]},
            ),
            {"type": "polyline", "label": "lane", "points": [[0.1, 0.2], [0.3, 0.4]]},
        ),
        (
            region("labels", "names", {"start": 3, "end": 9, "text": "Berlin", "labels": ["city"]}, to_name="story"),
            {"type": "span", "span_start": 3, "span_end": 9, "text": "Berlin", "label": "city", "target": "story"},
        ),
        (
            region("pairwise", "better", {"selected": "right"}, to_name="better"),
            {"type": "pairwise", "field": "better", "label": "right"},
        ),
        (
            region("ranker", "order", {"ranker": {"order": ["b", "a"]}}, to_name="answers"),
            {"type": "ranking", "labels": ["b", "a"], "target": "answers", "label_id": "r1"},
        ),
        (
            region("chatmessage", "chat", {"chatmessage": {"role": "user", "content": "Hi"}}, to_name="chat"),
            {"type": "message", "field": "chat", "label": "user", "text": "Hi", "target": "chat"},
        ),
        (
            region(
                "ocrlabels",
                "ocr",
                {"x": 10, "y": 20, "width": 30, "height": 40, "ocrtext": "Hi", "ocrlabels": ["typo"], "pageIndex": 2},
                to_name="paper",
            ),
            {"type": "detection", "label": "typo", "text": "Hi", "bbox": [0.1, 0.2, 0.3, 0.4], "target": "paper[2]"},
        ),
        (
            region("labels", "voices", {"start": 1.5, "end": 2.0, "labels": ["anna"]}, to_name="sound"),
            {"type": "span", "time": 1.5, "time_end": 2.0, "label": "anna"},
        ),
    ],
)
def test_other_answers(record: dict[str, Any], expected: dict[str, Any]) -> None:
    (row,) = read_labels([record])
    assert {name: row[name] for name in expected} == expected


def test_each_bucket_of_a_ranking_is_a_row() -> None:
    value = {"ranker": {"good": ["b", "a"], "bad": [], "_": ["c"]}}
    rows = read_labels([region("ranker", "sorted", value, to_name="answers", id="r")])
    assert [(row.get("label"), row["labels"], row["label_id"], row["parent_label_id"]) for row in rows] == [
        ("good", ["b", "a"], "r.good", "r"),
        ("bad", [], "r.bad", "r"),
        (None, ["c"], "r._", "r"),
    ]


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


def test_relations_name_their_ends() -> None:
    relation = {"type": "relation", "from_id": "a", "to_id": "b", "direction": "left", "labels": ["holds"]}
    (row,) = read_labels([relation])
    assert (row["type"], row["from_label_id"], row["to_label_id"], row["label"]) == ("relation", "a", "b", "holds")


@pytest.mark.parametrize(
    "record",
    [
        region("ranker", "order", {"ranker": {"order": "1"}}),
        region("ranker", "order", {"ranker": {}}),
        region("pairwise", "better", {"selected": "both"}),
        region("chatmessage", "chat", {"chatmessage": {"role": "user"}}),
        region("ocrlabels", "ocr", {"x": 1, "y": 2, "width": 3, "ocrlabels": ["typo"]}),
        region("rectanglelabels", "objects", {"x": "left"}),
        region("brushlabels", "things", {"format": "rle", "rle": [1, 2, 3], "brushlabels": ["leaf"]}),
        region("bitmasklabels", "spots", {"imageDataURL": "data:image/png;base64,", "bitmasklabels": ["rust"]}),
        region("vectorlabels", "lines", {"vertices": [{"x": 1, "y": 2, "isBezier": True}], "vectorlabels": ["lane"]}),
        {"type": 5},
        "nonsense",
        None,
    ],
)
def test_what_no_rule_covers_lands_as_it_is(record: Any) -> None:
    box = region("rectanglelabels", "objects", {**BOX, "rectanglelabels": ["car"]})
    rows = read_labels([box, record, box])
    assert [row["type"] for row in rows] == ["detection", "other", "detection"]
    assert json.loads(rows[1]["raw"]) == record
    assert "raw" not in rows[0]


def test_raw_records_are_kept_by_choice() -> None:
    records = [
        region("rectanglelabels", "objects", {**BOX, "rectanglelabels": ["car"]}, meta={"text": ["mine"]}, id=name)
        for name in ("a", "b")
    ]
    rows = read_labels(records, keep_raw=True)
    assert [json.loads(row["raw"]) for row in rows] == records


def test_repeated_controls_belong_to_one_field() -> None:
    config = """
      <View><Repeater on="$pages" indexFlag="{{n}}">
        <Image name="page_{{n}}" value="$pages[{{n}}].url"/>
        <RectangleLabels name="objects_{{n}}" toName="page_{{n}}"><Label value="car"/></RectangleLabels>
      </Repeater></View>
    """
    records = [
        region("rectanglelabels", f"objects_{n}", {**BOX, "rectanglelabels": ["car"]}, to_name=f"page_{n}")
        for n in (0, 11)
    ]
    assert [(row["field"], row["target"]) for row in read_labels(records, config=config)] == [
        ("objects", "page_0"),
        ("objects", "page_11"),
    ]


def test_many_tasks_are_one_batch_in_order() -> None:
    box = region("rectanglelabels", "objects", {**BOX, "rectanglelabels": ["car"]})
    choice = region("choices", "weather", {"choices": ["sun"]})
    tasks = [task(*([[box, choice, box]] * (n % 3)), id=n) for n in range(1, 351)]
    tables = read(*tasks)
    assert tables.items["item_id"].to_pylist() == [str(n) for n in range(1, 351)]
    assert tables.labels["item_id"].to_pylist() == [str(n) for n in range(1, 351) for _ in range(3 * (n % 3))]
    assert tables.labels["ordinal"].to_pylist() == [0, 1, 2] * (len(tables.labels) // 3)
    assert set(tables.labels["type"].to_pylist()[1::3]) == {"classification"}


def test_an_empty_export_has_no_rows() -> None:
    assert [len(batch) for batch in read()] == [0, 0, 0]


# There and back


@given(submissions())
def test_labels_survive_being_written_and_read(rows: list[dict[str, Any]]) -> None:
    results = results_from_labels(
        rows, LabelingConfig(CONFIG), width=WIDTH, height=HEIGHT, duration=FRAMES / FRAME_RATE, data=DATA
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
