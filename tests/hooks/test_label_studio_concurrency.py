"""Reading and sending to a live Label Studio with several requests under way at once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Connection
from PIL import Image

from airflow_annotation.exceptions import AnnotationError, AnnotationRequestError
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.label_studio import export, upload_requests
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.hooks.label_studio.hook import client_from_connection
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.media.listing import list_media
from airflow_annotation.transport.width import SLOW, Width
from devtools.label_studio import API_KEY, LabelStudio
from tests.servers.faults import Fault, FaultServer, SeenRequest, fault_server
from tests.support.label_studio_uploads import upload_items

CONFIG = '<View><Text name="text" value="$text"/></View>'
ITEMS = 12


@pytest.fixture(scope="module")
def project(label_studio: LabelStudio) -> Iterator[str]:
    client = LabelStudioClient(url=label_studio.url, api_key=label_studio.api_key)
    body = {"title": "side by side", "label_config": CONFIG}
    id_ = str(client.request("POST", "/api/projects/", json=body).json()["id"])
    client.request("POST", f"/api/projects/{id_}/import", json=[{"text": str(n)} for n in range(ITEMS)])
    yield id_
    client.request("DELETE", f"/api/projects/{id_}/")


@pytest.fixture
def proxy(label_studio: LabelStudio, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    monkeypatch.setattr(export, "_PIECE_ITEMS", 1)
    with fault_server(label_studio.url) as proxy:
        yield proxy


def read(proxy: FaultServer, project_id: str, concurrency: int = 4) -> Iterator[str]:
    client = LabelStudioClient(url=proxy.url, api_key=API_KEY, concurrency=concurrency)
    project = AnnotationProject(id=project_id, title="", url="", uri="label-studio://x/1", tool="label_studio")
    for tables in export.read_tables(client, project, LabelingConfig(CONFIG)):
        yield tables.items["data"][0].as_py()


@pytest.fixture
def earlier() -> set[threading.Thread]:
    """The threads that other tests have left, such as those of an event loop that lives as long as the process."""
    return set(threading.enumerate())


def reading_threads(earlier: set[threading.Thread]) -> list[threading.Thread]:
    names = ("read-ahead", "asyncio")
    return [one for one in threading.enumerate() if one not in earlier and one.name.startswith(names)]


class Arrivals:
    """Chooses faults of requests of a kind, by their number from 1, and counts how many are under way."""

    def __init__(self, path: str, faults: dict[int, Fault]) -> None:
        self._path = path
        self._faults = faults
        self._lock = threading.Lock()
        self._under_way = self._arrived = 0
        self.most = 0

    def choose(self, request: SeenRequest) -> Fault | None:
        if self._path not in request.path:
            return None
        with self._lock:
            self._arrived += 1
            self._under_way += 1
            self.most = max(self.most, self._under_way)
        fault = self._faults.get(self._arrived, Fault())
        fault.after = self._leave
        return fault

    def _leave(self) -> None:
        with self._lock:
            self._under_way -= 1


@pytest.mark.parametrize("concurrency", [1, 4])
def test_pieces_come_in_order_and_as_many_at_once_as_the_connection_allows(
    proxy: FaultServer, project: str, concurrency: int, earlier: set[threading.Thread]
) -> None:
    # The second piece takes until two others have come after it.
    others = threading.Event()
    faults = {2: Fault(before=lambda: others.wait(60)), 4: Fault(before=others.set)} if concurrency > 1 else {}
    exports = Arrivals("/export", faults)
    proxy.choose = exports.choose
    assert list(read(proxy, project, concurrency)) == [f'{{"text":"{n}"}}' for n in range(ITEMS)]
    assert exports.most == 1 if concurrency == 1 else 2 <= exports.most <= 4
    assert reading_threads(earlier) == []


def test_an_error_of_one_piece_ends_the_reading_while_others_are_under_way(
    proxy: FaultServer, project: str, earlier: set[threading.Thread]
) -> None:
    ended = threading.Event()
    exports = Arrivals("/export", {2: Fault(before=lambda: ended.wait(60)), 3: Fault(status=403)})
    proxy.choose = exports.choose
    items = read(proxy, project)
    try:
        with pytest.raises(AnnotationRequestError, match="403"):
            list(items)
        assert not ended.is_set()
        assert reading_threads(earlier) == []
    finally:
        ended.set()


def test_a_task_that_is_killed_leaves_no_thread_that_waits_for_a_server(
    proxy: FaultServer, project: str, earlier: set[threading.Thread]
) -> None:
    ended, arrived = threading.Event(), threading.Event()

    def hang() -> None:
        arrived.set()
        ended.wait(60)

    # One of the two that come first is done by then.
    proxy.choose = Arrivals("/export", {3: Fault(before=hang)}).choose
    items = read(proxy, project)
    try:
        next(items)
        assert arrived.wait(60)
        items.close()  # type: ignore[attr-defined]  # as a generator is where the task's end is raised
        assert reading_threads(earlier) == []
    finally:
        ended.set()


def test_a_server_that_is_overloaded_gets_fewer_requests_and_all_items_land(proxy: FaultServer, project: str) -> None:
    busy = {number: Fault(status=status, headers={"Retry-After": "1"}) for number, status in ((2, 429), (3, 503))}
    proxy.choose = Arrivals("/export", busy).choose
    assert len(list(read(proxy, project))) == ITEMS


# Sending


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    paths = [tmp_path / f"{number:02}.png" for number in range(ITEMS)]
    for number, path in enumerate(paths):
        Image.new("RGB", (number + 1, 5)).save(path)
    return [str(path) for path in paths]


@pytest.fixture
def small_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_requests, "FILES_PER_REQUEST", 1)
    monkeypatch.setattr(upload_requests, "FILES_PER_IMPORT", 4)


@pytest.fixture
def empty_project(label_studio: LabelStudio) -> Iterator[str]:
    client = LabelStudioClient(url=label_studio.url, api_key=label_studio.api_key)
    config = '<View><Image name="image" value="$image"/></View>'
    body = {"title": "files side by side", "label_config": config}
    id_ = str(client.request("POST", "/api/projects/", json=body).json()["id"])
    yield id_
    client.request("DELETE", f"/api/projects/{id_}/")


def sending_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(("send-media", "make-tasks"))]


@pytest.mark.usefixtures("small_requests")
@pytest.mark.parametrize("concurrency", [1, 4])
def test_files_go_in_several_requests_at_once_and_tasks_in_order(
    proxy: FaultServer, empty_project: str, images: list[str], concurrency: int
) -> None:
    # The first request with a file takes until two others have come after it.
    others = threading.Event()
    faults = {1: Fault(before=lambda: others.wait(60)), 3: Fault(before=others.set)} if concurrency > 1 else {}
    files = Arrivals("commit_to_project=false", faults)
    proxy.choose = files.choose
    client = LabelStudioClient(url=proxy.url, api_key=API_KEY, concurrency=concurrency)
    assert upload_items(client, empty_project, list_media(images)).uploaded == ITEMS
    tasks = client.request("GET", f"/api/tasks/?project={empty_project}&page_size=100").json()["tasks"]
    ordered = [task["data"] for task in sorted(tasks, key=lambda task: task["id"])]
    assert [data["item_key"] for data in ordered] == images
    assert [data["width"] for data in ordered] == list(range(1, ITEMS + 1))
    assert files.most == (1 if concurrency == 1 else 3)
    assert sending_threads() == []


@pytest.mark.usefixtures("small_requests")
def test_an_error_of_one_request_ends_the_upload(proxy: FaultServer, empty_project: str, images: list[str]) -> None:
    proxy.choose = Arrivals("commit_to_project=false", {2: Fault(status=403)}).choose
    client = LabelStudioClient(url=proxy.url, api_key=API_KEY)
    with pytest.raises(AnnotationRequestError, match="403"):
        upload_items(client, empty_project, list_media(images))
    assert sending_threads() == []


# How many, and from where


def count(width: Width, pieces: int, seconds: float) -> int:
    for _ in range(pieces):
        width.count(seconds, 1)
    return width.now


def test_the_width_grows_while_pieces_are_good_and_shrinks_where_the_server_slows() -> None:
    width = Width(4)
    assert width.now == 2
    assert count(width, 2, 1.0) == 4
    assert count(width, 8, 1.0) == 4, "no more than the connection allows"
    width.count(2.0, 2)
    assert width.now == 4, "twice as long for twice the size is no slower"
    assert count(width, 1, 1.1 * SLOW) == 3, "pieces that wait for each other in the server"
    assert count(width, 5, 1.2 * SLOW) == 2, "not below two"
    assert count(width, 2, 1.0) == 3, "one more at a time, now that it was slow once"
    sent = time.monotonic()
    width.ease(sent)
    assert width.now == 1
    assert count(width, 1, 1.0) == 2
    width.ease(sent)
    assert width.now == 2, "sent before the server said it first"
    width.ease(time.monotonic())
    assert width.now == 1


@pytest.mark.parametrize("concurrency", [0, 65, 2.5, "many"])
def test_a_concurrency_that_is_none_is_named(concurrency: Any) -> None:
    extra = json.dumps({"concurrency": concurrency})
    connection = Connection(conn_id="x", conn_type="label_studio", host="http://h", password=API_KEY, extra=extra)
    with pytest.raises(AnnotationError, match="concurrency is no whole number of requests from 1 to 64"):
        client_from_connection(connection)


def test_the_connection_says_the_concurrency() -> None:
    uri = f"label-studio://:{API_KEY}@labels.example.com/https?concurrency="
    assert client_from_connection(Connection.from_uri(f"{uri}8", conn_id="x")).concurrency == 8
    assert client_from_connection(Connection.from_uri(uri, conn_id="x")).concurrency == 4
