from __future__ import annotations

from typing import Any

import pytest

from airflow_annotation.labels.errors import LabelSchemaError
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.schema_completion import complete_schema

KNOWN = LabelSchema.from_dict(
    {
        "objects": {
            "type": "detections",
            "classes": ["car", "person"],
            "attributes": {"occluded": {"type": "radio", "values": ["yes", "no"]}},
        },
        "weather": {"type": "classification", "classes": ["sun", "rain"]},
        "lanes": {"type": "polylines", "classes": ["lane"]},
    }
)
OBJECTS = KNOWN.to_dict()["objects"]


@pytest.mark.parametrize(
    ("schema", "completed"),
    [
        ({"objects": {}}, {"objects": OBJECTS}),
        ({"objects": None}, {"objects": OBJECTS}),
        ({"objects": {"type": "detections"}}, {"objects": OBJECTS}),
        ({"objects": {"type": "detection"}}, {"objects": OBJECTS}),
        ({"objects": {"classes": ["car"]}}, {"objects": {**OBJECTS, "classes": ["car"]}}),
        ({"objects": {"attributes": {}}}, {"objects": {"type": "detections", "classes": ["car", "person"]}}),
        (
            {"objects": {"type": "polygons", "classes": ["car"]}},
            {"objects": {"type": "polygons", "classes": ["car"]}},
        ),
        (
            {"note": {"type": "text"}, "weather": {}},
            {"note": {"type": "text"}, "weather": {"type": "classification", "classes": ["sun", "rain"]}},
        ),
    ],
)
def test_existing_fields_tell_what_is_left_out(schema: dict[str, Any], completed: dict[str, Any]) -> None:
    assert complete_schema(schema, known=KNOWN) == LabelSchema.from_dict(completed)


def test_classes_are_for_all_fields_that_have_none() -> None:
    schema = {
        "objects": {"type": "detections"},
        "outlines": {"type": "polygons", "classes": ["tree"]},
        "ground": {"type": "segmentation", "mask_targets": {1: "road"}},
        "note": {"type": "text"},
        "weather": {},
    }
    completed = complete_schema(schema, known=KNOWN, classes=["car", "bus"])
    assert {name: field.classes for name, field in completed.fields.items()} == {
        "objects": ("car", "bus"),
        "outlines": ("tree",),
        "ground": ("road",),
        "note": (),
        "weather": ("car", "bus"),
    }


def test_what_is_left_out_and_nowhere_is_an_error() -> None:
    with pytest.raises(LabelSchemaError, match=r"'cars' has no type, and the labels that exist have no such field"):
        complete_schema({"cars": {"classes": ["car"]}}, known=KNOWN)
    with pytest.raises(LabelSchemaError, match="'cars'"):
        complete_schema({"cars": {"classes": ["car"]}})
    with pytest.raises(LabelSchemaError, match="'objects'"):
        complete_schema({"objects": "detections"}, known=KNOWN)
