"""Items of Labelbox that fit a filter: those that the landed tables say do."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.labelbox import LabelboxHook, tasks
from airflow_annotation.labels.item_filter import ItemFilter
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import ITEM_STATES, collect_tables
from airflow_annotation.media.items import MediaItem
from tests.hooks.labelbox.conftest import connection
from tests.servers.labelbox import LabelboxStandIn
from tests.support.connections import airflow_connection
from tests.support.item_filters import fitting

SCHEMA = LabelSchema.from_dict({"objects": {"type": "detections", "classes": ["car"]}})
ADA, BEN = "ada@example.com", "ben@example.com"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_WAIT", 0.01)


def upload(hook: LabelboxHook, count: int, **settings: Any) -> tuple[AnnotationProject, list[str]]:
    project = hook.create_project(title="Part", run_key=str(uuid4()), label_schema=SCHEMA)
    keys = [str(uuid4()) for _ in range(count - 1)] + [f"{uuid4()}/{'long' * 60}"]
    items = [MediaItem(media=f"https://media.example/{key[:36]}.jpg", item_key=key) for key in keys]
    hook.upload_items(project.id, items, upload_settings=settings)
    return project, keys


def listed(hook: LabelboxHook, project: AnnotationProject, items: ItemFilter | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pa.Table.from_batches(
        hook.list_item_states(project.id, items=items), schema=ITEM_STATES
    ).to_pylist()
    return rows


def label(labelbox: LabelboxStandIn, project: AnnotationProject, data_row_id: str, **arguments: Any) -> str:
    submitted = labelbox.control.submit_label(project.id, [], data_row_id=data_row_id, **arguments)
    return str(submitted["label_id"])


@pytest.mark.parametrize("namespace", ["", "team"])
def test_labelbox_lists_those_that_the_tables_say_fit(labelbox: LabelboxStandIn, namespace: str) -> None:
    extra = {"global_key_namespace": namespace} if namespace else {}
    with airflow_connection(f"labelbox_{uuid4().hex}", connection(labelbox, **extra)) as conn_id:
        hook = LabelboxHook(conn_id)
        project, keys = upload(hook, 6)
        hook.upload_items(project.id, [MediaItem(media="https://media.example/late.jpg", item_key=str(uuid4()))])
        ids = [row["item_id"] for row in listed(hook, project, None)]
        label(labelbox, project, ids[0], labeler=ADA, to_review=False)
        label(labelbox, project, ids[1], labeler=BEN)
        labelbox.control.reject(label(labelbox, project, ids[2], labeler=ADA))
        labelbox.control.skip(project.id, data_row_id=ids[3], labeler=BEN)
        tables = collect_tables(hook.read_tables(project))
        everything = {state["item_id"]: state for state in listed(hook, project, None)}
        created = sorted(tables["items"]["created_at"].to_pylist())
        submitted = sorted(tables["annotations"]["created_at"].to_pylist())
        filters: list[dict[str, Any]] = [
            *({"statuses": [status]} for status in ("done", "in_review", "rework", "skipped", "unlabeled", "labeled")),
            {"statuses": ["done", "in_review"]},
            {"annotators": [ADA]},
            {"annotators": [ADA, BEN], "statuses": ["in_review", "rework"]},
            {"created_before": created[-1]},
            {"created_after": created[0], "created_before": created[-1]},
            {"created_after": created[-1]},
            *({"completed_after": time} for time in submitted),
            *({"completed_before": time} for time in submitted),
            {"item_keys": [keys[0], keys[-1], "nowhere"]},
            {"item_keys": keys[:2], "statuses": ["in_review", "unlabeled"]},
            {"item_keys": keys},
            {"item_keys": []},
        ]
        for given in filters:
            items = ItemFilter.of(given)
            found = listed(hook, project, items)
            assert {state["item_id"] for state in found} == fitting(tables, items), given
            assert found == [everything[state["item_id"]] for state in found], given
        own_ids = collect_tables(hook.read_tables(project, ReadOptions(annotators="id")))["annotations"]
        (ada,) = {
            name
            for name, row in zip(own_ids["annotator"].to_pylist(), tables["annotations"].to_pylist(), strict=True)
            if row["annotator"] == ADA
        }
        assert listed(hook, project, ItemFilter.of({"annotators": [ada]})) == listed(
            hook, project, ItemFilter.of({"annotators": [ADA]})
        )


def test_batches_go_by_their_names_and_ids(hook: LabelboxHook) -> None:
    project, _ = upload(hook, 5, batch="night", batch_size=2)
    batches = {str(batch.name): str(batch.uid) for batch in hook.get_conn().get_project(project.id).batches()}
    assert sorted(batches) == ["night", "night 2", "night 3"]
    assert len(listed(hook, project, ItemFilter.of({"batches": ["night"]}))) == 2
    assert len(listed(hook, project, ItemFilter.of({"batches": ["night 3", batches["night 2"]]}))) == 3
    with pytest.raises(AnnotationError, match=r"'nihgt'.*'night'"):
        listed(hook, project, ItemFilter.of({"batches": ["nihgt"]}))
    with pytest.raises(AnnotationError, match="tab"):
        listed(hook, project, ItemFilter.of({"tab": "night"}))
