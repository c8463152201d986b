"""Items of Label Studio back to be labeled; those of Labelbox are in ``tests/hooks/labelbox/test_queue.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy as sa

from airflow_annotation.exceptions import AnnotationError, AnnotationUploadError
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.hooks.label_studio.requeue import requeue_items
from airflow_annotation.operators.queue import RequeueItemsOperator
from tests.servers.faults import Fault, fault_server
from tests.support.connections import airflow_connection
from tests.support.queue_project import ANSWER, answer, gone, make_queue_project, next_of, statuses, tasks_of
from tests.support.second_person import second_person
from tests.support.task_context import task_context


@pytest.fixture
def hook(label_studio_conn_id: str) -> LabelStudioHook:
    return LabelStudioHook(label_studio_conn_id)


@pytest.fixture
def make_project(hook: LabelStudioHook) -> Iterator[Callable[..., AnnotationProject]]:
    made: list[AnnotationProject] = []

    def make(keys: str, **settings: Any) -> AnnotationProject:
        made.append(make_queue_project(hook, keys, **settings))
        return made[-1]

    yield make
    for project in made:
        hook.delete_project(project.id)


def requeue(project: AnnotationProject, conn_id: str, run_id: str = "run 1", **arguments: Any) -> dict[str, Any]:
    task = RequeueItemsOperator(task_id="requeue", annotation_conn_id=conn_id, project=project.id, **arguments)
    result = task.execute(task_context(run_id=run_id))
    assert result["id"] == project.id
    return {name: value for name, value in result.items() if name not in {"id", "uri", "url"}}


def test_items_go_to_one_person_more_once_a_run_whatever_people_do_between_tries(
    hook: LabelStudioHook, label_studio_conn_id: str, make_project: Callable[..., AnnotationProject], tmp_path: Path
) -> None:
    project = make_project("abcd")
    tasks = tasks_of(hook, project)
    for key in "abc":
        answer(hook.client, tasks[key])
    assert hook.get_progress(project.id).completed == 3

    with pytest.raises(AnnotationUploadError, match=rf"1 of 3 items .* Project {project.id} has no item 'nope'\."):
        requeue(project, label_studio_conn_id, items=["a", "d", "nope"])
    again = requeue(project, label_studio_conn_id, items=["a", "d", "nope", "a"], max_failures=None)
    failure = {"item_key": "nope", "reason": f"Project {project.id} has no item 'nope'."}
    assert again == {"requeued": 1, "waiting": 1, "skips_cleared": 0, "failed": 1, "failures": [failure]}
    assert statuses(hook, project) == {"a": "partial", "b": "labeled", "c": "labeled", "d": "unlabeled"}
    assert hook.get_progress(project.id).completed == 2

    with closing(second_person(hook)) as second:
        assert next_of(second, project) == "a"
        answer(second, tasks["a"])
        assert statuses(hook, project)["a"] == "labeled"
        assert requeue(project, label_studio_conn_id, items=["a"])["requeued"] == 1
        assert statuses(hook, project)["a"] == "labeled", "a retry after people were done with it"
        assert requeue(project, label_studio_conn_id, "run 2", items=pa.table({"item_key": ["a"]}))["requeued"] == 1
        assert requeue(project, label_studio_conn_id, "run 2", items=pd.DataFrame({"item_key": ["a"]}))["requeued"] == 1
        cleared = requeue(project, label_studio_conn_id, items=["a"])
        assert cleared["requeued"] == 1, "by run 1, before run 2"
        assert next_of(second, project) == "d", "nobody gets an item twice"

    url = f"sqlite:///{tmp_path / 'landed.db'}"
    pd.DataFrame({"item_key": ["a", "b"], "value": [0.9, 0.1]}).to_sql("agreement", sa.create_engine(url))
    low = "SELECT item_key FROM agreement WHERE value < 0.5"
    with airflow_connection("landed", {"conn_type": "sqlite", "host": str(tmp_path / "landed.db")}) as sql_conn_id:
        assert requeue(project, label_studio_conn_id, sql=low, sql_conn_id=sql_conn_id)["requeued"] == 1
    labeled = {"statuses": ["labeled"], "item_keys": ["b", "c", "d"]}
    assert requeue(project, label_studio_conn_id, "run 3", items=labeled)["requeued"] == 1, "c, the others are open"
    found = tasks_of(hook, project)
    assert {key: task["overlap"] for key, task in found.items()} == {"a": 3, "b": 2, "c": 2, "d": 1}
    assert {key: task["total_annotations"] for key, task in found.items()} == {"a": 2, "b": 1, "c": 1, "d": 0}
    assert all(task["meta"]["mine"] == key for key, task in found.items())


def test_an_item_with_two_submissions_of_one_person_goes_to_another(
    hook: LabelStudioHook, label_studio_conn_id: str, make_project: Callable[..., AnnotationProject]
) -> None:
    project = make_project("a")
    task = tasks_of(hook, project)["a"]
    answer(hook.client, task)
    answer(hook.client, task)
    assert requeue(project, label_studio_conn_id, items=["a"])["requeued"] == 1
    with closing(second_person(hook)) as second:
        assert next_of(second, project) == "a", "it is given out by its submissions, not by their people"
        answer(second, task)
    assert statuses(hook, project) == {"a": "partial"}, "it is finished by their people"
    assert requeue(project, label_studio_conn_id, "run 2", items=["a"])["requeued"] == 1
    with closing(second_person(hook)) as third:
        assert next_of(third, project) == "a"


@pytest.mark.parametrize("skip_queue", ["REQUEUE_FOR_OTHERS", "IGNORE_SKIPPED"])
def test_skips_are_cleared_and_what_was_labeled_in_them_stays(
    skip_queue: str,
    hook: LabelStudioHook,
    label_studio_conn_id: str,
    make_project: Callable[..., AnnotationProject],
) -> None:
    project = make_project("abc", skip_queue=skip_queue)
    tasks = tasks_of(hook, project)
    with closing(second_person(hook)) as second:
        answer(second, tasks["a"], skip=True, result=[])
        answer(second, tasks["b"], skip=True)
        answer(hook.client, tasks["c"])
        answer(second, tasks["c"], skip=True, result=[])
        assert statuses(hook, project) == {"a": "skipped", "b": "skipped", "c": "labeled"}
        assert next_of(second, project) is None

        report = requeue(project, label_studio_conn_id, skipped=True)
        assert report == {"requeued": 2, "waiting": 0, "skips_cleared": 2, "failed": 0, "failures": []}
        assert requeue(project, label_studio_conn_id, skipped=True)["requeued"] == 0
        assert statuses(hook, project) == {"a": "unlabeled", "b": "unlabeled", "c": "labeled"}
        assert hook.get_progress(project.id).completed == 1
        assert next_of(second, project) in {"a", "b"}
        (draft,) = hook.client.request("GET", f"/api/tasks/{tasks['b']['id']}/drafts").json()
        assert draft["result"] == ANSWER

        assert requeue(project, label_studio_conn_id, items=["c"])["skips_cleared"] == 1
        assert statuses(hook, project)["c"] == "partial"
        answer(second, tasks["c"])
        assert statuses(hook, project)["c"] == "labeled"


def test_a_try_that_breaks_off_anywhere_is_ended_by_the_next(
    hook: LabelStudioHook, make_project: Callable[..., AnnotationProject]
) -> None:
    project = make_project("ab")
    tasks = tasks_of(hook, project)
    answer(hook.client, tasks["a"])
    answer(hook.client, tasks["b"])
    with closing(second_person(hook)) as second:
        answer(second, tasks["b"], skip=True, result=[])
        for key, method in (("b", "PATCH"), ("b", "DELETE"), ("a", "PATCH")):
            for fault in (Fault(method=method, status=500), Fault(method=method, cut="before", deliver=1)):
                with fault_server(hook.client.url, faults=[fault]) as server:
                    client = LabelStudioClient(url=server.url, api_key=hook.connection.password or "", attempts=0)
                    with pytest.raises(AnnotationError):
                        requeue_items(client, project.id, [key], request="r")
        answer(second, tasks["b"])  # before the next try, which leaves it at that
    assert requeue_items(hook.client, project.id, ["b", "a"], request="r").requeued == 2
    found = tasks_of(hook, project)
    assert [found[key]["overlap"] for key in "ab"] == [2, 2]
    assert [found[key]["cancelled_annotations"] for key in "ab"] == [0, 0]
    assert statuses(hook, project) == {"a": "partial", "b": "labeled"}


def test_an_item_that_is_deleted_while_items_are_put_back_fails_alone(
    hook: LabelStudioHook, make_project: Callable[..., AnnotationProject]
) -> None:
    project = make_project("ab")
    for task in tasks_of(hook, project).values():
        answer(hook.client, task)
    with fault_server(hook.client.url, faults=[gone()]) as server:
        client = LabelStudioClient(url=server.url, api_key=hook.connection.password or "", attempts=0)
        report = requeue_items(client, project.id, ["a", "b"], request="r")
    assert (report.requeued, report.failed) == (1, 1)
    assert report.failures[0].reason.endswith(f"of project {project.id} was deleted by somebody.")
    assert statuses(hook, project) == {"a": "labeled", "b": "partial"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Say which items: pass one of items, skipped=True"),
        ({"items": ["a"], "skipped": True}, "pass one of items, skipped=True"),
        ({"sql": "SELECT 1"}, "sql together with sql_conn_id"),
        ({"items": "a"}, "items takes a list of item keys"),
        ({"items": {"item_key": "a"}}, "items is not as it should be"),
    ],
)
def test_which_items_is_said_in_one_way(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RequeueItemsOperator(task_id="requeue", **arguments)


def test_items_that_are_none_fail_when_the_task_runs(
    hook: LabelStudioHook, label_studio_conn_id: str, make_project: Callable[..., AnnotationProject]
) -> None:
    task = RequeueItemsOperator(
        task_id="requeue", annotation_conn_id=label_studio_conn_id, project=make_project("a").id, items=["a"]
    )
    wrong: tuple[tuple[Any, str], ...] = (
        ([{"key": "a"}], "place 0, which is no item key"),
        (["a", 2.5], "place 1, which is no item key"),
        (pa.table({"key": ["a"]}), "items has no column 'item_key'"),
        (None, "items takes a list of item keys"),
        ("['a']", "items takes a list of item keys.*render_template_as_native_obj"),
    )
    for items, message in wrong:
        task.items = items
        with pytest.raises(AnnotationError, match=message):
            task.execute(task_context())
