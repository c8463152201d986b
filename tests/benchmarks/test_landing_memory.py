"""Peak memory of reading projects of 10,000 and of 100,000 tasks, from a recorded export that is served in pieces.

Each project is read by a process of its own, which is what is measured; the replay server is another. The peaks are to
be the same, to within 20 percent.
"""

# ruff: noqa: T201 - a benchmark prints its table

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.hooks.label_studio.export import read_tables
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from tests.benchmarks.figures import record
from tests.benchmarks.memory import peak_megabytes
from tests.benchmarks.test_export_to_tables import CONFIG, task

RECORDED = 1000


class Replay(ThreadingHTTPServer):
    """Serves a project whose tasks are a recorded export, over and over, each with an id of its own.

    :param tasks: how many there are
    """

    daemon_threads = True

    def __init__(self, tasks: int) -> None:
        super().__init__(("127.0.0.1", 0), ReplayHandler)
        self.tasks = tasks
        self.recorded = [json.dumps(task(number)).encode() for number in range(RECORDED)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def listing(self, query: dict[str, list[str]]) -> bytes:
        """Answer where the ids begin and end, and that no item waits for more submissions."""
        asked = json.loads(query["query"][0])
        if asked["filters"]["items"]:
            return b'{"tasks":[],"total":0}'
        id_ = self.tasks if asked["ordering"] == ["-tasks:id"] else 1
        return json.dumps({"tasks": [{"id": id_}], "total": self.tasks}).encode()

    def export(self, query: dict[str, list[str]]) -> bytes:
        """Answer the export of the items that are asked for."""
        recorded = ((number, self.recorded[int(number) % RECORDED]) for number in query["ids[]"])
        return (
            b"["
            + b",".join(b'{"id":%s,%s' % (number.encode(), body[body.index(b'"ann') :]) for number, body in recorded)
            + b"]"
        )


class ReplayHandler(BaseHTTPRequestHandler):
    server: Replay
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path.startswith("/api/users/"):
            answer = b'{"email":"annotator@example.com"}'
        else:
            answer = (self.server.export if url.path.endswith("export") else self.server.listing)(parse_qs(url.query))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Be quiet."""


@contextmanager
def replayed(tasks: int) -> Iterator[str]:
    """Serve a project while the block runs, and give the server's URL."""
    server = Replay(tasks)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.url
    finally:
        server.shutdown()
        server.server_close()


def read_project(url: str) -> None:
    """Read the whole project; print the number of its labels and the process's peak memory in megabytes."""
    client = LabelStudioClient(url=url, api_key="replayed")
    project = AnnotationProject(id="1", title="", url=url, uri="label-studio://replay/projects/1", tool="label_studio")
    labels = sum(len(tables.labels) for tables in read_tables(client, project, LabelingConfig(CONFIG)))
    print(labels, peak_megabytes())


def peak_of_reading(tasks: int) -> float:
    """Return the peak memory of a process that reads a project of so many tasks."""
    with replayed(tasks) as url:
        done = subprocess.run([sys.executable, __file__, url], capture_output=True, text=True, check=True)
    labels, peak = done.stdout.split()[-2:]
    assert int(labels) == tasks * 10
    return float(peak)


@pytest.mark.benchmark
def test_memory_does_not_grow_with_the_project() -> None:
    peaks = {tasks: peak_of_reading(tasks) for tasks in (10_000, 100_000)}
    print(f"\n{'tasks':>10}{'peak memory':>16}{'ratio':>8}")
    for tasks, peak in peaks.items():
        print(f"{tasks:>10,}{peak:>13.0f} MB{peak / peaks[10_000]:>8.2f}")
    record("memory of reading a project", {"100,000 tasks": peaks[100_000], "10,000 tasks": peaks[10_000]}, "MB")
    assert peaks[100_000] / peaks[10_000] < 1.2


if __name__ == "__main__":
    if len(sys.argv) > 1:
        read_project(sys.argv[1])
    else:
        test_memory_does_not_grow_with_the_project()
