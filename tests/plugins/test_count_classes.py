"""How many labels of each class the page counts."""

from __future__ import annotations

from typing import Any

from airflow_annotation.plugins.page.samples import Count, FieldCounts, count_classes
from airflow_annotation.plugins.page.shown_items import find_fullest_frame


def label(**columns: Any) -> dict[str, Any]:
    row = {"annotation_id": "1", "origin": "person", "field": "objects", "track_id": None, "label": None}
    return {**row, "labels": None, "frame": None, **columns}


def counts(**found: int) -> list[Count]:
    return [Count(name, count) for name, count in found.items()]


def test_a_label_of_several_classes_counts_for_each() -> None:
    rows = [
        label(type="detection", label="car", labels=["car", "truck", "car"]),
        label(type="detection", label="truck"),
        label(type="classifications", field="sky", label="day", labels=["day", "wet"]),
        label(type="text", field="note", labels=["a line", "another"]),
        label(type="polygon"),
    ]
    assert count_classes(rows) == [
        FieldCounts("note", counts(text=1)),
        FieldCounts("objects", counts(truck=2, car=1, polygon=1)),
        FieldCounts("sky", counts(day=1, wet=1)),
    ]


def test_an_object_of_a_video_counts_once_for_each_person() -> None:
    rows = [
        label(type="detection", label="car", track_id=track, frame=frame, annotation_id=person)
        for track in ("a", "b")
        for frame in range(3)
        for person in ("1", "2")
    ]
    assert count_classes(rows) == [FieldCounts("objects", counts(car=4))]


def test_the_frame_of_most_shapes_is_shown_and_of_several_the_first() -> None:
    assert find_fullest_frame([label(frame=frame) for frame in (5, 7, 3, 7, 3)]) == 3
    assert find_fullest_frame([label()]) is None
