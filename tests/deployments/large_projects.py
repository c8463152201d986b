"""A Label Studio of projects of any size: project 500000 has 500,000 tasks, each made from its id when it is asked for.

It answers what landings ask of release 1.23, at next to no cost, so that it is the landing that is measured. As a
process of its own: python tests/deployments/large_projects.py PORT
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec

sys.path.insert(0, str(Path(__file__).parents[2]))

from devtools.processes import answers, free_port, spawn, stop_groups, wait_until
from tests.benchmarks.test_export_to_tables import CONFIG, task

BOXES = 20
"""Of each task: it has two submissions of ten."""

_MADE = 1000
"""Tasks that are really made; the others are these again, with ids of their own."""

_IMPORTED = "2026-11-22T17:07:08.679996Z"
_NEVER = frozenset({"updated_at", "draft_exists", "cancelled_annotations"})
"""What no task fulfils a condition of: nobody has changed, drafted or skipped one since they were imported."""


class LargeProjects(ThreadingHTTPServer):
    """The server."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.lock = Lock()
        self.requests: Counter[str] = Counter()
        self.bytes = 0
        self.made = [_pieces(number) for number in range(1, _MADE + 1)]

    def answer(self, path: str, query: dict[str, list[str]]) -> bytes:
        """Answer a request."""
        parts = path.strip("/").split("/")
        if path == "/api/tasks/":
            return self._list(int(query["project"][0]), json.loads(query["query"][0]), int(query["page_size"][0]))
        if path == "/api/projects/counts/":
            return msgspec.json.encode({"results": [_counts(int(id_)) for id_ in query["ids"][0].split(",")]})
        if parts[1] == "users":
            return b'{"id":%s,"email":"annotator-%s@example.com"}' % ((parts[2].encode(),) * 2)
        assert parts[1] == "projects", path
        if parts[-1] == "export":
            tasks = int(parts[2])
            return b"[" + b",".join(self.task(id_) for id_ in map(int, query["ids[]"]) if 0 < id_ <= tasks) + b"]"
        if parts[-1] == "model-versions":
            return b'{"static":[],"live":null}'
        project = {"id": int(parts[2]), "title": "Large", "description": "", "created_at": _IMPORTED}
        return msgspec.json.encode(project | {"label_config": CONFIG})

    def task(self, id_: int) -> bytes:
        """Make a task as the export has it."""
        task, first, second, image, end = self.made[id_ % _MADE]
        return b"".join(
            (task, b"%d" % id_, first, b"%d" % (2 * id_), second, b"%d" % (2 * id_ + 1), image, b"%d" % id_, end)
        )

    def _list(self, tasks: int, query: dict[str, Any], page_size: int) -> bytes:
        low, high = 1, tasks
        for one in query["filters"]["items"]:
            name, value = one["filter"].rpartition(":")[2], one["value"]
            if name == "id" and one["operator"] == "in":
                low, high = max(low, value["min"]), min(high, value["max"])
            elif name == "id":
                low = max(low, value + 1)
            elif name in _NEVER or (name == "is_labeled" and not value):
                high = 0
        total = max(high - low + 1, 0)
        ids = [high] if query["ordering"][0].startswith("-") else range(low, min(high, low + page_size - 1) + 1)
        state = b'{"id":%d,"updated_at":"' + _IMPORTED.encode() + b'","is_labeled":true,"total_annotations":2}'
        return b'{"total":%d,"tasks":[' % total + b",".join(state % id_ for id_ in ids if total) + b"]}"


class _Handler(BaseHTTPRequestHandler):
    server: LargeProjects
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        server = self.server
        if url.path == "/cost":
            body = msgspec.json.encode(
                {"requests": server.requests, "bytes": server.bytes, "seconds": time.process_time()}
            )
        else:
            body = server.answer(url.path, parse_qs(url.query))
            kind = {"export": "reads", "tasks": "lists"}.get(url.path.strip("/").rpartition("/")[2], "others")
            with server.lock:
                server.requests[kind] += 1
                server.bytes += len(body)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Be quiet."""


class Cost(msgspec.Struct, frozen=True):
    """What the server has been asked for since it was started.

    :param requests: by what they do: ``reads`` of labels, ``lists`` of tasks, ``others``
    :param bytes: of the answers
    :param seconds: of the processor
    """

    requests: dict[str, int]
    bytes: int
    seconds: float

    def since(self, before: Cost) -> Cost:
        """Return what was asked for since another time."""
        requests = {name: count - before.requests.get(name, 0) for name, count in self.requests.items()}
        return Cost(requests, self.bytes - before.bytes, self.seconds - before.seconds)


@contextmanager
def large_projects(home: Path) -> Iterator[str]:
    """Run the server while the block runs, and give its URL.

    :param home: a folder for its log
    :raises ServerError: it did not start; the message ends with its log
    """
    port, log = free_port(), home / "large-projects.log"
    process = spawn([sys.executable, __file__, str(port)], env=os.environ, log=log)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(f"{url}/cost"), processes={log: process}, what="The server", timeout=300)
        yield url
    finally:
        stop_groups(process.pid)


def read_cost(url: str) -> Cost:
    """Ask the server what it has been asked for."""
    return msgspec.json.decode(httpx.get(f"{url}/cost", timeout=120).content, type=Cost)


def _counts(tasks: int) -> dict[str, int]:
    finished = {"finished_task_number": tasks, "total_annotations_number": 2 * tasks}
    return {
        "id": tasks,
        "task_number": tasks,
        "skipped_annotations_number": 0,
        "total_predictions_number": 0,
    } | finished


def _pieces(number: int) -> tuple[bytes, ...]:
    """Return a task, in pieces between which its ids belong: its own, those of its submissions, that of its image."""
    made: Any = task(number, submissions=BOXES // 10)
    made["id"] = "@"
    made["data"] = {"image": "/data/@.jpg", "width": 640, "height": 480}
    for submission in made["annotations"]:
        submission["id"] = "@"
        submission["task"] = 0
    body = msgspec.json.encode({"id": made.pop("id"), "annotations": made.pop("annotations"), **made})
    return tuple(body.replace(b'"@"', b"@").split(b"@"))


if __name__ == "__main__":
    LargeProjects(int(sys.argv[1])).serve_forever()
