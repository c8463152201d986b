"""Requests that reach Label Studio after their connection broke, or twice."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from PIL import Image

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks import late_requests
from airflow_annotation.hooks.annotation import AnnotationProject, UploadMode
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.hooks.label_studio.hook import LabelStudioHook
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.submissions import Submission, read_rows, read_submissions
from airflow_annotation.media.items import MediaItem
from airflow_annotation.media.listing import list_media
from tests.servers.faults import Fault, FaultServer, fault_server
from tests.support.connections import kept_connection
from tests.support.label_studio_uploads import upload_items, upload_predictions
from tests.support.second_person import second_person

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
    monkeypatch.setattr(late_requests, "_LATE_LOOKS", ())


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


# Deletions


def replace(server: FaultServer, label_studio: LabelStudio, project: AnnotationProject) -> None:
    client = LabelStudioClient(url=server.url, api_key=label_studio.api_key, attempts=1)
    upload_predictions(client, project.id, submissions(), model_version="v1", on_existing="replace")


def test_a_deletion_that_arrives_late_is_waited_for(
    hook: LabelStudioHook, label_studio: LabelStudio, project: AnnotationProject, server: FaultServer
) -> None:
    replace(server, label_studio, project)
    assert server.seen("DELETE", "model-versions") == 0
    server.faults.append(Fault(method="DELETE", path="model-versions", cut="before", late=3.0))
    replace(server, label_studio, project)
    wait_for_late(server)
    assert counts(hook, project) == {(1, 0)}
    assert server.seen("DELETE", "model-versions") == 1


@pytest.mark.usefixtures("no_long_looks")
def test_a_deletion_that_takes_new_predictions_fails_the_task_and_the_next_try_uploads_them(
    hook: LabelStudioHook, label_studio: LabelStudio, project: AnnotationProject, server: FaultServer
) -> None:
    replace(server, label_studio, project)
    held = Event()

    def arrive() -> None:
        held.set()
        wait_for_late(server)

    server.faults += [
        Fault(method="DELETE", path="model-versions", cut="before", held=held),
        Fault(method="POST", path=IMPORT, after=arrive),
    ]
    with pytest.raises(AnnotationError, match=f"{ITEMS} items .* lost their new predictions of 'v1'") as failed:
        replace(server, label_studio, project)
    assert failed.value.is_transient
    replace(server, label_studio, project)
    assert counts(hook, project) == {(1, 0)}


# Tasks that arrive after the upload has ended


def upload_keys(server: FaultServer, label_studio: LabelStudio, project: AnnotationProject, **choices: Any) -> None:
    client = LabelStudioClient(url=server.url, api_key=label_studio.api_key, attempts=1)
    items = [MediaItem(media=f"https://example.com/{number}.jpg", item_key=f"late-{number}") for number in range(4)]
    assert upload_items(client, project.id, items, **choices).failed == 0


def late_tasks(hook: LabelStudioHook, project: AnnotationProject) -> dict[str, list[int]]:
    """Return the ids of the tasks by their keys."""
    found: dict[str, list[int]] = {}
    for task in read_tasks(hook, project):
        if task["data"]["item_key"].startswith("late-"):
            found.setdefault(task["data"]["item_key"], []).append(task["id"])
    return found


@pytest.mark.usefixtures("no_long_looks")
def test_the_next_run_removes_untouched_tasks_that_came_too_late(
    hook: LabelStudioHook, label_studio: LabelStudio, project: AnnotationProject, server: FaultServer
) -> None:
    held = Event()
    server.faults.append(Fault(method="POST", path="/import", cut="before", held=held))
    upload_keys(server, label_studio, project)
    first = late_tasks(hook, project)
    held.set()
    wait_for_late(server)
    doubled = late_tasks(hook, project)
    assert {len(ids) for ids in doubled.values()} == {2}
    answer: dict[str, Any] = {"result": [], "lead_time": 1}
    # The second of 0 is labeled, the second of 1 has a draft, both of 2 are labeled; nobody has seen 3.
    for path in (
        f"{doubled['late-0'][1]}/annotations/",
        f"{doubled['late-1'][1]}/drafts",
        f"{doubled['late-2'][0]}/annotations/",
        f"{doubled['late-2'][1]}/annotations/",
    ):
        hook.client.request("POST", f"/api/tasks/{path}", json=answer)
    upload_keys(server, label_studio, project)
    assert late_tasks(hook, project) == {
        "late-0": [doubled["late-0"][1]],
        "late-1": [doubled["late-1"][1]],
        "late-2": doubled["late-2"],
        "late-3": first["late-3"],
    }


def test_items_that_may_come_again_stay_and_those_that_a_request_brought_twice_do_not(
    hook: LabelStudioHook, label_studio: LabelStudio, project: AnnotationProject, server: FaultServer
) -> None:
    upload_keys(server, label_studio, project)
    server.faults.append(Fault(method="POST", path="/import", deliver=2))
    upload_keys(server, label_studio, project, on_duplicate="allow")
    assert {len(ids) for ids in late_tasks(hook, project).values()} == {2}
    upload_keys(server, label_studio, project)
    assert {len(ids) for ids in late_tasks(hook, project).values()} == {2}


# Projects


@pytest.fixture
def run_key() -> str:
    return f"late/{uuid4()}"


@contextmanager
def hook_at(server: FaultServer, label_studio: LabelStudio) -> Iterator[LabelStudioHook]:
    fields = {"conn_type": "label_studio", "host": server.url, "password": label_studio.api_key}
    with kept_connection(fields) as conn_id:
        yield LabelStudioHook(conn_id)


def create(hook: LabelStudioHook, run_key: str) -> AnnotationProject:
    return hook.create_project(title="late project", run_key=run_key, label_schema=SCHEMA)


def projects_of(hook: LabelStudioHook, run_key: str) -> list[str]:
    return [project.id for project in hook.list_runs(run_key)]


def test_a_project_that_is_asked_for_late_or_twice_is_there_once(
    hook: LabelStudioHook, label_studio: LabelStudio
) -> None:
    def play(fault: Fault) -> int:
        run_key = f"late/{uuid4()}"
        with fault_server(label_studio.url) as server, hook_at(server, label_studio) as late:
            server.faults.append(fault)
            project = create(late, run_key)
            wait_for_late(server)
            found = projects_of(hook, run_key)
            assert project.id in found
            assert create(late, run_key).id == project.id
            hook.delete_run(run_key)
            return len(found)

    faults = [Fault(holds=b'"title"', cut="before", late=late) for late in (1.0, 3.0, 20.0)]
    faults.append(Fault(holds=b'"title"', deliver=2))
    with ThreadPoolExecutor(len(faults)) as pool:
        assert list(pool.map(play, faults)) == [1, 1, 1, 1]


@pytest.mark.usefixtures("no_long_looks")
def test_the_next_run_deletes_projects_that_came_too_late_unless_somebody_works_with_them(
    hook: LabelStudioHook, label_studio: LabelStudio, server: FaultServer, run_key: str
) -> None:
    held = Event()
    server.faults += [Fault(holds=b'"title"', cut="before", held=held) for _ in range(3)]
    with hook_at(server, label_studio) as late:
        kept = create(late, run_key)
    held.set()
    wait_for_late(server)
    first, *others = projects_of(hook, run_key)
    assert (first, len(others)) == (kept.id, 3)
    filled, configured, _ = others
    hook.client.request("POST", f"/api/projects/{filled}/import", json=[{"image": "/1.jpg"}])
    hook.client.request("PATCH", f"/api/projects/{configured}/", json={"expert_instruction": "Look closely."})
    assert create(hook, run_key).id == kept.id
    assert projects_of(hook, run_key) == [first, filled, configured]
    for project_id in (first, filled, configured):
        hook.delete_project(project_id)


@pytest.mark.usefixtures("no_long_looks")
def test_what_another_person_has_in_a_draft_stays(
    hook: LabelStudioHook, label_studio: LabelStudio, project: AnnotationProject, server: FaultServer
) -> None:
    server.faults.append(Fault(method="POST", path=IMPORT, deliver=2))
    upload(server, label_studio, project, "annotations")
    held = Event()
    server.faults.append(Fault(method="POST", path="/import", cut="before", held=held))
    upload_keys(server, label_studio, project)
    held.set()
    wait_for_late(server)
    doubled = late_tasks(hook, project)
    task = read_tasks(hook, project)[0]
    drafted = max(one["id"] for one in task["annotations"])
    draft: dict[str, Any] = {"result": [], "lead_time": 1}
    with closing(second_person(hook)) as person:
        for path in (f"{task['id']}/annotations/{drafted}/drafts", f"{doubled['late-0'][1]}/drafts"):
            person.post(f"/api/tasks/{path}", json=draft).raise_for_status()
    upload(server, label_studio, project, "annotations")
    upload_keys(server, label_studio, project)
    assert drafted in [one["id"] for one in read_tasks(hook, project)[0]["annotations"]]
    assert late_tasks(hook, project)["late-0"] == [doubled["late-0"][1]]
    assert late_tasks(hook, project)["late-1"] == [doubled["late-1"][0]]


def test_at_the_end_of_an_upload_what_differs_stays(
    hook: LabelStudioHook, label_studio: LabelStudio, project: AnnotationProject, server: FaultServer
) -> None:
    def write(image: str) -> None:
        data = {"image": image, "item_key": "late-0", "media_uri": "https://example.com/0.jpg", "note": image}
        hook.client.request("POST", f"/api/projects/{project.id}/import", json=[{"data": data}])

    def others() -> None:
        write("https://example.com/0.jpg")
        write("https://example.com/other.jpg")

    server.faults.append(Fault(method="POST", path="/import", before=others))
    upload_keys(server, label_studio, project)
    assert len(late_tasks(hook, project)["late-0"]) == 3


def test_of_two_projects_made_at_once_the_younger_goes_though_the_older_was_not_listed_at_first(
    hook: LabelStudioHook, label_studio: LabelStudio, server: FaultServer, run_key: str
) -> None:
    older = create(hook, run_key)

    def without_older(answer: bytes) -> bytes:
        page = json.loads(answer)
        page["results"] = [one for one in page["results"] if str(one["id"]) != older.id]
        return json.dumps(page).encode()

    # Before it is made, by title and among all; and once after it.
    server.faults.append(Fault(method="GET", path="/api/projects/", garble=without_older, times=3))
    with hook_at(server, label_studio) as other:
        found = create(other, run_key)
    assert (found.id, found.created) == (older.id, False)
    assert projects_of(hook, run_key) == [older.id]
    hook.delete_run(run_key)


# Storages


def test_a_local_storage_that_is_connected_late_or_twice_is_there_once(
    hook: LabelStudioHook, label_studio: LabelStudio, project: AnnotationProject, server: FaultServer
) -> None:
    client = LabelStudioClient(url=server.url, api_key=label_studio.api_key, attempts=1)
    root = Path(label_studio.document_root)
    storages = "/api/storages/localfiles"

    def upload_from(folder: str, number: int) -> list[Any]:
        path = root / folder / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
        report = upload_items(client, project.id, list_media([str(path)]), local_files_document_root=str(root))
        assert (report.uploaded, report.failed) == (1, 0)
        wait_for_late(server)
        found = hook.client.read("GET", storages, list[Any], params={"project": project.id})
        return [one["id"] for one in found if one["path"] == str(root / folder)]

    twice, late = (f"{name} {uuid4().hex}" for name in ("twice", "late"))
    server.faults.append(Fault(method="POST", path=storages, deliver=2))
    assert len(upload_from(twice, 1)) == 1
    server.faults.append(Fault(method="POST", path=storages, cut="before", late=1.0))
    assert len(upload_from(late, 1)) == 1
    # Two that came when the upload had ended: one as it was made, one that somebody has named.
    made = {"project": project.id, "path": str(root / late), "use_blob_urls": True}
    for title in (late, "Somebody's"):
        hook.client.request("POST", storages, json={**made, "title": title})
    kept = upload_from(late, 2)
    titles = [hook.client.read("GET", f"{storages}/{id_}", dict[str, Any])["title"] for id_ in kept]
    assert sorted(titles) == ["Somebody's", late]
