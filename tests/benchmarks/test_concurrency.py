"""Reading a project with several connections against reading it with one.

From servers that take a while for each answer, one that is simulated and Labelbox's stand-in, and from a real Label
Studio with several processes on one Postgres, which ``apt-get install postgresql`` brings.
Of its own, with other sizes: python tests/benchmarks/test_concurrency.py [TASKS [ROUNDS]]
"""

# ruff: noqa: T201 - a benchmark prints its table

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs, urlsplit

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.label_studio import export
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.hooks.label_studio.export import read_tables
from airflow_annotation.hooks.labelbox import LabelboxHook
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from devtools.label_studio import API_KEY
from tests.benchmarks.figures import record
from tests.benchmarks.label_studio_workers import label_studio_on_postgres
from tests.benchmarks.test_export_to_tables import CONFIG
from tests.benchmarks.test_landing_end_to_end import fill_project
from tests.benchmarks.test_mask_files import fill as fill_labelbox
from tests.servers.labelbox.process import LabelboxProcess
from tests.support.connections import airflow_connection

DELAY = 0.5
"""Seconds that the simulated server takes for each answer."""

LABELBOX_DELAY = 0.2
MASKS = 200


@contextmanager
def slow_server(tasks: int) -> Iterator[str]:
    """Run a server of one project without labels, which takes :data:`DELAY` for each answer, whatever else it does."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            time.sleep(DELAY)
            parts = urlsplit(self.path)
            if parts.path == "/api/tasks/":
                found = tasks if "is_labeled" not in parts.query else 0
                id_ = tasks if "-tasks" in parts.query else 1
                answer: object = {"tasks": [{"id": id_}] if found else [], "total": found}
            else:
                ids = map(int, parse_qs(parts.query)["ids[]"])
                answer = [{"id": id_, "data": {"image": f"{id_}.jpg"}, "annotations": []} for id_ in ids]
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def seconds(url: str, project: AnnotationProject, tasks: int, concurrency: int) -> float:
    """Return how long reading a project takes."""
    client = LabelStudioClient(url=url, api_key=API_KEY, timeout=600, concurrency=concurrency)
    started = time.perf_counter()
    assert sum(len(tables.items) for tables in read_tables(client, project, LabelingConfig(CONFIG))) == tasks
    return time.perf_counter() - started


def measure(tasks: int, rounds: int, widths: tuple[int, ...] = (1, 2, 4)) -> None:
    """Run the benchmark on a server with two processes, and print its table. The fastest run of each width counts."""
    with (
        TemporaryDirectory() as home,
        label_studio_on_postgres(Path(home)) as workers,
        workers.running(processes=2) as url,
    ):
        project = fill_project(LabelStudioClient(url=url, api_key=API_KEY, timeout=600), tasks)
        taken = {width: min(seconds(url, project, tasks, width) for _ in range(rounds)) for width in widths}
    show(f"Label Studio with 2 processes on Postgres, {tasks:,} tasks", taken)


def show(name: str, taken: dict[int, float]) -> None:
    """Print how long it took with each number of connections."""
    print(f"\n{name}")
    for width, time_ in taken.items():
        print(f"{width:>3} at once{time_:>10.2f} s{taken[1] / time_:>8.2f} times as fast")
    record(name, {"4 at once": taken[4], "1 at once": taken[1]})


@pytest.mark.benchmark
def test_four_connections_to_a_server_that_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_PIECE_ITEMS", 50)  # so that it is the waits that are measured
    tasks = 6_000
    project = AnnotationProject(id="1", title="", url="", uri="label-studio://slow/projects/1", tool="label_studio")
    with slow_server(tasks) as url:
        taken = {width: seconds(url, project, tasks, width) for width in (1, 2, 4, 8)}
    show(f"{DELAY} s for each answer, 120 pieces", taken)
    assert taken[1] / taken[4] > 3


@pytest.mark.benchmark
def test_two_processes_of_label_studio() -> None:
    measure(tasks=5000, rounds=3)


@pytest.mark.benchmark
def test_a_labelbox_that_takes_its_time(labelbox_process: LabelboxProcess) -> None:
    with airflow_connection("labelbox_delay", labelbox_process.connection) as conn_id:
        project = fill_labelbox(LabelboxHook(conn_id), labelbox_process, MASKS)
        labelbox_process.control.settings(export_chunk_bytes=20_000)
        for kind in ("graphql", "download", "mask"):
            labelbox_process.control.fail(kind, times=1_000_000, delay=LABELBOX_DELAY)
        taken = {}
        for width in (1, 4, 16):
            hook = LabelboxHook(conn_id)
            hook.client.concurrency = width
            found = hook.get_project(project)
            started = time.perf_counter()
            assert sum(tables.labels.num_rows for tables in hook.read_tables(found)) == MASKS
            taken[width] = time.perf_counter() - started
    show(f"Labelbox's stand-in, {LABELBOX_DELAY} s for each answer, {MASKS} masks", taken)
    assert taken[1] / taken[4] > 2.5


def main(tasks: int = 5000, rounds: int = 3) -> None:
    """Run the benchmark of the real server."""
    measure(tasks, rounds)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
