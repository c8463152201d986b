from __future__ import annotations

import json
import random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_annotation.labels.errors import LabelSchemaError
from airflow_annotation.labels.inference import RADIO_VALUES_MAX
from airflow_annotation.labels.label_studio.config import label_config_from_schema, label_schema_from_config
from airflow_annotation.labels.schema import LabelSchema

Row = dict[str, Any]
SCHEMA = pa.schema(
    [
        ("field", pa.string()),
        ("type", pa.string()),
        ("label", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("number", pa.float64()),
        ("frame", pa.int32()),
        ("time", pa.float64()),
        ("text", pa.string()),
        ("attributes", pa.string()),
    ]
)


def table(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SCHEMA)


ROWS: list[Row] = [
    {"field": "objects", "type": "detection", "label": "person", "attributes": '{"occluded": "yes", "age": 3}'},
    {"field": "objects", "type": "detection", "label": "car", "attributes": '{"occluded": "no", "colours": ["red"]}'},
    {"field": "objects", "type": "detection", "label": "car", "attributes": '{"score": 0.5, "colours": ["blue"]}'},
    {"field": "lanes", "type": "polyline", "label": "dashed"},
    {"field": "lanes", "type": "polygon", "label": "crossing"},
    {"field": "ground", "type": "segmentation", "label": "road"},
    {"field": "ground", "type": "segmentation", "label": "grass"},
    {"field": "weather", "type": "classification", "label": "sun"},
    {"field": "scene", "type": "classification", "label": "city", "frame": 3},
    {"field": "scene", "type": "classification", "label": "sea"},
    {"field": "speaker", "type": "classifications", "label": "Ada", "time": 0.5},
    {"field": "tags", "type": "classifications", "label": "night", "labels": ["night", "city"]},
    {"field": "remark", "type": "text", "text": "x", "labels": ["x", "y"]},
    {"field": "count", "type": "scalar"},
    {"field": "links", "type": "relation", "label": "on", "attributes": '{"direction": "bi", "score": 1}'},
    {"field": "links", "type": "relation", "label": "near", "labels": ["near", "of"]},
    {"field": "wheels", "type": "ellipse", "label": "wheel"},
    {"field": "names", "type": "span", "label": "city", "attributes": '{"start": "0", "sure": "yes"}'},
    {"field": "stars", "type": "rating", "number": 7.0},
    {"field": "stars", "type": "rating", "number": 2.0},
    {"field": "smiles", "type": "rating", "number": 2.0},
    {"field": "better", "type": "pairwise", "label": "left"},
    {"field": "talk", "type": "message", "label": "user", "text": "Hi", "attributes": '{"createdAt": 5}'},
    {"field": "order", "type": "ranking", "labels": ["b", "a"]},
    {"field": "sorted", "type": "ranking", "label": "good", "labels": ["b", "a"]},
    {"field": "sorted", "type": "ranking", "labels": ["c"]},
]
EXPECTED = {
    "better": {"type": "pairwise", "targets": ["left", "right"]},
    "names": {
        "type": "spans",
        "classes": ["city"],
        "attributes": {"sure": {"type": "radio", "values": ["yes"]}},
    },
    "links": {"type": "relations", "classes": ["near", "of", "on"]},
    "order": {"type": "ranking", "targets": ["items"]},
    "smiles": {"type": "rating", "max": 5},
    "sorted": {"type": "ranking", "classes": ["good"], "targets": ["items"]},
    "stars": {"type": "rating", "max": 7},
    "count": {"type": "scalar"},
    "ground": {"type": "segmentation", "mask_targets": {"1": "grass", "2": "road"}, "classes": ["grass", "road"]},
    "lanes": {"type": "polylines", "classes": ["crossing", "dashed"]},
    "objects": {
        "type": "detections",
        "classes": ["car", "person"],
        "attributes": {
            "age": {"type": "number"},
            "colours": {"type": "checkbox", "values": ["blue", "red"]},
            "occluded": {"type": "radio", "values": ["no", "yes"]},
        },
    },
    "remark": {"type": "text"},
    "talk": {"type": "messages", "targets": ["chat"]},
    "scene": {"type": "classification", "classes": ["city", "sea"], "timed": True},
    "speaker": {"type": "classifications", "classes": ["Ada"], "timed": True},
    "tags": {"type": "classifications", "classes": ["city", "night"]},
    "weather": {"type": "classification", "classes": ["sun"]},
    "wheels": {"type": "other", "classes": ["wheel"], "tag": "ellipse", "label_types": ["ellipse"]},
}


@given(seed=st.integers(0, 99), size=st.integers(1, len(ROWS)))
def test_the_schema_of_labels_does_not_depend_on_their_order_or_batches(seed: int, size: int) -> None:
    rows = random.Random(seed).sample(ROWS, len(ROWS))
    assert LabelSchema.from_labels(table(rows).to_batches(size)).to_dict() == EXPECTED
    assert LabelSchema.from_labels(table(rows * 2)).to_dict() == EXPECTED


def test_an_attribute_with_many_answers_is_free_text() -> None:
    for count, expected in ((RADIO_VALUES_MAX, "radio"), (RADIO_VALUES_MAX + 1, "text")):
        rows = [ROWS[0] | {"attributes": json.dumps({"note": f"note {n}"})} for n in range(count)]
        assert LabelSchema.from_labels(table(rows)).fields["objects"].attributes["note"].type == expected


@pytest.mark.parametrize(
    ("media_type", "types"),
    [
        ("image", {"detection", "polyline", "segmentation", "text", "scalar", "rating"}),
        ("video", {"classification", "classifications"}),
        ("text", {"span", "rating", "relation"}),
        ("rows", {"pairwise", "ranking", "message"}),
    ],
)
def test_what_was_inferred_can_be_labeled(media_type: str, types: set[str]) -> None:
    schema = LabelSchema.from_labels(table([row for row in ROWS if row["type"] in types]))
    assert label_schema_from_config(label_config_from_schema(schema, media_type=media_type)) == schema


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (table([]), "has no field"),
        (table([{"field": "objects", "type": "detection"}]), "'objects' is of type detections and has no classes"),
        (table(ROWS).drop_columns(["type"]), "no column 'type'"),
    ],
)
def test_labels_that_tell_no_schema_are_an_error(labels: pa.Table, message: str) -> None:
    with pytest.raises(LabelSchemaError, match=message):
        LabelSchema.from_labels(labels)
