"""S3's protocol, spoken by moto from its wheel, as a process of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from devtools.processes import answers, free_port, spawn, stop_groups, wait_until


def start_s3(home: Path) -> dict[str, Any]:
    """Start the server with no buckets; return its ``url``.

    :param home: a folder for its log
    :raises ServerError: it did not start; the message ends with its log
    """
    port, log = free_port(), home / "s3.log"
    url = f"http://127.0.0.1:{port}"
    process = spawn([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], env=os.environ, log=log)
    try:
        wait_until(lambda: answers(f"{url}/moto-api/"), processes={log: process}, what="moto", timeout=300)
    except BaseException:
        stop_groups(process.pid)
        raise
    return {"url": url}
