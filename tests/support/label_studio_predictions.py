"""A schema with fields of most types, and what tests upload to projects of it and read of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.label_studio.hook import LabelStudioHook
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.submissions import Submission, read_rows, read_submissions
from airflow_annotation.labels.tables import collect_tables

Row = dict[str, Any]

SCHEMA = LabelSchema.from_dict(
    {
        "objects": {
            "type": "detections",
            "classes": ["car", "person"],
            "attributes": {
                "occluded": {"type": "radio", "values": ["yes", "no"]},
                "colors": {"type": "checkbox", "values": ["red", "blue"]},
                "count": {"type": "number"},
                "note": {"type": "text"},
            },
        },
        "outlines": {"type": "polygons", "classes": ["car", "person"]},
        "paths": {"type": "polylines", "classes": ["lane"]},
        "joints": {"type": "keypoints", "classes": ["head", "foot"]},
        "things": {"type": "instances", "classes": ["car", "person"]},
        "ground": {"type": "segmentation", "classes": ["road", "grass"]},
        "weather": {"type": "classification", "classes": ["sun", "rain"]},
        "tags": {"type": "classifications", "classes": ["day", "night", "city"]},
        "quality": {"type": "scalar"},
        "remark": {"type": "text"},
    }
)
WIDTH, HEIGHT = 640, 480


def submissions(rows: Iterable[Row]) -> Iterator[Submission]:
    return read_submissions(read_rows(rows))


def landed(hook: LabelStudioHook, project: AnnotationProject) -> dict[str, list[Row]]:
    tables = collect_tables(hook.read_tables(project, ReadOptions(include_predictions=True)))
    return {name: table.to_pylist() for name, table in tables.items()}
