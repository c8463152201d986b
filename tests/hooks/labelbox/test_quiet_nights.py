"""What a night in which nothing happened costs in a large project of Labelbox."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from uuid import uuid4

import pyarrow as pa
import pytest

from airflow_annotation.hooks.labelbox import LabelboxHook, item_changes
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import ITEM_STATES
from airflow_annotation.media.items import MediaItem
from tests.servers.labelbox import LabelboxStandIn
from tests.servers.labelbox.entities import DataRow, QueuedRow
from tests.support.shelf import Shelf
from tests.support.task_context import task_context

ITEMS = 5_000
UPLOADED = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(days=29)
SCHEMA = LabelSchema.from_dict({"objects": {"type": "detections", "classes": ["car"]}})


def fill(labelbox: LabelboxStandIn, hook: LabelboxHook, count: int) -> tuple[str, list[str]]:
    """Make a project of so many data rows, all uploaded weeks ago, and return its id and theirs."""
    project_id = hook.create_project(title="Large", run_key=str(uuid4()), label_schema=SCHEMA).id
    hook.upload_items(project_id, [MediaItem(media="https://media.example/1.jpg", item_key=str(uuid4()))])
    with labelbox.state.lock:
        project = labelbox.state.projects[project_id]
        (first,) = project.rows.values()
        first.data_row.last_activity_at = UPLOADED
        for _ in range(count - 1):
            row = DataRow(
                dataset=first.data_row.dataset,
                created_by=first.data_row.created_by,
                row_data=first.data_row.row_data,
                media_type=first.data_row.media_type,
                last_activity_at=UPLOADED,
            )
            labelbox.state.data_rows[row.id] = row
            project.rows[row.id] = QueuedRow(data_row=row, batch=first.batch, queue=first.queue, priority=5)
        return project_id, [*project.rows]


def count_requests(labelbox: LabelboxStandIn, hook: LabelboxHook, conn_id: str, items: int) -> int:
    project_id, ids = fill(labelbox, hook, items)

    def landed_states() -> Iterator[pa.RecordBatch]:
        values = ["unlabeled", 0, 0, UPLOADED]
        fields = [ITEM_STATES.field(name) for name in ITEM_STATES.names[1:]]
        columns = [pa.repeat(pa.scalar(value, field.type), items) for value, field in zip(values, fields, strict=True)]
        yield pa.RecordBatch.from_arrays([pa.array(ids, pa.string()), *columns], schema=ITEM_STATES)

    transfer = Shelf(task_id="land", project=project_id, annotation_conn_id=conn_id)
    listed = transfer.put(project_id, landed_states)
    before = labelbox.control.operations()
    landed = transfer.execute(task_context())
    after = labelbox.control.operations()
    assert (landed["changed_items"], landed["removed_items"], landed["unchanged_items"]) == (0, 0, items)
    assert transfer.landed.listing is not None
    assert transfer.landed.listing.full_at == listed, "no items were listed"
    return sum(after.get(kind, 0) - before.get(kind, 0) for kind in ("graphql", "download"))


def test_a_quiet_night_takes_as_many_requests_in_a_large_project_as_in_a_small_one(
    labelbox: LabelboxStandIn, hook: LabelboxHook, labelbox_conn_id: str
) -> None:
    small, large = (count_requests(labelbox, hook, labelbox_conn_id, items) for items in (2, ITEMS))
    assert small == large <= 15


def test_ids_of_all_data_rows_come_once_and_in_parts(labelbox: LabelboxStandIn, hook: LabelboxHook) -> None:
    project_id, ids = fill(labelbox, hook, ITEMS)
    parts = [part.to_pylist() for part in hook.list_item_ids(project_id)]
    assert len(parts) > 1
    assert sorted(id_ for part in parts for id_ in part) == sorted(ids)


@pytest.mark.parametrize(("ahead", "is_listed"), [(timedelta(hours=5), False), (timedelta(hours=7), True)])
def test_all_items_are_listed_where_the_clock_was_set_back(
    labelbox: LabelboxStandIn, hook: LabelboxHook, ahead: timedelta, is_listed: bool
) -> None:
    project_id, _ = fill(labelbox, hook, 1)
    mark = hook.mark_changes(project_id)
    assert mark is not None
    before = {"time": (datetime.fromisoformat(mark["time"].replace("Z", "+00:00")) + ahead).isoformat()}
    assert (hook.list_changes(project_id, before, mark) is None) == is_listed


def test_all_items_are_listed_where_predictions_land_and_after_a_mark_of_another_release(
    labelbox: LabelboxStandIn, hook: LabelboxHook
) -> None:
    project_id, _ = fill(labelbox, hook, 1)
    mark = hook.mark_changes(project_id)
    assert mark is not None
    assert hook.list_changes(project_id, mark, mark) is not None
    assert hook.list_changes(project_id, mark, mark, include_predictions=True) is None
    assert hook.list_changes(project_id, {"of": "another release"}, mark) is None


def test_changes_are_listed_from_before_the_mark_on(labelbox: LabelboxStandIn, hook: LabelboxHook) -> None:
    """The index that exports are filtered by may be behind."""
    project_id, (late, early) = fill(labelbox, hook, 2)
    mark = hook.mark_changes(project_id)
    assert mark is not None
    time = datetime.fromisoformat(mark["time"].replace("Z", "+00:00"))
    with labelbox.state.lock:
        labelbox.state.data_rows[late].last_activity_at = time - item_changes.MARGIN
        labelbox.state.data_rows[early].last_activity_at = time - item_changes.MARGIN - timedelta(seconds=1)
    changes = hook.list_changes(project_id, mark, mark)
    assert changes is not None
    assert [batch.column("item_id").to_pylist() for batch in changes.states] == [[late]]
