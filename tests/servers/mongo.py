"""A real MongoDB for FiftyOne: the server in the package that ``make test-fiftyone`` installs along."""

from __future__ import annotations

import socket
import sysconfig
from pathlib import Path
from typing import Any

from devtools.processes import free_port, spawn, stop_groups, wait_until


def start_mongo(home: Path) -> dict[str, Any]:
    """Start MongoDB with an empty database and return its ``uri``.

    :param home: an empty folder for its data and log
    :raises ServerError: it did not start; the message ends with its log
    """
    data, log, port = home / "data", home / "mongod.log", free_port()
    data.mkdir()
    program = Path(sysconfig.get_path("purelib")) / "fiftyone" / "db" / "bin" / "mongod"
    options = ["--bind_ip", "127.0.0.1", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25"]
    process = spawn([program, "--dbpath", data, "--port", str(port), *options], env={}, log=log)
    try:
        wait_until(lambda: _listens(port), processes={log: process}, what="MongoDB", timeout=120)
    except BaseException:
        stop_groups(process.pid)
        raise
    return {"uri": f"mongodb://127.0.0.1:{port}"}


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
