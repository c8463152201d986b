"""How many labels of each class the page counts."""

from __future__ import annotations

from typing import Any

from airflow_annotation.plugins.page.samples import Count, count_classes


def test_a_label_of_several_classes_counts_for_each() -> None:
    rows: list[dict[str, Any]] = [
        {"type": "detection", "label": "car", "labels": ["car", "truck", "car"]},
        {"type": "detection", "label": "truck", "labels": None},
        {"type": "classifications", "label": "day", "labels": ["day", "wet"]},
        {"type": "text", "label": None, "labels": ["a line", "another"]},
        {"type": "polygon", "label": None, "labels": None},
    ]
    expected = {"truck": 2, "car": 1, "day": 1, "polygon": 1, "text": 1, "wet": 1}
    assert count_classes(rows) == [Count(name, count) for name, count in expected.items()]
