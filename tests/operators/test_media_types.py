"""What can be said of a project's kind of media when a DAG is parsed."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from airflow_annotation.operators.project import CreateAnnotationProjectOperator
from tests.support.connections import airflow_connection

BOXES = {"objects": {"type": "detections", "classes": ["car"]}}
ANSWER = {"kind": {"type": "classification", "classes": ["calm"]}}


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("label_studio", {"media_type": "smell"}, "Label Studio has .* 'smell'. It has them for image, video, audio"),
        ("labelbox", {"media_type": "time_series"}, "Labelbox has .* 'time_series'. It has them for image, video"),
        ("labelbox", {"media_type": "audio", "label_schema": BOXES}, "of type detections, which Labelbox does not ask"),
        ("labelbox", {"media_type": "images"}, "Labelbox has no generated projects for media of type 'images'. It has"),
        ("label_studio", {"media_type": "rows"}, "field 'kind' does not say what it is about, and rows have no media"),
        ("label_studio", {"label_schema": {"a": {"type": "pairwise", "targets": ["l", "item_key"]}}}, "item itself"),
        ("label_studio", {"label_schema": {"a": {"type": "pairwise", "targets": ["l", "r s"]}}}, "the data key 'r s'"),
        ("label_studio", {"media_type": "time_series", "columns": ["t", "t"]}, "columns are names, each one once"),
        ("label_studio", {"media_type": "time_series", "columns": [0, 1]}, "columns are names, each one once"),
        ("labelbox", {"label_schema": {"a": {"type": "rating", "targets": ["l"]}}}, "has targets or context"),
        ("", {"media_type": "smell"}, r"Label Studio has no .* Labelbox has no"),
        ("", {"media_type": "text", "frame_rate": 25}, "frame_rate is of videos"),
        ("", {"media_type": "video", "frame_rate": "fast"}, "frame_rate is 'fast'"),
        ("", {"media_type": "video", "frame_rate": -1}, "frame_rate is -1"),
        ("", {"label_schema": None, "label_config": "<View/>", "frame_rate": 1}, "of a project that is made of"),
    ],
)
def test_what_no_tool_can_do_is_an_error_when_the_dag_is_parsed(
    tool: str, arguments: dict[str, Any], message: str
) -> None:
    conn_id = f"tool_{uuid4().hex}"
    with airflow_connection(conn_id if tool else f"other_{conn_id}", {"conn_type": tool or "sqlite"}):
        with pytest.raises(ValueError, match=message) as error:
            CreateAnnotationProjectOperator(
                task_id="create", **{"annotation_conn_id": conn_id, "label_schema": ANSWER, **arguments}
            )
        assert str(error.value).startswith("Task 'create': ")


@pytest.mark.parametrize(
    "arguments",
    [
        {"media_type": "time_series", "columns": ["at", "speed"]},
        {"media_type": "video", "frame_rate": 29.97, "label_schema": BOXES},
        {"media_type": "{{ params.kind }}"},
        {"media_type": "video", "frame_rate": "{{ params.rate }}"},
        {"media_type": "conversation"},
        {"media_type": "images", "label_schema": BOXES},
    ],
)
def test_what_one_tool_can_do_is_for_the_run_to_find_out(arguments: dict[str, Any]) -> None:
    CreateAnnotationProjectOperator(
        task_id="create", **{"annotation_conn_id": "unknown", "label_schema": ANSWER, **arguments}
    )
