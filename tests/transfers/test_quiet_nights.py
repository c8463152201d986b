"""What a night in which nothing happened costs in a project of a million items, on a simulated Label Studio."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pyarrow as pa
import pytest

from airflow_annotation.labels.tables import ITEM_STATES
from tests.support.connections import airflow_connection
from tests.support.shelf import Shelf
from tests.support.task_context import task_context

ITEMS = 1_000_000
SKIPPED, PARTIAL, LABELED = 10_000, 100_000, 600_000
IMPORTED = datetime(2026, 11, 1, tzinfo=timezone.utc)
CONFIG = '<View><Image name="image" value="$image"/></View>'


class SimulatedLabelStudio(BaseHTTPRequestHandler):
    """A project in which nobody works, as Label Studio 1.23 answers for it: all of it was imported in one hour."""

    requests: ClassVar[list[str]] = []
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.requests.append(self.path)
        url = urlsplit(self.path)
        body = json.dumps(self.answer(url.path, {name: value for name, (value,) in parse_qs(url.query).items()}))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def answer(self, path: str, asked: Mapping[str, str]) -> Any:  # noqa: PLR0911 - one for each question
        if path == "/api/projects/1/":
            return {"id": 1, "title": "Large", "description": "", "label_config": CONFIG}
        if path == "/api/projects/counts/":
            counts = {"finished_task_number": LABELED, "total_annotations_number": LABELED + PARTIAL}
            others = {"task_number": ITEMS, "skipped_annotations_number": SKIPPED, "total_predictions_number": 0}
            return {"results": [{"id": 1, **counts, **others}]}
        if path == "/api/projects/1/model-versions/":
            return {"static": [], "live": None}
        assert path == "/api/tasks/", path
        query = json.loads(asked["query"])
        filters = {one["filter"].rpartition(":")[2]: one for one in query["filters"]["items"]}
        tasks = [{"id": ITEMS, "updated_at": IMPORTED.isoformat()}]
        if not filters:
            assert query["ordering"] == ["-tasks:updated_at"], query
            return {"total": ITEMS, "tasks": tasks}
        if "updated_at" in filters:
            assert filters["updated_at"]["value"] > IMPORTED.isoformat(), "what was imported weeks ago is listed again"
            return {"total": 0, "tasks": []}
        if "draft_exists" in filters:
            return {"total": 0, "tasks": []}
        if "cancelled_annotations" in filters:
            return {"total": SKIPPED, "tasks": tasks}
        return {"total": LABELED if filters["is_labeled"]["value"] else PARTIAL, "tasks": tasks}

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def landed_states() -> Iterator[pa.RecordBatch]:
    of_status = {"labeled": LABELED, "partial": PARTIAL, "skipped": SKIPPED}
    first = 1
    for status, count in {**of_status, "unlabeled": ITEMS - sum(of_status.values())}.items():
        ids = pa.array(np.arange(first, first + count)).cast(pa.string())
        values = [status, 0 if status == "unlabeled" else 1, 0, IMPORTED]
        fields = [ITEM_STATES.field(name) for name in ITEM_STATES.names[1:]]
        columns = [pa.repeat(pa.scalar(value, field.type), count) for value, field in zip(values, fields, strict=True)]
        yield pa.RecordBatch.from_arrays([ids, *columns], schema=ITEM_STATES)
        first += count


@pytest.fixture
def conn_id() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), SimulatedLabelStudio)
    thread = Thread(target=server.serve_forever)
    thread.start()
    SimulatedLabelStudio.requests.clear()
    connection = {"conn_type": "label_studio", "host": f"http://127.0.0.1:{server.server_port}", "password": "key"}
    with airflow_connection("simulated_label_studio", connection) as conn_id:
        yield conn_id
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_quiet_night_of_a_million_items_takes_ten_requests(conn_id: str) -> None:
    transfer = Shelf(task_id="land", project="1", annotation_conn_id=conn_id)
    listed = transfer.put("1", landed_states)
    SimulatedLabelStudio.requests.clear()
    landed = transfer.execute(task_context())
    assert (landed["changed_items"], landed["removed_items"], landed["unchanged_items"]) == (0, 0, ITEMS)
    assert len(SimulatedLabelStudio.requests) <= 10, SimulatedLabelStudio.requests
    assert transfer.landed.listing is not None
    assert transfer.landed.listing.full_at == listed, "no items were listed"


@pytest.mark.parametrize(("ahead", "is_listed"), [(timedelta(minutes=50), False), (timedelta(minutes=70), True)])
def test_all_items_are_listed_where_the_servers_clock_was_set_back(
    conn_id: str, ahead: timedelta, is_listed: bool
) -> None:
    hook = Shelf(task_id="land", project="1", annotation_conn_id=conn_id).hook
    mark = hook.mark_changes("1")
    assert mark is not None
    before = {**mark, "time": (datetime.fromisoformat(mark["time"].replace("Z", "+00:00")) + ahead).isoformat()}
    assert (hook.list_changes("1", before, mark) is None) == is_listed


def test_after_a_mark_of_another_release_all_items_are_listed(conn_id: str) -> None:
    hook = Shelf(task_id="land", project="1", annotation_conn_id=conn_id).hook
    assert hook.list_changes("1", {"of": "another release"}, hook.mark_changes("1") or {}) is None
