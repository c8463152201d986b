"""What the page's list of runs costs, for 10 and 300 runs on one server: requests and time.

Beside it: the bare requests that list the same projects in the tool, which no page can do without.
"""

# ruff: noqa: T201 - a benchmark prints its table

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.hooks.label_studio.hook import LabelStudioHook
from airflow_annotation.plugins.page.runs import read_runs
from devtools.label_studio import running_label_studio
from tests.benchmarks.figures import record
from tests.benchmarks.test_waits import make_project
from tests.servers.faults import fault_server
from tests.support.connections import airflow_connection

RUNS = (10, 300)


@pytest.mark.benchmark
def test_the_page_lists_hundreds_of_runs(tmp_path: Path) -> None:
    print(f"\n{'runs of Label Studio':<22}{'requests':>10}{'the page':>12}{'bare list':>12}{'times':>8}")
    with running_label_studio(tmp_path) as server, fault_server(server.url) as proxy:
        client = LabelStudioClient(url=server.url, api_key=server.api_key)
        connection: dict[str, Any] = {"conn_type": "label_studio", "host": proxy.url, "password": server.api_key}
        with airflow_connection(f"page_{uuid4().hex}", connection) as conn_id:
            made = 0
            for runs in RUNS:
                for _ in range(runs - made):
                    make_project(client)
                made = runs
                before = len(proxy.requests)
                started = time.perf_counter()
                found = asyncio.run(read_runs(LabelStudioHook(conn_id)))
                ours = time.perf_counter() - started
                assert len(found) == runs
                assert {run.total for run in found} == {1}
                started = time.perf_counter()
                for page in range(1, -(-runs // 100) + 1):
                    client.request("GET", "/api/projects/", params={"page": page, "page_size": 100})
                bare = time.perf_counter() - started
                requests = len(proxy.requests) - before
                print(f"{runs:<22}{requests:>10}{ours:>10.2f} s{bare:>10.2f} s{ours / bare:>7.1f}x")
                record(f"the page's list of {runs} runs", {"the page": ours, "bare list": bare})
