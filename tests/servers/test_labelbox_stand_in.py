"""The stand-in for Labelbox, driven by Labelbox's own SDK."""

from __future__ import annotations

import uuid
from pathlib import Path

import httpx
import labelbox
import pytest
from labelbox import Client, LabelImport, MediaType, Project, Tool
from lbox.exceptions import (  # type: ignore[import-untyped]  # lbox has no types
    ApiLimitError,
    AuthenticationError,
    InvalidQueryError,
    LabelboxError,
    MalformedQueryException,
    NetworkError,
    ResourceConflict,
    ResourceNotFoundError,
)
from PIL import Image

from tests.servers.labelbox import ControlError, LabelboxStandIn
from tests.support.labelbox_client import BOX, add_rows, connect, exported, labels_of, make_batch, make_project, unique

# ---- the service's own ways


def test_a_wrong_key_is_an_authentication_error(stand_in: LabelboxStandIn) -> None:
    with pytest.raises(AuthenticationError):
        connect(stand_in, "wrong").get_organization()


def test_what_the_schema_does_not_know_is_rejected(client: Client) -> None:
    with pytest.raises(InvalidQueryError, match="GraphQL validation error"):
        client.execute("query FooPyApi { organization { favouriteColour } }")
    with pytest.raises(InvalidQueryError, match="Syntax Error"):
        client.execute("query FooPyApi { organization ")


def test_something_that_does_not_exist_is_not_found(client: Client) -> None:
    with pytest.raises(ResourceNotFoundError):
        client.get_project("cnothingofthatname")


def test_an_ontology_is_read_back_with_ids_at_every_level(client: Client) -> None:
    project = make_project(client)
    normalized = project.ontology().normalized
    car = normalized["tools"][0]
    (occluded,) = car["classifications"]
    for feature in (car, occluded, occluded["options"][0]):
        assert feature["featureSchemaId"]
        assert feature["schemaNodeId"]
    assert labelbox.OntologyBuilder.from_project(project).tools[0].name == "car"


def test_feature_schemas_are_shared_between_ontologies(client: Client) -> None:
    name = unique("tree")
    tree = client.create_feature_schema(Tool(tool=Tool.Type.POINT, name=name).asdict())
    made = [
        client.create_ontology_from_feature_schemas(unique("ontology"), [tree.uid], media_type=MediaType.Image)
        for _ in range(2)
    ]
    assert {one.normalized["tools"][0]["featureSchemaId"] for one in made} == {tree.uid}
    assert [one.uid for one in client.get_feature_schemas(name)] == [tree.uid]


def test_lists_longer_than_a_page_are_read_in_pages(client: Client, stand_in: LabelboxStandIn) -> None:
    dataset, keys = add_rows(client, 501)
    before = stand_in.control.operations().get("DatasetDataRows", 0)
    assert {row.global_key for row in dataset.data_rows()} == set(keys)
    assert stand_in.control.operations()["DatasetDataRows"] - before == 2
    names = {client.create_dataset(name=unique("page"), iam_integration=None).name for _ in range(101)}
    before = stand_in.control.operations().get("GetDatasets", 0)
    assert names <= {found.name for found in client.get_datasets()}
    assert stand_in.control.operations()["GetDatasets"] - before == 2


def test_the_default_iam_integration_signs_new_datasets(client: Client, stand_in: LabelboxStandIn) -> None:
    stand_in.control.add_iam_integration("bucket", settings={"roleArn": "arn:role"})
    (integration,) = client.get_organization().get_iam_integrations()
    dataset = client.create_dataset(name=unique("dataset"), iam_integration=integration)
    assert dataset.iam_integration().uid == integration.uid


# ---- data rows


