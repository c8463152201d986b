"""Labelbox's export as tables: items, text, documents and what nobody foresaw."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest

from airflow_annotation.labels.labelbox.export import read_export
from airflow_annotation.labels.labelbox.keys import global_key_of
from airflow_annotation.labels.tables import collect_tables
from tests.support.labelbox_rows import PROJECT, annotation, label, labels, only, row, source, tables

# Items


def test_an_item_has_what_the_export_says_of_it() -> None:
    (item,) = tables(row(label(), metadata_fields=[{"schema_name": "split", "value": "train"}]))["items"]
    data = json.loads(item.pop("data"))
    assert item == {
        "project": f"labelbox://app.labelbox.com/projects/{PROJECT}",
        "tool": "labelbox",
        "run_key": None,
        "item_id": "clf9spzxq029m071nehy60a6v",
        "item_key": "kobe.jpeg",
        "media_uri": "https://storage.example.com/kobe.jpeg",
        "media_type": "image",
        "width": 1000,
        "height": 500,
        "media": None,
        "frame_count": None,
        "frame_rate": None,
        "status": "done",
        "annotation_count": 1,
        "prediction_count": 0,
        "agreement": None,
        "created_at": datetime.datetime(2023, 3, 15, 14, 46, 58, tzinfo=datetime.timezone.utc),
        "updated_at": datetime.datetime(2024, 4, 8, 16, 34, 1, tzinfo=datetime.timezone.utc),
        "item_url": f"https://app.labelbox.com/projects/{PROJECT}/data-rows/clf9spzxq029m071nehy60a6v",
    }
    assert data["split"] == "train"
    assert data["labelbox"]["batch_name"] == "first"
    assert data["labelbox"]["global_key"] == "kobe.jpeg"


def test_an_item_keeps_its_own_key_behind_namespaces_and_hashes() -> None:
    long_key = "s3://bucket/" + "x" * 300
    hashed = global_key_of(long_key, "cats")
    keys = [
        row(data_row={"global_key": "cats:kobe.jpeg"}),
        row(data_row={"global_key": hashed}, metadata_fields=[{"schema_name": "item_key", "value": long_key}]),
        row(data_row={"global_key": hashed}, attachments=[{"type": "RAW_TEXT", "name": "item_key", "value": long_key}]),
        row(data_row={"global_key": None, "external_id": "external"}),
        row(data_row={"global_key": None}),
        row(data_row={"global_key": None, "row_data": "Just a text."}),
    ]
    items = tables(*keys, namespace="cats")["items"]
    assert [item["item_key"] for item in items] == [
        "kobe.jpeg",
        long_key,
        long_key,
        "external",
        "https://storage.example.com/kobe.jpeg",
        "clf9spzxq029m071nehy60a6v",
    ]
    assert items[-1]["media_uri"] is None
    assert json.loads(items[-1]["data"])["labelbox"]["row_data"] == "Just a text."
    text = row(data_row={"row_data": "Just a text."}, media_attributes={"mime_type": "text/plain"})
    data = json.loads(tables(text)["items"][0]["data"])
    assert (data["text"], "row_data" in data["labelbox"]) == ("Just a text.", False)


@pytest.mark.parametrize(
    ("made", "workflow", "expected"),
    [
        ([], "TO_LABEL", "unlabeled"),
        ([], "DONE", "done"),
        ([False], "IN_REVIEW", "in_review"),
        ([False], "IN_REWORK", "rework"),
        ([False], "DONE", "done"),
        ([False], "TO_LABEL", "partial"),
        ([False, False], "TO_LABEL", "labeled"),
        ([True], "DONE", "skipped"),
        ([False, True], None, "partial"),
    ],
)
def test_an_item_is_where_the_workflow_has_it(made: list[bool], workflow: str | None, expected: str) -> None:
    submitted = [label(f"label-{number}") for number in range(len(made))]
    for one, skipped in zip(submitted, made, strict=True):
        one["performance_details"]["skipped"] = skipped
    read = tables(row(*submitted, project_details={"workflow_status": workflow, "consensus_expected_label_count": 2}))
    assert read["items"][0]["status"] == expected
    review = expected if expected in ("done", "in_review", "rework") else "submitted"
    assert [one["status"] for one in read["annotations"]] == ["skipped" if skipped else review for skipped in made]


def test_items_without_labels_in_the_project_land_too() -> None:
    elsewhere = row(label())
    elsewhere["projects"]["another"] = elsewhere["projects"].pop(PROJECT)
    read = tables(elsewhere)
    assert [item["status"] for item in read["items"]] == ["unlabeled"]
    assert read["annotations"] == read["labels"] == []


# Annotations


def test_every_label_of_a_row_lands_with_its_consensus_and_benchmark() -> None:
    first, second = label("label-1"), label("label-2")
    first["performance_details"] |= {"consensus_score": 0.5, "consensus_label_count": 2}
    second["performance_details"] |= {
        "consensus_score": 0.7,
        "benchmark_reference_label": "label-1",
        "benchmark_score": 0.9,
    }
    second["label_details"] |= {"updated_at": "2024-05-01T00:00:00.000+00:00", "created_by": "ben@example.com"}
    read = tables(row(first, second))
    assert only(read["annotations"], "annotation_id", "ground_truth", "annotator", "lead_time", "label_count") == [
        ("label-1", True, "anna@example.com", 12.0, 0),
        ("label-2", False, "ben@example.com", 12.0, 0),
    ]
    assert read["items"][0]["agreement"] == pytest.approx(0.6)
    chosen = {
        choice: [one["annotation_id"] for one in tables(row(first, second), annotations=choice)["annotations"]]
        for choice in ("all", "latest", "ground_truth")
    }
    assert chosen == {"all": ["label-1", "label-2"], "latest": ["label-2"], "ground_truth": ["label-1"]}
    benchmark = tables(row(label()), benchmarks=frozenset({"label-1"}))["annotations"]
    assert benchmark[0]["ground_truth"] is True


def test_people_can_go_by_other_names() -> None:
    read = tables(row(label()), annotator={"anna@example.com": "u1"}.__getitem__)
    assert read["annotations"][0]["annotator"] == "u1"


def test_predictions_of_model_runs_land_by_choice() -> None:
    box = annotation(
        "ImageBoundingBox",
        "objects: car",
        bounding_box={"top": 0, "left": 0, "height": 250, "width": 500},
        confidence=0.75,
    )
    predicted = row(label(), experiments={"m": {"name": "detector", "runs": {"r": {"name": "v2", "predictions": []}}}})
    predicted["experiments"]["m"]["runs"]["r"]["predictions"] = [{"id": "p1", "annotations": {"objects": [box]}}]
    assert len(tables(predicted)["annotations"]) == 1
    read = tables(predicted, include_predictions=True)
    assert only(read["annotations"], "annotation_id", "origin", "model_version", "label_count") == [
        ("label-1", "person", None, 0),
        ("p1", "prediction", "detector/v2", 1),
    ]
    assert json.loads(read["labels"][0]["attributes"]) == {"score": 0.75}
    assert read["items"][0]["prediction_count"] == 1


def test_how_sure_a_model_is_of_an_answer_lands_from_the_answer() -> None:
    answers = [
        annotation("", "weather", radio_answer={"name": "rain", "confidence": 0.25}),
        annotation(
            "", "tags", checklist_answers=[{"name": "day", "confidence": 0.5}, {"name": "wet", "confidence": 1}]
        ),
        annotation("", "note", text_answer={"content": "x"}, confidence=0.75),
        annotation("", "remark", text_answer={"content": "x", "confidence": 0.125}),
        annotation("", "mood", radio_answer={"name": "calm"}),
    ]
    read = labels(row(label(classifications=answers)))
    assert [json.loads(one.get("attributes", "{}")).get("score") for one in read] == [0.25, 0.75, 0.75, 0.125, None]


@pytest.mark.parametrize(
    ("mime_type", "media_type"),
    [
        ("image/png", "image"),
        ("video/mp4", "video"),
        ("text/plain", "text"),
        ("text/html", "html"),
        ("text/html; charset=utf-8", "html"),
        ("application/vnd.labelbox.tms", "tiles"),
        ("application/vnd.labelbox.x-tms-geo", "tiles"),
        ("x-tms-simple", "tiles"),
        ("tms_geo", "tiles"),
        ("application/pdf", "pdf"),
        ("image/x-atms", "image"),
        (None, "unknown"),
    ],
)
def test_media_types_are_told_from_what_the_export_says(mime_type: str | None, media_type: str) -> None:
    for name in ("mime_type", "asset_type"):
        (item,) = tables(row(label(), media_attributes={name: mime_type}))["items"]
        assert item["media_type"] == media_type


@pytest.mark.parametrize(
    "path",
    [
        ("media_attributes",),
        ("metadata_fields",),
        ("attachments",),
        ("experiments",),
        ("data_row", "details"),
        ("projects", PROJECT, "project_details"),
        ("projects", PROJECT, "labels", 0, "label_details"),
        ("projects", PROJECT, "labels", 0, "performance_details"),
        ("projects", PROJECT, "labels", 0, "annotations", "classifications"),
        ("projects", PROJECT, "labels", 0, "annotations", "relationships"),
        ("projects", PROJECT, "labels", 0, "annotations", "frames"),
        ("projects", PROJECT, "labels", 0, "annotations", "segments"),
        ("projects", PROJECT, "labels", 0, "annotations", "objects", 0, "classifications"),
        ("projects", PROJECT, "labels", 0, "annotations", "objects", 0, "mask"),
    ],
)
def test_null_is_as_good_as_nothing_anywhere_in_an_export(path: tuple[str | int, ...]) -> None:
    box = annotation("ImageBoundingBox", "car", bounding_box={"top": 0, "left": 0, "height": 250, "width": 500})
    line = row(label(objects=[box]), media_attributes={"height": 500, "width": 1000})
    place: Any = line
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = None
    read = tables(line)
    assert only(read["labels"], "label_id", "type") == [
        ("f-car", "detection" if path[0] != "media_attributes" else "other")
    ]


@pytest.mark.parametrize("name", ["objects", "classifications", "relationships", "frames"])
def test_null_is_as_good_as_nothing_beside_what_is_odd(name: str) -> None:
    line = row(label())
    made: Any = line["projects"][PROJECT]["labels"][0]
    made["performance_details"], made["annotations"][name] = 0, None
    assert tables(line)["labels"] == []


@pytest.mark.parametrize("path", [(), (PROJECT,), (PROJECT, "labels")])
def test_an_item_whose_labels_are_null_has_none(path: tuple[str, ...]) -> None:
    line = row(label())
    place: Any = line
    for step in ("projects", *path)[:-1]:
        place = place[step]
    place[("projects", *path)[-1]] = None
    read = tables(line)
    assert only(read["items"], "annotation_count") == [(0,)]
    assert read["annotations"] == read["labels"] == []


# Text, and what no rule covers


def test_entities_of_texts_and_messages_are_spans() -> None:
    entity = annotation("TextEntity", "city", location={"start": 112, "end": 128, "token": " sollicitudin nis"})
    said = annotation(
        "ConversationalTextEntity",
        "city",
        conversational_location={"message_id": "m0", "location": {"start": 0, "end": 8}},
    )
    asked = {
        "feature_id": "c",
        "name": "tags",
        "message_id": "m0",
        "conversational_checklist_answers": [{"name": "wet"}],
    }
    read = labels(row(label(objects=[entity, said], classifications=[asked]), media_attributes={}))
    assert only(read, "type", "field", "label", "span_start", "span_end", "text", "target") == [
        ("span", "named-entity", "city", 112, 129, " sollicitudin nis", None),
        ("span", "named-entity", "city", 0, 9, None, "m0"),
        ("classifications", "tags", "wet", None, None, None, "m0"),
    ]


def test_pages_of_documents_are_targets() -> None:
    words = [
        {"id": "g1", "page_number": 2, "tokens": ["t1", "t2"], "text": "New York"},
        {"id": "g2", "page_number": 2, "tokens": ["t3"], "text": "City"},
    ]
    box = annotation(
        "DocumentBoundingBox",
        "objects: car",
        page_number=2,
        bounding_box={"top": 79.2, "left": 59.4, "height": 396, "width": 297, "unit": "points"},
        page_dimensions={"height": 792, "width": 594, "unit": "points"},
    )
    entity = annotation("DocumentEntityToken", "city", location={"groups": words})
    first, second = labels(row(label(objects=[box, entity]), media_attributes={"mime_type": "application/pdf"}))
    assert (first["type"], first["label"], first["target"]) == ("detection", "car", "pdf[1]")
    assert first["bbox"] == pytest.approx([0.1, 0.1, 0.5, 0.5])
    assert (second["type"], second["label"], second["target"]) == ("span", "city", "pdf[1]")
    assert second["text"] == "New York City"


def test_choices_among_messages_are_rankings() -> None:
    said = [{"message_id": f"m{n}", "model_config_name": f"model {n}"} for n in (1, 2)]
    ranked = {
        "parent_message_id": "m0",
        "ranked_messages": [{**message, "order": order} for order, message in zip((2, 1), said, strict=True)],
    }
    one = annotation("MessageSingleSelection", "best", selected_message={**said[0], "parent_message_id": "m0"})
    some = annotation("MessageMultiSelection", "good", selected_messages={"messages": said, "parent_message_id": "m0"})
    order = annotation("MessageRanking", "order", ranked_messages=ranked)
    read = labels(row(label(objects=[one, some, order]), media_attributes={}))
    assert only(read, "type", "field", "label", "labels", "target") == [
        ("ranking", "best", None, ["m1"], "m0"),
        ("ranking", "good", None, ["m1", "m2"], "m0"),
        ("ranking", "order", None, ["m2", "m1"], "m0"),
    ]
    assert json.loads(read[2]["attributes"]) == {"models": ["model 2", "model 1"]}


def test_relations_name_their_objects() -> None:
    relation = annotation(
        "ImageRelationship", "owns", unidirectional_relationship={"source": "f-city", "target": "f-nose"}
    )
    (read,) = labels(row(label(relationships=[relation])))
    assert (read["type"], read["field"], read["label"]) == ("relation", "edge", "owns")
    assert (read["from_label_id"], read["to_label_id"]) == ("f-city", "f-nose")
    assert json.loads(read["attributes"]) == {"direction": "right"}


OTHERS = [
    annotation("DocumentEntityToken", "city", location={"groups": []}),
    annotation(
        "DocumentBoundingBox",
        "objects: car",
        page_number=1,
        bounding_box={"top": 48, "left": 58, "height": 65, "width": 12, "unit": "points"},
    ),
    annotation("GeoSpatialPolygon", "roof", polygon={"type": "Polygon", "coordinates": [[[1.5, 2.5], [3, 4], [1, 1]]]}),
    annotation("MessageSingleSelection", "best", selected_message={"parent_message_id": "m0"}),
    {"feature_id": 7, "bounding_box": []},
]


@pytest.mark.parametrize("other", OTHERS)
def test_what_no_rule_covers_lands_with_its_record(other: dict[str, Any]) -> None:
    box = annotation("ImageBoundingBox", "objects: car", bounding_box={"top": 0, "left": 0, "height": 5, "width": 5})
    answer = {"feature_id": "c", "name": "rate", "slider_answer": {"value": 3}}
    read = labels(row(label(objects=[box, other], classifications=[answer])))
    assert [one["type"] for one in read] == ["detection", "other", "other"]
    assert json.loads(read[1]["raw"]) == other
    assert json.loads(read[2]["raw"]) == answer
    assert "raw" not in read[0]
    assert read[2]["field"] == "rate"


def test_annotations_of_no_known_form_land_as_a_whole() -> None:
    foreign = {"segments": {"f": [{"from": 1.5, "to": "end"}]}, "tracks": [1, 2]}
    read = tables(row(label() | {"annotations": foreign}))
    assert only(read["labels"], "type", "annotation_id") == [("other", "label-1")]
    assert json.loads(read["labels"][0]["raw"]) == foreign


def test_shapes_of_a_picture_of_unknown_size_are_not_lost() -> None:
    box = annotation("ImageBoundingBox", "objects: car", bounding_box={"top": 0, "left": 0, "height": 5, "width": 5})
    (read,) = labels(row(label(objects=[box]), media_attributes={}))
    assert read["type"] == "other"
    assert json.loads(read["raw"]) == box


def test_a_line_that_is_no_data_row_is_named() -> None:
    with pytest.raises(ValueError, match="no data row"):
        list(read_export([b'{"message": "not found"}\n'], source()))


# Reading


def test_batches_are_the_same_however_the_bytes_are_cut() -> None:
    box = annotation("ImageBoundingBox", "objects: car", bounding_box={"top": 0, "left": 0, "height": 5, "width": 5})
    lines = b"\n".join(
        json.dumps(row(label(f"l{number}", objects=[box] * (number % 3)), data_row={"id": f"r{number}"})).encode()
        for number in range(250)
    )
    whole = collect_tables(read_export([lines], source()))
    for size in (7, 1000, len(lines)):
        pieces = [lines[start : start + size] for start in range(0, len(lines), size)]
        batches = list(read_export(pieces, source(), batch_items=100))
        assert [len(batch.items) for batch in batches] == [100, 100, 50]
        assert collect_tables(batches) == whole
    assert len(whole["items"]) == 250
    assert [one["item_id"] for one in whole["labels"].to_pylist()[:3]] == ["r1", "r2", "r2"]


def test_an_empty_export_has_no_batches() -> None:
    assert list(read_export([], source())) == []
    assert list(read_export([b"\n", b""], source())) == []
