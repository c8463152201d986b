"""How far the labeling of a project in Labelbox is."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from airflow_annotation.exceptions import AnnotationProjectNotFoundError
from airflow_annotation.hooks.annotation import AnnotationProgress, AnnotationProject
from airflow_annotation.hooks.labelbox import LabelboxHook
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.media.items import MediaItem
from tests.servers.labelbox import LabelboxStandIn

SCHEMA = LabelSchema.from_dict({"objects": {"type": "detections", "classes": ["car"]}})


@pytest.fixture
def keys() -> list[str]:
    return [str(uuid4()) for _ in range(4)]


@pytest.fixture
def project(hook: LabelboxHook, keys: list[str]) -> AnnotationProject:
    project = hook.create_project(title="Progress", run_key=str(uuid4()), label_schema=SCHEMA)
    hook.upload_items(project.id, [MediaItem(media=f"https://media.example/{key}.jpg", item_key=key) for key in keys])
    return project


def test_what_is_done_is_completed_and_every_state_is_counted(
    hook: LabelboxHook, labelbox: LabelboxStandIn, project: AnnotationProject, keys: list[str]
) -> None:
    control = labelbox.control
    control.submit_label(project.id, [], global_key=keys[0], to_review=False)
    control.submit_label(project.id, [], global_key=keys[1])
    control.skip(project.id, global_key=keys[2])
    progress = hook.get_progress(project.id)
    assert (progress.total, progress.completed, progress.skipped) == (4, 1, 1)
    states = {"to_label": 1, "in_review": 1, "in_rework": 0, "skipped": 1, "done": 1, "labeled": 2}
    assert progress.statuses == states


def test_data_rows_with_so_many_submissions_are_completed(
    hook: LabelboxHook, labelbox: LabelboxStandIn, keys: list[str]
) -> None:
    project = hook.create_project(
        title="Overlap", run_key=str(uuid4()), label_schema=SCHEMA, settings={"quality_mode": "consensus"}
    )
    items = [MediaItem(media=f"https://media.example/{key}.jpg", item_key=key) for key in keys]
    consensus = {"number_of_labels": 4, "coverage_percentage": 1}
    hook.upload_items(project.id, items, upload_settings={"consensus_settings": consensus})
    control = labelbox.control
    before = control.operations()["graphql"]
    assert hook.get_progress(project.id, min_annotations=2).completed == 0
    assert control.operations()["graphql"] == before + 1  # nothing to export
    for key, times in zip(keys, (1, 2, 3), strict=False):
        for number in range(times):
            control.submit_label(project.id, [], global_key=key, labeler=f"person{number}@example.com")
    control.skip(project.id, global_key=keys[0], labeler="another@example.com")  # is no second submission
    for overlap, completed in ((1, 3), (2, 2), (3, 1), (4, 0), (9, 0)):
        progress = hook.get_progress(project.id, min_annotations=overlap)
        assert (progress.total, progress.completed) == (4, completed)
        assert asyncio.run(hook.aget_progress(project.id, min_annotations=overlap)) == progress


def test_it_is_one_request_and_the_same_in_a_trigger(
    hook: LabelboxHook, labelbox: LabelboxStandIn, project: AnnotationProject
) -> None:
    before = labelbox.control.operations()["graphql"]
    progress = hook.get_progress(project.id)
    assert labelbox.control.operations()["graphql"] == before + 1
    assert (
        asyncio.run(hook.aget_progress(project.id))
        == progress
        == AnnotationProgress(total=4, completed=0, statuses=dict.fromkeys(progress.statuses, 0) | {"to_label": 4})
    )


def test_passing_failures_are_not_seen(
    hook: LabelboxHook, labelbox: LabelboxStandIn, project: AnnotationProject
) -> None:
    for fault in ({"status": 503}, {"status": 429, "retry_after": 0}, {"cut": True}):
        labelbox.control.fail("ProjectProgress", **fault)
        assert hook.get_progress(project.id).total == 4
        labelbox.control.fail("ProjectProgress", **fault)
        assert asyncio.run(hook.aget_progress(project.id)).total == 4


def test_a_project_that_is_not_there_is_an_error_of_its_own(hook: LabelboxHook) -> None:
    with pytest.raises(AnnotationProjectNotFoundError, match="no project nothing"):
        hook.get_progress("nothing")
    with pytest.raises(AnnotationProjectNotFoundError, match="no project nothing"):
        asyncio.run(hook.aget_progress("nothing"))


def test_many_projects_are_one_request_and_one_that_is_missing_fails_no_other(
    hook: LabelboxHook, labelbox: LabelboxStandIn, project: AnnotationProject
) -> None:
    other = hook.create_project(title="Empty", run_key=str(uuid4()), label_schema=SCHEMA)
    before = labelbox.control.operations()["graphql"]
    answers = asyncio.run(hook.aget_progress_of([project.id, other.id]))
    assert labelbox.control.operations()["graphql"] == before + 1
    assert answers == {project.id: hook.get_progress(project.id), other.id: hook.get_progress(other.id)}
    with_missing = asyncio.run(hook.aget_progress_of([project.id, "nothing", other.id]))
    missing = with_missing.pop("nothing")
    assert isinstance(missing, AnnotationProjectNotFoundError)
    assert "no project nothing" in str(missing)
    assert with_missing == answers


def test_a_failure_of_the_whole_request_is_none_of_a_project(
    hook: LabelboxHook, labelbox: LabelboxStandIn, project: AnnotationProject
) -> None:
    labelbox.control.fail("ProjectsProgress", status=503)
    assert asyncio.run(hook.aget_progress_of([project.id, "nothing"]))[project.id] == hook.get_progress(project.id)
