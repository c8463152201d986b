"""Media items into Labelbox, whatever fails on the way."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx
import pytest
from PIL import Image

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks import late_requests
from airflow_annotation.hooks.annotation import AnnotationProject, UploadReport
from airflow_annotation.hooks.labelbox import LabelboxHook, tasks, upload
from airflow_annotation.hooks.labelbox.metadata import MetadataFields
from airflow_annotation.hooks.labelbox.projects import read_settings
from airflow_annotation.hooks.labelbox.upload_settings import read_upload_settings
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import collect_tables
from airflow_annotation.media.items import MediaItem
from tests.hooks.labelbox.conftest import connection
from tests.servers.labelbox import LabelboxStandIn
from tests.support.connections import airflow_connection

STEPS = ("CreateDataset", "UpsertDataRows", "createBatchV2", "UploadFile", "FindDataRows")
SCHEMA = LabelSchema.from_dict({"objects": {"type": "detections", "classes": ["car"]}})


@pytest.fixture
def project(hook: LabelboxHook) -> AnnotationProject:
    return hook.create_project(title="Upload", run_key=str(uuid4()), label_schema=SCHEMA)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_WAIT", 0.01)
    monkeypatch.setattr(late_requests, "_LATE_LOOKS", (0.01, 0.01))


def photo(folder: Path, **fields: Any) -> MediaItem:
    path = folder / f"{uuid4()}.png"
    Image.new("RGB", (20, 10)).save(path)
    return MediaItem(media=str(path), item_key=str(uuid4()), **fields)


def linked(**fields: Any) -> MediaItem:
    key = str(uuid4())
    return MediaItem(**{"media": f"https://media.example/{key}.jpg", "item_key": key, **fields})


def counts(report: UploadReport) -> tuple[int, int, int]:
    return report.uploaded, report.skipped, report.failed


def rows(hook: LabelboxHook, project: AnnotationProject) -> dict[str, dict[str, Any]]:
    items = collect_tables(hook.read_tables(project))["items"].to_pylist()
    return {row["item_key"]: {**row, "data": json.loads(row["data"])} for row in items}


def test_names_in_settings_that_airflow_renders_as_numbers_are_text_again() -> None:
    project: Any = SimpleNamespace(title="Upload")
    read = read_upload_settings({"dataset": 20261129, "batch_size": "5", "consensus_settings": {"a": 1}}, project)
    assert (read.dataset, read.batch_size, read.consensus_settings) == ("20261129", 5, {"a": 1})
    assert read_settings({"index_fields": [1]}).index_fields == ("1",)


# What gets in


def test_files_are_sent_and_web_addresses_referred_to(
    hook: LabelboxHook, labelbox: LabelboxStandIn, project: AnnotationProject, tmp_path: Path
) -> None:
    sent, reference = photo(tmp_path), linked()
    assert counts(hook.upload_items(project.id, [sent, reference])) == (2, 0, 0)
    found = rows(hook, project)
    assert {key: row["media_uri"] for key, row in found.items()} == {
        sent.item_key: sent.media,
        reference.item_key: reference.media,
    }
    assert (found[sent.item_key]["width"], found[sent.item_key]["height"]) == (20, 10)
    row = hook.get_conn().get_data_row_by_global_key(sent.item_key)
    assert httpx.get(row.row_data).content == Path(sent.media).read_bytes()
    assert row.external_id == sent.media
    assert hook.get_conn().get_data_row_by_global_key(reference.item_key).row_data == reference.media


def test_a_second_upload_adds_what_is_new(hook: LabelboxHook, project: AnnotationProject, tmp_path: Path) -> None:
    items = [photo(tmp_path) for _ in range(3)]
    assert counts(hook.upload_items(project.id, items[:2])) == (2, 0, 0)
    assert counts(hook.upload_items(project.id, iter(items))) == (1, 2, 0)
    report = hook.upload_items(project.id, items, on_duplicate="fail")
    assert counts(report) == (0, 0, 3)
    assert report.failures[0].reason == f"The project already has an item {items[0].item_key!r}."
    assert counts(hook.upload_items(project.id, [linked(item_key="twice"), linked(item_key="twice")])) == (1, 1, 0)


def test_to_allow_duplicates_is_refused_by_name(hook: LabelboxHook, project: AnnotationProject) -> None:
    with pytest.raises(AnnotationError, match="on_duplicate='allow' is not for Labelbox: global keys are unique"):
        hook.upload_items(project.id, [], on_duplicate="allow")


def test_data_rows_of_another_run_are_batched_and_not_made_again(
    hook: LabelboxHook, labelbox: LabelboxStandIn, project: AnnotationProject, tmp_path: Path
) -> None:
    items = [photo(tmp_path), linked()]
    hook.upload_items(project.id, items)
    hook.delete_project(project.id)
    before = labelbox.control.operations()
    other = hook.create_project(title="Other", run_key=str(uuid4()), label_schema=SCHEMA)
    assert counts(hook.upload_items(other.id, [*items, linked()])) == (3, 0, 0)
    after = labelbox.control.operations()
    assert after["upload"] - before["upload"] == 2  # the description of one new row, and its manifest
    assert len(rows(hook, other)) == 3


def test_data_rows_go_with_their_project_only_when_asked(hook: LabelboxHook, project: AnnotationProject) -> None:
    kept, gone = linked(), linked()
    hook.upload_items(project.id, [kept])
    hook.delete_project(project.id)
    hook.get_conn().get_data_row_by_global_key(kept.item_key)
    other = hook.create_project(title="Other", run_key=str(uuid4()), label_schema=SCHEMA)
    hook.upload_items(other.id, [gone])
    hook.delete_project(other.id, delete_data_rows=True)
    found = hook.get_conn().get_data_row_ids_for_global_keys([kept.item_key, gone.item_key])
    assert [bool(row_id) for row_id in found["results"]] == [True, False]


def test_metadata_and_attachments_come_of_the_items_data(hook: LabelboxHook, project: AnnotationProject) -> None:
    attachment = {"type": "RAW_TEXT", "value": "hello", "name": "greeting"}
    data = {"split": "train", "camera": "front", "speed": 7.5, "tags": ["a", "b"], "none": None}
    item = linked(data={**data, "attachments": [attachment]})
    assert counts(hook.upload_items(project.id, [item])) == (1, 0, 0)
    landed = rows(hook, project)[item.item_key]["data"]
    assert {name: landed[name] for name in ("split", "camera", "speed")} == {
        "split": "train",
        "camera": "front",
        "speed": 7.5,
    }
    assert json.loads(landed["tags"]) == ["a", "b"]
    assert landed["labelbox"]["attachments"] == [attachment]


def test_uploads_at_the_same_time_make_a_metadata_field_once(hook: LabelboxHook, labelbox_conn_id: str) -> None:
    name = f"camera {uuid4()}"
    start = threading.Barrier(4)
    failures: list[BaseException] = []

    def check(value: str) -> None:
        fields = MetadataFields(LabelboxHook(labelbox_conn_id).client)
        start.wait()
        try:
            fields.check({name: value})
        except AnnotationError as error:
            failures.append(error)

    threads = [threading.Thread(target=check, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    ontology = hook.get_conn().get_data_row_metadata_ontology()
    assert [field.name for field in ontology.fields].count(name) == 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"cut": True, "after": True}, None),
        ({"status": 403}, "does not let the connection's user make it"),
    ],
    ids=["answer lost", "forbidden"],
)
def test_a_metadata_field_that_was_not_made_is_an_error_and_one_that_was_is_used(
    hook: LabelboxHook, labelbox: LabelboxStandIn, fault: dict[str, Any], message: str | None
) -> None:
    fields, name = MetadataFields(hook.client), f"camera {uuid4()}"
    labelbox.control.fail("UpsertCustomMetadataSchema", **fault)
    with pytest.raises(AnnotationError, match=message) if message else nullcontext():
        fields.check({name: "front"})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"split": "other"}, "do not fit Labelbox's metadata fields: .* no enum option by name 'other'"),
        ({"camera": "x" * 5000}, "longer than the 4096 characters"),
        ({"camera": [b"x"]}, "Data key 'camera' of .* holds bytes"),
        ({"attachments": ["x"]}, "attachments of .* are no list of dictionaries"),
        ({"item_key": "x"}, "'item_key' .* is taken by the upload"),
    ],
)
def test_data_that_labelbox_cannot_take_fails_their_item_only(
    hook: LabelboxHook, project: AnnotationProject, data: dict[str, Any], reason: str
) -> None:
    report = hook.upload_items(project.id, [linked(data=data), linked()])
    assert counts(report) == (1, 0, 1)
    assert re.search(reason, report.failures[0].reason)


def test_bad_files_fail_by_name_and_keep_no_others_out(
    hook: LabelboxHook, project: AnnotationProject, tmp_path: Path
) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no image")
    bad = [MediaItem(media=f"{tmp_path}/{name}.png", item_key=name) for name in ("none", "empty", "text")]
    wrong = linked(media_type="video")
    report = hook.upload_items(project.id, [*bad, photo(tmp_path), wrong])
    assert counts(report) == (1, 0, 4)
    reasons = {failure.item_key: failure.reason for failure in report.failures}
    assert reasons["none"] == f"{tmp_path}/none.png does not exist."
    assert "is empty" in reasons["empty"]
    assert "is not an image" in reasons["text"]
    assert "is of type video, but the project labels image" in reasons[wrong.item_key]


# Keys


def test_keys_get_the_connections_namespace_and_long_ones_a_hash(labelbox: LabelboxStandIn, tmp_path: Path) -> None:
    namespace = uuid4().hex
    with airflow_connection(f"l_{namespace}", connection(labelbox, global_key_namespace=namespace)) as conn_id:
        hook = LabelboxHook(conn_id)
        project = hook.create_project(title="Keys", run_key=namespace, label_schema=SCHEMA)
        items = [linked(item_key="short"), linked(item_key="long/" * 100)]
        assert counts(hook.upload_items(project.id, items)) == (2, 0, 0)
        assert counts(hook.upload_items(project.id, items)) == (0, 2, 0)
        assert set(rows(hook, project)) == {"short", "long/" * 100}
        hook.get_conn().get_data_row_by_global_key(f"{namespace}:short")
        report = hook.upload_items(project.id, items, on_duplicate="fail")
        assert {failure.item_key for failure in report.failures} == {"short", "long/" * 100}


def test_a_key_that_a_deleted_row_holds_is_reported_with_what_to_do(
    hook: LabelboxHook, labelbox: LabelboxStandIn, project: AnnotationProject
) -> None:
    labelbox.control.settings(key_release_seconds=600)
    item = linked()
    hook.upload_items(project.id, [item])
    hook.get_conn().get_data_row_by_global_key(item.item_key).delete()
    report = hook.upload_items(project.id, [item, linked()])
    assert counts(report) == (1, 0, 1)
    assert report.failures[0].item_key == item.item_key
    assert "deleted holds it for a while; use another global_key_namespace" in report.failures[0].reason


# Buckets


def test_buckets_are_referred_to_with_an_iam_integration(labelbox: LabelboxStandIn) -> None:
    labelbox.control.add_iam_integration("our bucket")
    items = [
        MediaItem(media="s3://aws_default@bucket/a b/1.jpg", item_key=str(uuid4())),
        MediaItem(media="s3://bucket/2.jpg", item_key=str(uuid4())),
    ]
    with airflow_connection(f"l_{uuid4().hex}", connection(labelbox, iam_integration="our bucket")) as conn_id:
        hook = LabelboxHook(conn_id)
        project = hook.create_project(title="Bucket", run_key=str(uuid4()), label_schema=SCHEMA)
        assert counts(hook.upload_items(project.id, items, upload_settings={"dataset": project.id})) == (2, 0, 0)
        found = rows(hook, project)
        assert found[items[0].item_key]["media_uri"] == "s3://bucket/a b/1.jpg"
        row = hook.get_conn().get_data_row_by_global_key(items[0].item_key)
        assert row.row_data == "https://bucket.s3.amazonaws.com/a%20b/1.jpg"
        assert row.dataset().iam_integration().name == "our bucket"


def test_what_labelbox_cannot_read_is_not_referred_to(
    hook: LabelboxHook, project: AnnotationProject, tmp_path: Path
) -> None:
    bucket = MediaItem(media="s3://bucket/1.jpg", item_key=str(uuid4()))
    report = hook.upload_items(project.id, [photo(tmp_path), bucket, linked()], media_access="reference")
    assert counts(report) == (1, 0, 2)
    assert all("iam_integration" in failure.reason for failure in report.failures)


def test_an_integration_that_is_not_there_is_an_error_that_lists_those_that_are(labelbox: LabelboxStandIn) -> None:
    labelbox.control.add_iam_integration("another bucket")
    with airflow_connection(f"l_{uuid4().hex}", connection(labelbox, iam_integration="none")) as conn_id:
        hook = LabelboxHook(conn_id)
        project = hook.create_project(title="Bucket", run_key=str(uuid4()), label_schema=SCHEMA)
        with pytest.raises(AnnotationError, match=r"no IAM integration 'none'.*'another bucket'"):
            hook.upload_items(project.id, [linked()])


def test_media_that_labelbox_cannot_process_fail_by_item(labelbox: LabelboxStandIn) -> None:
    """Nothing lets the stand-in read gs://."""
    labelbox.control.add_iam_integration("google")
    bad = MediaItem(media="gs://bucket/1.jpg", item_key=str(uuid4()))
    with airflow_connection(f"l_{uuid4().hex}", connection(labelbox, iam_integration="google")) as conn_id:
        hook = LabelboxHook(conn_id)
        project = hook.create_project(title="Bucket", run_key=str(uuid4()), label_schema=SCHEMA)
        report = hook.upload_items(project.id, [bad, linked()])
    assert counts(report) == (1, 0, 1)
    assert report.failures[0].item_key == bad.item_key
    assert "cannot process the media" in report.failures[0].reason


