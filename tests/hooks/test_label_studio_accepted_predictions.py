"""Labels that were predictions, and that people accepted, on a real Label Studio."""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from airflow_annotation.hooks.annotation import AnnotationHook, AnnotationProject
from airflow_annotation.hooks.label_studio.hook import LabelStudioHook
from airflow_annotation.labels.masks import mask_to_rle
from tests.support.label_studio_predictions import HEIGHT, SCHEMA, WIDTH, Row, landed, submissions
from tests.support.label_studio_rows import accept

_SIDE = st.floats(0, 1).map(lambda number: round(number, 9))
_POINT = st.tuples(_SIDE, _SIDE).map(list)
_ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        "occluded": st.sampled_from(["yes", "no"]),
        "colors": st.lists(st.sampled_from(["red", "blue"]), min_size=1, unique=True),
        "count": st.integers(0, 9),
        "note": st.text("abc é<&\"'", min_size=1, max_size=9).filter(str.strip),
        "score": st.floats(0, 1),
    },
)


@st.composite
def boxes(draw: st.DrawFn) -> Row:
    x, y = draw(_POINT)
    width, height = draw(st.floats(0, 1 - x)), draw(st.floats(0, 1 - y))
    attributes = draw(_ATTRIBUTES)
    return {
        "field": "objects",
        "type": "detection",
        "label": draw(st.sampled_from(["car", "person"])),
        "bbox": [x, y, width, height],
        "rotation": draw(st.just(0.0) | st.floats(-180, 180)),
        "attributes": json.dumps(attributes) if attributes else None,
    }


def shapes(field: str, type_: str, classes: list[str], least: int, most: int = 6) -> st.SearchStrategy[Row]:
    return st.fixed_dictionaries(
        {
            "field": st.just(field),
            "type": st.just(type_),
            "label": st.sampled_from(classes),
            "points": st.lists(_POINT, min_size=least, max_size=most),
        }
    )


@st.composite
def masks(draw: st.DrawFn, field: str, type_: str, classes: list[str]) -> Row:
    picture = np.zeros((HEIGHT, WIDTH), np.bool_)
    for _ in range(draw(st.integers(1, 4))):
        (x, y), (width, height) = draw(_POINT), draw(_POINT)
        left, top = int(x * (WIDTH - 1)), int(y * (HEIGHT - 1))
        picture[top : top + 1 + int(height * HEIGHT), left : left + 1 + int(width * WIDTH)] ^= True
    rle = mask_to_rle(picture)
    return {
        "field": field,
        "type": type_,
        "label": draw(st.sampled_from(classes)),
        "mask_size": list(rle.size),
        "mask_counts": rle.counts,
    }


_SHAPES = st.one_of(
    boxes(),
    shapes("outlines", "polygon", ["car", "person"], 3),
    shapes("paths", "polyline", ["lane"], 2),
    shapes("joints", "keypoint", ["head", "foot"], 1, 1),
    masks("things", "instance", ["car", "person"]),
    masks("ground", "segmentation", ["road", "grass"]),
)
_TEXTS = st.text("abc é<&\"'", min_size=1, max_size=9).filter(str.strip)


@st.composite
def answers(draw: st.DrawFn) -> list[Row]:
    tags = draw(st.lists(st.sampled_from(["day", "night", "city"]), min_size=2, unique=True))
    rows: list[Row] = [
        {"field": "weather", "type": "classification", "label": draw(st.sampled_from(["sun", "rain"]))},
        {"field": "tags", "type": "classifications", "label": tags[0], "labels": tags},
        {"field": "quality", "type": "scalar", "number": draw(st.floats(-1e6, 1e6))},
        {"field": "remark", "type": "text", "text": draw(_TEXTS)},
    ]
    return draw(st.lists(st.sampled_from(rows), unique_by=lambda row: row["field"]))


@pytest.fixture(scope="module")
def shared_project(label_studio_conn_id: str) -> Iterator[tuple[LabelStudioHook, AnnotationProject]]:
    hook = AnnotationHook.for_connection(label_studio_conn_id)
    assert isinstance(hook, LabelStudioHook)
    project = hook.create_project(title="round trip", run_key=f"round-trip/{uuid4()}", label_schema=SCHEMA)
    yield hook, project
    hook.delete_project(project.id)


# Without shrinking: each try asks the server for many things.
@settings(max_examples=4, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(items=st.lists(st.tuples(st.lists(_SHAPES, max_size=6), answers()), min_size=8, max_size=12))
def test_labels_come_back_equal_after_they_were_predictions_that_people_accepted(
    items: list[tuple[list[Row], list[Row]]], shared_project: tuple[LabelStudioHook, AnnotationProject]
) -> None:
    hook, project = shared_project
    run = uuid4().hex
    keys = [f"{run}-{n}" for n in range(len(items))]
    sent: list[Row] = [
        {"item_key": key, "label_id": f"r{place}", **row}
        for key, (drawn, answered) in zip(keys, items, strict=True)
        for place, row in enumerate([*drawn, *answered])
    ]
    empty: list[Row] = [
        {"item_key": key, "field": None} for key, item in zip(keys, items, strict=True) if not any(item)
    ]
    tasks = [{"image": "/1.jpg", "item_key": key, "width": WIDTH, "height": HEIGHT} for key in keys]
    hook.client.request("POST", f"/api/projects/{project.id}/import", json=tasks)
    report = hook.upload_predictions(project.id, submissions(sent + empty), model_version=run)
    assert (report.uploaded, report.failures) == (len(tasks), [])
    accept(hook, project, run)
    tables = landed(hook, project)
    assert {row["item_key"] for row in tables["items"] if row["annotation_count"] == 1} >= set(keys)
    received = [
        row for row in landed(hook, project)["labels"] if row["item_key"].startswith(run) and row["origin"] == "person"
    ]
    assert len(received) == len(sent)
    for before, after in zip(sent, received, strict=True):
        assert after["attributes"] is None or json.loads(after["attributes"]) == json.loads(
            before["attributes"] or "{}"
        )
        for column, value in before.items():
            if column == "points":
                assert [pytest.approx(point, abs=1e-6) for point in value] == after[column]
            elif column != "attributes":
                close = isinstance(value, float) or column == "bbox"
                assert (pytest.approx(value, abs=1e-6) if close else value) == after[column], column
