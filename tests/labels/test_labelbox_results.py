"""Labels as the lines of a Labelbox import, and there and back."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_annotation.labels.errors import UnwritableLabelError
from airflow_annotation.labels.labelbox.features import Ontology
from airflow_annotation.labels.labelbox.results import results_from_labels
from airflow_annotation.labels.masks import mask_to_rle
from tests.labels.labelbox_round_trip import GLOBAL_KEY, HEIGHT, WIDTH, RoundTrip

DAMAGE = {
    "type": "radio",
    "name": "damage",
    "options": [
        {
            "label": "dent",
            "value": "dent",
            "options": [
                {
                    "type": "checklist",
                    "name": "where",
                    "options": [{"label": "left", "value": "left"}, {"label": "right", "value": "right"}],
                }
            ],
        },
        {"label": "none", "value": "none"},
    ],
}
QUESTIONS = [
    DAMAGE,
    {
        "type": "checklist",
        "name": "parts",
        "options": [{"label": "door", "value": "door"}, {"label": "wheel", "value": "wheel"}],
    },
    {"type": "text", "name": "plate"},
    {"type": "text", "name": "age", "instructions": "age (a number)"},
]
NORMALIZED: dict[str, Any] = {
    "tools": [
        {"tool": "rectangle", "name": "objects: car", "classifications": QUESTIONS},
        {"tool": "rectangle", "name": "objects: person"},
        {"tool": "polygon", "name": "roof"},
        {"tool": "line", "name": "lane"},
        {"tool": "point", "name": "nose"},
        {"tool": "raster-segmentation", "name": "surface: 1 = road"},
        {"tool": "raster-segmentation", "name": "cells: nucleus", "classifications": QUESTIONS},
        {"tool": "edge", "name": "owns"},
    ],
    "classifications": [
        {**DAMAGE, "name": "weather"},
        {
            "type": "checklist",
            "name": "tags",
            "options": [{"label": "day", "value": "day"}, {"label": "wet", "value": "wet"}],
        },
        {"type": "text", "name": "note"},
        {"type": "text", "name": "count", "instructions": "count (a number)"},
    ],
}
TEXT: dict[str, Any] = {"tools": [{"tool": "named-entity", "name": "city"}], "classifications": []}

parts = st.floats(0, 1, allow_nan=False).map(lambda number: round(number, 9))
points = st.tuples(parts, parts).map(list)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)


@st.composite
def boxes(draw: st.DrawFn) -> list[float]:
    left, top = draw(parts), draw(parts)
    return [left, top, draw(parts) * (1 - left), draw(parts) * (1 - top)]


@st.composite
def answered(draw: st.DrawFn) -> str | None:
    attributes: dict[str, Any] = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "damage": st.sampled_from(["dent", "none"]),
                "parts": st.lists(st.sampled_from(["door", "wheel"]), unique=True),
                "plate": texts,
                "age": numbers,
            },
        )
    )
    if attributes.get("damage") == "dent" and draw(st.booleans()):
        attributes["damage/dent/where"] = draw(st.lists(st.sampled_from(["left", "right"]), unique=True))
    return json.dumps(attributes) if attributes else None


@st.composite
def mask_rows(draw: st.DrawFn, field: str, type_: str, label: str) -> dict[str, Any]:
    corners = [draw(st.integers(0, side)) for side in (HEIGHT, HEIGHT, WIDTH, WIDTH)]
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[min(corners[:2]) : max(corners[:2]), min(corners[2:]) : max(corners[2:])] = True
    mask[draw(st.integers(0, HEIGHT - 1)), draw(st.integers(0, WIDTH - 1))] ^= True
    rle = mask_to_rle(mask)
    attributes = draw(answered()) if field == "cells" else None
    return {
        "field": field,
        "type": type_,
        "label": label,
        "mask_size": list(rle.size),
        "mask_counts": rle.counts,
        "attributes": attributes,
    }


paths = st.lists(points, min_size=3, max_size=6).filter(lambda path: path[0] != path[-1])
OBJECTS = st.one_of(
    st.fixed_dictionaries(
        {
            "field": st.just("objects"),
            "type": st.just("detection"),
            "label": st.just("car"),
            "bbox": boxes(),
            "attributes": answered(),
        }
    ),
    st.fixed_dictionaries(
        {"field": st.just("objects"), "type": st.just("detection"), "label": st.just("person"), "bbox": boxes()}
    ),
    st.fixed_dictionaries(
        {"field": st.just("polygon"), "type": st.just("polygon"), "label": st.just("roof"), "points": paths}
    ),
    st.fixed_dictionaries(
        {"field": st.just("line"), "type": st.just("polyline"), "label": st.just("lane"), "points": paths}
    ),
    st.fixed_dictionaries(
        {
            "field": st.just("point"),
            "type": st.just("keypoint"),
            "label": st.just("nose"),
            "points": st.lists(points, min_size=1, max_size=1),
        }
    ),
    mask_rows("surface", "segmentation", "road"),
    mask_rows("cells", "instance", "nucleus"),
)
ANSWERS = st.one_of(
    st.sampled_from(
        [
            {"field": "weather", "type": "classification", "label": "none"},
            {"field": "weather", "type": "classification", "label": "dent", "attributes": '{"dent/where": ["left"]}'},
            {"field": "tags", "type": "classifications", "label": "wet"},
            {"field": "tags", "type": "classifications", "label": "day", "labels": ["day", "wet"]},
        ]
    ),
    st.fixed_dictionaries({"field": st.just("note"), "type": st.just("text"), "text": texts}),
    st.fixed_dictionaries({"field": st.just("count"), "type": st.just("scalar"), "number": numbers}),
)
SAME = ("field", "type", "label", "labels", "text", "number", "mask_size", "mask_counts", "span_start", "span_end")


def identified(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"label_id": f"label-{number}", "annotation_id": "a", **row} for number, row in enumerate(rows)]


def write(rows: list[dict[str, Any]], ontology: Ontology, **sizes: Any) -> list[dict[str, Any]]:
    return results_from_labels(rows, ontology, global_key=GLOBAL_KEY, **(sizes or {"width": WIDTH, "height": HEIGHT}))


def assert_same(landed: dict[str, Any], row: dict[str, Any]) -> None:
    assert [landed[name] for name in SAME] == [row.get(name) for name in SAME]
    for name in ("bbox", "points"):
        assert (landed[name] is None) == (row.get(name) is None)
        if landed[name] is not None:
            assert np.asarray(landed[name]) == pytest.approx(np.asarray(row[name]), abs=1e-6)
    assert json.loads(landed["attributes"] or "{}") == json.loads(row.get("attributes") or "{}")


@settings(max_examples=60, deadline=None)
@given(st.lists(OBJECTS, max_size=5), st.lists(ANSWERS, max_size=4))
def test_labels_of_pictures_come_back_the_same(objects: list[dict[str, Any]], answers: list[dict[str, Any]]) -> None:
    trip = RoundTrip(NORMALIZED)
    rows = identified([*objects, *answers])
    lines = write(rows, trip.ontology)
    landed = trip.labels(trip.export(lines))
    assert len(landed) == len(rows)
    for one, row in zip(landed, rows, strict=True):
        assert_same(one, row)


@given(st.integers(0, 20), st.integers(1, 9))
def test_spans_come_back_the_same(start: int, length: int) -> None:
    trip = RoundTrip(TEXT, "TEXT")
    (row,) = identified(
        [{"field": "named-entity", "type": "span", "label": "city", "span_start": start, "span_end": start + length}]
    )
    (landed,) = trip.labels(trip.export(write([row], trip.ontology)))
    assert_same({**landed, "text": None}, row)
    assert landed["text"] == "A long text to find cities in."[start : start + length]


@given(st.integers(0, 9), boxes())
def test_labels_on_pages_of_documents_come_back_the_same(page: int, bbox: list[float]) -> None:
    trip = RoundTrip({"tools": [{"tool": "rectangle", "name": "objects: car"}, *TEXT["tools"]]}, "PDF")
    groups = [{"groupId": "g", "page": page + 1, "tokenIds": ["t1", "t2"]}]
    size, words = json.dumps({"page_size": [594.0, 792.0]}), json.dumps({"groups": groups})
    rows = identified(
        [
            {"field": "objects", "type": "detection", "label": "car", "bbox": bbox, "attributes": size},
            {"field": "named-entity", "type": "span", "label": "city", "attributes": words},
        ]
    )
    rows = [{**row, "target": f"pdf[{page}]"} for row in rows]
    landed = trip.labels(trip.export(write(rows, trip.ontology, width=None, height=None)))
    for one, row in zip(landed, rows, strict=True):
        assert_same({**one, "text": None}, row)
        assert one["target"] == row["target"]


@given(st.permutations(["m1", "m2", "m3"]))
def test_choices_among_messages_come_back_the_same(ids: list[str]) -> None:
    tools = {"message-ranking": "order", "message-multi-selection": "good", "message-single-selection": "best"}
    trip = RoundTrip({"tools": [{"tool": tool, "name": name} for tool, name in tools.items()]}, "CONVERSATIONAL")
    rows = identified(
        [
            {
                "field": name,
                "type": "ranking",
                "labels": chosen,
                "target": "m0",
                "attributes": json.dumps({"models": [f"model of {id_}" for id_ in chosen]}),
            }
            for name, chosen in zip(tools.values(), (ids, ids[:2], ids[:1]), strict=True)
        ]
    )
    landed = trip.labels(trip.export(write(rows, trip.ontology)))
    for one, row in zip(landed, rows, strict=True):
        assert_same(one, row)
        assert one["target"] == "m0"


def test_relations_name_the_lines_of_their_objects() -> None:
    trip = RoundTrip(NORMALIZED)
    nose = {"field": "point", "type": "keypoint", "label": "nose", "points": [[0.5, 0.5]]}
    relation = {"type": "relation", "field": "edge", "from_label_id": "label-0", "to_label_id": "label-1"}
    rows = identified([nose, nose, relation | {"attributes": '{"direction": "bi"}'}])
    lines = write(rows, trip.ontology)
    assert [lines[2]["relationship"][end] for end in ("source", "target")] == [lines[0]["uuid"], lines[1]["uuid"]]
    landed = trip.labels(trip.export(lines))
    assert [landed[2]["from_label_id"], landed[2]["to_label_id"]] == [landed[0]["label_id"], landed[1]["label_id"]]
    assert json.loads(landed[2]["attributes"]) == {"direction": "bi"}


def test_the_same_labels_are_the_same_lines_and_others_are_not() -> None:
    ontology = Ontology(NORMALIZED)
    nose = {"field": "point", "type": "keypoint", "label": "nose", "points": [[0.5, 0.5]]}
    rows = identified([nose, nose])
    assert write(rows, ontology) == write(rows, ontology)
    uuids = {line["uuid"] for line in write(rows, ontology)}
    uuids |= {line["uuid"] for line in write([{**row, "annotation_id": "b"} for row in rows], ontology)}
    uuids |= {line["uuid"] for line in results_from_labels(rows, ontology, global_key="k2", width=1, height=1)}
    assert len(uuids) == 6


@pytest.mark.parametrize(
    "row",
    [
        {"field": "objects", "type": "detection", "label": "person", "bbox": [0, 0, 1, 1]},
        {"field": "objects", "type": "detection", "label": "person", "bbox": [0, 0, 1, 1], "frame": 2, "track_id": "t"},
        {"field": "weather", "type": "classification", "label": "dent"},
    ],
)
def test_the_classes_behind_the_first_of_a_label_are_no_silent_loss(row: dict[str, Any]) -> None:
    ontology = Ontology(NORMALIZED)
    one = {**row, "label_id": "one", "labels": [row["label"]]}
    assert write([one], ontology)
    with pytest.raises(UnwritableLabelError, match="has the classes 'person', 'car', and Labelbox has one for a label"):
        write([one, {**one, "labels": ["person", "car"], "frame": row.get("frame", -1) + 1 or None}], ontology)


def test_how_sure_a_model_is_becomes_the_confidence_where_labelbox_reads_it() -> None:
    trip = RoundTrip(NORMALIZED)
    rows: list[dict[str, Any]] = [
        {"field": "objects", "type": "detection", "label": "person", "bbox": [0, 0, 1, 1]},
        {"field": "weather", "type": "classification", "label": "none"},
        {"field": "tags", "type": "classifications", "label": "day", "labels": ["day", "wet"]},
        {"field": "note", "type": "text", "text": "x"},
    ]
    box, radio, checklist, text = write(
        identified([{**row, "attributes": '{"score": 0.5}'} for row in rows]), trip.ontology
    )
    assert box["confidence"] == text["confidence"] == 0.5
    assert radio["answer"]["confidence"] == 0.5
    assert [choice["confidence"] for choice in checklist["answer"]] == [0.5, 0.5]
    assert "confidence" not in radio | checklist


@pytest.mark.parametrize("score", [-0.1, 1.5])
def test_a_score_that_labelbox_does_not_take_is_named(score: float) -> None:
    row = {"field": "weather", "type": "classification", "label": "none", "attributes": json.dumps({"score": score})}
    with pytest.raises(UnwritableLabelError, match="Labelbox takes 0 to 1"):
        write(identified([row]), Ontology(NORMALIZED))


BOX = {"field": "objects", "type": "detection", "label": "car", "bbox": [0.1, 0.1, 0.5, 0.5]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (BOX | {"field": "things"}, "draws no such field. Fields that it draws: cells, edge, line"),
        (BOX | {"label": "tree"}, "has the class 'tree', which the project does not have"),
        (BOX | {"label": None}, "has no class of the project's"),
        (BOX | {"bbox": [0.5, 0.5, 0.6, 0.1]}, "coordinates outside its media"),
        (BOX | {"bbox": [math.nan, 0, 0, 0]}, "coordinates outside its media"),
        (BOX | {"rotation": 30.0}, "turned by 30.0 degrees"),
        (BOX | {"attributes": '{"colour": "red"}'}, "attribute 'colour', which the project does not ask"),
        (BOX | {"attributes": '{"damage": "rust"}'}, "answers 'damage' with 'rust'"),
        (BOX | {"type": "polygon", "points": [[0, 0]]}, "draws the field with the tool rectangle"),
        (BOX | {"type": "ellipse"}, "type ellipse, which cannot be written"),
        ({"field": "mood", "type": "classification", "label": "x"}, "no such question. Its questions: weather, tags"),
        ({"field": "weather", "type": "classification", "label": "snow"}, "answers 'weather' with 'snow'"),
        ({"field": "weather", "type": "text", "text": "x"}, "asks for it with a radio"),
        ({"field": "weather", "type": "classification", "label": "dent", "frame": 3}, "asks it of whole videos"),
        ({"field": "note", "type": "text", "text": "x", "time": 3.5}, "of some seconds"),
        (
            {"field": "cells", "type": "instance", "label": "nucleus", "mask_size": [2, 2], "mask_counts": "4"},
            "mask of 2 x 2 pixels; its media has 640 x 480",
        ),
    ],
)
def test_what_the_project_cannot_have_is_refused_by_name(row: dict[str, Any], message: str) -> None:
    with pytest.raises(UnwritableLabelError, match=message) as error:
        write(identified([row]), Ontology(NORMALIZED))
    assert "'label-0'" in str(error.value)


@pytest.mark.parametrize("end", [3, 4])
def test_a_span_without_a_character_is_refused(end: int) -> None:
    row = {"field": "named-entity", "type": "span", "label": "city", "span_start": 4, "span_end": end}
    with pytest.raises(UnwritableLabelError, match=f"marks no character: its span_start is 4, its span_end {end}"):
        write(identified([row]), Ontology(TEXT))


def test_shapes_need_the_size_of_their_picture() -> None:
    with pytest.raises(UnwritableLabelError, match="width and height"):
        write(identified([BOX]), Ontology(NORMALIZED), width=None, height=None)
