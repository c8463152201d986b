"""Landings of more items than are held at once, and what FiftyOne's database keeps of them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from airflow_annotation.datasets.fiftyone import ledger
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.transfers.annotations_to_fiftyone import AnnotationsToFiftyOneOperator
from tests.support.generated import GeneratedHook, OvertakenHook, boxes, project_uri
from tests.support.task_context import task_context

ITEMS = 2300


@pytest.fixture
def photos(fiftyone: Any) -> Iterator[Any]:
    made = fiftyone.Dataset(f"photos-{uuid4().hex}")
    made.add_samples([fiftyone.Sample(filepath=f"/photos/photo-{n}.jpg") for n in range(ITEMS)])
    yield made
    made.delete()


def of_files(batch: LabelTables) -> LabelTables:
    place = batch.items.schema.get_field_index("media_uri")
    uris = pc.binary_join_element_wise("file:///photos/", batch.items["item_key"], ".jpg", "")
    return batch._replace(items=batch.items.set_column(place, batch.items.schema.field(place), uris.cast(pa.string())))


def merge_task(dataset: Any, **arguments: Any) -> AnnotationsToFiftyOneOperator:
    return AnnotationsToFiftyOneOperator(
        task_id="merge", annotation_conn_id="tool", project="1", dataset=dataset.name, match_by="filepath", **arguments
    )


def land(dataset: Any, *batches: LabelTables, **arguments: Any) -> Any:
    task = merge_task(dataset, **arguments)
    task.__dict__["hook"] = GeneratedHook([of_files(batch) for batch in batches])
    return task.execute(task_context())


def test_a_large_project_is_merged_in_batches_and_only_what_changed_is_merged_again(
    photos: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "_PARTS_MAX", 4)
    labeled = sum(bool(n % 5) for n in range(ITEMS))
    first = land(photos, boxes(1500), boxes(ITEMS - 1500, first=1500))
    assert first["rows"] == {"samples": ITEMS, "added": 2 * labeled, "edited": 0, "deleted": 0, "unchanged": 0}
    assert len(photos.exists("objects")) == labeled
    for per_item, added, deleted in ((3, 8, 0), (1, 0, 16), (3, 16, 0), (1, 0, 16)):
        changed = boxes(10, first=ITEMS - 10, per_item=per_item)
        again = land(photos, boxes(1500), boxes(ITEMS - 1510, first=1500), changed)
        assert (again["changed_items"], again["rows"]["samples"]) == (10, 10)
        assert (again["rows"]["added"], again["rows"]["deleted"]) == (added, deleted)
    assert photos.count("objects.detections") == 2 * (labeled - 8) + 8
    gone = land(photos, boxes(1500), boxes(ITEMS - 1510, first=1500))
    assert (gone["removed_items"], gone["rows"]["samples"]) == (10, 0)
    assert photos.count("objects.detections") == 2 * (labeled - 8) + 8, "the labels of items that are gone stay"
    assert land(photos, boxes(1500), boxes(ITEMS - 1510, first=1500))["unchanged_items"] == ITEMS - 10


@pytest.mark.parametrize("full", [True, False])
def test_what_people_delete_in_an_item_that_left_a_part_goes_when_it_comes_back(
    photos: Any, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    monkeypatch.setattr(ledger, "_PARTS_MAX", 1)
    part: Any = {"items": {"statuses": ["labeled"]}}
    assert land(photos, boxes(10), **part)["rows"]["added"] == 16
    for _ in range(2):
        assert land(photos, boxes(9), full_refresh=full, **part)["rows"]["deleted"] == 0
    back = land(photos, boxes(9), boxes(1, first=9, per_item=1), **part)
    assert (back["changed_items"], back["rows"]["added"], back["rows"]["deleted"]) == (1, 0, 1)


@pytest.mark.parametrize("moment", ["read", "merged"])
def test_what_lands_while_a_part_lands_is_not_replaced_by_it(
    photos: Any, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    others: list[Any] = [lambda: land(photos, boxes(6))]
    late = merge_task(photos, items=["photo-1"])
    late.__dict__["hook"] = GeneratedHook([of_files(boxes(6))])
    if moment == "read":
        late.__dict__["hook"] = OvertakenHook([of_files(boxes(6))], others.pop())
    write_part = ledger.Ledger.write_part

    def overtaken(*arguments: Any) -> str:
        if others:
            others.pop()()
        return write_part(*arguments)

    monkeypatch.setattr(ledger.Ledger, "write_part", overtaken)
    with pytest.raises(AnnotationError, match="all items"):
        late.execute(task_context())
    again = land(photos, boxes(6))
    assert (again["full"], again["changed_items"], again["unchanged_items"]) == (False, 0, 6)
    assert land(photos, boxes(6), items=["photo-1"], full_refresh=True)["rows"]["samples"] == 1


def test_a_refresh_writes_what_has_changed_and_rewrites_the_record_of_all_items_only_now_and_then(
    fiftyone: Any, photos: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "_RECORDS_AT_ONCE", 100)
    monkeypatch.setattr(ledger, "_PARTS_MAX", 4)
    store = fiftyone.operators.store.ExecutionStore
    write, writes = store.set, []

    def counted(self: Any, key: str, value: Any) -> None:
        writes.append(key)
        write(self, key, value)

    def count_writes(per_item: int = 2) -> int:
        writes.clear()
        landed = land(photos, boxes(599), boxes(1, first=599, per_item=per_item))
        assert landed["changed_items"] + landed["unchanged_items"] == 600
        return len(writes)

    monkeypatch.setattr(store, "set", counted)
    assert count_writes() == 6 + 1, "all parts, and the landing"
    assert count_writes() == 1, "the landing"
    assert [count_writes(2 + n) for n in range(1, 6)] == [2, 2, 2, 2, 2 + 6 + 1]
    assert count_writes(7) == 1

    entries = store.create("airflow_annotation", dataset_id=photos._doc.id)
    head = entries.get(project_uri())
    del head["whole"]
    entries.set(project_uri(), head)
    assert count_writes(7) == 1 + 6 + 1, "an earlier release did not write how many parts hold all items"
    assert [count_writes(2), count_writes(2)] == [2, 1]
    assert photos.count("objects.detections") == 2 * 480


def test_the_memory_that_the_record_takes_does_not_grow_with_the_project(
    dataset: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = ["labeled", 1, 0, 1_700_000_000_000_000]

    def peak(items: int) -> int:
        made = ledger.Ledger(dataset, f"{project_uri()}-{items}")
        labels = {"objects": {f"{number:024}" for number in range(5)}}
        parts = made.write_parts("first", 0, (ledger.Record(str(n), labels, state) for n in range(items)))
        made.commit({"version": "first", "full_at": None}, parts, full=True)
        tracemalloc.start()
        try:
            assert sum(batch.num_rows for batch in made.read_states()) == items
            with made.read_known() as known:
                assert known.of(str(items - 1)) == labels
            parts = made.write_parts("second", 0, [ledger.Record("0", {"objects": {"new"}})])
            made.commit({"version": "second", "full_at": None}, parts, full=False)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert sum(batch.num_rows for batch in made.read_states()) == items - 1, "the first is gone"
        with made.read_known(pa.array(["0"])) as known:
            assert known.of("0") == {"objects": labels["objects"] | {"new"}}
        return peak

    monkeypatch.setattr(ledger, "_PARTS_MAX", 0)
    assert peak(15_000) < 1.5 * peak(3_000)
