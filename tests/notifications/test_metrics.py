"""Airflow's metrics, as they come to a StatsD server."""

from __future__ import annotations

import asyncio
import re
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from airflow.providers.common.compat.sdk import Stats

from airflow_annotation.exceptions import AnnotationProjectNotFoundError
from airflow_annotation.hooks.annotation import AnnotationHook
from airflow_annotation.hooks.label_studio import LabelStudioHook
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.sensors.annotation import AnnotationSensor
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.triggers.annotation import AnnotationTrigger
from devtools.processes import REPOSITORY
from tests.support.connections import airflow_connection
from tests.support.scripted_tool import ScriptedTool, progress
from tests.support.task_context import task_context

MODULES = {
    "task": "airflow.sdk.observability",
    "triggerer": "airflow.observability",
}
DOCUMENTED = REPOSITORY / "docs" / "reference" / "metrics.md"


class Metric(NamedTuple):
    name: str
    tags: dict[str, str]
    value: float
    kind: str


class StatsD:
    """A StatsD server, which listens on a port of its own."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(0.05)
        self.metrics: list[Metric] = []

    def named(self, name: str) -> list[Metric]:
        """Return the metrics of a name that have come until now: what was sent on this host is there at once."""
        try:
            while True:
                self.metrics += map(read_metric, self.socket.recv(65536).decode().splitlines())
        except TimeoutError:
            return [metric for metric in self.metrics if metric.name == name]

    def own_names(self) -> set[str]:
        """Return the names of this provider's, without Airflow's prefix."""
        names = {one.name.removeprefix("airflow.") for one in self.metrics}
        return {name for name in names if name.startswith("annotation.")}


def read_metric(line: str) -> Metric:
    found = re.fullmatch(r"([^,:]+)((?:,[^,=:]+=[^,=:]+)*):([-+.0-9e]+)\|(\w+)", line)
    assert found, line
    tags = dict(pair.split("=") for pair in found[2].split(",")[1:])
    return Metric(found[1], tags, float(found[3]), found[4])


@pytest.fixture
def statsd(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[StatsD]:
    """A StatsD server to which the metrics of a task or of the triggerer go, as Airflow sets them up there."""
    server = StatsD()
    options = {
        "ON": "True",
        "HOST": "127.0.0.1",
        "PORT": str(server.socket.getsockname()[1]),
        "INFLUXDB_ENABLED": "True",
    }
    for name, value in options.items():
        monkeypatch.setenv(f"AIRFLOW__METRICS__STATSD_{name}", value)
    try:
        stats = import_module(f"{MODULES[request.param]}.stats")
        factory = import_module(f"{MODULES[request.param]}.metrics.stats_utils").get_stats_factory()
    except ImportError:  # Airflow 3.1 has one set of metrics, which sets itself up
        factory = import_module("airflow.metrics.statsd_logger").get_statsd_logger
        monkeypatch.setattr(type(Stats), "factory", factory, raising=False)
        monkeypatch.setattr(Stats, "instance", None)
        yield server
    else:
        for module in MODULES.values():  # some import may have set up one of them, when metrics were off
            import_module(f"{module}.stats").initialize(factory=None, export_legacy_names=True)
        stats.initialize(factory=factory, export_legacy_names=False)
        yield server
        stats.initialize(factory=None, export_legacy_names=True)
    server.socket.close()


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ScriptedTool]:
    def script(*answers: Any) -> ScriptedTool:
        scripted = ScriptedTool(*answers)
        monkeypatch.setattr(AnnotationHook, "for_connection", lambda _: scripted)
        return scripted

    return script


@pytest.mark.parametrize("statsd", ["task"], indirect=True)
def test_a_task_tells_requests_progress_and_how_long_a_landing_took(
    statsd: StatsD, label_studio_conn_id: str, tmp_path: Path
) -> None:
    hook = LabelStudioHook(label_studio_conn_id)
    run_key = f"metrics/{uuid.uuid4()}"
    schema = LabelSchema.for_field("weather", "classification", ["sun", "rain"])
    project = hook.create_project(title="Weather", run_key=run_key, label_schema=schema)
    hook.client.request("POST", f"/api/projects/{project.id}/import", json=[{"image": "https://example.com/1.jpg"}])
    with pytest.raises(AnnotationProjectNotFoundError):
        hook.get_project("99999999")
    arguments: dict[str, Any] = {"annotation_conn_id": label_studio_conn_id, "run_key": run_key}
    waiting = AnnotationSensor(
        task_id="wait", timeout=0.1, poke_interval=0.1, on_timeout="proceed", deferrable=False, **arguments
    )
    waiting.execute(task_context())
    AnnotationsToObjectStorageOperator(task_id="land", target=str(tmp_path), **arguments).execute(task_context())
    hook.delete_project(project.id)

    of_connection = {"conn_id": label_studio_conn_id, "tool": "label_studio"}
    of_run = {"conn_id": label_studio_conn_id, "run_key": run_key.replace("/", "_"), "project_id": project.id}
    requests = statsd.named("airflow.annotation.requests")
    assert len(requests) > 10
    assert all((one.tags, one.value, one.kind) == (of_connection, 1, "c") for one in requests)
    (refused,) = statsd.named("airflow.annotation.requests_refused")
    assert refused.tags == {**of_connection, "status": "404"}
    for name, value in (("items", 1), ("completed", 0)):
        assert {(one.value, one.kind) for one in statsd.named(f"airflow.annotation.{name}")} == {(value, "g")}
        assert all(one.tags == of_run for one in statsd.named(f"airflow.annotation.{name}"))
    (landing,) = statsd.named("airflow.annotation.landing_duration")
    assert landing.tags == {**of_run, "operator": "AnnotationsToObjectStorageOperator"}
    assert landing.kind == "ms"
    assert landing.value > 1
    assert statsd.own_names() <= documented()


@pytest.mark.parametrize("statsd", ["triggerer"], indirect=True)
def test_the_triggerer_tells_waits_progress_and_the_rate(statsd: StatsD, tool: Callable[..., ScriptedTool]) -> None:
    tool(progress(2), progress(4), progress(10))

    async def wait() -> None:
        trigger = AnnotationTrigger(
            annotation_conn_id="tool",
            project_id="12",
            run_keys=[],
            run_key="street/scheduled__2026-11-29T00:00:00+00:00",
            rule={},
            deadline=time.time() + 60,
            poke_interval=0.01,
        )
        assert (await anext(trigger.run())).payload["status"] == "completed"

    asyncio.run(wait())
    waits = statsd.named("airflow.annotation.waits")
    assert [(one.value, one.kind) for one in waits] == [(1, "g"), (0, "g")]
    assert all(one.tags["conn_id"] == "tool" and one.tags["hostname"] for one in waits)
    run = "street_scheduled__2026-11-29T00_00_00_00_00"
    assert [one.value for one in statsd.named("airflow.annotation.completed")] == [2, 4, 10]
    assert {tuple(one.tags.items()) for one in statsd.named("airflow.annotation.items")} == {
        (("conn_id", "tool"), ("project_id", "12"), ("run_key", run))
    }
    assert all(one.value > 0 for one in statsd.named("airflow.annotation.rate"))
    assert len(statsd.named("airflow.annotation.rate")) == 2
    assert statsd.own_names() <= documented()


@pytest.mark.parametrize("statsd", ["task"], indirect=True)
def test_a_server_that_does_not_answer_refuses_a_request(statsd: StatsD) -> None:
    gone = {"conn_type": "label_studio", "host": "http://127.0.0.1:9", "password": "key"}
    with airflow_connection("gone", gone) as conn_id:
        hook = LabelStudioHook(conn_id)
        hook.attempts = 0
        assert not hook.test_connection()[0]
    refused = statsd.named("airflow.annotation.requests_refused")
    assert len(refused) == len(statsd.named("airflow.annotation.requests")) > 0
    assert all(one.tags == {"conn_id": "gone", "tool": "label_studio", "status": "no_answer"} for one in refused)


def documented() -> set[str]:
    return set(re.findall(r"^\| `(annotation\.\w+)` \|", DOCUMENTED.read_text(), re.MULTILINE))
