"""A server between a client and Label Studio that does what networks do: refuse, stall, cut off, lie."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

import httpx

_NOT_FORWARDED = {"host", "connection", "accept-encoding", "content-length", "transfer-encoding"}
_NOT_RETURNED = {"connection", "content-length", "content-encoding", "transfer-encoding", "date", "server"}


@dataclass(kw_only=True)
class Fault:
    """What happens to a request instead of, or besides, being passed on.

    :param method: only requests of this method
    :param path: only requests with this in their path
    :param times: how many requests it happens to, then they pass
    :param status: answer with this instead of passing the request on
    :param headers: of that answer
    :param body: of that answer
    :param delay: seconds until anything happens
    :param cut: close the connection before the answer, or half way through its body
    :param before: called before the request is passed on
    :param after: called when the answer is there and not yet returned
    """

    method: str = ""
    path: str = ""
    times: int = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0.0
    cut: Literal["before", "body"] | None = None
    before: Callable[[], object] | None = None
    after: Callable[[], object] | None = None


@dataclass(frozen=True, kw_only=True)
class SeenRequest:
    """A request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class FaultServer:
    """The running server.

    :param url: where it listens, with its path prefix
    :param faults: what is to happen, to the first requests that match; changed by tests as they like
    :param requests: what arrived, in order
    """

    url: str
    faults: list[Fault] = field(default_factory=list)
    requests: list[SeenRequest] = field(default_factory=list)

    def seen(self, method: str, path: str) -> int:
        """Count the requests of this method with this in their path."""
        return sum(request.method == method and path in request.path for request in self.requests)


@contextmanager
def fault_server(upstream: str = "", *, prefix: str = "", faults: list[Fault] | None = None) -> Iterator[FaultServer]:
    """Run a server that passes requests on to ``upstream``, except for what its faults say.

    :param upstream: URL of the real server; without one, what no fault answers is a 404
    :param prefix: path in front of the upstream's own
    :param faults: the first ones
    """
    stopping = threading.Event()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_request(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = self._take_fault(body)
            stopping.wait(fault.delay)
            if fault.cut == "before":
                self.close_connection = True
                return
            if fault.before:
                fault.before()
            status, headers, answer = self._answer(fault, body)
            if fault.after:
                fault.after()
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            if fault.cut == "body":
                answer = answer[: len(answer) // 2]
                self.close_connection = True
            with suppress(BrokenPipeError):  # a client that does not wait for slow answers
                self.wfile.write(b"" if self.command == "HEAD" else answer)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = handle_request  # noqa: N815 - http.server's names

        def _take_fault(self, body: bytes) -> Fault:
            path = urlsplit(self.path).path
            with lock:
                server.requests.append(
                    SeenRequest(method=self.command, path=self.path, headers=dict(self.headers), body=body)
                )
                for fault in server.faults:
                    if fault.times and fault.method in {"", self.command} and fault.path in path:
                        fault.times -= 1
                        return fault
            return Fault()

        def _answer(self, fault: Fault, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            if fault.status is not None or not upstream or not self.path.startswith(prefix):
                return fault.status or 404, list(fault.headers.items()), fault.body
            answer = httpx.request(
                self.command,
                upstream + self.path.removeprefix(prefix),
                headers=[(name, value) for name, value in self.headers.items() if name.lower() not in _NOT_FORWARDED],
                content=body,
                timeout=60,
            )
            headers = [(name, value) for name, value in answer.headers.multi_items() if name not in _NOT_RETURNED]
            return answer.status_code, headers, answer.content

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Keep quiet."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = FaultServer(f"http://127.0.0.1:{listener.server_port}{prefix}", faults or [])
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        stopping.set()
        listener.shutdown()
        listener.server_close()
        thread.join()
