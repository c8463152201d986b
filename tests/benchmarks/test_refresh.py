"""Landing what has changed in a live project, 1 percent of its items, against landing all of it.

Of its own, with another number of tasks: python tests/benchmarks/test_refresh.py [TASKS]

Requests are told apart: those that read items (exports), and all others, most of which find out what has changed: by
what the server lists as changed, and by a listing of all items, which is due once a day. The server's tasks are some
minutes old, and would all be in the hour before the last landing that is listed again: it is left out here.

The time of the processor, of the task and of the server, says more than seconds do where other jobs run.
"""

# ruff: noqa: T201 - a benchmark prints its table

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import httpx
import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from airflow_annotation.hooks.label_studio import item_changes
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.transfers.annotations_to_object_storage import AnnotationsToObjectStorageOperator
from airflow_annotation.transfers.annotations_to_sql import AnnotationsToSqlOperator
from airflow_annotation.transfers.base import AnnotationsTransfer
from devtools.label_studio import LabelStudio, running_label_studio
from tests.benchmarks.figures import record
from tests.benchmarks.test_export_to_tables import BOXES
from tests.benchmarks.test_landing_end_to_end import fill_project
from tests.support.connections import airflow_connection
from tests.support.task_context import task_context

CHANGED = 0.01
FORMATS = ("coco", "yolo", "pascal_voc", "semantic_masks")


