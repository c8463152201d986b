"""A server between a client and a labeling tool that does what networks do: refuse, stall, cut off, lie."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

import httpx

_NOT_FORWARDED = {"host", "connection", "accept-encoding", "content-length", "transfer-encoding"}
_NOT_RETURNED = {"connection", "content-length", "content-encoding", "transfer-encoding", "date", "server"}
_NO_TLS = httpx.create_ssl_context(verify=False)
"""Made once: httpx reads the certificates for each request otherwise."""


@dataclass(kw_only=True)
class Fault:
    """What happens to a request instead of, or besides, being passed on.

    :param method: only requests of this method
    :param path: only requests with this in their path
    :param holds: only requests with this in their body
    :param times: how many requests it happens to, then they pass
    :param status: answer with this instead of passing the request on
    :param headers: of that answer
    :param body: of that answer
    :param delay: seconds until anything happens
    :param cut: close the connection before the answer, half way through its body, or by a reset before the answer
    :param deliver: how many times the request is passed on; by default once, and not where ``status`` is the answer
        or ``cut`` comes before it
    :param late: seconds after the cut until the request is passed on
    :param held: the request is passed on after the cut, when this is set
    :param garble: makes the answer's body another one
    :param trickle: seconds that the body takes, a piece at a time
    :param promise: bytes of the body that are promised, besides those that come
    :param raw: sent instead of an answer that is HTTP
    :param before: called before the request is passed on
    :param after: called when the answer is there and not yet returned
    """

    method: str = ""
    path: str = ""
    holds: bytes = b""
    times: int = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0.0
    cut: Literal["before", "body", "reset"] | None = None
    deliver: int | None = None
    late: float = 0.0
    held: threading.Event | None = None
    garble: Callable[[bytes], bytes] | None = None
    trickle: float = 0.0
    promise: int = 0
    raw: bytes | None = None
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
    :param choose: gives the fault of a request that none of ``faults`` matches, None for none
    :param late: how many requests are still to be passed on late
    """

    url: str
    faults: list[Fault] = field(default_factory=list)
    requests: list[SeenRequest] = field(default_factory=list)
    choose: Callable[[SeenRequest], Fault | None] | None = None
    late: int = 0
    refuse: Callable[[], None] = lambda: None
    """Let new connections be refused, as where no server runs, until :attr:`listen` is called."""
    listen: Callable[[], None] = lambda: None
    """Take connections again, on the same port."""

    def seen(self, method: str, path: str) -> int:
        """Count the requests of this method with this in their path."""
        return sum(request.method == method and path in request.path for request in self.requests)


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 100

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet: clients that are killed, and connections that are cut, are what this is for."""


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
            deliver = fault.deliver
            if deliver is None:
                deliver = int(fault.cut in {None, "body"} and fault.status is None)
            if fault.before:
                fault.before()
            if fault.late or fault.held:
                with lock:
                    server.late += 1
                threading.Thread(target=self._pass_on_late, args=(fault, body), daemon=True).start()
            answers = [self._pass_on(body) for _ in range(deliver)]
            if fault.after:
                fault.after()
            if fault.raw is not None:
                self.wfile.write(fault.raw)
            if fault.cut == "reset":
                # Closed at once and without a word of what was still to come.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if fault.cut in {"before", "reset"} or fault.raw is not None:
                self.close_connection = True
                if fault.cut == "reset":
                    self.connection.close()
                return
            if fault.status is not None or not answers:
                answers = [(fault.status or 404, list(fault.headers.items()), fault.body)]
            status, headers, answer = answers[0]
            self._give(fault, status, [*headers, *(() if fault.status else fault.headers.items())], answer)

        def _give(self, fault: Fault, status: int, headers: list[tuple[str, str]], answer: bytes) -> None:
            if fault.garble:
                answer = fault.garble(answer)
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            if not any(name.lower() == "content-length" for name, _ in headers):
                self.send_header("Content-Length", str(max(len(answer) + fault.promise, 0)))
            self.end_headers()
            if fault.cut == "body" or fault.promise:
                answer = answer[: len(answer) // 2] if fault.cut else answer
                self.close_connection = True
            pieces = max(min(len(answer), 8), 1) if fault.trickle else 1
            size = -(-len(answer) // pieces)
            with suppress(BrokenPipeError, ConnectionResetError):  # a client that does not wait for slow answers
                for start in range(0, 0 if self.command == "HEAD" else len(answer), size or 1):
                    self.wfile.write(answer[start : start + size])
                    self.wfile.flush()
                    if fault.trickle:
                        stopping.wait(fault.trickle / pieces)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = handle_request  # noqa: N815 - http.server's names

        def _take_fault(self, body: bytes) -> Fault:
            path = urlsplit(self.path).path
            seen = SeenRequest(method=self.command, path=self.path, headers=dict(self.headers), body=body)
            with lock:
                server.requests.append(seen)
                for fault in server.faults:
                    if (
                        fault.method in {"", self.command}
                        and fault.path in path
                        and fault.holds in body
                        and fault.times
                    ):
                        fault.times -= 1
                        return fault
                chosen = server.choose(seen) if server.choose else None
            return chosen or Fault()

        def _pass_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            if not upstream or not self.path.startswith(prefix):
                return 404, [], b""
            answer = httpx.request(
                self.command,
                upstream + self.path.removeprefix(prefix),
                headers=[(name, value) for name, value in self.headers.items() if name.lower() not in _NOT_FORWARDED],
                content=body,
                timeout=60,
                verify=_NO_TLS,
            )
            left_out = _NOT_RETURNED - ({"content-length"} if self.command == "HEAD" else set())
            headers = [(name, value) for name, value in answer.headers.multi_items() if name not in left_out]
            return answer.status_code, headers, answer.content

        def _pass_on_late(self, fault: Fault, body: bytes) -> None:
            time.sleep(fault.late)
            if fault.held:
                fault.held.wait()
            with suppress(httpx.HTTPError):
                self._pass_on(body)
            with lock:
                server.late -= 1

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Keep quiet."""

    listening = _Listening(Handler)
    server = FaultServer(f"http://127.0.0.1:{listening.port}{prefix}", faults or [])
    server.refuse, server.listen = listening.stop, listening.start
    try:
        yield server
    finally:
        stopping.set()
        listening.stop()


class _Listening:
    """A port of loopback that is listened on, or not."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self._handler = handler
        self._lock = threading.Lock()
        self._listener: _Listener | None = None
        self.port = 0
        self.start()

    def start(self) -> None:
        with self._lock:
            if self._listener is None:
                self._listener = _Listener(("127.0.0.1", self.port), self._handler)
                self.port = self._listener.server_port
                arguments = {"poll_interval": 0.02}
                threading.Thread(target=self._listener.serve_forever, kwargs=arguments, daemon=True).start()

    def stop(self) -> None:
        with self._lock:
            if self._listener is not None:
                self._listener.shutdown()
                self._listener.server_close()
                self._listener = None
