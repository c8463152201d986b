"""Items of a live Label Studio that fit a filter: the server lists those that the landed tables say do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_annotation.datasets.parquet import read_dataset
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.label_studio import LabelStudioHook, item_filters, task_pages
from airflow_annotation.labels.item_filter import ItemFilter
from airflow_annotation.labels.tables import ITEM_STATES, collect_tables
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from tests.hooks.test_label_studio_export import CONFIG, add_tasks, results
from tests.support.item_filters import fitting
from tests.support.second_person import second_person
from tests.support.task_context import task_context

OWNER = "annotator@example.com"


@pytest.fixture
def hook(label_studio_conn_id: str) -> LabelStudioHook:
    return LabelStudioHook(label_studio_conn_id)


@pytest.fixture
def project(hook: LabelStudioHook) -> Iterator[AnnotationProject]:
    settings = {"title": "filtered items", "label_config": CONFIG, "maximum_annotations": 2}
    made = hook.client.request("POST", "/api/projects/", json=settings).json()
    yield AnnotationProject(id=str(made["id"]), title="", url="", uri="", tool="label_studio")
    hook.client.request("DELETE", f"/api/projects/{made['id']}/")


def listed(hook: LabelStudioHook, project: AnnotationProject, items: ItemFilter | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pa.Table.from_batches(
        hook.list_item_states(project.id, include_predictions=True, items=items), schema=ITEM_STATES
    ).to_pylist()
    return rows


def test_the_server_lists_those_that_the_tables_say_fit(
    hook: LabelStudioHook, project: AnnotationProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission = {"result": results(), "ground_truth": False}
    skip = {"result": [], "was_cancelled": True}
    prediction = {"result": results(), "model_version": "v1"}
    ids = add_tasks(
        hook.client,
        project,
        [
            {"data": {"image": "a", "item_key": "one"}, "annotations": [submission, submission]},
            {"data": {"image": "b", "item_key": "two"}, "annotations": [submission]},
            {"data": {"image": "c"}, "predictions": [prediction]},
            {"data": {"image": "d", "item_key": 4}, "annotations": [skip]},
            {"data": {"image": "e", "item_key": "five"}, "annotations": [submission, skip]},
        ],
    )
    with closing(second_person(hook)) as other:
        email = other.get("/api/current-user/whoami").json()["email"]
        for task in (ids[1], ids[2]):
            other.post(f"/api/tasks/{task}/annotations/", json={"result": results()}).raise_for_status()
    add_tasks(hook.client, project, [{"data": {"image": "f", "item_key": "six"}}])
    hook.client.request("POST", f"/api/tasks/{ids[2]}/drafts?project={project.id}", json={"result": results()})

    tables = collect_tables(hook.read_tables(project))
    monkeypatch.setattr(task_pages, "PAGE_TASKS", 2)
    everything = {state["item_id"]: state for state in listed(hook, project, None)}
    created = sorted(tables["items"]["created_at"].to_pylist())
    submitted = sorted(tables["annotations"]["created_at"].to_pylist())
    filters: list[dict[str, Any]] = [
        *({"statuses": [status]} for status in ("labeled", "partial", "skipped", "unlabeled")),
        {"statuses": ["labeled", "partial"]},
        {"statuses": ["labeled", "skipped"]},
        {"annotators": [OWNER]},
        {"annotators": [email]},
        {"annotators": [email, OWNER], "statuses": ["labeled"]},
        {"created_after": created[-1]},
        {"created_after": created[0], "created_before": created[-1]},
        *({"completed_after": time} for time in submitted),
        {"completed_before": submitted[-1]},
        {"item_keys": ["one", "c", "4", "nowhere"]},
        {"item_keys": ["two", "six"], "statuses": ["unlabeled", "labeled"]},
        {"item_keys": []},
    ]
    sizes = []
    for given in filters:
        items = ItemFilter.of(given)
        found = listed(hook, project, items)
        assert {state["item_id"] for state in found} == fitting(tables, items), given
        assert found == [everything[state["item_id"]] for state in found], given  # each once, as without a filter
        sizes.append(len(found))
    assert 0 in sizes
    assert max(sizes) > 3
    monkeypatch.setattr(item_filters, "_ASKED_KEYS", 0)  # too many for the URL
    few = ItemFilter.of(["one", "c", "4", "nowhere"])
    assert {state["item_id"] for state in listed(hook, project, few)} == fitting(tables, few)
    assert len(listed(hook, project, few)) == 2


def test_a_tab_is_what_its_filters_let_through_and_lands_so(
    hook: LabelStudioHook, project: AnnotationProject, tmp_path: Path
) -> None:
    submission = {"result": results(), "ground_truth": False}
    ids = add_tasks(
        hook.client,
        project,
        [
            {"data": {"image": name, "item_key": name, "site": site}, "annotations": given}
            for name, site, given in [
                ("a", "north", [submission]),
                ("b", "south", []),
                ("c", "east", [submission]),
                ("d", "west", []),
            ]
        ],
    )

    def make_tab(title: str, conjunction: str, *sites: str) -> str:
        conditions = [
            {"filter": "filter:tasks:data.site", "operator": "equal", "type": "String", "value": site} for site in sites
        ]
        data = {"title": title, "filters": {"conjunction": conjunction, "items": conditions}}
        body = {"project": int(project.id), "data": data}
        return str(hook.client.request("POST", "/api/dm/views/", json=body).json()["id"])

    make_tab("Either", "or", "north", "south", "north")
    both = make_tab("Both", "and", "north", "south")
    make_tab("All", "and")

    def names(**items: Any) -> list[str]:
        found = listed(hook, project, ItemFilter.of(items))
        return sorted("abcd"[ids.index(int(state["item_id"]))] for state in found)

    assert names(tab="Either") == ["a", "b"]
    assert names(tab="Either", statuses=["unlabeled"]) == ["b"]
    assert names(tab="Either", item_keys=["a", "c"]) == ["a"]
    assert names(tab=both) == []
    assert names(tab="All", annotators=[OWNER]) == ["a", "c"]
    with pytest.raises(AnnotationError, match=r"'Eiter'.*'Either'"):
        names(tab="Eiter")

    def land() -> tuple[bool, list[str]]:
        landed = AnnotationsToObjectStorageOperator(
            task_id="land",
            annotation_conn_id=hook.label_studio_conn_id,
            project=project.id,
            target=str(tmp_path),
            items={"tab": "Either"},
        ).execute(task_context())
        return landed["full"], sorted(read_dataset(str(tmp_path))["items"]["media_uri"].to_pylist())

    assert land() == (True, ["a", "b"])
    hook.client.request("PATCH", f"/api/tasks/{ids[0]}/", json={"data": {"image": "a", "site": "west"}})
    hook.client.request("PATCH", f"/api/tasks/{ids[2]}/", json={"data": {"image": "c", "site": "south"}})
    assert land() == (False, ["b", "c"])


@pytest.mark.parametrize(
    ("items", "message"),
    [({"batches": ["first"]}, "batches"), ({"annotators": ["nobody@example.com"]}, "nobody@example.com")],
)
def test_what_label_studio_does_not_have_is_an_error(
    hook: LabelStudioHook, project: AnnotationProject, items: dict[str, Any], message: str
) -> None:
    with pytest.raises(AnnotationError, match=message):
        listed(hook, project, ItemFilter.of(items))
