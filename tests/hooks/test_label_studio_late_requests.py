"""Requests that reach Label Studio after their connection broke, or twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from airflow_annotation.hooks.annotation import AnnotationProject, UploadMode
from airflow_annotation.hooks.label_studio import sending
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.hooks.label_studio.hook import LabelStudioHook
from airflow_annotation.hooks.label_studio.predictions import upload_predictions
from airflow_annotation.hooks.label_studio.upload import upload_items
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.submissions import Submission, read_rows, read_submissions
from airflow_annotation.media.items import MediaItem
from tests.servers.faults import Fault, FaultServer, fault_server

if TYPE_CHECKING:
    from devtools.label_studio import LabelStudio

SCHEMA = LabelSchema.from_dict({"objects": {"type": "detections", "classes": ["car"]}})
ITEMS = 10
IMPORT, ACTION = "import/predictions", "/api/dm/actions/"


@pytest.fixture
def project(hook: LabelStudioHook) -> Iterator[AnnotationProject]:
    made = hook.create_project(title="late requests", run_key=f"late/{uuid4()}", label_schema=SCHEMA)
    data = [{"image": f"/{n}.jpg", "item_key": f"photo-{n}", "width": 640, "height": 480} for n in range(ITEMS)]
    hook.client.request("POST", f"/api/projects/{made.id}/import", json=data)
    yield made
    hook.delete_project(made.id)


@pytest.fixture
def server(label_studio: LabelStudio) -> Iterator[FaultServer]:
    with fault_server(label_studio.url) as server:
        yield server


@pytest.fixture
def no_long_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send again at once, so that the late request arrives after it."""
    monkeypatch.setattr(sending, "_LATE_LOOKS", ())


def submissions() -> Iterator[Submission]:
    """One prediction an item, of two boxes."""
    boxes = [[0.1, 0.2, 0.3, 0.4], [0.5, 0.2, 0.3, 0.4]]
    rows = [
        {"item_key": f"photo-{n}", "field": "objects", "label": "car", "bbox": box}
        for n in range(ITEMS)
        for box in boxes
    ]
    return read_submissions(read_rows(rows))


def upload(server: FaultServer, label_studio: LabelStudio, project: AnnotationProject, mode: UploadMode) -> Any:
    client = LabelStudioClient(url=server.url, api_key=label_studio.api_key, attempts=1)
    return upload_predictions(client, project.id, submissions(), model_version="v1", mode=mode)


def wait_for_late(server: FaultServer) -> None:
    """Wait until no request is on its way any more."""
    deadline = time.monotonic() + 120
    while server.late:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def read_tasks(hook: LabelStudioHook, project: AnnotationProject) -> list[dict[str, Any]]:
    params = {"project": project.id, "page_size": 100, "fields": "all"}
    tasks: list[dict[str, Any]] = hook.client.request("GET", "/api/tasks/", params=params).json()["tasks"]
    return sorted(tasks, key=lambda task: int(task["id"]))


def counts(hook: LabelStudioHook, project: AnnotationProject) -> set[tuple[int, int]]:
    """Return how many predictions and annotations the tasks have."""
    return {(len(task["predictions"]), len(task["annotations"])) for task in read_tasks(hook, project)}


@pytest.mark.parametrize("late", [1.0, 3.0, 20.0])
def test_predictions_that_arrive_late_are_waited_for(
    late: float, hook: LabelStudioHook, label_studio: LabelStudio, project: AnnotationProject, server: FaultServer
) -> None:
    server.faults.append(Fault(method="POST", path=IMPORT, cut="before", late=late))
    report = upload(server, label_studio, project, "annotations")
    assert (report.uploaded, report.failed) == (ITEMS, 0)
    wait_for_late(server)
    assert counts(hook, project) == {(1, 1)}
    assert server.seen("POST", IMPORT) == 1


@pytest.mark.usefixtures("no_long_looks")
@pytest.mark.parametrize("mode", ["predictions", "annotations"])
def test_what_arrives_after_it_was_sent_again_is_removed_at_the_end(
    mode: UploadMode, hook: LabelStudioHook, label_studio: LabelStudio, project: AnnotationProject, server: FaultServer
) -> None:
    # What was lost arrives with the request that is sent again.
    for path in (IMPORT, ACTION):
        server.faults += [Fault(method="POST", path=path, cut="before"), Fault(method="POST", path=path, deliver=2)]
    upload(server, label_studio, project, mode)
    assert counts(hook, project) == {(1, 1 if mode == "annotations" else 0)}


@pytest.mark.parametrize("mode", ["predictions", "annotations"])
def test_the_next_run_removes_untouched_doubles_and_keeps_what_people_touched(
    mode: UploadMode, hook: LabelStudioHook, label_studio: LabelStudio, project: AnnotationProject, server: FaultServer
) -> None:
    server.faults.append(Fault(method="POST", path=IMPORT, deliver=2))
    upload(server, label_studio, project, mode)
    assert counts(hook, project) == {(2, 2 if mode == "annotations" else 0)}
    first, second, *_ = read_tasks(hook, project)
    younger = max(prediction["id"] for prediction in first["predictions"])
    if mode == "annotations":  # A person edits the one, and opens a draft in the other.
        edited = next(one["id"] for one in first["annotations"] if one["parent_prediction"] == younger)
        hook.client.request("PATCH", f"/api/annotations/{edited}/", json={"result": [], "lead_time": 2})
        drafted = second["annotations"][0]["id"]
        draft = {"result": [], "lead_time": 1}
        hook.client.request("POST", f"/api/tasks/{second['id']}/annotations/{drafted}/drafts", json=draft)
    else:
        answer = {"result": [], "lead_time": 2, "parent_prediction": younger}
        edited = hook.client.request("POST", f"/api/tasks/{first['id']}/annotations/", json=answer).json()["id"]
    upload(server, label_studio, project, mode)
    after_first, after_second, *others = read_tasks(hook, project)
    assert [one["id"] for one in after_first["predictions"]] == [younger]
    assert [one["id"] for one in after_first["annotations"]] == [edited]
    assert {len(task["predictions"]) for task in others} == {1}
    assert {len(task["annotations"]) for task in others} == {1 if mode == "annotations" else 0}
    left = 2 if mode == "annotations" else 1
    assert len(after_second["predictions"]) == left


def test_a_run_that_lost_nothing_asks_nothing_more(
    hook: LabelStudioHook, label_studio: LabelStudio, project: AnnotationProject, server: FaultServer
) -> None:
    upload(server, label_studio, project, "annotations")
    server.requests.clear()
    upload(server, label_studio, project, "annotations")
    assert server.seen("GET", "fields=all") == 0
    assert counts(hook, project) == {(1, 1)}


@pytest.mark.parametrize("late", [1.0, 3.0, 20.0])
def test_tasks_that_arrive_late_are_waited_for(
    late: float, hook: LabelStudioHook, label_studio: LabelStudio, project: AnnotationProject, server: FaultServer
) -> None:
    items = [MediaItem(media=f"https://example.com/{number}.jpg", item_key=str(number)) for number in range(30)]
    server.faults.append(Fault(method="POST", path="/import", cut="before", late=late))
    client = LabelStudioClient(url=server.url, api_key=label_studio.api_key, attempts=1)
    assert upload_items(client, project.id, items).uploaded == 30
    wait_for_late(server)
    assert len(read_tasks(hook, project)) == ITEMS + 30
