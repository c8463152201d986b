"""What waits cost: the server's requests, and the triggerer's processor and memory, for 1, 100 and 1,000 of them.

Of its own: python tests/benchmarks/test_waits.py

Half of the waits are deferred sensors, half are watchers of assets, each for a project of its own that nobody labels.
As many as there are wait in the event loop of one process, as they do in a triggerer, and look every minute. A proxy in
front of the server counts the requests; those of the first minute, in which everything is looked up, are a column of
their own. How long the loop was kept from its other work at most is there as well: a triggerer complains from 200 ms.
"""

# ruff: noqa: T201 - a benchmark prints its table

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.hooks.run_marker import run_description, run_title
from airflow_annotation.labels.label_studio.config import label_config_from_schema
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.triggers.annotation import AnnotationTrigger
from airflow_annotation.triggers.events import AnnotationEventTrigger
from airflow_annotation.triggers.progress import CompletionRule
from devtools.label_studio import LabelStudio, running_label_studio
from tests.benchmarks.figures import record
from tests.servers.faults import FaultServer, fault_server

WAITS = (1, 100, 1000)
INTERVAL = 60.0
MINUTES = 2
CONN_ID = "label_studio_waits"
SCHEMA = LabelSchema.for_field("weather", "classification", ["sun", "rain"])


@pytest.mark.benchmark
def test_what_a_thousand_waits_cost(tmp_path: Path) -> None:
    with running_label_studio(tmp_path) as server:  # of its own, since its projects go with it
        measure(server)


def measure(server: LabelStudio) -> None:
    """Run the benchmark and print its table."""
    client = LabelStudioClient(url=server.url, api_key=server.api_key)
    results = side_by_side(server, [make_project(client) for _ in range(max(WAITS))])
    columns = f"{'first minute':>14}{'a minute':>10}{'processor':>11}{'memory':>10}{'loop held':>11}"
    print(f"\n{'waits on one server':<22}{columns}")
    for waits, (first, later, used) in results.items():
        print(
            f"{waits:<22,}{first:>14}{later / MINUTES:>10.1f}{used['processor']:>11.2%}"
            f"{used['memory']:>7.0f} MB{used['held'] * 1000:>8.0f} ms"
        )
    (_, _, few), (_, requests, many) = results[100], results[1000]
    record("requests of 1,000 waits", {"1,000 waits": requests, "100 waits": results[100][1]}, "requests")
    for name, unit in (("processor", "of a core"), ("memory", "MB")):
        record(f"{name} of 1,000 waits", {"1,000 waits": many[name], "100 waits": few[name]}, unit)


def make_project(client: LabelStudioClient) -> tuple[str, str]:
    """Make a project of one item, without looking for it among the others first, and return its id and run."""
    run_key = f"waits/{uuid4()}"
    body = {
        "title": run_title("Waits", run_key, longest=50),
        "description": run_description("", run_key),
        "label_config": label_config_from_schema(SCHEMA),
    }
    project_id = client.request("POST", "/api/projects/", json=body).json()["id"]
    client.request("POST", f"/api/projects/{project_id}/import", json=[{"image": "https://example.com/1.jpg"}])
    return str(project_id), run_key


def side_by_side(server: LabelStudio, made: list[tuple[str, str]]) -> dict[int, tuple[int, int, dict[str, float]]]:
    """Let processes wait at the same time, and return the requests of the first and of the other minutes, and usage."""
    with ExitStack() as stack:
        proxies: dict[int, FaultServer] = {}
        processes: dict[int, subprocess.Popen[str]] = {}
        for waits in WAITS:
            proxies[waits] = stack.enter_context(fault_server(server.url))
            connection = {"conn_type": "label_studio", "host": proxies[waits].url, "password": server.api_key}
            processes[waits] = subprocess.Popen(
                [sys.executable, __file__, json.dumps(made[:waits])],
                env=os.environ | {f"AIRFLOW_CONN_{CONN_ID.upper()}": json.dumps(connection)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        started = {waits: read_line(process) for waits, process in processes.items()}
        first = {waits: len(proxies[waits].requests) for waits in started}
        used = {waits: read_line(process) for waits, process in processes.items()}
        later = {waits: len(proxies[waits].requests) - first[waits] for waits in used}
        for process in processes.values():
            process.communicate("\n")
            assert process.returncode == 0
    return {waits: (first[waits], later[waits], used[waits]) for waits in WAITS}


def read_line(process: subprocess.Popen[str]) -> dict[str, float]:
    """Return the next line of JSON that a process writes, between what Airflow logs."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{"):
            values: dict[str, float] = json.loads(line)
            return values
    raise AssertionError("A process of the benchmark ended too soon.")


async def wait_for(made: list[tuple[str, str]]) -> None:
    """Wait for projects, and write what that takes: a line after the first minute, and one after the others."""
    before = memory()
    rule = msgspec.to_builtins(CompletionRule())
    waits: list[AnnotationTrigger | AnnotationEventTrigger] = [
        AnnotationTrigger(
            annotation_conn_id=CONN_ID,
            project_id=project_id,
            run_keys=[run_key],
            rule=rule,
            deadline=time.time() + 24 * 3600,
            poke_interval=INTERVAL,
        )
        if number % 2
        else AnnotationEventTrigger(annotation_conn_id=CONN_ID, run_key=run_key, poke_interval=INTERVAL)
        for number, (project_id, run_key) in enumerate(made)
    ]
    tasks = [asyncio.ensure_future(anext(wait.run())) for wait in waits]
    await asyncio.sleep(INTERVAL)
    print(json.dumps({}), flush=True)
    began, processor = time.perf_counter(), time.process_time()
    held = await longest_hold(MINUTES * 60)
    usage = (time.process_time() - processor) / (time.perf_counter() - began)
    gc.collect()
    print(json.dumps({"processor": usage, "memory": memory() - before, "held": held}), flush=True)
    assert not [task for task in tasks if task.done()]
    await asyncio.to_thread(sys.stdin.readline)
    for task in tasks:
        task.cancel()


async def longest_hold(seconds: float) -> float:
    """Return how much later than it asked for a coroutine went on, at worst."""
    ends = time.perf_counter() + seconds
    held = 0.0
    while (now := time.perf_counter()) < ends:
        await asyncio.sleep(0.1)
        held = max(held, time.perf_counter() - now - 0.1)
    return held


def memory() -> float:
    """Return how many MB this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def main(made: Any = None) -> None:
    """Wait for these projects, or run the benchmark with a server of its own."""
    if made:
        asyncio.run(wait_for(json.loads(made)))
        return
    with TemporaryDirectory() as folder, running_label_studio(Path(folder)) as server:
        measure(server)


if __name__ == "__main__":
    main(*sys.argv[1:])