def test_local_files_are_uploaded_and_probed(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.new("RGB", (32, 16)).save(path)
    row = client.create_dataset(name=unique("dataset")).create_data_row(row_data=str(path))
    assert httpx.get(row.row_data).content == path.read_bytes()
    assert (row.media_attributes["width"], row.media_attributes["height"]) == (32, 16)
    assert row.external_id == str(path)


def test_global_keys_are_unique_across_datasets_and_errors_name_the_row(client: Client) -> None:
    _, (key,) = add_rows(client, 1)
    fresh = str(uuid.uuid4())
    task = client.create_dataset(name=unique("other")).create_data_rows(
        [{"row_data": "https://media.example/1.jpg", "global_key": one} for one in (key, fresh)]
    )
    task.wait_till_done()
    assert [row["global_key"] for row in task.result] == [fresh]
    (error,) = task.errors
    assert error["message"] == f"Duplicate global key: '{key}'"
    assert error["failedDataRows"][0]["globalKey"] == key


def test_a_global_key_is_held_for_a_while_after_deletion(client: Client, stand_in: LabelboxStandIn) -> None:
    stand_in.control.settings(key_release_seconds=3600)
    dataset, (key,) = add_rows(client, 1)
    client.get_data_row_by_global_key(key).delete()
    item = {"row_data": "https://media.example/1.jpg", "global_key": key}
    assert dataset.create_data_rows([item]).errors
    stand_in.control.settings(key_release_seconds=0)
    assert not dataset.create_data_rows([item]).errors
    assert client.get_data_row_by_global_key(key).row_data == item["row_data"]


def test_global_keys_appear_when_the_task_is_done(client: Client, stand_in: LabelboxStandIn) -> None:
    stand_in.control.settings(task_seconds=5)
    key = str(uuid.uuid4())
    dataset = client.create_dataset(name=unique("dataset"))
    task = dataset.create_data_rows([{"row_data": "https://media.example/1.jpg", "global_key": key}])
    assert task.status == "IN_PROGRESS"
    assert list(dataset.data_rows()) == []
    task.wait_till_done()
    assert task.status == "COMPLETE"
    assert [row.global_key for row in dataset.data_rows()] == [key]


def test_data_rows_are_updated_by_global_key_with_metadata_and_attachments(client: Client) -> None:
    dataset, (key,) = add_rows(
        client,
        1,
        metadata_fields=[{"name": "tag", "value": "first"}, {"name": "split", "value": "train"}],
        attachments=[{"type": "RAW_TEXT", "value": "hello", "name": "greeting"}],
    )
    task = dataset.upsert_data_rows(
        [{"key": labelbox.GlobalKey(key), "metadata_fields": [{"name": "tag", "value": "second"}]}]
    )
    task.wait_till_done()
    row = client.get_data_row_by_global_key(key)
    assert {field["name"]: field["value"] for field in row.metadata_fields} == {"tag": "second", "split": "train"}
    assert [one.attachment_value for one in row.attachments()] == ["hello"]


def test_deleting_a_project_keeps_its_data_rows(client: Client) -> None:
    project, (key,) = make_batch(client, 1)
    project.delete()
    row = client.get_data_row_by_global_key(key)
    make_project(client).create_batch(unique("batch"), [row.uid])


# ---- batches and the workflow


def test_batches_reject_names_and_data_rows_that_the_project_has(client: Client) -> None:
    project = make_project(client)
    _, keys = add_rows(client, 2)
    project.create_batch("one", global_keys=keys[:1], priority=2)
    with pytest.raises(ResourceConflict):
        project.create_batch("one", global_keys=keys[1:])
    with pytest.raises(MalformedQueryException, match="No valid data rows to add"):
        project.create_batch("two", global_keys=keys[:1])
    with pytest.raises(MalformedQueryException, match="do not exist: missing"):
        project.create_batch("three", global_keys=["missing"])
    assert [batch.name for batch in project.batches()] == ["one"]


def test_data_rows_that_cannot_be_processed_are_left_out_of_a_batch(client: Client) -> None:
    project = make_project(client)
    dataset, (key,) = add_rows(client, 1)
    bad = dataset.create_data_row(row_data="gs://private/1.jpg")
    good = client.get_data_row_by_global_key(key)
    batch = project.create_batch(unique("batch"), [good.uid, bad.uid])
    assert list(batch.failed_data_row_ids) == [bad.uid]
    assert batch.size == 1


def test_labels_move_data_rows_through_the_workflow(client: Client, stand_in: LabelboxStandIn) -> None:
    project, keys = make_batch(client, 3)
    control = stand_in.control
    label = control.submit_label(project.uid, [{"name": "car", "bbox": BOX}], global_key=keys[0])["label_id"]
    control.skip(project.uid, global_key=keys[1])
    overview = project.get_overview()
    assert (overview.to_label, overview.in_review, overview.skipped, overview.done) == (1, 1, 1, 0)
    control.reject(label)
    assert project.get_overview().in_rework == 1
    assert control.submit_label(project.uid, [{"name": "note", "answer": "?"}], global_key=keys[0])["label_id"] == label
    control.approve(label)
    assert project.get_overview().done == 1
    row = exported(project)[keys[0]]
    assert [review["reviewed_by"] for review in labels_of(row)[0]["label_details"]["reviews"]] == [
        "reviewer@example.com"
    ] * 2
    details = row["projects"][project.uid]["project_details"]
    assert details["workflow_status"] == "DONE"
    actions = [step["action"] for step in details["workflow_history"]]
    assert actions == ["Approve", "Submit", "Reject", "Submit"]


def test_a_label_for_a_data_row_that_waits_for_none_is_refused(client: Client, stand_in: LabelboxStandIn) -> None:
    project, (key,) = make_batch(client, 1)
    stand_in.control.submit_label(project.uid, [], global_key=key)
    with pytest.raises(ControlError, match="not waiting"):
        stand_in.control.submit_label(project.uid, [], global_key=key)


def test_consensus_keeps_a_data_row_in_the_queue_until_it_has_enough_labels(
    client: Client, stand_in: LabelboxStandIn
) -> None:
    project = make_project(client)
    _, (key,) = add_rows(client, 1)
    settings = {"number_of_labels": 2, "coverage_percentage": 1.0}
    project.create_batch(unique("batch"), global_keys=[key], consensus_settings=settings)
    stand_in.control.submit_label(project.uid, [], global_key=key, labeler="a@example.com", benchmark=True)
    assert project.get_overview().to_label == 1
    stand_in.control.submit_label(
        project.uid, [], global_key=key, labeler="b@example.com", consensus_score=0.5, benchmark_score=0.75
    )
    assert project.get_overview().in_review == 1
    first, second = labels_of(exported(project)[key])
    assert [one["label_details"]["created_by"] for one in (first, second)] == ["a@example.com", "b@example.com"]
    assert second["performance_details"]["benchmark_reference_label"] == first["id"]
    assert second["performance_details"]["benchmark_score"] == 0.75
    assert second["performance_details"]["consensus_score"] == 0.5


# ---- failures on demand


def test_requests_over_the_limit_are_told_when_to_come_back(client: Client, stand_in: LabelboxStandIn) -> None:
    stand_in.control.fail("GetOrganization", status=429, retry_after=7)
    with pytest.raises(ApiLimitError):
        client.get_organization()
    client.get_organization()
    stand_in.control.settings(requests_per_minute=2)
    headers = {"Authorization": f"Bearer {stand_in.api_key}"}
    answers = [httpx.get(f"{stand_in.rest_endpoint}/ontologies/unused", headers=headers) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert 0 < int(answers[2].headers["Retry-After"]) <= 60


def test_a_lost_answer_leaves_the_work_done(client: Client, stand_in: LabelboxStandIn) -> None:
    name = unique("project")
    stand_in.control.fail("CreateProject", cut=True, after=True)
    with pytest.raises(NetworkError):
        client.create_project(name=name, media_type=MediaType.Image)
    assert [project.name for project in client.get_projects(where=Project.name == name)] == [name]
    stand_in.control.fail("CreateProject", cut=True)
    with pytest.raises(NetworkError):
        client.create_project(name=unique("other"), media_type=MediaType.Image)


def test_the_sdk_retries_server_errors(client: Client, stand_in: LabelboxStandIn) -> None:
    stand_in.control.fail("GetOrganization", status=502, times=1)
    before = stand_in.control.operations().get("GetOrganization", 0)
    client.get_organization()
    assert stand_in.control.operations()["GetOrganization"] - before == 2


def test_tasks_fail_on_demand(client: Client, stand_in: LabelboxStandIn) -> None:
    stand_in.control.fail_tasks("adv-upsert-data-rows")
    dataset = client.create_dataset(name=unique("dataset"))
    task = dataset.create_data_rows([{"row_data": "https://media.example/1.jpg"}])
    assert task.status == "FAILED"
    project, (key,) = make_batch(client, 1)
    stand_in.control.fail_tasks("export-data-rows", "The export failed")
    failed = project.export()
    failed.wait_till_done()
    assert failed.status == "FAILED"
    stand_in.control.fail_tasks("label import")
    line = {"uuid": str(uuid.uuid4()), "name": "car", "bbox": BOX, "dataRow": {"globalKey": key}}
    done = LabelImport.create_from_objects(client, project.uid, unique("import"), [line])
    assert done.state.value == "FAILED"


def test_signed_urls_expire(client: Client, stand_in: LabelboxStandIn) -> None:
    url = client.upload_data(b"hello", filename="hello.txt", content_type="text/plain")
    assert httpx.get(url).text == "hello"
    stand_in.control.expire_files()
    assert httpx.get(url).status_code == 403


def test_a_task_can_be_cancelled(client: Client, stand_in: LabelboxStandIn) -> None:
    project, _ = make_batch(client, 1)
    stand_in.control.settings(task_seconds=60)
    task = project.export()
    assert client.cancel_task(task.uid)
    with pytest.raises(LabelboxError):
        client.cancel_task(task.uid)
