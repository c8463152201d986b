"""One of several processes of Label Studio, as gunicorn runs them: run by Label Studio's own Python.

python serve_label_studio.py SOCKET

It answers one request at a time, from a socket that all of them accept connections on.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from socketserver import BaseServer
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer


class Handler(WSGIRequestHandler):
    """Writes no line for each request."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Keep quiet."""


def serve(listening: int) -> None:
    """Answer until the process is killed.

    :param listening: descriptor of the socket
    """
    import label_studio

    sys.path.insert(0, str(Path(label_studio.__file__).parent))
    os.environ["DJANGO_SETTINGS_MODULE"] = "core.settings.label_studio"
    from django.core.wsgi import get_wsgi_application

    listener = socket.socket(fileno=listening)
    server = WSGIServer(listener.getsockname(), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.server_name, server.server_port = listener.getsockname()
    server.setup_environ()
    server.set_app(get_wsgi_application())
    BaseServer.serve_forever(server)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
