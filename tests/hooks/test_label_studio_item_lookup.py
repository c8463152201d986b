"""Giving a few items of a live project predictions: what it asks the server for, and what arrives."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import pytest

from airflow_annotation.exceptions import AnnotationRequestError
from airflow_annotation.hooks import late_requests
from airflow_annotation.hooks.annotation import UploadReport
from airflow_annotation.hooks.label_studio import item_lookup, predictions, single_predictions
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.labels.submissions import Submission
from devtools.label_studio import API_KEY, LabelStudio
from tests.servers.faults import Fault, FaultServer, SeenRequest, fault_server
from tests.support.label_studio_uploads import upload_predictions

CONFIG = """<View><Image name="image" value="$image"/>
<Choices name="weather" toName="image"><Choice value="sun"/><Choice value="rain"/></Choices></View>"""


@pytest.fixture
def proxy(label_studio: LabelStudio, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    # As if pages had one task, so that a project of some dozens is a large one.
    monkeypatch.setattr(item_lookup, "PAGE_TASKS", 1)
    with fault_server(label_studio.url) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: FaultServer) -> LabelStudioClient:
    return LabelStudioClient(url=proxy.url, api_key=API_KEY)


@pytest.fixture
def projects(client: LabelStudioClient) -> Iterator[list[str]]:
    """A project, and one with twice as many items: of other programs, and of this one."""
    made = []
    for size in (40, 80):
        body = {"title": "looked up", "label_config": CONFIG}
        made.append(str(client.request("POST", "/api/projects/", json=body).json()["id"]))
        tasks = [{"image": f"https://h/{n}.jpg"} | ({"item_key": f"é {n}"} if n % 2 else {}) for n in range(size)]
        client.request("POST", f"/api/projects/{made[-1]}/import", json=tasks)
    yield made
    for id_ in made:
        client.request("DELETE", f"/api/projects/{id_}/")


def upload(client: LabelStudioClient, project_id: str, *item_keys: str) -> UploadReport:
    rows = [{"field": "weather", "type": "classification", "label": "rain"}]
    given = [Submission(item_key=key, labels=[dict(row) for row in rows]) for key in item_keys]
    return upload_predictions(client, project_id, given, model_version="v1")


def predicted(client: LabelStudioClient, project_id: str) -> set[str]:
    tasks = client.request("GET", f"/api/projects/{project_id}/export?exportType=JSON&download_all_tasks=true").json()
    return {task["data"]["image"] for task in tasks if task["total_predictions"]}


def asked(proxy: FaultServer) -> Counter[str]:
    found = Counter(re.sub("[0-9]+", "N", f"{one.method} {urlsplit(one.path).path}") for one in proxy.requests)
    proxy.requests.clear()
    return found


def test_what_is_asked_for_follows_the_items_that_are_sent_and_not_the_project(
    client: LabelStudioClient, proxy: FaultServer, projects: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Versions of which the project has many predictions are looked up too.
    monkeypatch.setattr(predictions, "PAGE_TASKS", 0)
    proxy.requests.clear()
    counts = []
    for project in projects:
        report = upload(client, project, "é 7", "https://h/8.jpg", "é 21")
        assert (report.uploaded, report.skipped, report.failed) == (3, 0, 0)
        counts.append(asked(proxy))
        report = upload(client, project, "é 21", "é 23")
        assert (report.uploaded, report.skipped, report.failed) == (1, 1, 0)
        counts.append(asked(proxy))
        assert predicted(client, project) == {f"https://h/{n}.jpg" for n in (7, 8, 21, 23)}
        proxy.requests.clear()
    assert counts[:2] == counts[2:]
    # How many tasks there are, and the keys where they may be; then also the tasks' predictions.
    assert [count["GET /api/tasks/"] for count in counts[:2]] == [4, 5]


def test_all_are_listed_where_a_key_is_not_found_or_there_are_many(
    client: LabelStudioClient, proxy: FaultServer, projects: list[str]
) -> None:
    report = upload(client, projects[0], "é 7", "é 8", "é 9")
    assert (report.uploaded, [failure.item_key for failure in report.failures]) == (2, ["é 8"])
    upload(client, projects[0], *(f"https://h/{n}.jpg" for n in range(0, 40, 2)), "é 9")
    assert predicted(client, projects[0]) == {f"https://h/{n}.jpg" for n in (7, 9, *range(0, 40, 2))}


def test_a_key_that_is_too_long_for_a_url_is_not_asked_for(
    client: LabelStudioClient, proxy: FaultServer, projects: list[str]
) -> None:
    key = "long " * 1000
    client.request("POST", f"/api/projects/{projects[0]}/import", json=[{"image": "https://h/long", "item_key": key}])
    proxy.choose = lambda request: Fault(status=414) if len(request.path) > 4096 else None
    assert upload(client, projects[0], key).uploaded == 1
    assert predicted(client, projects[0]) == {"https://h/long"}


# One by one


@pytest.fixture
def large(projects: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """A project that is large for the few predictions that it is given."""
    monkeypatch.setattr(single_predictions, "_COUNTED_TASKS", 1)
    return projects[0]


def weather_in(client: LabelStudioClient, project_id: str) -> dict[str, list[str]]:
    """Return what predictions say, by the items that have some."""
    path = f"/api/tasks/?project={project_id}&fields=all&page_size=100"
    tasks = client.request("GET", path).json()["tasks"]
    return {
        task["data"]["item_key"]: [one["result"][0]["value"]["choices"][0] for one in task["predictions"]]
        for task in tasks
        if task["total_predictions"]
    }


def say(item_key: str, *labels: str) -> list[Submission]:
    return [
        Submission(item_key=item_key, labels=[{"field": "weather", "type": "classification", "label": label}])
        for label in labels
    ]


def test_few_predictions_go_into_a_large_project_one_by_one(
    client: LabelStudioClient, proxy: FaultServer, large: str
) -> None:
    given = [*say("é 1", "rain"), *say("é 3", "sun"), *say("é 5", "rain")]
    refused = Fault(method="POST", path="/api/predictions/", holds=b'"sun"', status=400, body=b'{"detail": "no sun"}')
    proxy.faults.append(refused)
    report = upload_predictions(client, large, given, model_version="v1")
    assert (report.uploaded, [failure.item_key for failure in report.failures]) == (2, ["é 3"])
    assert "no sun" in report.failures[0].reason
    assert weather_in(client, large) == {"é 1": ["rain"], "é 5": ["rain"]}
    assert proxy.seen("POST", "/import/predictions") == 0
    assert upload_predictions(client, large, given, model_version="v1").uploaded == 1


def test_of_those_that_may_have_arrived_none_is_sent_twice(
    client: LabelStudioClient, proxy: FaultServer, large: str
) -> None:
    # The first is there though nobody said so.
    proxy.faults.append(Fault(method="POST", path="/api/predictions/", cut="before", deliver=1))
    given = [*say("é 1", "rain"), *say("é 3", "sun"), *say("é 5", "rain")]
    assert upload_predictions(client, large, given, model_version="v1").uploaded == 3
    assert weather_in(client, large) == {"é 1": ["rain"], "é 3": ["sun"], "é 5": ["rain"]}
    assert proxy.seen("POST", "/api/predictions/") == 3


def test_an_item_gets_all_of_its_predictions_or_none(
    client: LabelStudioClient, proxy: FaultServer, large: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late_requests, "_WAITS", (0.0,))
    given = say("é 1", "rain", "sun")
    # Of two requests, the server would fail at the second.
    proxy.choose = lambda request: (
        Fault(status=500) if b'"sun"' in request.body and b"rain" not in request.body else None
    )
    upload_predictions(client, large, given, model_version="v1")
    proxy.choose = None
    upload_predictions(client, large, given, model_version="v1")
    assert weather_in(client, large) == {"é 1": ["rain", "sun"]}


def test_what_the_server_forgot_to_count_is_counted(client: LabelStudioClient, proxy: FaultServer, large: str) -> None:
    def forget(body: bytes) -> bytes:
        return re.sub(rb'"total_predictions": ?2', b'"total_predictions":1', body)

    def choose(request: SeenRequest) -> Fault | None:
        return Fault(garble=forget) if "total_predictions" in request.path else None

    upload_predictions(client, large, say("é 1", "sun"), model_version="v0")
    assert proxy.seen("POST", "/import/predictions") == 0
    proxy.choose = choose
    assert upload(client, large, "é 1").uploaded == 1
    assert [one.body for one in proxy.requests if "/import/predictions" in one.path] == [b"[]"]


def test_a_server_that_fails_at_all_of_them_fails_the_task(
    client: LabelStudioClient, proxy: FaultServer, large: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late_requests, "_WAITS", (0.0,))
    proxy.faults.append(Fault(method="POST", path="/api/predictions/", status=500, times=100))
    with pytest.raises(AnnotationRequestError, match="500"):
        upload(client, large, "é 1", "é 3")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("send-predictions")]


@pytest.mark.parametrize("size", [1, 40, 450, 2000])
def test_keys_go_into_urls_of_a_bounded_length(size: int) -> None:
    keys = [f"{'é' * size}{number}" for number in range(20)]
    chunks = [list(chunk) for chunk in item_lookup._chunks(keys)]
    assert [key for chunk in chunks for key in chunk] == keys
    assert all(len(chunk) == 1 or len(quote("".join(chunk))) < 3000 for chunk in chunks)
