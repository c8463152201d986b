"""Items of Label Studio split over people; those of Labelbox are in ``tests/hooks/labelbox/test_queue.py``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.assignment import Split
from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.hooks.label_studio.assign import ASSIGNED_TO, assign_items
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.tables import collect_tables
from airflow_annotation.operators.media import UploadMediaOperator
from airflow_annotation.operators.queue import AssignItemsOperator
from tests.servers.faults import fault_server
from tests.support.queue_project import answer, gone, make_queue_project, next_of, statuses, tasks_of
from tests.support.second_person import second_person
from tests.support.task_context import task_context


@pytest.fixture
def hook(label_studio_conn_id: str) -> LabelStudioHook:
    return LabelStudioHook(label_studio_conn_id)


@pytest.fixture
def make_project(hook: LabelStudioHook) -> Iterator[Callable[[str], AnnotationProject]]:
    made: list[AnnotationProject] = []

    def make(keys: str) -> AnnotationProject:
        made.append(make_queue_project(hook, keys))
        return made[-1]

    yield make
    for project in made:
        hook.delete_project(project.id)


def email_of(person: httpx.Client) -> str:
    return str(person.get("/api/current-user/whoami").json()["email"])


def assign(project: AnnotationProject, conn_id: str, annotators: list[str], **arguments: Any) -> dict[str, Any]:
    task = AssignItemsOperator(
        task_id="assign", annotation_conn_id=conn_id, project=project.id, annotators=annotators, **arguments
    )
    result = task.execute(task_context())
    return {name: value for name, value in result.items() if name not in {"id", "uri", "url", "failures"}}


def people_of(hook: LabelStudioHook, project: AnnotationProject) -> dict[str, str]:
    return {key: task["data"].get(ASSIGNED_TO, "") for key, task in tasks_of(hook, project).items()}


def shown_in_tab(person: httpx.Client, project: AnnotationProject) -> list[str]:
    """Return the items in a person's tab, in the order in which its button gives them out."""
    views = person.get("/api/dm/views/", params={"project": project.id}).json()
    (view,) = [view for view in views if view["data"]["title"] == email_of(person)]
    tasks = person.get("/api/tasks/", params={"project": project.id, "view": view["id"]}).json()["tasks"]
    action = {"project": project.id, "id": "next_task"}
    body = {"project": project.id, "filters": view["data"]["filters"]}
    given = person.post("/api/dm/actions/", params=action, json=body).json()
    keys = [str(task["data"]["item_key"]) for task in tasks]
    assert given["data"]["item_key"] in keys
    return keys


def test_each_person_has_a_tab_with_as_many_items_as_the_others(
    hook: LabelStudioHook, label_studio_conn_id: str, make_project: Callable[[str], AnnotationProject]
) -> None:
    project = make_project("abcdef")
    tasks = tasks_of(hook, project)
    with closing(second_person(hook)) as ann, closing(second_person(hook)) as ben, closing(second_person(hook)) as cat:
        people = [email_of(person) for person in (ann, ben, cat)]
        answer(hook.client, tasks["f"])
        report = assign(project, label_studio_conn_id, people[:2], items=["a", "b", "f", "nope"], max_failures=1)
        counts = {people[0]: 1, people[1]: 1}
        assert report == {"assigned": 2, "kept": 0, "finished": 1, "failed": 1, "annotators": counts}
        first = people_of(hook, project)
        assert Counter(first.values()) == {"": 4, f"<{people[0]}>": 1, f"<{people[1]}>": 1}

        report = assign(project, label_studio_conn_id, people[:2])
        counts = {people[0]: 3, people[1]: 2}
        assert report == {"assigned": 3, "kept": 2, "finished": 1, "failed": 0, "annotators": counts}
        second = people_of(hook, project)
        assert {key: second[key] for key in "abf"} == {key: first[key] for key in "abf"}
        assert assign(project, label_studio_conn_id, people[:2])["assigned"] == 0
        theirs = [shown_in_tab(person, project) for person in (ann, ben)]
        assert sorted([*theirs[0], *theirs[1]]) == list("abcde")
        assert statuses(hook, project)["f"] == "labeled"

        report = assign(project, label_studio_conn_id, people, overlap=2)
        assert report["annotators"] == dict.fromkeys(people, 4)
        third = people_of(hook, project)
        assert all(third[key].startswith(second[key]) for key in "abcdef"), "those who had an item keep it"
        assert {task["overlap"] for task in tasks_of(hook, project).values()} == {2}
        assert statuses(hook, project)["f"] == "partial"
        answer(ann, tasks["a"])
        assert statuses(hook, project)["a"] == "partial"
        assert next_of(ben, project) is not None
        titles = [view["data"]["title"] for view in ann.get("/api/dm/views/", params={"project": project.id}).json()]
        assert titles == ["All items", *people]
    items = collect_tables(hook.read_tables(project, ReadOptions()))["items"].to_pylist()
    assert all(f'"{ASSIGNED_TO}"' in item["data"] for item in items)