@pytest.mark.benchmark
def test_a_refresh_against_a_full_landing(
    label_studio: LabelStudio, postgres_conn_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(label_studio, {"Postgres": postgres_conn_id}, tmp_path, monkeypatch, tasks=50_000)


@pytest.mark.benchmark
def test_training_formats_landed_again(
    label_studio: LabelStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_formats(label_studio, tmp_path, monkeypatch, tasks=20_000)


def measure_formats(server: LabelStudio, home: Path, monkeypatch: pytest.MonkeyPatch, *, tasks: int) -> None:
    """Land formats to train with, and again when some items have changed; print how long both took."""
    requests = count_requests(monkeypatch)
    client = LabelStudioClient(url=server.url, api_key=server.api_key, timeout=600)
    project = fill_project(client, tasks)
    connection = {"conn_type": "label_studio", "host": server.url, "password": server.api_key}
    with airflow_connection("formats_benchmark", connection) as annotation_conn_id:
        transfers: dict[str, AnnotationsTransfer] = {
            name: AnnotationsToObjectStorageOperator(
                task_id=name,
                target=str(home / name),
                dataset_format=name,
                annotation_conn_id=annotation_conn_id,
                project=project.id,
            )
            for name in FORMATS
        }
        meter = Meter(server, requests)
        full = {name: land(transfer, meter, changed=tasks) for name, transfer in transfers.items()}
        refreshed, listed_all = refresh(client, project.id, transfers, meter, monkeypatch, tasks=tasks)
    client.request("DELETE", f"/api/projects/{project.id}/", timeout=600)
    title = f"{round(tasks * CHANGED):,} of {tasks:,} images with {BOXES} boxes"
    print(f"\n{title:<42}{'all':>10}{'again':>10}{'ratio':>8}{'all listed':>12}{'ratio':>8}")
    for name in FORMATS:
        for unit in ("seconds", "processor"):
            costs = [getattr(those[name], unit) for those in (full, refreshed, listed_all)]
            first, again, daily = costs
            what = f"{name}, {unit}"
            print(f"{what:<42}{first:>8.2f} s{again:>8.2f} s{again / first:>8.3f}{daily:>10.2f} s{daily / first:>8.3f}")
            of = "a refresh of" if unit == "seconds" else "processor time of a refresh of"
            record(f"{of} {name}", {"1 percent": again, "1 percent, all listed": daily, "all": first})


def measure(
    server: LabelStudio, databases: dict[str, str], home: Path, monkeypatch: pytest.MonkeyPatch, *, tasks: int
) -> None:
    """Run the benchmark and print its table."""
    requests = count_requests(monkeypatch)
    client = LabelStudioClient(url=server.url, api_key=server.api_key, timeout=600)
    project = fill_project(client, tasks)
    connection = {"conn_type": "label_studio", "host": server.url, "password": server.api_key}
    with airflow_connection("refresh_benchmark", connection) as annotation_conn_id:
        shared: dict[str, Any] = {"annotation_conn_id": annotation_conn_id, "project": project.id}
        transfers: dict[str, AnnotationsTransfer] = {
            "Parquet": AnnotationsToObjectStorageOperator(task_id="dataset", target=str(home / "dataset"), **shared)
        } | {
            name: AnnotationsToSqlOperator(task_id="sql", sql_conn_id=conn_id, table_prefix="refresh_", **shared)
            for name, conn_id in databases.items()
        }
        meter = Meter(server, requests)
        full = {name: land(transfer, meter, changed=tasks) for name, transfer in transfers.items()}
        refreshed, listed_all = refresh(client, project.id, transfers, meter, monkeypatch, tasks=tasks)
    client.request("DELETE", f"/api/projects/{project.id}/", timeout=600)
    title = f"{round(tasks * CHANGED):,} of {tasks:,} items with {BOXES} boxes"
    print(f"\n{title:<38}{'seconds':>10}{'ratio':>8}{'reads of items':>16}{'ratio':>8}{'other requests':>16}")
    for name in transfers:
        first = full[name]
        for what, cost in (
            ("all of it", first),
            ("what has changed", refreshed[name]),
            ("by a listing of all", listed_all[name]),
        ):
            ratios = cost.seconds / first.seconds, cost.reads / first.reads
            counts = f"{cost.reads:>16}{ratios[1]:>8.3f}{cost.others:>16}"
            print(f"{f'{name}, {what}':<38}{cost.seconds:>10.2f}{ratios[0]:>8.3f}{counts}")
        found = {"1 percent": refreshed[name], "1 percent, all listed": listed_all[name], "all": first}
        record(f"a refresh of {name}", {what: cost.seconds for what, cost in found.items()})
        asked = {what: cost.reads + cost.others for what, cost in found.items()}
        record(f"requests of a refresh of {name}", asked, "requests")


class Cost(NamedTuple):
    """What a landing took.

    :param seconds: by the clock
    :param processor: seconds of the processor that task and server used
    :param reads: requests that read items
    :param others: other requests
    """

    seconds: float
    processor: float
    reads: int
    others: int


class Meter:
    """Measures what happens from its last start on.

    :param server: whose processor counts, too
    :param requests: those that went out
    """

    def __init__(self, server: LabelStudio, requests: Counter[str]) -> None:
        self._server = psutil.Process(server.pid)
        self._requests = requests
        self.start()

    def start(self) -> None:
        """Measure from now on."""
        self._requests.clear()
        self._processor = self._used()
        self._started = time.perf_counter()

    def stop(self) -> Cost:
        """Return what was used since the start."""
        seconds = time.perf_counter() - self._started
        return Cost(seconds, self._used() - self._processor, self._requests["reads"], self._requests["others"])

    def _used(self) -> float:
        servers = [self._server, *self._server.children(recursive=True)]
        return time.process_time() + sum(sum(server.cpu_times()[:2]) for server in servers)


def refresh(
    client: LabelStudioClient,
    project_id: str,
    transfers: Mapping[str, AnnotationsTransfer],
    meter: Meter,
    monkeypatch: pytest.MonkeyPatch,
    *,
    tasks: int,
) -> tuple[dict[str, Cost], dict[str, Cost]]:
    """Land changes twice, found by what the server lists as changed, and by a listing of all items."""
    monkeypatch.setattr(item_changes, "MARGIN", timedelta())
    costs = []
    for number, full_listing_every in enumerate((None, timedelta())):
        changed = change(client, project_id, round(tasks * CHANGED), first=number)
        for transfer in transfers.values():
            transfer.full_listing_every = full_listing_every
        costs.append({name: land(transfer, meter, changed=changed) for name, transfer in transfers.items()})
    return costs[0], costs[1]


def count_requests(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the requests that go out from now on, as ``reads`` of items and ``others``."""
    counts: Counter[str] = Counter()
    send = httpx.Client.send

    def counted(client: httpx.Client, request: httpx.Request, **arguments: Any) -> httpx.Response:
        counts["reads" if request.url.path.endswith("/export") else "others"] += 1
        return send(client, request, **arguments)

    monkeypatch.setattr(httpx.Client, "send", counted)
    return counts


def land(transfer: AnnotationsTransfer, meter: Meter, *, changed: int) -> Cost:
    """Land, and return what it took."""
    meter.start()
    landed = transfer.execute(task_context())
    cost = meter.stop()
    assert landed["changed_items"] == changed, landed
    return cost


def change(client: LabelStudioClient, project_id: str, count: int, *, first: int) -> int:
    """Submit an annotation to some tasks all over the project, from its first ones on, and return to how many."""
    export = client.request(
        "GET", "/api/tasks/", params={"project": project_id, "page_size": "1", "fields": "task_only", "include": "id"}
    ).json()
    total, first_id = export["total"], export["tasks"][0]["id"]
    for number in range(count):
        task_id = first_id + first + number * total // count
        body = {"result": [], "lead_time": 1.0}
        client.request("POST", f"/api/tasks/{task_id}/annotations/", json=body)
    return count


if __name__ == "__main__":
    with (
        TemporaryDirectory() as folder,
        running_label_studio(Path(folder)) as live,
        pytest.MonkeyPatch.context() as patch,
    ):
        tasks = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
        measure(live, {}, Path(folder), patch, tasks=tasks)
        measure_formats(live, Path(folder), patch, tasks=tasks)
