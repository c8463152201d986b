"""Whatever either tool is asked for, an answer that cannot be read is one kind of error, and is asked for again."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from airflow_annotation.exceptions import AnnotationConnectionError
from airflow_annotation.hooks.annotation import AnnotationHook
from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.hooks.labelbox import LabelboxHook, tasks
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import collect_tables
from devtools.label_studio import LabelStudio
from tests.servers.faults import Fault, FaultServer, SeenRequest, fault_server
from tests.servers.labelbox import LabelboxStandIn
from tests.support.connections import airflow_connection

SCHEMA = LabelSchema.from_dict({"weather": {"type": "classification", "classes": ["sun", "rain"]}})
JSON = {"Content-Type": "application/json"}

KINDS: dict[str, dict[str, Any]] = {
    "a login page": {"headers": {"Content-Type": "text/html"}, "body": b"<html><title>Log in</title></html>"},
    "cut gzip": {"headers": {**JSON, "Content-Encoding": "gzip"}, "body": gzip.compress(b'{"results": []}')[:-14]},
    "no gzip": {"headers": {**JSON, "Content-Encoding": "gzip"}, "body": b'{"results": []}'},
    "null": {"headers": JSON, "body": b"null"},
    "another shape": {"headers": JSON, "body": b'{"data": {"project": 1, "task": [], "projects": {}}, "ok": true}'},
    "nothing": {"headers": JSON, "body": b""},
}

READS: dict[str, Callable[[AnnotationHook, str], Any]] = {
    "get_project": lambda hook, project: hook.get_project(project),
    "get_label_schema": lambda hook, project: hook.get_label_schema(project),
    "find_project": lambda hook, _: hook.find_project("a run that nobody has"),
    "get_progress": lambda hook, project: hook.get_progress(project),
    "aget_progress": lambda hook, project: asyncio.run(hook.aget_progress(project)),
    "aget_progress_of": lambda hook, project: asyncio.run(hook.aget_progress_of([project])),
    "get_last_change": lambda hook, project: hook.get_last_change(project),
    "list_item_states": lambda hook, project: [batch.to_pylist() for batch in hook.list_item_states(project)],
    "read_tables": lambda hook, project: {
        name: table.to_pylist() for name, table in collect_tables(hook.read_tables(hook.get_project(project))).items()
    },
}


def endpoint(request: SeenRequest) -> str:
    """Return what a request asks for: its method and path, and the operation of a GraphQL document."""
    name = ""
    if request.path.startswith("/graphql"):
        document = json.loads(request.body)["query"]
        name = " " + document.replace("(", " ").replace("{", " ").split()[1]
    return f"{request.method} {request.path.partition('?')[0]}{name}"


def garble(server: FaultServer, asked: str, kind: str, times: int) -> None:
    """Let the next answers to what is asked be garbled."""
    left = [times]

    def choose(request: SeenRequest) -> Fault | None:
        if endpoint(request) != asked or not left[0]:
            return None
        left[0] -= 1
        return Fault(status=200, **KINDS[kind])

    server.choose = choose


def check(
    server: FaultServer, make_hook: Callable[[int], AnnotationHook], project_id: str, kinds: dict[str, list[str]]
) -> None:
    """Garble the answer to each request that each reading method sends: once, and for good.

    :param kinds: of garbled answers, by the name of the method
    """
    for name, method in READS.items():
        server.choose = None
        server.requests.clear()
        right = method(make_hook(0), project_id)
        asked = sorted({endpoint(request) for request in server.requests})
        assert asked, name
        for number, one in enumerate(asked):
            for kind in kinds[name] if len(kinds[name]) == len(KINDS) else [kinds[name][number % len(kinds[name])]]:
                garble(server, one, kind, times=1)
                assert method(make_hook(1), project_id) == right, (name, one, kind)
                garble(server, one, kind, times=99)
                with pytest.raises(AnnotationConnectionError) as error:
                    method(make_hook(0), project_id)
                path = one.split()[1]
                assert path in str(error.value), (name, one, kind)
                assert error.value.is_transient


def rotated() -> dict[str, list[str]]:
    """Return two kinds for each method, all of them among them."""
    names = [*KINDS, *KINDS]
    return {name: names[number % len(KINDS) :][:2] for number, name in enumerate(READS)}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_WAIT", 0.01)


@pytest.fixture
def label_studio_reads(
    label_studio: LabelStudio,
) -> Iterator[tuple[FaultServer, Callable[[int], AnnotationHook], str]]:
    with fault_server(label_studio.url) as server:
        connection = {"conn_type": "label_studio", "host": server.url, "password": label_studio.api_key}
        with airflow_connection(f"garbled_{uuid4().hex}", connection) as conn_id:

            def make_hook(attempts: int) -> LabelStudioHook:
                hook = LabelStudioHook(conn_id)
                hook.attempts = attempts
                return hook

            hook = make_hook(5)
            project = hook.create_project(title="garbled", run_key=str(uuid4()), label_schema=SCHEMA)
            answer = {"from_name": "weather", "to_name": "image", "type": "choices", "value": {"choices": ["sun"]}}
            made = [{"data": {"image": "a"}, "annotations": [{"result": [answer]}]}, {"data": {"image": "b"}}]
            hook.client.request("POST", f"/api/projects/{project.id}/import", json=made)
            yield server, make_hook, project.id
            server.choose = None
            hook.delete_project(project.id)


@pytest.fixture
def labelbox_reads() -> Iterator[tuple[FaultServer, Callable[[int], AnnotationHook], str]]:
    with LabelboxStandIn() as labelbox, fault_server(labelbox.url) as server:
        labelbox.control.settings(task_seconds=0)
        extra = {
            "endpoint": f"{server.url}/graphql",
            "rest_endpoint": f"{server.url}/api/v1",
            "app_url": labelbox.app_url,
        }
        connection = {"conn_type": "labelbox", "password": labelbox.api_key, "extra": extra}
        with airflow_connection(f"garbled_{uuid4().hex}", connection) as conn_id:

            def make_hook(attempts: int) -> LabelboxHook:
                hook = LabelboxHook(conn_id)
                hook.attempts = attempts
                return hook

            project = make_hook(5).create_project(title="garbled", run_key=str(uuid4()), label_schema=SCHEMA)
            yield server, make_hook, project.id


def test_label_studio(label_studio_reads: tuple[FaultServer, Callable[[int], AnnotationHook], str]) -> None:
    check(*label_studio_reads, rotated())


def test_labelbox(labelbox_reads: tuple[FaultServer, Callable[[int], AnnotationHook], str]) -> None:
    check(*labelbox_reads, rotated())


@pytest.mark.faults
def test_label_studio_with_every_kind(
    label_studio_reads: tuple[FaultServer, Callable[[int], AnnotationHook], str],
) -> None:
    check(*label_studio_reads, {name: list(KINDS) for name in READS})


@pytest.mark.faults
def test_labelbox_with_every_kind(labelbox_reads: tuple[FaultServer, Callable[[int], AnnotationHook], str]) -> None:
    check(*labelbox_reads, {name: list(KINDS) for name in READS})
