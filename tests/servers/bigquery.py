"""An emulator of BigQuery, from its wheel in an environment of its own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import httpx

from devtools.processes import REPOSITORY, ServerError, free_port, spawn, stop_groups, wait_until

PROJECT = "test-project"
ENVIRONMENT = REPOSITORY / ".venv-bigquery"


def start_bigquery(home: Path) -> dict[str, Any]:
    """Start the emulator without a dataset and return its ``url``.

    :param home: an empty folder for its log, and its home, where DuckDB looks for its extensions
    :raises ServerError: it did not start; the message ends with its log
    """
    command = ENVIRONMENT / "bin" / "bqemulator"
    if not command.exists():
        raise ServerError("There is no emulator of BigQuery: make .venv-bigquery/ready")
    _install_extension(home)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = home / "bigquery.log"
    ports = ["--rest-port", str(port), "--grpc-port", str(free_port())]
    process = spawn([command, "start", *ports, "--project", PROJECT], env=os.environ | {"HOME": str(home)}, log=log)
    try:
        wait_until(lambda: _answers(url), processes={log: process}, what="BigQuery's emulator", timeout=300)
    except BaseException:
        stop_groups(process.pid)
        raise
    return {"url": url}


def _install_extension(home: Path) -> None:
    """Put DuckDB's spatial extension, which the emulator cannot do without, where DuckDB would download it to."""
    (extension,) = ENVIRONMENT.glob("lib/python*/site-packages/duckdb_extension_spatial/extensions/v*/*")
    folder = home / ".duckdb" / "extensions" / extension.parent.name / _platform()
    folder.mkdir(parents=True)
    shutil.copy(extension, folder)


def _platform() -> str:
    import duckdb

    ((platform,),) = duckdb.connect().execute("PRAGMA platform").fetchall()
    return str(platform)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/bigquery/v2/projects/{PROJECT}/datasets", timeout=5).is_success
    except httpx.TransportError:
        return False
