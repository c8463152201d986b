"""Servers that all workers of a test session share.

The first worker that asks for a server starts it; the session's main process, which outlives its workers however they
end, stops what was started.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from devtools.processes import ServerError, stop_groups


def shared_server(directory: Path, name: str, start: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Return what ``start`` returned for the first worker that asked for this server.

    :param directory: the session's folder of servers
    :param name: of the server; it gets a folder of this name
    :param start: starts the server in that folder, leaves the id of each process group in a file ``*.pid`` there, and
        returns what JSON can hold
    """
    home = directory / name
    home.mkdir(parents=True, exist_ok=True)
    answer = home / "started.json"
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not answer.exists():
            try:
                answer.write_text(json.dumps(start(home)))
            except ServerError as error:
                answer.write_text(json.dumps({"error": str(error)}))
    started: dict[str, Any] = json.loads(answer.read_text())
    if "error" in started:
        raise ServerError(started["error"])
    return started


def stop_shared_servers(directory: Path) -> None:
    """Stop every server that was started in this folder."""
    stop_groups(*(int(pid.read_text()) for pid in directory.glob("*/*.pid")))
