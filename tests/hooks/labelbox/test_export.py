"""Reading projects of Labelbox, whatever fails on the way. What labels become is shown with the conversions."""

from __future__ import annotations

import base64
import io
import tracemalloc
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from airflow_annotation.exceptions import AnnotationError, AnnotationRequestError
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.labelbox import LabelboxHook, export, tasks
from airflow_annotation.labels.masks import RLE, rle_to_mask
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import collect_tables
from airflow_annotation.media.items import MediaItem
from tests.servers.labelbox import LabelboxStandIn
from tests.support.read_options import with_options

SCHEMA = LabelSchema.from_dict(
    {
        "objects": {"type": "detections", "classes": ["car"]},
        "sky": {"type": "instances", "classes": ["sky"]},
        "weather": {"type": "classification", "classes": ["sun", "rain"]},
    }
)
BOX = {"name": "objects: car", "bbox": {"top": 10.0, "left": 20.0, "height": 30.0, "width": 40.0}}
RAIN = {"name": "weather", "answer": {"name": "rain"}}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_WAIT", 0.01)


def fill(hook: LabelboxHook, labelbox: LabelboxStandIn, count: int) -> tuple[AnnotationProject, list[str]]:
    project = hook.create_project(title="Export", run_key=str(uuid4()), label_schema=SCHEMA)
    keys = [str(uuid4()) for _ in range(count)]
    items = [MediaItem(media=f"https://media.example/{key}.jpg", item_key=key) for key in keys]
    for item in items:
        labelbox.control.describe_media(item.media, {"width": 200, "height": 100})
    hook.upload_items(project.id, items)
    return project, keys


def mask_line(mask: Any) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(mask, dtype=np.uint8)).save(buffer, "PNG")
    return {"name": "sky: sky", "mask": {"png": base64.b64encode(buffer.getvalue()).decode()}}


def read(hook: LabelboxHook, project: AnnotationProject, **arguments: Any) -> dict[str, pa.Table]:
    return collect_tables(hook.read_tables(project, **with_options(arguments)))


def test_all_items_and_all_labels_of_all_people_are_read(hook: LabelboxHook, labelbox: LabelboxStandIn) -> None:
    project, keys = fill(hook, labelbox, 3)
    labelbox.control.submit_label(project.id, [BOX, RAIN], global_key=keys[0], seconds=7.5)
    labelbox.control.skip(project.id, global_key=keys[1])
    tables = read(hook, project)
    items = {row["item_key"]: row for row in tables["items"].to_pylist()}
    assert [items[key]["status"] for key in keys] == ["in_review", "skipped", "unlabeled"]
    assert items[keys[0]]["item_url"] == f"{project.url}/data-rows/{items[keys[0]]['item_id']}"
    assert {row["project"] for row in items.values()} == {project.uri}
    submissions = {row["item_key"]: row for row in tables["annotations"].to_pylist()}
    assert submissions[keys[0]]["annotator"] == "labeler@example.com"
    assert submissions[keys[0]]["lead_time"] == 7.5
    assert submissions[keys[1]]["status"] == "skipped"
    box, rain = tables["labels"].to_pylist()
    assert (box["field"], box["label"], box["bbox"]) == ("objects", "car", pytest.approx([0.1, 0.1, 0.2, 0.3]))
    assert (rain["field"], rain["label"]) == ("weather", "rain")


def test_an_empty_project_has_no_rows(hook: LabelboxHook) -> None:
    project = hook.create_project(title="Export", run_key=str(uuid4()), label_schema=SCHEMA)
    assert [table.num_rows for table in read(hook, project).values()] == [0, 0, 0]


def test_people_are_named_by_an_id_on_demand(hook: LabelboxHook, labelbox: LabelboxStandIn) -> None:
    project, (key,) = fill(hook, labelbox, 1)
    labelbox.control.submit_label(project.id, [], global_key=key, labeler="some.body@example.com")
    (name,) = read(hook, project, annotators="id")["annotations"]["annotator"].to_pylist()
    assert name
    assert "@" not in name


@pytest.mark.parametrize("exports", [0, 20])
def test_chosen_items_are_read_from_exports_of_their_own_or_from_one_of_all(
    hook: LabelboxHook, labelbox: LabelboxStandIn, monkeypatch: pytest.MonkeyPatch, exports: int
) -> None:
    monkeypatch.setattr(export, "_FILTERED_EXPORTS", exports)
    monkeypatch.setattr(export, "FILTERED_ROWS", 2)
    project, keys = fill(hook, labelbox, 5)
    labelbox.control.submit_label(project.id, [BOX], global_key=keys[3])
    ids = dict(zip(*(read(hook, project)["items"][name].to_pylist() for name in ("item_key", "item_id")), strict=True))
    chosen = [ids[key] for key in (keys[0], keys[3], keys[4])]
    tables = collect_tables(hook.read_tables(project, item_ids=[*chosen, "gone"]))
    assert sorted(tables["items"]["item_id"].to_pylist()) == sorted(chosen)
    assert tables["labels"]["item_id"].to_pylist() == [ids[keys[3]]]


