"""Rows of Labelbox's export, and the tables that they become."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
from PIL import Image

from airflow_annotation.labels.labelbox.export import ExportSource, read_export
from airflow_annotation.labels.labelbox.features import Ontology
from airflow_annotation.labels.tables import SCHEMAS, collect_tables
from tests.support.read_options import with_options

PROJECT = "cltd3vkju021907u63w2odj69"
MOMENT = "2024-04-08T16:21:26.000+00:00"
ONTOLOGY = {
    "tools": [
        {
            "tool": "rectangle",
            "name": "objects: car",
            "featureSchemaId": "rect-car",
            "classifications": [
                {
                    "type": "radio",
                    "name": "damage",
                    "options": [{"value": "dent", "options": [{"type": "text", "name": "size"}]}],
                },
                {"type": "text", "name": "age", "instructions": "age (a number)", "featureSchemaId": "age"},
            ],
        },
        {"tool": "polygon", "name": "roof", "featureSchemaId": "poly-roof"},
        {"tool": "line", "name": "lane"},
        {"tool": "point", "name": "nose"},
        {"tool": "raster-segmentation", "name": "surface: 1 = road"},
        {"tool": "raster-segmentation", "name": "cells: nucleus"},
        {"tool": "named-entity", "name": "city"},
        {"tool": "edge", "name": "owns"},
    ],
    "classifications": [
        {"type": "radio", "name": "weather", "options": [{"value": "sun"}, {"value": "rain"}]},
        {"type": "checklist", "name": "tags", "options": [{"value": "day"}, {"value": "wet"}]},
        {"type": "text", "name": "note"},
        {"type": "text", "name": "count", "instructions": "count (a number)"},
    ],
}


def source(**settings: Any) -> ExportSource:
    return ExportSource(
        project=f"labelbox://app.labelbox.com/projects/{PROJECT}",
        project_id=PROJECT,
        ontology=Ontology(settings.pop("ontology", ONTOLOGY)),
        item_url=f"https://app.labelbox.com/projects/{PROJECT}/data-rows/{{item_id}}",
        **with_options(settings),
    )


def label(id_: str = "label-1", **annotations: Any) -> dict[str, Any]:
    return {
        "label_kind": "Default",
        "version": "1.0.0",
        "id": id_,
        "label_details": {"created_at": MOMENT, "updated_at": MOMENT, "created_by": "anna@example.com", "reviews": []},
        "performance_details": {"seconds_to_create": 12, "seconds_to_review": 3, "skipped": False},
        "annotations": {"objects": [], "classifications": [], "relationships": [], **annotations},
    }


def row(*labels: dict[str, Any], **parts: Any) -> dict[str, Any]:
    details = {"workflow_status": "DONE", "batch_id": "b1", "batch_name": "first", "ontology_id": "o1", "priority": 5}
    return {
        "data_row": {
            "id": "clf9spzxq029m071nehy60a6v",
            "global_key": "kobe.jpeg",
            "row_data": "https://storage.example.com/kobe.jpeg",
            "details": {
                "dataset_id": "d1",
                "dataset_name": "streets",
                "created_at": "2023-03-15T14:46:58.000+00:00",
                "updated_at": "2023-03-15T14:46:58.000+00:00",
                "last_activity_at": "2024-04-08T18:34:01.000+02:00",
                "created_by": "anna@example.com",
            },
            **parts.pop("data_row", {}),
        },
        "media_attributes": {"height": 500, "width": 1000, "mime_type": "image/jpeg", "exif_rotation": "1"},
        "attachments": [],
        "metadata_fields": [],
        "projects": {
            PROJECT: {
                "name": "Streets",
                "labels": list(labels),
                "project_details": {**details, **parts.pop("project_details", {})},
            }
        },
        **parts,
    }


def annotation(kind: str, name: str, **parts: Any) -> dict[str, Any]:
    return {
        "feature_id": f"f-{name}",
        "feature_schema_id": f"s-{name}",
        "name": name,
        "value": name,
        "annotation_kind": kind,
        "classifications": [],
        **parts,
    }


def tables(*rows: dict[str, Any], **settings: Any) -> dict[str, list[dict[str, Any]]]:
    lines = b"".join(json.dumps(one).encode() + b"\n" for one in rows)
    batches = list(read_export([lines], source(**settings)))
    for batch in batches:
        for name, schema in SCHEMAS.items():
            assert getattr(batch, name).schema == schema
            getattr(batch, name).validate(full=True)
    return {name: table.to_pylist() for name, table in collect_tables(batches).items()}


def labels(*rows: dict[str, Any], **settings: Any) -> list[dict[str, Any]]:
    """Return the rows of ``labels`` without what is null."""
    return [
        {name: value for name, value in one.items() if value is not None} for one in tables(*rows, **settings)["labels"]
    ]


def only(rows: Sequence[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(one.get(name) for name in names) for one in rows]


# Masks


def png(pixels: npt.NDArray[Any], **settings: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels, **settings).save(file, "PNG")
    return file.getvalue()
