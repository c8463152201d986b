"""Whatever is written to either tool, an answer that cannot be read loses nothing and doubles nothing."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qsl
from uuid import uuid4

import pytest

from airflow_annotation.exceptions import AnnotationConnectionError
from airflow_annotation.hooks import late_requests
from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.hooks.labelbox import LabelboxHook, tasks
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.submissions import read_rows, read_submissions
from airflow_annotation.media.items import MediaItem
from devtools.label_studio import LabelStudio
from tests.hooks.labelbox.conftest import connection
from tests.hooks.labelbox.test_late_requests import Cycle as LabelboxCycle
from tests.hooks.test_garbled_answers import KINDS
from tests.servers.faults import Fault, FaultServer, SeenRequest, fault_server
from tests.servers.labelbox import LabelboxStandIn
from tests.support.connections import kept_connection

SCHEMA = LabelSchema.from_dict({"objects": {"type": "detections", "classes": ["car"]}})
PHOTO = Path(__file__).parents[2] / "demo" / "photos"


class Cycle(Protocol):
    """A run from its project to its labels, by way of a server that has faults."""

    server: FaultServer
    hook: Any

    def play(self) -> object: ...
    def doubled(self) -> dict[str, int]: ...
    def end(self) -> dict[str, int]: ...


class Case(NamedTuple):
    """What happens to a request.

    :param asked: the request, by its name
    :param kind: of the garbled answer
    :param arrives: whether the tool gets the request all the same
    :param times: how often it happens
    """

    asked: str
    kind: str
    arrives: bool
    times: int


def name_of(request: SeenRequest) -> str:
    """Return the name of a request that writes: what it asks for, whatever project it is of. Empty where it reads."""
    if request.method in {"GET", "HEAD"}:
        return ""
    name, _, query = request.path.partition("?")
    if name.startswith(("/graphql", "/_gql")):
        mutation = re.search(rb"mutation (\w+)", request.body)
        return f"POST {name} {mutation[1].decode()}" if mutation else ""
    said = " ".join(f"{key}={value}" for key, value in parse_qsl(query) if not value.isdecimal())
    return f"{request.method} {re.sub('[0-9]+', 'N', name)} {said}".strip()


def garble(server: FaultServer, case: Case) -> None:
    left = [case.times]

    def choose(request: SeenRequest) -> Fault | None:
        if name_of(request) != case.asked or not left[0]:
            return None
        left[0] -= 1
        return Fault(status=200, deliver=int(case.arrives), **KINDS[case.kind])

    server.choose = choose


def play(case: Case, cycle: Cycle) -> dict[str, int]:
    """Play a cycle until it is done, with the fault until it has failed once; return what there is not once."""
    garble(cycle.server, case)
    for step in (cycle.play, cycle.end):
        try:
            step()
        except AnnotationConnectionError as error:
            # The SDK has another path for some requests, which it keeps to itself.
            path = case.asked.split()[1].split("N")[0].replace("/_gql", "/graphql")
            if not error.is_transient or path not in str(error):
                raise
            cycle.server.choose = None
            step()
        if step == cycle.play and (found := cycle.doubled()):
            # What arrived when the task had ended goes with the next run.
            cycle.play()
            found = cycle.doubled()
            if found:
                return found
    return cycle.end()


def cases_of(names: set[str], kinds_each: int) -> list[Case]:
    """Return cases for each request that writes; with few kinds for each, all kinds and all ways are among them."""
    ways = list(product(KINDS, (True, False), (1, 99)))
    if kinds_each == len(KINDS):
        return [Case(name, kind, arrives, times) for name in sorted(names) for kind, arrives, times in ways]
    # 5 has no divisor in common with the number of ways.
    picked = [
        (name, *ways[(number * kinds_each + one) * 5 % len(ways)])
        for number, name in enumerate(sorted(names))
        for one in range(kinds_each)
    ]
    return [Case(*one) for one in picked]


def check(make: Callable[[], Any], at_once: int, kinds_each: int, expected: int) -> None:
    """Garble the answer to each request that writes.

    :param make: makes a cycle of its own
    :param expected: how many kinds of request write
    """
    with make() as cycle:
        cycle.play()
        assert cycle.doubled() == {}
        assert cycle.end() == {}
        names = {name for request in cycle.server.requests if (name := name_of(request))}
    assert len(names) >= expected, names

    def play_case(case: Case) -> dict[str, int] | str:
        with make() as cycle:
            try:
                return play(case, cycle)
            except Exception:  # the others go on
                return traceback.format_exc()

    cases = cases_of(names, kinds_each)
    with ThreadPoolExecutor(at_once) as pool:
        found = dict(zip(cases, pool.map(play_case, cases), strict=True))
    failed = [f"{case}: {outcome}" for case, outcome in found.items() if outcome]
    assert not failed, "\n".join([f"{len(failed)} of {len(cases)}", *failed])


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_WAIT", 0.01)
    monkeypatch.setattr(late_requests, "_WAITS", (0.01, 0.01, 0.01))
    monkeypatch.setattr(late_requests, "_LATE_LOOKS", ())


# Label Studio


class _LabelStudioCycle:
    def __init__(self, server: FaultServer, hook: LabelStudioHook) -> None:
        self.server, self.hook = server, hook
        self.run_key = f"garbled/{uuid4().hex}"
        self._keys = [f"{self.run_key}/{number}" for number in range(4)]

    def play(self) -> None:
        project = self.hook.create_project(title="Garbled writes", run_key=self.run_key, label_schema=SCHEMA)
        web, files = self._keys[:2], self._keys[2:]
        items = [
            MediaItem(media=f"https://media.example/{key}.jpg", item_key=key, width=100, height=100) for key in web
        ]
        photos = sorted(PHOTO.glob("*.jpg"))
        items += [MediaItem(media=str(photo), item_key=key) for photo, key in zip(photos, files, strict=False)]
        assert self.hook.upload_items(project.id, items).failed == 0
        for arguments in ({}, {"on_existing": "replace"}, {"model_version": "m2", "mode": "annotations"}):
            self._label(project.id, arguments)

    def _label(self, project_id: str, arguments: dict[str, Any]) -> None:
        box = {"field": "objects", "label": "car", "bbox": [0.1, 0.2, 0.3, 0.4]}
        submissions = read_submissions(read_rows([{"item_key": key, **box} for key in self._keys]))
        given = {"model_version": "m1", **arguments}
        assert self.hook.upload_predictions(project_id, submissions, **given).failed == 0

    def doubled(self) -> dict[str, int]:
        self.server.choose = None
        projects = list(self.hook.list_runs(self.run_key))
        counts = {"projects": len(projects)}
        params = {"project": projects[0].id, "page_size": 100, "fields": "all"}
        found = self.hook.client.read("GET", "/api/tasks/", dict[str, Any], params=params)["tasks"]
        for key in self._keys:
            tasks_of = [task for task in found if task["data"]["item_key"] == key]
            counts[f"tasks of {key}"] = len(tasks_of)
            for task in tasks_of:
                for version in ("m1", "m2"):
                    made = [one for one in task["predictions"] if one["model_version"] == version]
                    counts[f"predictions of {key} by {version}"] = len(made)
                counts[f"annotations of {key}"] = len(task["annotations"])
        return {what: count for what, count in counts.items() if count != 1}

    def end(self) -> dict[str, int]:
        self.hook.delete_run(self.run_key)
        return {f"project {project.id}": 1 for project in self.hook.list_runs(self.run_key)}


@contextmanager
def label_studio_cycle(label_studio: LabelStudio) -> Iterator[_LabelStudioCycle]:
    with fault_server(label_studio.url) as server:
        fields = {"conn_type": "label_studio", "host": server.url, "password": label_studio.api_key}
        with kept_connection(fields) as conn_id:
            hook = LabelStudioHook(conn_id)
            hook.attempts = 1
            yield _LabelStudioCycle(server, hook)


def test_label_studio(label_studio: LabelStudio) -> None:
    check(lambda: label_studio_cycle(label_studio), 3, 1, expected=9)


@pytest.mark.faults
def test_label_studio_with_every_kind(label_studio: LabelStudio) -> None:
    check(lambda: label_studio_cycle(label_studio), 3, len(KINDS), expected=8)


# Labelbox


class _LabelboxCycle(LabelboxCycle):
    def doubled(self) -> dict[str, int]:
        self.server.choose = None
        return super().doubled()

    def end(self) -> dict[str, int]:
        self.hook.delete_run(self.run_key)
        return {f"project {project.id}": 1 for project in self.hook.list_runs(self.run_key)}


@contextmanager
def labelbox_cycle(labelbox: LabelboxStandIn) -> Iterator[_LabelboxCycle]:
    with fault_server(labelbox.url) as server:
        addresses = {"endpoint": f"{server.url}/graphql", "rest_endpoint": f"{server.url}/api/v1"}
        fields = connection(labelbox, **addresses, app_url=labelbox.app_url)
        with kept_connection(fields) as conn_id:
            hook = LabelboxHook(conn_id)
            hook.attempts = 1
            yield _LabelboxCycle(labelbox, server, hook)


@pytest.fixture
def labelbox() -> Iterator[LabelboxStandIn]:
    with LabelboxStandIn() as labelbox:
        labelbox.control.settings(task_seconds=0)
        yield labelbox


def test_labelbox(labelbox: LabelboxStandIn) -> None:
    check(lambda: labelbox_cycle(labelbox), 8, 3, expected=11)


@pytest.mark.faults
def test_labelbox_with_every_kind(labelbox: LabelboxStandIn) -> None:
    check(lambda: labelbox_cycle(labelbox), 8, len(KINDS), expected=11)