def test_who_is_unknown_is_named_before_anything_is_assigned(
    hook: LabelStudioHook, label_studio_conn_id: str, make_project: Callable[[str], AnnotationProject]
) -> None:
    project = make_project("a")
    with pytest.raises(AnnotationError, match=r"Label Studio at .* has no user 'nobody@example\.com'\. Invite them"):
        assign(project, label_studio_conn_id, ["annotator@example.com", "nobody@example.com"])
    with pytest.raises(AnnotationError, match="overlap is 2, with 1 annotators"):
        assign(project, label_studio_conn_id, ["annotator@example.com"], overlap=2)
    assert people_of(hook, project) == {"a": ""}


def test_an_upload_says_how_many_people_label_each_item(
    hook: LabelStudioHook, label_studio_conn_id: str, make_project: Callable[[str], AnnotationProject]
) -> None:
    project = make_project("a")
    answer(hook.client, tasks_of(hook, project)["a"])
    rows = [{"item_key": "b", "text": "b"}]
    for _ in range(2):
        UploadMediaOperator(
            task_id="upload", annotation_conn_id=label_studio_conn_id, project=project.id, media=rows, overlap=2
        ).execute(task_context())
    assert statuses(hook, project) == {"a": "partial", "b": "unlabeled"}
    assert {task["overlap"] for task in tasks_of(hook, project).values()} == {2}
    answer(hook.client, tasks_of(hook, project)["b"])
    assert hook.get_progress(project.id).completed == 0
    with closing(second_person(hook)) as second:
        for key in ("a", "b"):
            answer(second, tasks_of(hook, project)[key])
    assert hook.get_progress(project.id).completed == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"overlap": 0}, "overlap is 0"),
        ({"overlap": "two"}, "overlap is 'two'"),
        ({"annotators": [1]}, "annotators takes a list of e-mail addresses"),
        ({"annotators": "ann@example.com"}, "annotators takes a list"),
        ({"items": ["a"], "sql": "SELECT 1", "sql_conn_id": "db"}, "pass one of items, and sql"),
    ],
)
def test_what_is_wrong_is_an_error_when_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AssignItemsOperator(task_id="assign", **{"annotators": ["ann@example.com"], **arguments})


def test_an_item_that_is_deleted_while_items_are_split_fails_alone(
    hook: LabelStudioHook, make_project: Callable[[str], AnnotationProject]
) -> None:
    project = make_project("abc")
    people = ["annotator@example.com"]
    with fault_server(hook.client.url, faults=[gone()]) as server:
        client = LabelStudioClient(url=server.url, api_key=hook.connection.password or "", attempts=0)
        report = assign_items(client, project.id, people)
    assert (report.assigned, report.failed, report.annotators) == (2, 1, {people[0]: 2})
    assert report.failures[0].item_key == "a"
    assert people_of(hook, project) == {"a": "", "b": f"<{people[0]}>", "c": f"<{people[0]}>"}


def test_a_template_that_gives_text_for_the_annotators_is_an_error_that_says_so() -> None:
    task = AssignItemsOperator(task_id="assign", annotators=["ann@example.com"])
    task.annotators = "['ann@example.com']"
    with pytest.raises(AnnotationError, match=r"annotators takes a list .* render_template_as_native_obj"):
        task.execute(task_context())


@given(
    st.integers(1, 5).flatmap(
        lambda people: st.tuples(
            st.just([f"{number}@example.com" for number in range(people)]),
            st.integers(1, people),
            st.lists(st.lists(st.integers(0, 6).map(lambda number: f"{number}@example.com"), max_size=3), max_size=30),
        )
    )
)
def test_people_have_equal_shares_whoever_had_items_before(case: tuple[list[str], int, list[list[str]]]) -> None:
    people, overlap, before = case
    split = Split(people, overlap)
    for assigned in before:
        split.keep(assigned)
    uneven = dict(split.counts)
    after = [split.fill(assigned) for assigned in before]
    for assigned, had in zip(after, before, strict=True):
        kept = [one for one in dict.fromkeys(had) if one in people][:overlap]
        assert len(set(assigned)) == overlap
        assert assigned[: len(kept)] == kept
        assert split.is_short(had) == (len(kept) < overlap)
    assert split.counts == dict.fromkeys(people, 0) | Counter(one for assigned in after for one in assigned)
    if not any(uneven.values()):
        assert max(split.counts.values()) - min(split.counts.values()) <= 1
