"""What is asked and answered in the run that the plugin's tests look at."""

from __future__ import annotations

from typing import Any

from airflow_annotation.labels.schema import LabelSchema

SCHEMA = LabelSchema.from_dict(
    {
        "objects": {"type": "detections", "classes": ["cup", "<b>bold</b>"]},
        "scene": {"type": "classification", "classes": ["indoors", "outdoors"]},
    }
)
ANSWER: dict[str, Any] = {
    "objects": [{"label": "<b>bold</b>", "x": 10, "y": 20, "width": 30, "height": 40}],
    "scene": "indoors",
}
