"""Many who wait through one connection, and what they cost the labeling tool."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Collection, Iterator
from typing import Any

import msgspec
import pytest

from airflow_annotation.exceptions import (
    AnnotationAuthenticationError,
    AnnotationConnectionError,
    AnnotationProjectNotFoundError,
    AnnotationRequestError,
)
from airflow_annotation.hooks.annotation import AnnotationHook, AnnotationProgress
from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.triggers import poller as poller_module
from airflow_annotation.triggers.annotation import AnnotationTrigger
from airflow_annotation.triggers.poller import shared_poller
from airflow_annotation.triggers.progress import CompletionRule
from devtools.label_studio import LabelStudio
from tests.servers.faults import Fault, FaultServer, SeenRequest, fault_server
from tests.support.connections import airflow_connection
from tests.support.scripted_tool import ScriptedTool, progress

SCHEMA = LabelSchema.for_field("weather", "classification", ["sun", "rain"])
COUNTS = "/api/projects/counts/"
WAITS = 60


@pytest.fixture(scope="module")
def projects(label_studio_conn_id: str) -> Iterator[list[str]]:
    """Projects of one item each, that nobody has labeled."""
    hook = LabelStudioHook(label_studio_conn_id)
    made = [
        hook.create_project(title="Shared", run_key=f"poller/{uuid.uuid4()}", label_schema=SCHEMA).id for _ in range(3)
    ]
    for project in made:
        hook.client.request("POST", f"/api/projects/{project}/import", json=[{"image": "https://example.com/1.jpg"}])
    yield made
    for project in made:
        hook.delete_project(project)


@pytest.fixture
def proxy(label_studio: LabelStudio) -> Iterator[FaultServer]:
    with fault_server(label_studio.url) as server:
        yield server


@pytest.fixture
def conn_id(proxy: FaultServer, label_studio: LabelStudio) -> Iterator[str]:
    connection = {"conn_type": "label_studio", "host": proxy.url, "password": label_studio.api_key}
    with airflow_connection(f"poller_{uuid.uuid4().hex}", connection) as conn_id:
        yield conn_id


def trigger(conn_id: str, project_id: str, **arguments: Any) -> AnnotationTrigger:
    defaults: dict[str, Any] = {"run_keys": [], "poke_interval": 1.0, "deadline": time.time() + 60}
    rule = msgspec.to_builtins(CompletionRule())
    return AnnotationTrigger(annotation_conn_id=conn_id, project_id=project_id, rule=rule, **(defaults | arguments))


async def event_of(waiting: AnnotationTrigger) -> dict[str, Any]:
    return dict((await anext(waiting.run())).payload)


def label_all(conn_id: str, project_id: str, *, skip: bool = False) -> None:
    client = LabelStudioHook(conn_id).client
    choice = {"from_name": "weather", "to_name": "image", "type": "choices", "value": {"choices": ["sun"]}}
    for task in client.request("GET", "/api/tasks/", params={"project": project_id}).json()["tasks"]:
        body = {"result": [] if skip else [choice], "was_cancelled": skip}
        client.request("POST", f"/api/tasks/{task['id']}/annotations/", json=body)


def test_many_waits_on_one_server_share_their_requests_and_each_fires_for_its_project(
    proxy: FaultServer, conn_id: str, label_studio_conn_id: str, projects: list[str]
) -> None:
    finished, skipped, _ = projects

    async def wait() -> tuple[list[dict[str, Any]], int, float]:
        waits = [asyncio.ensure_future(event_of(trigger(conn_id, projects[number % 3]))) for number in range(WAITS)]
        began = time.monotonic()
        while proxy.seen("GET", COUNTS) < 3:  # noqa: ASYNC110 - a thread counts them
            await asyncio.sleep(0.05)
        await asyncio.to_thread(label_all, label_studio_conn_id, finished)
        await asyncio.to_thread(label_all, label_studio_conn_id, skipped, skip=True)
        fired = await asyncio.gather(*waits[::3])
        seconds = time.monotonic() - began
        requests = proxy.seen("GET", COUNTS)
        assert not any(one.done() for number, one in enumerate(waits) if number % 3)
        for one in waits:
            one.cancel()
        return fired, requests, seconds

    fired, requests, seconds = asyncio.run(wait())
    assert {event["status"] for event in fired} == {"completed"}
    # Each of 60 waits looked every second; one that looked alone would have cost as many requests each second.
    assert requests <= 3 + 2 * seconds
    assert {request.path.split("?")[0] for request in proxy.requests} == {COUNTS}


def test_items_that_were_skipped_are_counted_exactly_before_a_wait_ends(
    proxy: FaultServer, conn_id: str, projects: list[str]
) -> None:
    skipped = projects[1]
    hook = LabelStudioHook(conn_id)
    client = hook.client
    (task,) = client.request("GET", "/api/tasks/", params={"project": skipped}).json()["tasks"]
    for _ in range(2):
        client.request("POST", f"/api/tasks/{task['id']}/annotations/", json={"result": [], "was_cancelled": True})
    client.request("POST", f"/api/projects/{skipped}/import", json=[{"image": "https://example.com/2.jpg"}])
    assert asyncio.run(hook.aget_progress_of([skipped]))[skipped].skipped >= 2  # type: ignore[union-attr]
    rule = msgspec.to_builtins(CompletionRule(count_skipped=True))
    waiting = trigger(conn_id, skipped, deadline=time.time() + 1, poke_interval=0.2)
    waiting.rule = rule
    event = asyncio.run(event_of(waiting))
    assert event["status"] == "timed_out"
    assert (event["progress"]["total"], event["progress"]["skipped"]) == (2, 1)
    assert proxy.seen("GET", "/api/tasks/") <= 3  # the two of this test, and one exact count for one state of things


def test_a_missing_project_fails_its_own_wait_only(conn_id: str, projects: list[str]) -> None:
    async def wait() -> Any:
        async with shared_poller(conn_id) as poller:
            asked = ["99999999", projects[2], "no number"]
            return await asyncio.gather(*map(poller.progress, asked), return_exceptions=True)

    missing, there, wrong = asyncio.run(wait())
    assert isinstance(missing, AnnotationProjectNotFoundError)
    assert "99999999" in str(missing)
    assert isinstance(wrong, AnnotationProjectNotFoundError)
    assert there.total == 1


def test_no_more_requests_go_out_than_the_connection_allows(
    proxy: FaultServer, label_studio: LabelStudio, projects: list[str]
) -> None:
    connection = {
        "conn_type": "label_studio",
        "host": proxy.url,
        "password": label_studio.api_key,
        "extra": {"polls_per_minute": 30},
    }

    async def wait(conn_id: str) -> None:
        waits = [asyncio.ensure_future(event_of(trigger(conn_id, projects[2], poke_interval=0.01))) for _ in range(3)]
        await asyncio.sleep(5)
        for one in waits:
            one.cancel()

    with airflow_connection("paced", connection) as conn_id:
        asyncio.run(wait(conn_id))
    assert 5 <= proxy.seen("GET", COUNTS) <= 9  # a burst of 10 s worth, and 5 s worth


def test_a_changed_key_is_read_again(
    proxy: FaultServer, label_studio: LabelStudio, projects: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def set_key(key: str) -> None:
        connection = {"conn_type": "label_studio", "host": proxy.url, "password": key}
        monkeypatch.setenv("AIRFLOW_CONN_RENEWED", json.dumps(connection))

    async def wait() -> Any:
        async with shared_poller("renewed") as poller:
            with pytest.raises(AnnotationAuthenticationError):
                await poller.progress(projects[2])
            set_key(label_studio.api_key)
            return await poller.progress(projects[2])

    set_key("0" * 40)
    assert asyncio.run(wait()).total == 1


def test_a_wait_that_begins_after_the_key_was_replaced_uses_the_new_key(
    proxy: FaultServer, label_studio: LabelStudio, projects: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def set_key(key: str) -> None:
        connection = {"conn_type": "label_studio", "host": proxy.url, "password": key}
        monkeypatch.setenv("AIRFLOW_CONN_REPLACED", json.dumps(connection))

    old = "0" * 40
    revoked = False
    counted = {"id": int(projects[2]), "task_number": 5, "finished_task_number": 0}
    counts = json.dumps({"results": [counted | {"total_annotations_number": 0, "skipped_annotations_number": 0}]})

    def choose(request: SeenRequest) -> Fault | None:
        if old not in request.headers.get("Authorization", ""):
            return None
        headers = {"Content-Type": "application/json"}
        if revoked:
            return Fault(status=401, headers=headers, body=b'{"detail": "Invalid token."}')
        return Fault(status=200, headers=headers, body=counts.encode())

    async def wait() -> Any:
        nonlocal revoked
        async with shared_poller("replaced") as poller:
            assert (await poller.progress(projects[2])).total == 5
            revoked = True
            with pytest.raises(AnnotationAuthenticationError):  # the connection has it still
                await poller.progress(projects[2])
            revoked = False
            assert (await poller.progress(projects[2])).total == 5
            revoked = True
            set_key(label_studio.api_key)
            return await poller.progress(projects[2])

    proxy.choose = choose
    set_key(old)
    assert asyncio.run(wait()).total == 1


def test_the_poller_ends_when_nobody_waits(conn_id: str, projects: list[str]) -> None:
    async def wait() -> set[str]:
        waits = [asyncio.ensure_future(event_of(trigger(conn_id, projects[2]))) for _ in range(3)]
        await asyncio.sleep(0.5)
        for one in waits:
            one.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        await asyncio.sleep(0)
        return {task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()}

    assert asyncio.run(wait()) == set()


class CountingTool(ScriptedTool):
    """Answers many at once, and remembers who was asked about together."""

    projects_a_request = 100

    def __init__(self, *answers: Any) -> None:
        super().__init__(*answers)
        self.rounds: list[int] = []

    async def aget_progress_of(
        self, project_ids: Collection[str]
    ) -> dict[str, AnnotationProgress | AnnotationProjectNotFoundError]:
        self.rounds.append(len(project_ids))
        return {project_id: self.get_progress(project_id) for project_id in project_ids}


def use(monkeypatch: pytest.MonkeyPatch, tool: ScriptedTool) -> None:
    monkeypatch.setattr(AnnotationHook, "for_connection", lambda _: tool)


def test_who_waits_equally_long_soon_asks_together(monkeypatch: pytest.MonkeyPatch) -> None:
    tool = CountingTool(progress(1))
    use(monkeypatch, tool)

    async def wait() -> None:
        waits = []
        for number in range(250):
            waits.append(asyncio.ensure_future(event_of(trigger("tool", str(number), poke_interval=1.0))))
            await asyncio.sleep(0.004)
        tool.rounds.clear()
        await asyncio.sleep(4)
        for one in waits:
            one.cancel()

    asyncio.run(wait())
    # Three requests a round of a second are the least; twice as many leave room for a slow machine.
    assert len(tool.rounds) <= 4 * 2 * 3
    assert max(tool.rounds) == 100


def test_an_outage_is_met_by_one_request_at_a_time_however_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller_module, "_SHORTEST_BACKOFF", 0.4)
    down = AnnotationConnectionError("no route")
    tool = CountingTool(progress(1), *[down] * 3, progress(10))
    use(monkeypatch, tool)

    async def wait() -> list[dict[str, Any]]:
        waits = [event_of(trigger("tool", str(number % 100), poke_interval=0.2)) for number in range(1000)]
        return await asyncio.gather(*waits)

    began = time.monotonic()
    assert {event["status"] for event in asyncio.run(wait())} == {"completed"}
    # One that finds them unfinished, three that fail, and the next; a few more on a busy machine, and not one for each.
    assert len(tool.rounds) <= 20
    assert time.monotonic() - began > 0.2 + 0.4 + 0.8  # the pauses in between, each at least half as long as it may be


def test_an_error_of_the_tools_goes_to_those_who_asked_and_the_others_wait_on(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = AnnotationRequestError("The server refused it with 400.", status_code=400)
    tool = ScriptedTool(refused, progress(1))
    use(monkeypatch, tool)

    async def wait() -> list[Any]:
        async with shared_poller("tool") as poller:
            asked = [poller.progress("1"), poller.progress("2")]
            return await asyncio.gather(*asked, return_exceptions=True)

    assert asyncio.run(wait()) == [refused, progress(1)]


def test_waking_asks_about_the_named_projects_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tool = ScriptedTool(progress(1))
    use(monkeypatch, tool)

    async def wait() -> bool:
        async with shared_poller("tool") as poller:
            patient = asyncio.ensure_future(poller.progress("1", within=3600))
            other = asyncio.ensure_future(poller.progress("2", within=3600))
            await asyncio.sleep(0.1)
            poller.wake({"1"})
            await asyncio.wait_for(patient, 10)
            return other.done()

    assert asyncio.run(wait()) is False
    assert tool.questions == ["1"]
