"""Data rows back to be labeled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.labelbox import LabelboxHook
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import collect_tables
from airflow_annotation.media.items import MediaItem
from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.operators.queue import AssignItemsOperator, RequeueItemsOperator
from tests.servers.labelbox import LabelboxStandIn
from tests.servers.labelbox.control import Control, ControlError
from tests.support.task_context import task_context

SCHEMA = LabelSchema.from_dict(
    {
        "mood": {"type": "classification", "classes": ["good", "bad"]},
        "faces": {"type": "detections", "classes": ["face"]},
    }
)
GOOD, BAD = ([{"name": "mood", "answer": {"name": word}}] for word in ("good", "bad"))


@pytest.fixture
def control(labelbox: LabelboxStandIn) -> Control:
    return labelbox.control


@pytest.fixture
def project(hook: LabelboxHook) -> Iterator[AnnotationProject]:
    """A project with the items ``a`` to ``d``, each with a name of its own in the organization."""
    project = hook.create_project(title="queue", run_key=f"queue/{uuid4()}", label_schema=SCHEMA)
    hook.upload_items(
        project.id, [MediaItem(media=url_of(project, key), item_key=key_of(project, key)) for key in "abcd"]
    )
    yield project
    hook.delete_project(project.id)


def key_of(project: AnnotationProject, name: str) -> str:
    return f"{project.id}/{name}"


def url_of(project: AnnotationProject, name: str) -> str:
    return f"https://media.example/{key_of(project, name)}.jpg"


def label(control: Control, project: AnnotationProject, name: str, annotations: Any = GOOD, **how: Any) -> str:
    made = control.submit_label(project.id, annotations, global_key=key_of(project, name), **how)
    return str(made["label_id"])


def requeue(project: AnnotationProject, conn_id: str, run_id: str = "run 1", **arguments: Any) -> dict[str, Any]:
    if "items" in arguments:
        arguments["items"] = [key_of(project, name) for name in arguments["items"]]
    task = RequeueItemsOperator(task_id="requeue", annotation_conn_id=conn_id, project=project.id, **arguments)
    result = task.execute(task_context(run_id=run_id))
    return {name: value for name, value in result.items() if name not in {"id", "uri", "url", "failures"}}


def statuses(hook: LabelboxHook, project: AnnotationProject) -> dict[str, str]:
    items = collect_tables(hook.read_tables(project))["items"].to_pylist()
    return {item["item_key"].rpartition("/")[2]: item["status"] for item in items}


def test_labeled_items_go_to_rework_once_a_run_and_keep_their_labels(
    hook: LabelboxHook, labelbox_conn_id: str, control: Control, project: AnnotationProject
) -> None:
    first = label(control, project, "a")
    control.approve(first)
    label(control, project, "b")
    assert hook.get_progress(project.id).completed == 1
    report = requeue(project, labelbox_conn_id, items=["a", "b", "c", "nope"], max_failures=1)
    assert report == {"requeued": 2, "waiting": 1, "skips_cleared": 0, "failed": 1}
    assert statuses(hook, project) == {"a": "rework", "b": "rework", "c": "unlabeled", "d": "unlabeled"}
    assert hook.get_progress(project.id).completed == 0
    assert requeue(project, labelbox_conn_id, "run 2", items=["a"])["waiting"] == 1

    changed = label(control, project, "a", BAD)
    assert changed == first, "the label of before, changed"
    control.approve(changed)
    assert requeue(project, labelbox_conn_id, items=["a", "b"])["requeued"] == 2
    assert statuses(hook, project)["a"] == "done", "a retry after people were done with it"
    task = RequeueItemsOperator(
        task_id="requeue", annotation_conn_id=labelbox_conn_id, project=project.id, items={"statuses": ["done"]}
    )
    assert task.execute(task_context(run_id="run 2"))["requeued"] == 1
    assert statuses(hook, project)["a"] == "rework"
    control.approve(label(control, project, "a", BAD))
    assert requeue(project, labelbox_conn_id, items=["a"])["requeued"] == 1
    assert statuses(hook, project)["a"] == "done", "run 1 is cleared, which has put it back before run 2"
    tables = collect_tables(hook.read_tables(project))
    assert sorted(tables["labels"]["label"].to_pylist()) == ["bad", "good"]
    assert not any("requeued_by" in data for data in tables["items"]["data"].to_pylist())


def test_skips_are_cleared_and_what_was_labeled_in_them_stays(
    hook: LabelboxHook, labelbox_conn_id: str, control: Control, project: AnnotationProject
) -> None:
    label(control, project, "a", [], skipped=True)
    label(control, project, "b", BAD, skipped=True)
    label(control, project, "c")
    assert statuses(hook, project) == {"a": "skipped", "b": "skipped", "c": "in_review", "d": "unlabeled"}
    assert hook.get_progress(project.id).skipped == 2
    report = requeue(project, labelbox_conn_id, skipped=True)
    assert report == {"requeued": 2, "waiting": 0, "skips_cleared": 1, "failed": 0}
    assert statuses(hook, project) == {"a": "unlabeled", "b": "skipped", "c": "in_review", "d": "unlabeled"}
    assert hook.get_progress(project.id).skipped == 0
    assert requeue(project, labelbox_conn_id, skipped=True)["requeued"] == 1, "b, whose skip is in rework"
    assert [row["global_key"] for row in control.waiting(project.id, "IN_REWORK")] == [key_of(project, "b")]
    label(control, project, "b", GOOD)
    label(control, project, "a", GOOD)
    assert set(statuses(hook, project).values()) == {"in_review", "unlabeled"}


def test_a_try_that_breaks_off_anywhere_is_ended_by_the_next(
    hook: LabelboxHook, control: Control, project: AnnotationProject
) -> None:
    label(control, project, "a", [], skipped=True)
    for name in "bcd":
        control.approve(label(control, project, name))
    refused = {"message": "Not now", "extensions": {"code": "OPERATION_NOT_ALLOWED"}}
    for operation, broken, lost in (
        ("UpsertDataRowMetadataBeta", "c", "d"),
        ("DeleteSkips", "a", "a"),
        ("MoveToTask", "b", "b"),
    ):
        for name, done in ((broken, False), (lost, True)):
            control.fail(operation, status=200, body={"errors": [refused]}, after=done)
            with pytest.raises(AnnotationError, match="Not now"):
                hook.requeue_items(project.id, [key_of(project, name)], request="r")
    for name in "ab":
        label(control, project, name, BAD)  # before the next try, which leaves it at that
    for _ in range(2):
        report = hook.requeue_items(project.id, [key_of(project, name) for name in "abcd"], request="r")
        assert (report.requeued, report.waiting, report.failed) == (4, 0, 0)
        assert statuses(hook, project) == {"a": "in_review", "b": "in_review", "c": "rework", "d": "rework"}


def test_a_move_that_labelbox_fails_at_is_asked_for_again(
    hook: LabelboxHook, labelbox_conn_id: str, control: Control, project: AnnotationProject
) -> None:
    label(control, project, "b")
    control.fail_tasks("send-to-task-queue")
    assert requeue(project, labelbox_conn_id, items=["b"])["requeued"] == 1
    assert statuses(hook, project)["b"] == "rework"


def test_items_are_reserved_for_people_who_keep_them(
    hook: LabelboxHook, labelbox_conn_id: str, control: Control, project: AnnotationProject
) -> None:
    people = ["ann@example.com", "ben@example.com"]
    for person in people:
        control.waiting(project.id, labeler=person)  # makes them users
    label(control, project, "d")
    arguments: dict[str, Any] = {"annotation_conn_id": labelbox_conn_id, "project": project.id, "annotators": people}

    def reserved() -> list[set[str]]:
        return [{row["global_key"] for row in control.waiting(project.id, labeler=person)} for person in people]

    keys = [key_of(project, name) for name in ("a", "d", "nope")]
    task = AssignItemsOperator(task_id="assign", items=keys, max_failures=1, **arguments)
    report = task.execute(task_context())
    assert (report["assigned"], report["finished"], report["failed"]) == (1, 1, 1)
    first = reserved()
    report = AssignItemsOperator(task_id="assign", **arguments).execute(task_context())
    assert sorted(report["annotators"].values()) == [1, 2]
    second = reserved()
    assert all(not (after - before) for after, before in zip(second, first, strict=True)), "none is taken away"
    assert not second[0] & second[1]
    AssignItemsOperator(task_id="assign", **arguments).execute(task_context())
    assert reserved() == second
    own = next(iter(second[0])).rpartition("/")[2]
    with pytest.raises(ControlError, match=r"is reserved for ann@example\.com"):
        label(control, project, own, labeler="ben@example.com")
    label(control, project, own, labeler="ann@example.com")


def test_people_who_are_no_users_and_several_people_an_item_are_refused(
    hook: LabelboxHook, project: AnnotationProject
) -> None:
    with pytest.raises(AnnotationError, match=r"Labelbox at .* has no user 'nobody@example\.com'"):
        hook.assign_items(project.id, ["nobody@example.com"])
    with pytest.raises(AnnotationError, match=r"Upload the items with overlap=2"):
        hook.assign_items(project.id, ["a@example.com", "b@example.com"], overlap=2)


def test_an_upload_says_how_many_people_label_each_item(
    hook: LabelboxHook, labelbox_conn_id: str, control: Control, project: AnnotationProject
) -> None:
    media = [{"media": url_of(project, name), "item_key": key_of(project, name)} for name in "ef"]
    arguments: dict[str, Any] = {"annotation_conn_id": labelbox_conn_id, "project": project.id, "media": media}
    UploadMediaOperator(task_id="upload", overlap="2", **arguments).execute(task_context())
    for name in "ae":
        label(control, project, name)
    assert {name: statuses(hook, project)[name] for name in "aef"} == {
        "a": "in_review",
        "e": "partial",
        "f": "unlabeled",
    }
    label(control, project, "e", BAD, labeler="second@example.com")
    assert statuses(hook, project)["e"] == "in_review"
    settings = {"consensus_settings": {"number_of_labels": 3, "coverage_percentage": 1}}
    with pytest.raises(AnnotationError, match="either overlap or the upload setting consensus_settings"):
        hook.upload_items(project.id, [], overlap=2, upload_settings=settings)
    plain = hook.create_project(
        title="once", run_key=f"once/{uuid4()}", label_schema=SCHEMA, settings={"quality_mode": "benchmark"}
    )
    with pytest.raises(AnnotationError, match="has no consensus: each of its items is labeled once, and not 2 times"):
        hook.upload_items(plain.id, [], overlap=2)
    hook.delete_project(plain.id)
