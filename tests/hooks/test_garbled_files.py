"""Garbled access tokens, files of exports and masks are asked for again, and are one kind of error."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from airflow_annotation.exceptions import AnnotationAnswerError, AnnotationConnectionError
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.hooks.labelbox import LabelboxHook, export_stream, tasks
from airflow_annotation.labels.tables import collect_tables
from devtools.label_studio import LabelStudio
from tests.hooks.labelbox.test_export import fill, mask_line
from tests.hooks.test_garbled_answers import KINDS
from tests.hooks.test_label_studio_client import REFRESH, aask, ask
from tests.servers.faults import Fault, FaultServer, SeenRequest, fault_server
from tests.servers.labelbox import LabelboxStandIn
from tests.support.connections import airflow_connection

FILE_KINDS = {name: Fault(status=200, **kind) for name, kind in KINDS.items()} | {
    "cut gzip of the file": Fault(
        headers={"Content-Encoding": "gzip"}, garble=lambda file: gzip.compress(file)[: len(gzip.compress(file)) // 2]
    )
}


def garbled(fault: Fault, times: int, is_it: Callable[[SeenRequest], bool], otherwise: Fault) -> Any:
    left = [times]

    def choose(request: SeenRequest) -> Fault | None:
        if not is_it(request) or not left[0]:
            return otherwise
        left[0] -= 1
        return fault

    return choose


@pytest.mark.parametrize("asking", [ask, aask], ids=["sync", "async"])
@pytest.mark.parametrize("kind", KINDS)
def test_access_tokens(label_studio: LabelStudio, asking: Callable[[LabelStudioClient], Any], kind: str) -> None:
    with fault_server(label_studio.url) as server:

        def client(attempts: int) -> LabelStudioClient:
            key = label_studio.personal_access_token
            return LabelStudioClient(url=server.url, api_key=key, attempts=attempts)

        server.choose = garbled(Fault(status=200, **KINDS[kind]), 1, lambda request: REFRESH in request.path, Fault())
        assert asking(client(1))["email"]
        assert server.seen("POST", REFRESH) == 2
        server.choose = garbled(Fault(status=200, **KINDS[kind]), 99, lambda request: REFRESH in request.path, Fault())
        with pytest.raises(AnnotationConnectionError) as error:
            asking(client(0))
        assert error.value.is_transient
        assert REFRESH in str(error.value)
        assert label_studio.personal_access_token not in str(error.value)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[LabelboxHook, LabelboxStandIn, FaultServer, Fault]]:
    """A hook whose every request goes through a proxy, those for files too, and what that does to other answers."""
    monkeypatch.setattr(tasks, "_WAIT", 0.01)
    with LabelboxStandIn() as labelbox, fault_server(labelbox.url) as server:
        labelbox.control.settings(task_seconds=0)
        extra = {"endpoint": f"{server.url}/graphql", "rest_endpoint": f"{server.url}/api/v1", "app_url": server.url}
        connection = {"conn_type": "labelbox", "password": labelbox.api_key, "extra": extra}
        here, there = labelbox.url.encode(), server.url.encode()
        assert len(here) == len(there)  # what says how long files are stays true
        with airflow_connection(f"files_{uuid4().hex}", connection) as conn_id:
            hook = LabelboxHook(conn_id)
            hook.attempts = 1
            yield hook, labelbox, server, Fault(garble=lambda answer: answer.replace(here, there))


@pytest.mark.parametrize("kind", FILE_KINDS)
def test_files_of_an_export_and_masks(
    served: tuple[LabelboxHook, LabelboxStandIn, FaultServer, Fault], kind: str
) -> None:
    hook, labelbox, server, rewritten = served
    project, keys = fill(hook, labelbox, 2)
    for key in keys:
        labelbox.control.submit_label(project.id, [mask_line(np.eye(100, 200))], global_key=key)

    def read() -> dict[str, Any]:
        return {name: table.to_pylist() for name, table in collect_tables(hook.read_tables(project)).items()}

    server.choose = lambda _: rewritten
    server.requests.clear()
    right = read()
    files = {request.path.split("/")[1] for request in server.requests if request.method == "GET"}
    assert len(files) >= 2, files
    for folder in files:

        def is_it(request: SeenRequest, folder: str = folder) -> bool:
            return request.method == "GET" and request.path.startswith(f"/{folder}")

        server.choose = garbled(FILE_KINDS[kind], 1, is_it, rewritten)
        assert read() == right, folder
        server.choose = garbled(FILE_KINDS[kind], 999, is_it, rewritten)
        with pytest.raises(AnnotationConnectionError) as error:
            read()
        assert error.value.is_transient
        assert f"/{folder}" in str(error.value) or "export" in str(error.value)


def test_a_file_of_an_export_that_goes_on_as_another_one_is_an_error_that_passes(
    served: tuple[LabelboxHook, LabelboxStandIn, FaultServer, Fault], monkeypatch: pytest.MonkeyPatch
) -> None:
    hook, labelbox, server, rewritten = served
    project, _ = fill(hook, labelbox, 2)
    monkeypatch.setattr(export_stream, "_BLOCK_BYTES", 64)
    other = gzip.compress(b"{" * 300)[:-8]
    garble = Fault(status=200, headers={"Content-Encoding": "gzip"}, body=other)
    server.requests.clear()
    server.choose = garbled(garble, 1, lambda request: request.path.startswith("/storage"), rewritten)
    with pytest.raises(AnnotationAnswerError, match="another file than before"):
        collect_tables(hook.read_tables(project))
    assert collect_tables(hook.read_tables(project))["items"].num_rows == 2