# Batches and datasets


def test_batches_are_named_numbered_and_prioritised(hook: LabelboxHook, project: AnnotationProject) -> None:
    settings = {"dataset": f"photos {uuid4()}", "batch": "monday", "priority": 2, "batch_size": 2}
    assert counts(hook.upload_items(project.id, [linked() for _ in range(5)], upload_settings=settings)) == (5, 0, 0)
    item = linked()
    hook.upload_items(project.id, [item], upload_settings={**settings, "priority": "1"})
    batches = {batch.name: batch.size for batch in hook.get_conn().get_project(project.id).batches()}
    assert batches == {"monday": 2, "monday 2": 2, "monday 3": 1, "monday 4": 1}
    landed = rows(hook, project)[item.item_key]["data"]["labelbox"]
    assert (landed["priority"], landed["dataset_name"]) == (1, settings["dataset"])
    assert len({row["data"]["labelbox"]["dataset_id"] for row in rows(hook, project).values()}) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batches": "x"}, "no upload setting 'batches'. Did you mean 'batch'"),
        ({"priority": 6}, "priority is 6"),
        ({"priority": "high"}, "not as Labelbox takes them"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_settings_that_labelbox_does_not_have_are_refused(
    hook: LabelboxHook, project: AnnotationProject, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(AnnotationError, match=message):
        hook.upload_items(project.id, [linked()], upload_settings=settings)


def test_items_stream_and_are_made_while_others_are_read(
    hook: LabelboxHook, project: AnnotationProject, labelbox: LabelboxStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "ITEMS_AT_ONCE", 10)
    read = 0

    def items() -> Iterator[MediaItem]:
        nonlocal read
        for _ in range(40):
            read += 1
            yield linked()

    assert counts(hook.upload_items(project.id, items())) == (40, 0, 0)
    assert read == 40
    assert labelbox.control.operations()["UpsertDataRows"] >= 4


# Failures on the way


@pytest.mark.parametrize("operation", STEPS)
@pytest.mark.parametrize("fault", [{"cut": True}, {"cut": True, "after": True}], ids=["before", "after"])
def test_a_broken_connection_costs_nothing_and_doubles_nothing(
    hook: LabelboxHook, labelbox: LabelboxStandIn, tmp_path: Path, operation: str, fault: dict[str, Any]
) -> None:
    project = hook.create_project(title="Upload", run_key=str(uuid4()), label_schema=SCHEMA)
    items = [photo(tmp_path), linked()]
    labelbox.control.fail(operation, **fault)
    assert counts(hook.upload_items(project.id, items)) == (2, 0, 0)
    assert set(rows(hook, project)) == {item.item_key for item in items}
    assert sum(batch.size for batch in hook.get_conn().get_project(project.id).batches()) == 2


def test_a_task_that_fails_is_tried_again(
    hook: LabelboxHook, labelbox: LabelboxStandIn, project: AnnotationProject
) -> None:
    labelbox.control.fail_tasks("adv-upsert-data-rows")
    assert counts(hook.upload_items(project.id, [linked(), linked()])) == (2, 0, 0)


def test_slow_tasks_are_waited_for(
    hook: LabelboxHook, labelbox: LabelboxStandIn, project: AnnotationProject, tmp_path: Path
) -> None:
    labelbox.control.settings(task_seconds=0.3, processing_seconds=0.3)
    try:
        assert counts(hook.upload_items(project.id, [photo(tmp_path), linked()])) == (2, 0, 0)
    finally:
        labelbox.control.settings(processing_seconds=0)
    assert len(rows(hook, project)) == 2


def test_an_upload_that_ended_half_way_is_taken_up_again(
    hook: LabelboxHook, labelbox: LabelboxStandIn, project: AnnotationProject, tmp_path: Path
) -> None:
    items = [photo(tmp_path), linked()]
    for operation in ("UpsertDataRows", "createBatchV2"):
        refusal = {"errors": [{"message": "No more for today", "extensions": {"code": "OPERATION_NOT_ALLOWED"}}]}
        labelbox.control.fail(operation, status=200, body=refusal)
        with pytest.raises(AnnotationError, match="No more for today"):
            hook.upload_items(project.id, items)
    before = labelbox.control.operations()
    # The data rows are there, in no batch.
    assert counts(hook.upload_items(project.id, items)) == (2, 0, 0)
    after = labelbox.control.operations()
    assert after["UpsertDataRows"] == before["UpsertDataRows"]
    assert after["UploadFile"] == before["UploadFile"]
    assert len(rows(hook, project)) == 2


def test_two_uploads_at_once_make_each_item_once(
    hook: LabelboxHook, labelbox: LabelboxStandIn, labelbox_conn_id: str, project: AnnotationProject
) -> None:
    items = [linked() for _ in range(20)]
    reports: list[UploadReport] = []

    def run() -> None:
        reports.append(LabelboxHook(labelbox_conn_id).upload_items(project.id, items))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [report.failed for report in reports] == [0, 0]
    assert set(rows(hook, project)) == {item.item_key for item in items}
    assert hook.get_progress(project.id).total == 20
