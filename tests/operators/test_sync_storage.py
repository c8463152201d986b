"""Buckets and folders that the tool reads by itself; Labelbox's are in ``tests/hooks/labelbox/test_storages.py``."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.triggers.base import BaseTrigger

from airflow_annotation.exceptions import AnnotationConnectionError, AnnotationError, AnnotationUploadError
from airflow_annotation.hooks.annotation import AnnotationHook, AnnotationProject
from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.hooks.label_studio.storage_credentials import read_credentials
from airflow_annotation.hooks.ports import Storages
from airflow_annotation.hooks.storages import Storage, StorageSync
from airflow_annotation.operators.storage import SyncStorageOperator
from airflow_annotation.sensors.annotation import AnnotationSensor
from airflow_annotation.triggers.storage import StorageSyncTrigger
from devtools.label_studio import LabelStudio
from tests.servers.faults import Fault, FaultServer, fault_server
from tests.support.connections import airflow_connection, kept_connection
from tests.support.scripted_tool import ScriptedTool, progress
from tests.support.task_context import task_context

CONFIG = """<View><Image name="image" value="$image"/>
<RectangleLabels name="objects" toName="image"><Label value="car"/></RectangleLabels></View>"""
TASK = {"data": {"image": "s3://bucket/c.jpg", "item_key": "c", "camera": 7}}


@pytest.fixture
def hook(label_studio_conn_id: str) -> LabelStudioHook:
    return LabelStudioHook(label_studio_conn_id)


@pytest.fixture
def project(hook: LabelStudioHook) -> Iterator[AnnotationProject]:
    made = hook.create_project(title="Storages", run_key=uuid4().hex, label_config=CONFIG)
    yield made
    hook.delete_project(made.id)


@pytest.fixture
def folder(label_studio: LabelStudio) -> Path:
    """A folder that the server may read."""
    path = Path(label_studio.document_root) / uuid4().hex
    (path / "sub").mkdir(parents=True)
    for name in ("a b.jpg", "sub/b.jpg"):
        (path / name).write_bytes(b"not opened by anybody")
    return path


@pytest.fixture
def server(hook: LabelStudioHook) -> Iterator[FaultServer]:
    with fault_server(hook.client.url) as running:
        yield running


@pytest.fixture
def faulty_conn_id(server: FaultServer, label_studio: LabelStudio) -> Iterator[str]:
    connection = {"conn_type": "label_studio", "host": server.url, "password": label_studio.api_key}
    with kept_connection(connection) as conn_id:
        yield conn_id


@pytest.fixture
def sync(project: AnnotationProject, label_studio_conn_id: str) -> Callable[..., dict[str, Any]]:
    def run(storage: str | Path, conn_id: str = label_studio_conn_id, **arguments: Any) -> dict[str, Any]:
        task = SyncStorageOperator(
            task_id="sync", annotation_conn_id=conn_id, project=project.id, storage=str(storage), **arguments
        )
        result = task.execute(task_context())
        assert result["id"] == project.id
        return result

    return run


def counts(result: dict[str, Any]) -> tuple[int, int, int]:
    return result["synced"], result["existed"], result["failed"]


def storages(hook: LabelStudioHook, project: AnnotationProject, path: str = "localfiles") -> list[dict[str, Any]]:
    found = hook.client.read("GET", f"/api/storages/{path}", list[dict[str, Any]], params={"project": project.id})
    return list(found)


def test_what_is_new_in_a_folder_becomes_items_once_that_sensors_and_landings_see(
    hook: LabelStudioHook,
    project: AnnotationProject,
    folder: Path,
    sync: Callable[..., dict[str, Any]],
    label_studio_conn_id: str,
) -> None:
    result = sync(folder)
    assert (counts(result), result["status"]) == ((2, 0, 0), "completed")
    assert (result["storage"], result["errors"], result["url"]) == (str(folder), [], project.url)
    (folder / "c.json").write_text(json.dumps(TASK))
    (folder / "notes.txt").write_text("left out by the filter")
    only_tasks = {"use_blob_urls": False, "regex_filter": r".*\.json$"}
    again = sync(f"{folder}/", storage_settings=only_tasks)
    assert (counts(again), again["storage_id"]) == ((1, 0, 0), result["storage_id"])
    assert counts(sync(f"file://{folder}")) == (0, 1, 0), "the settings stay where none are asked for"
    (storage,) = storages(hook, project)
    assert storage["title"] == str(folder)
    assert {name: storage[name] for name in only_tasks} == only_tasks

    served = f"{hook.client.url}/data/local-files/?d={folder.name}"
    keys = [f"{served}/a%20b.jpg", f"{served}/sub/b.jpg", "c"]
    (tables,) = hook.read_tables(project)
    items = tables.items.select(["item_key", "media_uri", "status", "data"]).to_pylist()
    assert [item["item_key"] for item in items] == keys
    assert [item["media_uri"] for item in items] == [*keys[:2], "s3://bucket/c.jpg"]
    assert json.loads(items[2]["data"]) == {"camera": 7}
    states = [state for batch in hook.list_item_states(project.id) for state in batch.to_pylist()]
    assert [state["status"] for state in states] == ["unlabeled"] * 3
    url, headers = hook.find_media(project.id, states[0]["item_id"]) or ("", {})
    assert (url, set(headers)) == (keys[0], {"Authorization"})
    annotation = {"result": [], "was_cancelled": False}
    hook.client.request("POST", f"/api/tasks/{states[0]['item_id']}/annotations/", json=annotation)
    sensor = AnnotationSensor(
        task_id="wait", annotation_conn_id=label_studio_conn_id, project=project.id, min_completed=1
    )
    assert sensor.execute(task_context())["total"] == 3


def test_a_storage_is_made_once_and_synced_once_however_requests_arrive(
    *,
    hook: LabelStudioHook,
    project: AnnotationProject,
    folder: Path,
    server: FaultServer,
    faulty_conn_id: str,
    sync: Callable[..., dict[str, Any]],
) -> None:
    def run() -> tuple[int, int, int]:
        result = sync(folder, conn_id=faulty_conn_id)
        return counts(result)

    server.faults.append(Fault(method="POST", path="/api/storages/localfiles", cut="before", deliver=2))
    assert run() == (2, 0, 0)
    assert len(storages(hook, project)) == 1
    number = storages(hook, project)[0]["meta"]["attempts"]
    (folder / "c.jpg").write_bytes(b"new")
    server.faults.append(Fault(method="POST", path="/sync", cut="before", late=1.0))
    assert run() == (1, 2, 0)
    assert storages(hook, project)[0]["meta"]["attempts"] == number + 1, "looked for before it was asked for again"
    # One more that came when the task had ended, and one that somebody has made for other files.
    made = {"project": project.id, "path": str(folder), "use_blob_urls": True, "recursive_scan": True}
    for title in (str(folder), "Somebody's"):
        hook.client.request("POST", "/api/storages/localfiles", json={**made, "title": title})
    assert run() == (0, 3, 0)
    assert [one["title"] for one in storages(hook, project)] == [str(folder), "Somebody's"]
    assert hook.get_progress(project.id).total == 3
    assert counts(sync(folder, title="Somebody's")) == (3, 0, 0), "another storage of the folder, by its title"


def test_a_sync_that_runs_is_waited_for_without_a_worker_and_another_sees_what_came_meanwhile(
    *,
    hook: LabelStudioHook,
    project: AnnotationProject,
    folder: Path,
    server: FaultServer,
    faulty_conn_id: str,
    sync: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage_id = sync(folder)["storage_id"]
    (folder / "c.jpg").write_bytes(b"new")
    server.faults.append(Fault(method="GET", path="/api/storages/localfiles", garble=running()))
    task = SyncStorageOperator(
        task_id="sync", annotation_conn_id=faulty_conn_id, project=project.id, storage=str(folder), deferrable=True
    )
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(task_context())
    assert not server.seen("POST", "/sync")
    trigger = deferred.value.trigger
    assert isinstance(trigger, StorageSyncTrigger)
    arguments = trigger.serialize()[1]
    assert (arguments["storage_id"], deferred.value.kwargs) == (storage_id, None), "dag.test() loses them"
    assert json.loads(json.dumps(arguments)) == arguments

    server.faults += [
        Fault(method="GET", path="/api/storages/", status=503),
        Fault(method="GET", path="/api/storages/", garble=running(synced=1)),
    ]
    event = fire(StorageSyncTrigger(**{**arguments, "poke_interval": 0.01, "not_before": 0.0}))
    assert event["status"] == "over"
    result = task.execute_complete(task_context(), event)
    assert (counts(result), server.seen("POST", "/sync")) == ((1, 2, 0), 1)

    # Label Studio answers when the sync is over, which a worker does not wait for.
    monkeypatch.setattr("airflow_annotation.hooks.label_studio.storages._ANSWER_WITHIN", 0.1)
    detail = "/api/storages/localfiles/"
    server.faults += [
        Fault(method="POST", path="/sync", trickle=4.0),
        Fault(method="GET", path=detail, times=2, garble=running()),
    ]
    assert counts(sync(folder, conn_id=faulty_conn_id, poke_interval=0.01)) == (0, 3, 0)
    assert server.seen("POST", "/sync") == 2

    server.faults.append(Fault(method="GET", path="/api/storages/localfiles", times=100, garble=running(synced=2)))
    late = {"timeout": 0.05, "poke_interval": 0.01}
    message = rf"not over after 0 s: storage {storage_id} is in_progress, with 2 synced.*longer timeout"
    with pytest.raises(AnnotationError, match=message):
        sync(folder, conn_id=faulty_conn_id, **late)
    event = fire(StorageSyncTrigger(**{**arguments, "deadline": 0.0, "not_before": 0.0}))
    with pytest.raises(AnnotationError, match="with 2 synced"):
        task.execute_complete(task_context(), event)


def test_a_storage_that_says_nothing_for_long_has_failed_and_one_that_somebody_looked_at_has_not(
    *,
    hook: LabelStudioHook,
    project: AnnotationProject,
    folder: Path,
    server: FaultServer,
    faulty_conn_id: str,
    sync: Callable[..., dict[str, Any]],
) -> None:
    storage_id = sync(folder)["storage_id"]
    faulty = LabelStudioHook(faulty_conn_id)

    def read(*garbles: Callable[[bytes], bytes]) -> StorageSync:
        server.faults += [Fault(method="GET", path="/api/storages/", garble=garble) for garble in garbles]
        return faulty.get_storage_sync(project.id, storage_id)

    long_ago = timedelta(hours=1)
    old_ping = "It appears the job was failed because the last ping time is too old"
    looked_at = read(running(status="failed", traceback=old_ping))
    assert (looked_at.is_running, looked_at.has_failed) == (True, False)
    assert read(running(ago=long_ago)).status == "completed", "the list has it otherwise"
    failed = read(*[running(status="failed", traceback=old_ping, ago=long_ago)] * 2)
    assert (failed.is_running, failed.has_failed, failed.message) == (False, True, old_ping)
    hook.client.request("DELETE", f"/api/storages/{storage_id}")
    with pytest.raises(AnnotationError, match=rf"Storage {storage_id} of project {project.id} was deleted"):
        faulty.get_storage_sync(project.id, storage_id)


def test_what_the_tool_refuses_is_said_in_its_own_words_with_a_way_out(
    folder: Path, server: FaultServer, faulty_conn_id: str, sync: Callable[..., dict[str, Any]]
) -> None:
    with pytest.raises(AnnotationError, match=r"none\" does not exist\. .*LOCAL_FILES_SERVING_ENABLED=true"):
        sync(folder / "none")
    with pytest.raises(AnnotationError, match=r"no setting 'use_blob'\. Did you mean 'use_blob_urls'\?"):
        sync(folder, storage_settings={"use_blob": True})
    # The traceback is in the log; the message is what was raised.
    message = r"failed: UnsupportedFileFormatError: File \".*a b\.jpg\" is not a JSON.*'use_blob_urls': True"
    with pytest.raises(AnnotationError, match=message):
        sync(folder, storage_settings={"use_blob_urls": False})
    assert counts(sync(folder, storage_settings={"use_blob_urls": True})) == (2, 0, 0)

    # Editions that check predictions say which tasks they leave out.
    told = "Validation error for task from d.json: score\nValidation error for task from e.json: score"
    half = running(synced=2, status="completed_with_errors", traceback=told)
    server.faults += [Fault(method="POST", path="/sync", garble=half) for _ in range(2)]
    with pytest.raises(AnnotationUploadError, match=r"^2 objects of .* max_failures=1 allows.*d\.json: .*e\.json: "):
        sync(folder, faulty_conn_id, max_failures=1)
    result = sync(folder, faulty_conn_id, max_failures="2")
    assert (counts(result), result["status"]) == ((2, 0, 2), "completed_with_errors")
    assert result["errors"] == told.splitlines()


def test_submissions_are_written_to_a_folder(
    hook: LabelStudioHook, project: AnnotationProject, folder: Path, sync: Callable[..., dict[str, Any]]
) -> None:
    sync(folder)
    (state, _) = (state for batch in hook.list_item_states(project.id) for state in batch.to_pylist())
    hook.client.request("POST", f"/api/tasks/{state['item_id']}/annotations/", json={"result": []})
    target = folder.parent / uuid4().hex
    target.mkdir()
    first = sync(target, direction="export")
    assert (counts(first), len(list(target.iterdir()))) == ((1, 0, 0), 1)
    again = sync(target, direction="export", storage_settings={"can_delete_objects": True})
    assert (counts(again), again["storage_id"]) == ((1, 0, 0), first["storage_id"])
    (storage,) = storages(hook, project, "export/localfiles")
    assert (storage["can_delete_objects"], storage["meta"]["attempts"]) == (True, 2), "synced once a run"


def test_a_bucket_is_read_with_the_keys_of_a_connection(
    *,
    hook: LabelStudioHook,
    project: AnnotationProject,
    s3_conn_id: str,
    server: FaultServer,
    faulty_conn_id: str,
    sync: Callable[..., dict[str, Any]],
) -> None:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    bucket, s3 = f"b-{uuid4().hex}", S3Hook(s3_conn_id)
    s3.create_bucket(bucket)
    s3.load_string("not a photo", "street/a.jpg", bucket)
    storage = f"s3://{s3_conn_id}@{bucket}/street/"
    assert counts(sync(storage)) == (1, 0, 0)
    s3.load_string("not a photo", "street/evening/b.jpg", bucket)
    endpoint = s3.conn_config.endpoint_url
    other = {"conn_type": "aws", "login": "other", "password": "secret", "extra": {"endpoint_url": endpoint}}
    with airflow_connection("other_keys", other):
        result = sync(f"s3://{bucket}/street", faulty_conn_id, object_storage_conn_id="other_keys")
    assert (counts(result), result["storage"]) == ((1, 1, 0), f"s3://{bucket}/street")
    (update,) = (json.loads(request.body) for request in server.requests if request.method == "PATCH")
    assert (update["aws_access_key_id"], update["aws_secret_access_key"]) == ("other", "secret")
    assert "secret" not in json.dumps(result)
    assert counts(sync(f"s3://{bucket}/street")) == (0, 2, 0), "without a connection, the keys stay"
    (tables,) = hook.read_tables(project)
    assert tables.items["item_key"].to_pylist() == [
        f"s3://{bucket}/street/{name}" for name in ("a.jpg", "evening/b.jpg")
    ]
    with pytest.raises(AnnotationError, match=rf"storage s3://{bucket}/none: .*whether there is an object in it yet"):
        sync(f"s3://{s3_conn_id}@{bucket}/none")


KEY = {"type": "service_account", "project_id": "p"}
ACCOUNT = {"account_name": "acc", "account_key": "a2V5=="}


@pytest.mark.parametrize(
    ("kind", "connection", "expected"),
    [
        (
            "gcs",
            {"extra": {"keyfile_dict": json.dumps(KEY), "project": "p"}},
            {"google_application_credentials": json.dumps(KEY), "google_project_id": "p"},
        ),
        (
            "gcs",
            {"extra": {"extra__google_cloud_platform__keyfile_dict": KEY}},
            {"google_application_credentials": json.dumps(KEY), "google_project_id": None},
        ),
        ("azure", {"login": "acc", "password": "a2V5=="}, ACCOUNT),
        ("azure", {"login": "acc", "extra": {"shared_access_key": "a2V5=="}}, ACCOUNT),
        (
            "azure",
            {"extra": {"connection_string": "DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=a2V5==;"}},
            ACCOUNT,
        ),
        ("gcs", {"extra": {"is_anonymous": True}}, "the JSON key of a service account"),
        ("gcs", {"extra": {"key_path": "/no/such/key.json"}}, "key file /no/such/key.json"),
        ("azure", {"login": "client", "password": "secret", "extra": {"tenant_id": "t"}}, "a storage account's name"),
        ("s3", {"extra": {"region_name": "eu-west-1"}}, "an access key with its secret"),
    ],
)
def test_what_a_tool_is_told_is_in_the_connection(
    kind: Any, connection: dict[str, Any], expected: dict[str, Any] | str
) -> None:
    types = {"gcs": "google_cloud_platform", "azure": "wasb", "s3": "aws"}
    if kind == "s3":
        pytest.importorskip("airflow.providers.amazon")
    with airflow_connection("bucket", {"conn_type": types[kind], **connection}) as conn_id:
        if isinstance(expected, dict):
            assert read_credentials(kind, conn_id) == expected
            return
        with pytest.raises(AnnotationError, match=expected):
            read_credentials(kind, conn_id)


@pytest.mark.parametrize(
    ("storage", "parts"),
    [
        ("s3://aws@bucket/a/b/", ("s3", "bucket", "a/b", "aws", "s3://bucket/a/b")),
        ("gs://bucket", ("gcs", "bucket", "", "conn", "gs://bucket")),
        ("abfs://azure@container/a", ("azure", "container", "a", "azure", "abfs://container/a")),
        ("/data/a/", ("file", "", "/data/a", None, "/data/a")),
        ("file:///data/./a", ("file", "", "/data/a", None, "/data/a")),
    ],
)
def test_a_storage_is_named_as_other_files_are(storage: str, parts: tuple[Any, ...]) -> None:
    found = Storage.of(storage, conn_id="conn")
    assert (found.kind, found.bucket, found.folder, found.conn_id, found.uri) == parts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"storage": "s3://bucket/*.jpg"}, "pass the folder, and say which of its files"),
        ({"storage": "https://example.com/photos"}, "pass a folder of a bucket"),
        ({"storage": "redis://host/0"}, "pass a folder of a bucket"),
        ({"storage": "s3://"}, "names no bucket"),
        ({"storage": "abfss://container@account.dfs.core.windows.net/a"}, "the container without the account"),
        ({"storage": "photos"}, "the absolute path"),
        ({"storage": "/"}, "the absolute path"),
        ({"direction": "both"}, "direction is one of 'import', 'export'"),
        ({"max_failures": -1}, "max_failures is -1"),
        ({"timeout": timedelta()}, r"timeout is 0\.0: pass a timedelta or seconds, above 0"),
        ({"poke_interval": -1}, "poke_interval is -1"),
        ({"direction": "export", "annotation_conn_id": "boxes"}, "Labelbox writes to no storage as s3://bucket/a"),
        ({"storage": "/data", "annotation_conn_id": "boxes"}, "Labelbox reads no such storage as /data"),
    ],
)
def test_what_is_wrong_is_said_when_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    with (
        airflow_connection("boxes", {"conn_type": "labelbox", "password": "key"}),
        pytest.raises(ValueError, match=message),
    ):
        SyncStorageOperator(**{"task_id": "sync", "storage": "s3://bucket/a", **arguments})


def test_a_tool_without_storages_refuses_them() -> None:
    with pytest.raises(AnnotationError, match="cannot connect project 1 to s3://bucket/a: upload its files"):
        Storages().sync_storage("1", Storage.of("s3://bucket/a"))


class OftenAway(ScriptedTool):
    """A tool that is out of reach at every other look at a sync."""

    looks = 0

    def get_storage_sync(self, project_id: str, storage_id: str) -> StorageSync:
        self.looks += 1
        if self.looks % 2:
            raise AnnotationConnectionError(f"Project {project_id} is out of reach.")
        return StorageSync(storage_id=storage_id, number=1, status="completed")


def test_an_outage_is_waited_out_however_rarely_the_sync_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_annotation.triggers.storage.ASK_AGAIN", 0.01)
    tool = OftenAway(progress(0))
    monkeypatch.setattr(AnnotationHook, "for_connection", lambda _: tool)
    sync: dict[str, Any] = {"project": {"id": "12"}, "storage_id": "s3/1", "number": 1, "started": True}
    waits: dict[str, Any] = {"deadline": time.time() + 86400, "poke_interval": 3600.0, "max_outage": 600.0}
    event = fire(StorageSyncTrigger(annotation_conn_id="tool", **sync, **waits))
    assert (event["status"], tool.looks) == ("over", 2)


def running(
    *, synced: int = 0, status: str = "in_progress", traceback: str = "", ago: timedelta = timedelta()
) -> Callable[[bytes], bytes]:
    """Return what makes a storage say that its sync is not over, as a worker of the server has it do."""
    ping = str(datetime.now(timezone.utc) - ago)

    def change(storage: dict[str, Any]) -> dict[str, Any]:
        meta = {"attempts": storage["meta"].get("attempts", 0), "time_last_ping": ping}
        return storage | {"status": status, "last_sync_count": synced, "traceback": traceback, "meta": meta}

    def garble(body: bytes) -> bytes:
        answer = json.loads(body)
        return json.dumps([change(one) for one in answer] if isinstance(answer, list) else change(answer)).encode()

    return garble


def fire(trigger: BaseTrigger) -> dict[str, Any]:
    async def events() -> list[Any]:
        return [event.payload async for event in trigger.run()]

    (event,) = asyncio.run(events())
    assert json.loads(json.dumps(event)) == event
    return dict(event)
