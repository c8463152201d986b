"""What a label schema accepts, and how it says what it does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_annotation.labels.errors import LabelSchemaError
from airflow_annotation.labels.schema import LabelSchema

SCHEMA: dict[str, Any] = {
    "objects": {
        "type": "detections",
        "classes": ["car", "person"],
        "attributes": {"occluded": {"type": "radio", "values": ["yes", "no"], "classes": ["car"]}},
    },
    "weather": {"type": "classification", "classes": ["sun", "rain"]},
    "road": {"type": "segmentation", "mask_targets": {"1": "asphalt", "7": "gravel"}},
    "age": {"type": "scalar"},
}


def test_a_schema_survives_json() -> None:
    schema = LabelSchema.from_dict(SCHEMA)
    again = LabelSchema.from_dict(json.loads(json.dumps(schema.to_dict())))
    assert again == schema
    assert again.digest() == schema.digest()


def test_numbers_may_be_text_as_templates_are() -> None:
    """Operators take what templates render to as text, so that a class that is called 1 stays one."""
    fields: dict[str, Any] = {
        "quality": {"type": "rating", "max": 7},
        "kind": {"type": "classification", "classes": ["1", "2"], "class_numbers": {"1": 3, "2": 4}},
    }
    said: dict[str, Any] = {
        "quality": {"type": "rating", "max": "7"},
        "kind": {"type": "classification", "classes": ["1", "2"], "class_numbers": {"1": "3", "2": "4"}},
    }
    assert LabelSchema.from_dict(said) == LabelSchema.from_dict(fields)
    for wrong in ("1", "101", "5.0", "many", "9" * 5000):
        with pytest.raises(LabelSchemaError, match="a whole number from 2 to 100"):
            LabelSchema.from_dict({"quality": {"type": "rating", "max": wrong}})


def test_the_digest_tells_schemas_apart_and_not_spellings() -> None:
    one = LabelSchema.from_dict({"a": {"type": "detection", "classes": ["x", "y"]}})
    assert one.digest() == LabelSchema.from_dict({"a": {"classes": ("x", "y"), "type": "detections"}}).digest()
    assert one.digest() != LabelSchema.from_dict({"a": {"type": "detections", "classes": ["y", "x"]}}).digest()


@pytest.mark.parametrize("plural", ["detections", "instances", "polygons", "polylines", "keypoints"])
def test_singular_spellings_mean_the_same(plural: str) -> None:
    singular = LabelSchema.from_dict({"a": {"type": plural[:-1], "classes": ["x"]}})
    assert singular == LabelSchema.from_dict({"a": {"type": plural, "classes": ["x"]}})


def test_one_field_has_a_short_form() -> None:
    short = LabelSchema.for_field("objects", "detections", ["car"], attributes={"note": {"type": "text"}})
    fields = {"objects": {"type": "detections", "classes": ["car"], "attributes": {"note": {"type": "text"}}}}
    assert short == LabelSchema.from_dict(fields)
    assert LabelSchema.for_field("road", "segmentation", mask_targets={1: "asphalt"}).to_dict() == {
        "road": {"type": "segmentation", "classes": ["asphalt"], "mask_targets": {"1": "asphalt"}}
    }


def test_segmentation_numbers_its_classes_where_nobody_else_does() -> None:
    schema = LabelSchema.for_field("road", "segmentation", ["asphalt", "gravel"])
    assert schema.fields["road"].mask_targets == {1: "asphalt", 2: "gravel"}


@pytest.mark.parametrize("class_", ['"quoted"', "<b>&amp;</b>", "🚗", "x" * 300, "a, b", "$", "été"])
def test_unusual_class_names_are_class_names(class_: str) -> None:
    assert LabelSchema.for_field("a", "detections", [class_]).fields["a"].classes == (class_,)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({}, "has no field"),
        ([], "dictionary of fields, not list"),
        ({"a": "detections"}, "field 'a' is not a dictionary"),
        ({"a": {}}, "field 'a' has no type"),
        ({"a": {"type": "detectons", "classes": ["x"]}}, "unknown type 'detectons'. Did you mean 'detections'"),
        ({"a": {"type": ["x"]}}, "unknown type"),
        ({"a": {"type": "detections", "clases": ["x"]}}, "unknown key 'clases'. Did you mean 'classes'"),
        ({"a": {"type": "detections"}}, "has no classes"),
        ({"a": {"type": "detections", "classes": "car"}}, "needs a list of class names"),
        ({"a": {"type": "detections", "classes": ["x", 3]}}, "class 3 is not a string"),
        (
            {"a": {"type": "detections", "classes": ["car"], "class_numbers": {"cra": 1}}},
            "has the class 'cra', which the field does not have. Did you mean 'car'",
        ),
        (
            {"a": {"type": "detections", "classes": ["x"], "class_numbers": {"x": -1}}},
            "-1 in class_numbers is no whole",
        ),
        ({"a": {"type": "detections", "classes": ["x"], "class_numbers": ["x"]}}, "class_numbers is a dictionary"),
        (
            {"a": {"type": "detections", "classes": ["x", "y"], "class_numbers": {"x": 1, "y": 1}}},
            "class_numbers gives two classes one number",
        ),
        ({"a": {"type": "detections", "classes": ["x", "x"]}}, "class 'x' twice"),
        ({"a": {"type": "detections", "classes": [""]}}, "is empty"),
        ({"a": {"type": "detections", "classes": [" x"]}}, "begins or ends with a space"),
        ({"a": {"type": "detections", "classes": ["x\x00y"]}}, "control character"),
        ({"Car": {"type": "text"}, "car": {"type": "text"}}, "'Car' and 'car', which differ in case only"),
        ({3: {"type": "text"}}, "field name 3 is not a string"),
        ({"": {"type": "text"}}, "is empty"),
        ({"a": {"type": "text", "classes": ["x"]}}, "cannot have classes"),
        ({"a": {"type": "detections", "classes": ["x"], "mask_targets": {"1": "x"}}}, "only segmentation"),
        ({"a": {"type": "segmentation", "mask_targets": {"0": "x"}}}, "0 is the background"),
        ({"a": {"type": "segmentation", "mask_targets": {"1": "x", "2": "x"}}}, "twice"),
        ({"a": {"type": "segmentation", "classes": ["y"], "mask_targets": {"1": "x"}}}, "other classes"),
        ({"a": {"type": "text", "attributes": {"b": {"type": "text"}}}}, "cannot have attributes"),
        (
            {"a": {"type": "detections", "classes": ["x"], "attributes": {"b": {"type": "radio"}}}},
            "field 'a', attribute 'b' is of type radio and has no values",
        ),
        (
            {
                "a": {
                    "type": "detections",
                    "classes": ["car"],
                    "attributes": {"b": {"type": "text", "classes": ["cat"]}},
                }
            },
            "class 'cat', which the field does not have. Did you mean 'car'",
        ),
    ],
)
def test_what_cannot_be_labeled_is_named(schema: Any, said: str) -> None:
    with pytest.raises(LabelSchemaError, match=r".*") as raised:
        LabelSchema.from_dict(schema)
    assert said in str(raised.value)
