"""Label schemas as Labelbox ontologies, and ontologies of any origin as label schemas."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from labelbox import Classification, OntologyBuilder, Option, Tool

from airflow_annotation.labels.errors import LabelSchemaError
from airflow_annotation.labels.labelbox.features import Ontology
from airflow_annotation.labels.labelbox.media_types import ASKED
from airflow_annotation.labels.labelbox.ontology import label_schema_from_ontology, ontology_from_schema
from airflow_annotation.labels.media_types import ProjectMedia, find_media_type
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.types import FIELD_TYPES, OF_FIELD, REGION_TYPES

NAMES = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=9)
TEXTS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=20).filter(
    lambda text: text == text.strip()
)


@st.composite
def attributes(draw: st.DrawFn, classes: list[str]) -> dict[str, Any]:
    type_ = draw(st.sampled_from(["radio", "select", "checkbox", "text", "number"]))
    attribute: dict[str, Any] = {"type": type_}
    if type_ in ("radio", "select", "checkbox"):
        attribute["values"] = draw(st.lists(TEXTS, unique=True, min_size=1, max_size=3))
    asked = draw(st.sets(st.sampled_from(classes), max_size=len(classes) - 1))
    attribute["classes"] = [class_ for class_ in classes if class_ in asked]
    return attribute


@st.composite
def label_schemas(draw: st.DrawFn) -> LabelSchema:
    fields: dict[str, Any] = {}
    names = NAMES | st.sampled_from(["rectangle", "polygon", "line", "point", "raster-segmentation"])
    for name in draw(st.lists(names, min_size=1, max_size=3, unique_by=str.casefold)):
        type_ = draw(st.sampled_from(sorted({*FIELD_TYPES} - {"pairwise", "ranking", "messages"})))
        field: dict[str, Any] = {"type": type_}
        classes = draw(st.lists(TEXTS, unique=True, min_size=1, max_size=4))
        if type_ == "segmentation":
            values = draw(st.lists(st.integers(1, 65535), min_size=4, max_size=4, unique=True))
            field["mask_targets"] = dict(zip(values, classes, strict=False))
        elif type_ == "rating":
            field["max"] = draw(st.integers(2, 9))
        elif OF_FIELD[type_].has_classes is not False:
            field["classes"] = classes
        if type_ in REGION_TYPES:
            asked = draw(st.lists(NAMES, max_size=2, unique_by=str.casefold))
            field["attributes"] = {attribute: draw(attributes(classes)) for attribute in asked}
        fields[name] = field
    return LabelSchema.from_dict(fields)


@given(label_schemas())
def test_reading_what_was_written_gives_the_same_schema(schema: LabelSchema) -> None:
    try:
        normalized = ontology_from_schema(schema)
    except LabelSchemaError:
        assume(False)
    assert label_schema_from_ontology(normalized) == schema


@given(label_schemas())
def test_the_sdk_reads_and_writes_what_is_written(schema: LabelSchema) -> None:
    try:
        normalized = ontology_from_schema(schema)
    except LabelSchemaError:
        assume(False)
    written = OntologyBuilder.from_dict(normalized).asdict()
    assert label_schema_from_ontology(written) == schema


def test_each_class_is_a_tool_named_after_its_field() -> None:
    schema = LabelSchema.from_dict(
        {
            "objects": {
                "type": "detections",
                "classes": ["car", "person"],
                "attributes": {
                    "occluded": {"type": "radio", "values": ["yes", "no"]},
                    "plate": {"type": "text", "classes": ["car"]},
                },
            },
            "surface": {"type": "segmentation", "mask_targets": {1: "road", 7: "grass"}},
            "rectangle": {"type": "detections", "classes": ["frame"]},
            "weather": {"type": "classification", "classes": ["sun", "rain"], "timed": True},
            "distance": {"type": "scalar"},
        }
    )
    normalized = ontology_from_schema(schema)
    untimed = {**schema.to_dict(), "weather": {"type": "classification", "classes": ["sun", "rain"]}}
    assert ontology_from_schema(LabelSchema.from_dict(untimed), index_fields=["weather"]) == normalized
    assert [(tool["tool"], tool["name"]) for tool in normalized["tools"]] == [
        ("rectangle", "objects: car"),
        ("rectangle", "objects: person"),
        ("raster-segmentation", "surface: 1 = road"),
        ("raster-segmentation", "surface: 7 = grass"),
        ("rectangle", "frame"),
    ]
    assert [[one["name"] for one in tool["classifications"]] for tool in normalized["tools"][:2]] == [
        ["occluded", "plate"],
        ["occluded"],
    ]
    assert [(one["type"], one["scope"]) for one in normalized["classifications"]] == [
        ("radio", "index"),
        ("text", "global"),
    ]
    assert len({tool["color"] for tool in normalized["tools"]}) == 5
    assert label_schema_from_ontology(normalized) == schema


def test_an_ontology_made_elsewhere_has_a_field_for_each_kind_of_tool() -> None:
    builder = OntologyBuilder(
        tools=[
            Tool(Tool.Type.BBOX, "car", classifications=[_damage()]),
            Tool(Tool.Type.BBOX, "person"),
            Tool(Tool.Type.RASTER_SEGMENTATION, "sky"),
            Tool(Tool.Type.POLYGON, "roof"),
            Tool(Tool.Type.LINE, "lane"),
            Tool(Tool.Type.POINT, "nose"),
            Tool(Tool.Type.NER, "city"),
            Tool(Tool.Type.RELATIONSHIP, "owns"),
        ],
        classifications=[
            Classification(Classification.Type.CHECKLIST, "tags", options=[Option("day"), Option("wet")]),
            Classification(Classification.Type.TEXT, "note"),
            Classification(Classification.Type.RADIO, "polygon", options=[Option("good")]),
        ],
    )
    assert label_schema_from_ontology(builder.asdict()).to_dict() == {
        "rectangle": {
            "type": "detections",
            "classes": ["car", "person"],
            "attributes": {
                "damage": {"type": "radio", "values": ["dent", "none"], "classes": ["car"]},
                "damage/dent/size": {"type": "text", "classes": ["car"]},
            },
        },
        "raster-segmentation": {"type": "instances", "classes": ["sky"]},
        "polygon": {"type": "polygons", "classes": ["roof"]},
        "line": {"type": "polylines", "classes": ["lane"]},
        "point": {"type": "keypoints", "classes": ["nose"]},
        "named-entity": {"type": "spans", "classes": ["city"]},
        "edge": {"type": "relations", "classes": ["owns"]},
        "tags": {"type": "classifications", "classes": ["day", "wet"]},
        "note": {"type": "text"},
        "polygon (radio)": {"type": "classification", "classes": ["good"]},
    }


def test_one_field_name_over_several_kinds_of_tools_is_no_field() -> None:
    normalized = {
        "tools": [{"tool": "rectangle", "name": "Vehicle: box"}, {"tool": "polygon", "name": "vehicle: outline"}]
    }
    assert label_schema_from_ontology(normalized).to_dict() == {
        "rectangle": {"type": "detections", "classes": ["Vehicle: box"]},
        "polygon": {"type": "polygons", "classes": ["vehicle: outline"]},
    }


@given(
    st.recursive(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["radio", "checklist", "text", "group", "prompt", "response-radio", "slider"])},
            optional={"name": TEXTS, "instructions": TEXTS, "scope": st.sampled_from(["global", "index"])},
        ),
        lambda questions: st.fixed_dictionaries(
            {
                "type": st.sampled_from(["radio", "checklist"]),
                "name": TEXTS,
                "options": st.lists(
                    st.fixed_dictionaries(
                        {"value": TEXTS | st.integers()}, optional={"options": st.lists(questions, max_size=2)}
                    ),
                    max_size=3,
                ),
            }
        ),
        max_leaves=6,
    ),
    st.sampled_from(["rectangle", "raster-segmentation", "edge", "message-ranking", "marker", "cuboid"]),
    st.lists(TEXTS, max_size=3),
)
def test_any_ontology_can_be_read(question: dict[str, Any], kind: str, names: list[str]) -> None:
    tools = [{"tool": kind, "name": name, "classifications": [question]} for name in names]
    schema = label_schema_from_ontology({"tools": tools, "classifications": [question], "relationships": []})
    assert len(schema.to_dict()) >= 1


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"a: b": {"type": "detections", "classes": ["car"]}}, "'a: b'"),
        ({"a": {"type": "instances", "classes": ["1 = road"]}}, "'a'"),
        (
            {
                "rectangle": {"type": "detections", "classes": ["car"]},
                "line": {"type": "polylines", "classes": ["car"]},
            },
            "two tools named 'car'",
        ),
    ],
)
def test_names_that_would_be_read_as_something_else_are_refused(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(LabelSchemaError, match=message):
        ontology_from_schema(LabelSchema.from_dict(schema))


def test_a_field_read_as_other_cannot_be_written() -> None:
    schema = LabelSchema.from_dict({"edge": {"type": "other", "tag": "edge"}})
    with pytest.raises(LabelSchemaError, match="Pass an ontology id instead"):
        ontology_from_schema(schema)


def test_what_is_not_marked_is_refused_with_the_way_out() -> None:
    schema = LabelSchema.from_dict({"speaker": {"type": "spans", "classes": ["Ada"]}})
    message = r"Labelbox does not ask on media of type audio\. It .* On audio, ask a classification with timed=True"
    with pytest.raises(LabelSchemaError, match=message):
        find_media_type(schema, ProjectMedia(media_type="audio"), ASKED, "Labelbox")
    with pytest.raises(LabelSchemaError, match=r"type html\. It asks it on text, pdf, conversation\.$"):
        find_media_type(schema, ProjectMedia(media_type="html"), ASKED, "Labelbox")


def test_relations_without_a_class_are_refused() -> None:
    schema = {"city": {"type": "spans", "classes": ["a"]}, "links": {"type": "relations"}}
    with pytest.raises(LabelSchemaError, match="'links' is of type relations and has no classes"):
        ontology_from_schema(LabelSchema.from_dict(schema))


def test_only_fields_without_shapes_are_asked_of_frames() -> None:
    schema = LabelSchema.from_dict({"objects": {"type": "detections", "classes": ["car"]}})
    with pytest.raises(LabelSchemaError, match="'objects'"):
        ontology_from_schema(schema, index_fields=["objects"])


def test_what_is_no_ontology_is_refused() -> None:
    with pytest.raises(LabelSchemaError, match="normalized form"):
        Ontology({"tools": {"tool": "rectangle"}})


def _damage() -> Classification:
    dent = Option("dent", options=[Classification(Classification.Type.TEXT, "size")])
    return Classification(Classification.Type.RADIO, "damage", options=[dent, Option("none")])
