"""An HTTP proxy as companies have them: it resolves names itself, and takes CONNECT and absolute URIs."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import httpx

_HOP_BY_HOP = {"connection", "proxy-connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


@dataclass
class ProxyServer:
    """The running proxy.

    :param url: where it listens
    :param hosts: the addresses (host and port) of the names that it knows, for example ``media.test:80``
    :param seen: what it was asked for, as ``GET http://…`` and ``CONNECT host:port``
    """

    url: str
    hosts: Mapping[str, tuple[str, int]]
    seen: list[str] = field(default_factory=list)


@contextmanager
def proxy_server(hosts: Mapping[str, tuple[str, int]]) -> Iterator[ProxyServer]:
    """Run a proxy that reaches the hosts it knows, and answers 403 for any others."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            proxy.seen.append(f"GET {self.path}")
            parts = urlsplit(self.path)
            address = proxy.hosts.get(f"{parts.hostname}:{parts.port or 80}")
            if address is None:
                self.send_error(403)
                return
            target = f"http://{address[0]}:{address[1]}{parts._replace(scheme='', netloc='').geturl()}"
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
            with httpx.Client(trust_env=False) as client:
                answer = client.get(target, headers=headers)
            self.send_response(answer.status_code)
            for name, value in answer.headers.multi_items():
                if name not in _HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def do_CONNECT(self) -> None:
            proxy.seen.append(f"CONNECT {self.path}")
            address = proxy.hosts.get(self.path)
            if address is None:
                self.send_error(403)
                return
            with socket.create_connection(address) as upstream:
                self.send_response(200)
                self.end_headers()
                _relay(self.connection, upstream)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Keep quiet."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy = ProxyServer(f"http://127.0.0.1:{listener.server_port}", hosts)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


def _relay(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while True:
            for source in select.select([one, other], [], [])[0]:
                data = source.recv(1 << 16)
                if not data:
                    return
                (other if source is one else one).sendall(data)
