"""A stand-in for Labelbox's service, which runs nowhere outside its cloud.

It serves the unmodified SDK over HTTP on loopback, with its state in memory. What it knows of the service comes from
the SDK, the tests in the SDK's source distribution, and Labelbox's public documentation.

    with LabelboxStandIn() as stand_in:
        client = labelbox.Client(stand_in.api_key, stand_in.endpoint, rest_endpoint=stand_in.rest_endpoint)
        ...
        stand_in.control.submit_label(project.uid, [{"name": "car", "bbox": {...}}], global_key="photo-1")
        stand_in.control.fail("createBatchV2", cut=True, after=True)
"""

from __future__ import annotations

import socket
import threading

import uvicorn

from .app import Application
from .control import Control, ControlError
from .faults import Faults
from .state import State

__all__ = ["Control", "ControlError", "LabelboxStandIn"]

START_SECONDS = 20


class LabelboxStandIn:
    """A server on a free port of loopback.

    :param port: a port to use instead
    """

    api_key = "stand-in-api-key"

    def __init__(self, port: int = 0) -> None:
        self._socket = socket.create_server(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.endpoint = f"{self.url}/graphql"
        self.rest_endpoint = f"{self.url}/api/v1"
        self.app_url = self.url
        self.state = State(api_key=self.api_key, base_url=self.url)
        self.control = Control(self.url)
        application = Application(self.state, Faults())
        config = uvicorn.Config(
            application.asgi(),
            log_level="warning",
            # After the 5 s of the default, a busy server resets an idle connection just as its next request comes.
            timeout_keep_alive=3600,
            timeout_graceful_shutdown=1,
            lifespan="off",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    def start(self) -> LabelboxStandIn:
        self._thread.start()
        # The socket listens already, so the first request waits until the server takes it.
        self.control.operations()
        return self

    def stop(self) -> None:
        self.control.close()
        self._server.should_exit = True
        self._thread.join(START_SECONDS)
        self._socket.close()

    def __enter__(self) -> LabelboxStandIn:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