def test_the_benchmark_is_the_ground_truth_before_anything_is_compared_with_it(
    hook: LabelboxHook, labelbox: LabelboxStandIn
) -> None:
    project, keys = fill(hook, labelbox, 2)
    labelbox.control.submit_label(project.id, [BOX], global_key=keys[0], benchmark=True)
    labelbox.control.submit_label(project.id, [BOX], global_key=keys[1])
    truths = read(hook, project, annotations="ground_truth")
    assert truths["annotations"]["item_key"].to_pylist() == [keys[0]]
    assert truths["items"].num_rows == 2


def test_masks_are_read_to_the_pixel(hook: LabelboxHook, labelbox: LabelboxStandIn) -> None:
    project, keys = fill(hook, labelbox, 3)
    masks = {}
    for place, key in enumerate(keys):
        masks[key] = np.zeros((100, 200), dtype=np.uint8)
        masks[key][place : place + 5, 3:9] = 1
        labelbox.control.submit_label(project.id, [mask_line(masks[key])], global_key=key)
    rows = read(hook, project)["labels"].to_pylist()
    assert {row["item_key"] for row in rows} == set(keys)
    for row in rows:
        found = rle_to_mask(RLE(tuple(row["mask_size"]), row["mask_counts"]))
        assert np.array_equal(found, masks[row["item_key"]] > 0)


def test_a_mask_that_fails_for_a_moment_is_fetched_again_and_one_that_is_lost_is_an_error_that_names_it(
    hook: LabelboxHook, labelbox: LabelboxStandIn
) -> None:
    project, (key,) = fill(hook, labelbox, 1)
    made = labelbox.control.submit_label(project.id, [mask_line(np.eye(100, 200))], global_key=key)
    for fault in ({"status": 503}, {"status": 429, "retry_after": 0}, {"cut": True}):
        labelbox.control.fail("mask", **fault)
        assert read(hook, project)["labels"].num_rows == 1
    labelbox.control.lose_masks(*made["feature_ids"])
    with pytest.raises(AnnotationRequestError, match=rf"{made['feature_ids'][0]}.* cannot be fetched: 404"):
        read(hook, project)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "exportDataRowsInProject", "cut": True},
        {"kind": "ExportFile", "status": 502},
        {"kind": "download", "cut": True, "times": 2},
        {"kind": "download", "status": 403},
    ],
    ids=["start", "address", "broken file", "expired file"],
)
def test_an_export_goes_on_after_a_failure_and_no_row_comes_twice(
    hook: LabelboxHook, labelbox: LabelboxStandIn, fault: dict[str, Any]
) -> None:
    project, keys = fill(hook, labelbox, 20)
    labelbox.control.settings(export_chunk_bytes=2000)
    try:
        labelbox.control.fail(**fault)
        items = read(hook, project)["items"]
    finally:
        labelbox.control.settings(export_chunk_bytes=1_000_000)
    assert sorted(items["item_key"].to_pylist()) == sorted(keys)


def test_a_task_that_fails_is_asked_for_again_and_one_that_keeps_failing_is_an_error_with_labelboxs_words(
    hook: LabelboxHook, labelbox: LabelboxStandIn
) -> None:
    project, _ = fill(hook, labelbox, 1)
    labelbox.control.fail_tasks("export-data-rows")
    assert read(hook, project)["items"].num_rows == 1
    labelbox.control.fail_tasks("export-data-rows", "The index is on fire", times=tasks.ATTEMPTS)
    with pytest.raises(AnnotationError, match=rf"export of project {project.id} \(FAILED\).*The index is on fire"):
        read(hook, project)


def test_a_slow_export_is_waited_for(hook: LabelboxHook, labelbox: LabelboxStandIn) -> None:
    project, _ = fill(hook, labelbox, 2)
    labelbox.control.settings(task_seconds=0.5)
    assert read(hook, project)["items"].num_rows == 2


def test_memory_does_not_grow_with_the_project(hook: LabelboxHook, labelbox: LabelboxStandIn) -> None:
    project, keys = fill(hook, labelbox, 1500)
    for key in keys[:200]:
        labelbox.control.submit_label(project.id, [BOX] * 10, global_key=key)
    labelbox.control.settings(export_chunk_bytes=50_000)
    batches = hook.read_tables(project)
    next(batches)
    tracemalloc.start()
    rest = sum(batch.items.num_rows for batch in batches)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rest < 1500
    assert peak < 30e6
