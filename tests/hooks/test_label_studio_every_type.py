"""Labels of every type into a real Label Studio, through people's hands, and out of it again."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from airflow_annotation.hooks.annotation import AnnotationHook, AnnotationProject
from airflow_annotation.hooks.label_studio.hook import LabelStudioHook
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.tags import READERS
from airflow_annotation.labels.submissions import read_rows, read_submissions
from airflow_annotation.labels.tables import collect_tables
from tests.support.label_studio_rows import (
    CONFIG,
    DATA,
    FIELDS,
    FRAME_RATE,
    FRAMES,
    HEIGHT,
    WIDTH,
    Row,
    accept,
    assert_same_rows,
    submissions,
)


@pytest.fixture(scope="module")
def shared_project(label_studio_conn_id: str) -> Iterator[tuple[LabelStudioHook, AnnotationProject]]:
    hook = AnnotationHook.for_connection(label_studio_conn_id)
    assert isinstance(hook, LabelStudioHook)
    project = hook.create_project(title="every type", run_key=f"every-type/{uuid4()}", label_config=CONFIG)
    yield hook, project
    hook.delete_project(project.id)


def test_every_control_is_asked_for() -> None:
    """Or is a spelling of another one: with classes of its own or without, the same shape by another tool."""
    tags = {control.tag for control in LabelingConfig(CONFIG).controls.values()}
    asked = {"chatmessage" if tag == "chat" else tag for tag in tags}
    spellings = {tag if tag.endswith("labels") else f"{tag}labels" for tag in asked}
    known = {tag for tag in READERS if tag not in asked and f"{tag.removesuffix('labels')}labels" not in spellings}
    assert known == {"magicwand"}


def every_type() -> st.SearchStrategy[list[list[Row]]]:
    """Submissions of many kinds of labels each, and one for each kind alone."""
    alone = [submissions([field], min_size=1, max_size=1) for field in FIELDS]
    return st.tuples(st.tuples(*alone), st.lists(submissions(max_size=9), min_size=20, max_size=20)).map(
        lambda made: [*made[0], *made[1]]
    )


# Without shrinking: each try asks the server for many things.
@settings(max_examples=3, phases=[Phase.generate], suppress_health_check=list(HealthCheck), deadline=None)
@given(items=every_type())
def test_labels_of_every_type_come_back_equal_after_people_accepted_them(
    items: list[list[Row]], shared_project: tuple[LabelStudioHook, AnnotationProject]
) -> None:
    hook, project = shared_project
    run = uuid4().hex
    keys = [f"{run}-{number}" for number in range(len(items))]
    facts = {"width": WIDTH, "height": HEIGHT, "frame_rate": FRAME_RATE, "frame_count": FRAMES}
    tasks = [{**DATA, **facts, "item_key": key} for key in keys]
    hook.client.request("POST", f"/api/projects/{project.id}/import", json=tasks)
    sent = [
        {"item_key": key, "ordinal": ordinal, **row}
        for key, rows in zip(keys, items, strict=True)
        for ordinal, row in enumerate(rows or [{"field": None}])
    ]
    report = hook.upload_predictions(project.id, read_submissions(read_rows(sent)), model_version=run)
    assert [failure.reason for failure in report.failures] == []
    assert report.uploaded == len(items)
    accept(hook, project, run)
    tables = collect_tables(hook.read_tables(project))
    received: dict[str, list[Row]] = {key: [] for key in keys}
    for row in tables["labels"].to_pylist():
        if row["item_key"] in received:
            received[row["item_key"]].append(row)
    assert [item["annotation_count"] for item in tables["items"].to_pylist() if item["item_key"] in received] == [
        1
    ] * len(items)
    for key, rows in zip(keys, items, strict=True):
        assert_same_rows(received[key], rows)
