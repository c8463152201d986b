"""What people mark, rate, compare and order in a real Label Studio: asked for, landed, written back."""

from __future__ import annotations

from typing import Any, Final
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from airflow_annotation.hooks.annotation import AnnotationHook
from airflow_annotation.hooks.label_studio.hook import LabelStudioHook
from airflow_annotation.labels.diff import COMPARED, diff_labels
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.submissions import read_rows, read_submissions
from airflow_annotation.labels.tables import collect_tables

NAMES: Final = {
    "names": {"type": "spans", "classes": ["person", "city"], "attributes": {"sure": {"type": "text"}}},
    "quality": {"type": "rating", "max": 7},
}
TEXT: Final = "Ann \U0001f600 lives in Rome."
Record = dict[str, Any]


def _record(from_name: str, to_name: str, type_: str, id_: str, **value: Any) -> Record:
    return {"id": id_, "from_name": from_name, "to_name": to_name, "type": type_, "origin": "manual", "value": value}


def _entity(type_: str, target: str, id_: str, label: str, **place: Any) -> Record:
    return _record("names", target, type_, id_, **place, **{type_: [label]})


def _stars(target: str) -> Record:
    return _record("quality", target, "rating", "stars", rating=6)


PARAGRAPH: Final = {"start": "1", "end": "1", "startOffset": 16, "endOffset": 20, "text": "Rome"}
ELEMENT: Final = {
    "start": "/p[1]/text()[1]",
    "end": "/p[1]/text()[1]",
    "startOffset": 16,
    "endOffset": 20,
    "globalOffsets": {"start": 15, "end": 19},
}
CASES: Final[dict[str, tuple[dict[str, Any], Record, list[Record], list[Record]]]] = {
    "text": (
        NAMES,
        {"text": TEXT},
        [
            _entity("labels", "text", "a", "person", start=0, end=3, text="Ann"),
            _entity("labels", "text", "b", "city", start=15, end=19, text="Rome"),
            _record("names.sure", "text", "textarea", "b", start=15, end=19, text=["yes"]),
            {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"},
            _stars("text"),
        ],
        [
            {"type": "span", "label": "person", "text": TEXT[0:3], "span_start": 0, "span_end": 3},
            {"type": "span", "label": "city", "text": TEXT[15:19], "span_start": 15, "span_end": 19},
            {"type": "relation", "from_label_id": "a", "to_label_id": "b"},
            {"type": "rating", "number": 6.0},
        ],
    ),
    "html": (
        NAMES,
        {"html": f"<p>{TEXT}</p>"},
        [_entity("hypertextlabels", "html", "b", "city", **ELEMENT), _stars("html")],
        [
            {"type": "span", "label": "city", "span_start": 15, "span_end": 19},
            {"type": "rating", "number": 6.0},
        ],
    ),
    "conversation": (
        NAMES,
        {"conversation": [{"role": "a", "content": "Where?"}, {"role": "b", "content": TEXT}]},
        [_entity("paragraphlabels", "conversation", "b", "city", **PARAGRAPH), _stars("conversation")],
        [
            {"type": "span", "label": "city", "span_start": 15, "span_end": 19},
            {"type": "rating", "number": 6.0},
        ],
    ),
    "audio": (
        NAMES,
        {"audio": "https://sounds.test/1.wav"},
        [_entity("labels", "audio", "a", "person", start=0.5, end=1.25, channel=0), _stars("audio")],
        [{"type": "span", "label": "person", "time": 0.5, "time_end": 1.25}, {"type": "rating", "number": 6.0}],
    ),
    "time_series": (
        NAMES,
        {"time_series": "https://series.test/1.csv"},
        [
            _entity("timeserieslabels", "time_series", "a", "person", start=2, end=5, instant=False),
            _stars("time_series"),
        ],
        [{"type": "span", "label": "person", "time": 2.0, "time_end": 5.0}, {"type": "rating", "number": 6.0}],
    ),
    "rows": (
        {
            "better": {"type": "pairwise", "context": ["prompt"]},
            "order": {"type": "ranking", "targets": ["answers"]},
            "fit": {"type": "ranking", "targets": ["answers"], "classes": ["good", "bad"]},
            "quality": {"type": "rating", "targets": ["left"]},
        },
        {
            "prompt": "Why?",
            "left": "Because.",
            "right": "Who knows?",
            "answers": [{"id": id_, "title": id_} for id_ in "abc"],
        },
        [
            _record("better", "better", "pairwise", "p", selected="right"),
            _record("order", "answers", "ranker", "o", ranker={"order": ["c", "a", "b"]}),
            _record("fit", "answers", "ranker", "f", ranker={"good": ["c"], "bad": [], "_": ["a", "b"]}),
            _record("quality", "left", "rating", "stars", rating=2),
        ],
        [
            {"type": "pairwise", "label": "right"},
            {"type": "ranking", "field": "order", "label": None, "labels": ["c", "a", "b"]},
            {"type": "ranking", "field": "fit", "label": "good", "labels": ["c"]},
            {"type": "ranking", "field": "fit", "label": "bad", "labels": []},
            {"type": "ranking", "field": "fit", "label": None, "labels": ["a", "b"]},
            {"type": "rating", "number": 2.0, "target": "left"},
        ],
    ),
}


@pytest.mark.parametrize("media_type", CASES)
def test_what_people_say_lands_and_goes_back_as_predictions(media_type: str, label_studio_conn_id: str) -> None:
    fields, data, records, expected = CASES[media_type]
    hook = AnnotationHook.for_connection(label_studio_conn_id)
    assert isinstance(hook, LabelStudioHook)
    schema = LabelSchema.from_dict(fields)
    project = hook.create_project(
        title=media_type, run_key=f"said/{uuid4()}", label_schema=schema, media_type=media_type
    )
    try:
        assert hook.get_label_schema(project.id) == schema
        hook.client.request("POST", f"/api/projects/{project.id}/import", json=[{"item_key": "k", **data}])
        task = hook.client.request("GET", "/api/tasks/", params={"project": project.id}).json()["tasks"][0]
        hook.client.request("POST", f"/api/tasks/{task['id']}/annotations/", json={"result": records})
        landed = collect_tables(hook.read_tables(project))
        labels = landed["labels"].to_pylist()
        assert [{name: row[name] for name in wanted} for row, wanted in zip(labels, expected, strict=True)] == expected

        rows = [{**row, "item_key": "k"} for row in labels]
        report = hook.upload_predictions(project.id, read_submissions(read_rows(rows)), model_version="v1")
        assert [failure.reason for failure in report.failures] == []
        both = collect_tables(hook.read_tables(project, ReadOptions(include_predictions=True)))["labels"]
        predicted = both.filter(pc.field("origin") == "prediction")
        assert predicted.select(list(COMPARED)).to_pylist() == landed["labels"].select(list(COMPARED)).to_pylist()
        assert _changes(landed["labels"], predicted) == {"unchanged"}
        assert _changes(landed["labels"], _other(predicted)) >= {"changed"}
    finally:
        hook.delete_project(project.id)


def _changes(before: pa.Table, after: pa.Table) -> set[str]:
    return set(diff_labels({"labels": before}, {"labels": after})["change"].to_pylist())


def _other(labels: pa.Table) -> pa.Table:
    """Return the labels with another answer of each type."""
    rows = labels.to_pylist()
    others: dict[str, dict[str, Any]] = {
        "span": {"span_end": 18, "time_end": 9.0},
        "rating": {"number": 1.0},
        "pairwise": {"label": "left"},
        "ranking": {"labels": ["b"]},
    }
    for row in rows:
        row.update({name: value for name, value in others.get(row["type"], {}).items() if row[name] is not None})
    return pa.Table.from_pylist(rows, schema=labels.schema)
