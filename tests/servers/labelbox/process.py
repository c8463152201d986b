"""The stand-in as a process of its own, which other processes reach."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from devtools.processes import REPOSITORY, free_port, spawn, stop_groups, wait_until

from . import LabelboxStandIn
from .control import Control


@dataclass(frozen=True, kw_only=True)
class LabelboxProcess:
    """A running stand-in.

    :param url: without a slash at its end
    :param api_key: of its organization's owner
    :param pid: leader of its process group
    """

    url: str
    api_key: str
    pid: int

    @cached_property
    def control(self) -> Control:
        """What plays the labelers."""
        return Control(self.url)

    @property
    def connection(self) -> dict[str, Any]:
        """An Airflow connection to it."""
        return {"conn_type": "labelbox", "host": self.url, "password": self.api_key}


def start_labelbox(home: Path) -> LabelboxProcess:
    """Start the stand-in with an empty organization and wait until it answers.

    :param home: a folder for its log
    :raises ServerError: it did not start; the message ends with its log
    """
    port, log = free_port(), home / "labelbox.log"
    url = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = spawn([sys.executable, "-m", "tests.servers.labelbox", str(port)], env=environment, log=log)
    try:
        wait_until(lambda: _answers(url), processes={log: process}, what="The stand-in for Labelbox", timeout=300)
    except BaseException:
        stop_groups(process.pid)
        raise
    return LabelboxProcess(url=url, api_key=LabelboxStandIn.api_key, pid=process.pid)


def _answers(url: str) -> bool:
    try:
        return httpx.post(f"{url}/control/operations", json={}, timeout=10).is_success
    except httpx.TransportError:
        return False
