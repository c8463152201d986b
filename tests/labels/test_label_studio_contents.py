"""Labels that do not fit what a task has are told from those that do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_annotation.labels.errors import UnwritableLabelError
from airflow_annotation.labels.label_studio.contents import Contents
from airflow_annotation.labels.label_studio.controls import LabelingConfig

CONFIG = LabelingConfig(
    """<View><Text name="text" value="$text"/><HyperText name="page" value="$page"/><Image name="image" valueList="$i"/>
    <Paragraphs name="talk" value="$talk" textKey="content"/><List name="list" value="$answers"/>
    <Text name="file" value="$file" valueType="url"/>
    <Labels name="names" toName="text"><Label value="a"/></Labels>
    <Labels name="names_of_files" toName="file"><Label value="a"/></Labels>
    <HyperTextLabels name="parts" toName="page"><Label value="a"/></HyperTextLabels>
    <ParagraphLabels name="turns" toName="talk"><Label value="a"/></ParagraphLabels>
    <RectangleLabels name="boxes" toName="image"><Label value="a"/></RectangleLabels>
    <Ranker name="order" toName="list"/></View>"""
)
DATA = {
    "text": "Größe 🙂",
    "page": "<p>x &amp; y</p>",
    "talk": [{"content": "Hi"}, {"content": "There 🙂"}],
    "answers": [{"id": 1}, {"id": "b"}],
    "file": "https://example.com/a.txt",
    "i": ["a.png", "b.png"],
}
SPAN = {"type": "span", "label": "a", "label_id": "s"}
TURN = {**SPAN, "field": "turns"}


def check(row: dict[str, Any], task_id: int = 7) -> None:
    contents = Contents(CONFIG)
    contents.add(3, {})
    contents.add(7, DATA)
    contents.check_targets(task_id, [row])
    contents.check_places(task_id, [row])


def between(start: int, end: int, **more: Any) -> dict[str, Any]:
    return {"span_start": start, "span_end": end, **more}


def in_paragraphs(first: int, last: int) -> dict[str, Any]:
    return {"attributes": json.dumps({"start": str(first), "end": str(last)})}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**SPAN, "field": "names", **between(0, 8)}, "'s' of field 'names' goes beyond its text: its span_end is 8"),
        ({**SPAN, "field": "parts", **between(0, 17)}, "goes beyond its text"),
        ({**TURN, **between(0, 3), **in_paragraphs(0, 0)}, "goes beyond paragraph 0: its span_end is 3, and there are"),
        ({**TURN, **between(3, 1), **in_paragraphs(0, 1)}, "goes beyond paragraph 0: its span_start is 3"),
        ({**TURN, **between(0, 1), **in_paragraphs(0, 2)}, "is in paragraph 2, and the dialogue has 2"),
        ({"type": "ranking", "field": "order", "label_id": "r", "labels": ["1", "c"]}, "ranks 'c', and no entry of"),
        ({"type": "detection", "field": "boxes", "target": "image[2]"}, "is on 'image.2.', and the item has 2 images"),
        ({"field": "boxes", "target": "picture"}, "is on 'picture', which the project does not show. It shows text, "),
    ],
)
def test_what_does_not_fit_is_refused(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnwritableLabelError, match=reason):
        check({"type": "span", **row})


@pytest.mark.parametrize(
    "row",
    [
        {**SPAN, "field": "names", **between(6, 7)},
        {**SPAN, "field": "names"},
        {**SPAN, "field": "names_of_files", **between(0, 9999)},
        {**SPAN, "field": "parts", **between(0, 5)},
        {**TURN, **between(0, 7), **in_paragraphs(0, 1)},
        {"type": "ranking", "field": "order", "label_id": "r", "labels": ["b", "1"]},
        {"type": "detection", "field": "boxes", "target": "image[1]"},
        {"type": "detection", "field": "boxes"},
        {"type": "classification", "field": "other", "label": "a"},
    ],
)
def test_what_fits_is_not(row: dict[str, Any]) -> None:
    check(row)


@given(st.lists(st.integers(0, 9), max_size=9, unique=True), st.integers(0, 9), st.integers(0, 20))
def test_each_task_has_its_own_contents(task_ids: list[int], task_id: int, end: int) -> None:
    contents = Contents(CONFIG)
    for known in sorted(task_ids):
        contents.add(known, {"text": "x" * known, "answers": [{"id": known}] * (known % 3)})
    row = {**SPAN, "field": "names", **between(0, end)}
    if 0 < task_id < end and task_id in task_ids:
        with pytest.raises(UnwritableLabelError, match=f"there are {task_id} characters"):
            contents.check_places(task_id, [row])
    else:  # nothing is said of tasks that came since, or that have no text
        contents.check_places(task_id, [row])
