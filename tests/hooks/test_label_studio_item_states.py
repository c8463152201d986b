"""Listing the states of items in a live Label Studio: they are those that reading gives, and move when rows do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pytest

from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.label_studio import LabelStudioHook, item_states, task_pages
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.tables import ITEM_STATES, collect_tables
from devtools.label_studio import API_KEY, LabelStudio
from tests.hooks.test_label_studio_export import CONFIG, add_tasks, results
from tests.servers.faults import Fault, fault_server


@pytest.fixture
def hook(label_studio_conn_id: str) -> LabelStudioHook:
    return LabelStudioHook(label_studio_conn_id)


@pytest.fixture
def client(hook: LabelStudioHook) -> LabelStudioClient:
    return hook.client


@pytest.fixture
def project(client: LabelStudioClient) -> Iterator[AnnotationProject]:
    settings = {"title": "listing states", "label_config": CONFIG, "maximum_annotations": 2}
    made = client.request("POST", "/api/projects/", json=settings).json()
    yield AnnotationProject(id=str(made["id"]), title="", url="", uri="", tool="label_studio")
    client.request("DELETE", f"/api/projects/{made['id']}/")


@pytest.fixture
def filled(client: LabelStudioClient, project: AnnotationProject) -> list[int]:
    """Tasks with two, one and no submissions, a skipped one, and one with a prediction."""
    submission = {"result": results(), "ground_truth": False}
    prediction = {"result": results(), "model_version": "v1"}
    return add_tasks(
        client,
        project,
        [
            {"data": {"image": "a"}, "annotations": [submission, submission]},
            {"data": {"image": "b"}, "annotations": [submission]},
            {"data": {"image": "c"}},
            {"data": {"image": "d"}, "annotations": [{"result": [], "was_cancelled": True}]},
            {"data": {"image": "e"}, "predictions": [prediction]},
        ],
    )


def listed(hook: LabelStudioHook, project: AnnotationProject, **choices: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pa.Table.from_batches(
        hook.list_item_states(project.id, **choices), schema=ITEM_STATES
    ).to_pylist()
    return rows


def read(hook: LabelStudioHook, project: AnnotationProject, **choices: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (
        collect_tables(hook.read_tables(project, ReadOptions(**choices)))["items"].select(ITEM_STATES.names).to_pylist()
    )
    return rows


@pytest.mark.parametrize("include_predictions", [False, True])
def test_states_are_those_that_reading_gives(  # noqa: PLR0917 - fixtures
    hook: LabelStudioHook,
    client: LabelStudioClient,
    project: AnnotationProject,
    filled: list[int],
    monkeypatch: pytest.MonkeyPatch,
    include_predictions: bool,
) -> None:
    draft(client, project, filled[2])
    draft(client, project, filled[4])
    states = listed(hook, project, include_predictions=include_predictions)
    assert states == read(hook, project, include_predictions=include_predictions)
    assert [state["status"] for state in states] == ["partial", "partial", "unlabeled", "skipped", "unlabeled"]
    assert [state["annotation_count"] for state in states] == [2, 1, 0, 1, 0]
    assert [state["prediction_count"] for state in states] == [0, 0, 0, 0, 1]
    monkeypatch.setattr(task_pages, "PAGE_TASKS", 2)
    monkeypatch.setattr(item_states, "_TASKS_ASKED", 1)
    assert listed(hook, project, include_predictions=include_predictions) == states


def draft(client: LabelStudioClient, project: AnnotationProject, task: int, *, update: int | None = None) -> int:
    body = {"result": results(), "lead_time": 1}
    if update is not None:
        client.request("PATCH", f"/api/drafts/{update}/", json=body, repeatable=True)
        return update
    made = client.request("POST", f"/api/tasks/{task}/drafts?project={project.id}", json=body, repeatable=False)
    return int(made.json()["id"])


def act(client: LabelStudioClient, project: AnnotationProject, action: str, task: int) -> None:
    selected = {"all": False, "included": [task]}
    params = {"id": action, "project": project.id}
    body = {"selectedItems": selected, "project": project.id}
    client.request("POST", "/api/dm/actions/", params=params, json=body, repeatable=False)


def import_prediction(client: LabelStudioClient, project: AnnotationProject, task: int) -> None:
    body = [{"task": task, "result": results(), "model_version": "v2"}]
    client.request("POST", f"/api/projects/{project.id}/import/predictions", json=body, repeatable=False)


def replace_prediction(client: LabelStudioClient, project: AnnotationProject, task: int) -> None:
    act(client, project, "delete_tasks_predictions", task)
    import_prediction(client, project, task)


def submit(client: LabelStudioClient, task: int) -> None:
    client.request("POST", f"/api/tasks/{task}/annotations/", json={"result": results()}, repeatable=False)


def edit_first(client: LabelStudioClient, task: int) -> None:
    (first, *_) = client.request("GET", f"/api/tasks/{task}/annotations/").json()
    client.request("PATCH", f"/api/annotations/{first['id']}/", json={"result": results()[:1]}, repeatable=True)


def set_overlap(client: LabelStudioClient, project: AnnotationProject) -> None:
    body = {"maximum_annotations": 1}
    client.request("PATCH", f"/api/projects/{project.id}/", json=body, repeatable=True)


Change = Callable[[LabelStudioClient, AnnotationProject, list[int]], Any]
CHANGES: dict[str, tuple[Change, list[int]]] = {
    "a submission": (lambda client, _, ids: submit(client, ids[2]), [2]),
    "an edit": (lambda client, _, ids: edit_first(client, ids[0]), [0]),
    "annotations deleted": (lambda client, project, ids: act(client, project, "delete_tasks_annotations", ids[0]), [0]),
    "a task deleted": (lambda client, project, ids: act(client, project, "delete_tasks", ids[1]), []),
    "data edited": (
        lambda client, _, ids: client.request("PATCH", f"/api/tasks/{ids[3]}/", json={"data": {"image": "z"}}),
        [3],
    ),
    "a draft": (lambda client, project, ids: draft(client, project, ids[1]), [1]),
    "predictions imported": (lambda client, project, ids: import_prediction(client, project, ids[2]), [2]),
    "predictions deleted": (lambda client, project, ids: act(client, project, "delete_tasks_predictions", ids[4]), [4]),
    "predictions replaced": (lambda client, project, ids: replace_prediction(client, project, ids[4]), [4]),
    "fewer submissions wanted": (lambda client, project, _: set_overlap(client, project), [0, 1]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_state_moves_with_its_rows(
    hook: LabelStudioHook, client: LabelStudioClient, project: AnnotationProject, filled: list[int], change: str
) -> None:
    before = {state["item_id"]: state for state in listed(hook, project, include_predictions=True)}
    make, moved = CHANGES[change]
    make(client, project, filled)
    after = listed(hook, project, include_predictions=True)
    assert [filled.index(int(state["item_id"])) for state in after if before[state["item_id"]] != state] == moved
    assert after == read(hook, project, include_predictions=True)


def test_a_draft_that_is_worked_on_or_thrown_away_moves_the_state(
    hook: LabelStudioHook, client: LabelStudioClient, project: AnnotationProject, filled: list[int]
) -> None:
    states = [listed(hook, project)]
    made = draft(client, project, filled[2])
    states.append(listed(hook, project))
    draft(client, project, filled[2], update=made)
    states.append(listed(hook, project))
    assert states[0] != states[1] != states[2]
    client.request("DELETE", f"/api/drafts/{made}/")
    assert listed(hook, project) == states[0]


def test_chosen_items_are_read_and_those_that_are_not_there_are_left_out(
    hook: LabelStudioHook, project: AnnotationProject, filled: list[int]
) -> None:
    chosen = [filled[4], filled[1], filled[-1] + 1000]
    tables = collect_tables(hook.read_tables(project, ReadOptions(include_predictions=True), map(str, chosen)))
    assert [row["item_id"] for row in tables["items"].to_pylist()] == [str(filled[1]), str(filled[4])]
    assert [row["status"] for row in tables["items"].to_pylist()] == ["partial", "unlabeled"]
    assert {row["item_id"] for row in tables["labels"].to_pylist()} == {str(filled[1]), str(filled[4])}


def test_the_last_change_is_the_newest_time_of_an_item(
    hook: LabelStudioHook, client: LabelStudioClient, project: AnnotationProject
) -> None:
    assert hook.get_last_change(project.id) is None
    ids = add_tasks(client, project, [{"data": {"image": name}} for name in "ab"])
    submit(client, ids[0])
    assert hook.get_last_change(project.id) == max(state["updated_at"] for state in listed(hook, project))


def test_predictions_are_counted_where_the_servers_own_count_is_late(
    label_studio: LabelStudio, project: AnnotationProject, filled: list[int]
) -> None:
    late = Fault(garble=lambda body: re.sub(rb'"total_predictions": ?1', b'"total_predictions":2', body))
    with fault_server(label_studio.url) as proxy:
        proxy.choose = lambda request: late if "total_predictions" in request.path else None
        client = LabelStudioClient(url=proxy.url, api_key=API_KEY)
        counts = [
            pa.Table.from_batches(
                item_states.list_item_states(client, project.id, include_predictions=include_predictions)
            )["prediction_count"].to_pylist()
            for include_predictions in (True, False)
        ]
    assert counts == [[0, 0, 0, 0, 1], [0, 0, 0, 0, 2]]


def test_all_items_are_listed_once_where_their_ids_are_dense_and_where_they_are_sparse(
    hook: LabelStudioHook,
    client: LabelStudioClient,
    project: AnnotationProject,
    label_studio: LabelStudio,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = client.request("POST", "/api/projects/", json={"title": "between", "label_config": CONFIG}).json()["id"]
    between = AnnotationProject(id=str(other), title="", url="", uri="", tool="label_studio")
    ids: list[int] = []
    for own, others in ((9, 40), (3, 0), (5, 15), (1, 30), (12, 0)):
        ids += add_tasks(client, project, [{"data": {"image": "a"}}] * own)
        if others:
            add_tasks(client, between, [{"data": {"image": "b"}}] * others)
    client.request("DELETE", f"/api/projects/{other}/")
    for gone in (ids[1], ids[10]):
        client.request("DELETE", f"/api/tasks/{gone}/")
    expected = [str(id_) for id_ in ids if id_ not in (ids[1], ids[10])]
    assert [state["item_id"] for state in listed(hook, project)] == expected
    assert [id_ for some in hook.list_item_ids(project.id) for id_ in some.to_pylist()] == expected
    monkeypatch.setattr(task_pages, "PAGE_TASKS", 4)
    with fault_server(label_studio.url) as proxy:
        asked = LabelStudioClient(url=proxy.url, api_key=API_KEY)
        states = item_states.list_item_states(asked, project.id)
        assert [id_ for batch in states for id_ in batch.column("item_id").to_pylist()] == expected
        # Of drafts, of the first page, of the newest id, and of what came since: no other lets the server count it all.
        assert sum("%22in%22" not in one.path for one in proxy.requests) == 4
        assert len(proxy.requests) < 40
        del proxy.requests[:]
        assert item_states.list_changed_items(asked, project.id, datetime(2026, 1, 1, tzinfo=timezone.utc)) == expected
        assert sum("%22in%22" not in one.path for one in proxy.requests) == 3
        assert len(proxy.requests) < 40
    found = [id_ for some in hook.list_item_ids(project.id) for id_ in some.to_pylist()]
    assert sorted({*found}, key=int) == found, "none comes twice"
    assert set(expected) <= set(found)
