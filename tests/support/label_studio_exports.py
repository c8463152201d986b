"""Label Studio's exports, and what is read of them."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.export import ExportSource, tables_from_export
from airflow_annotation.labels.tables import SCHEMAS, LabelTables
from tests.support.label_studio_rows import (
    CONFIG,
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
