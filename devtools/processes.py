"""Child processes that end reliably: each has a process group of its own, and writes its output to a file."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import httpx
import psutil

REPOSITORY = Path(__file__).resolve().parents[1]


class ServerError(RuntimeError):
    """A server did not start, or ended early; the message ends with its log."""


def free_port() -> int:
    """Return a free TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def spawn(command: Sequence[str | Path], *, env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a command as the leader of a new process group, without input.

    :param log: file for its output; a file of the same name with the suffix ``.pid`` gets the group's id
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    log.with_suffix(".pid").write_text(str(process.pid))
    return process


def wait_until(
    ready: Callable[[], bool], *, processes: Mapping[Path, subprocess.Popen[bytes]], what: str, timeout: float
) -> None:
    """Call ``ready`` until it returns True.

    :param processes: processes by their logs; none of them may end before
    :param what: name of the server in errors
    :param timeout: seconds to wait
    :raises ServerError: the time is over, or a process has ended
    """
    deadline = time.monotonic() + timeout
    while not ready():
        for log, process in processes.items():
            if process.poll() is not None:
                raise ServerError(f"{what} ended with status {process.returncode}.\n{tail(log)}")
        if time.monotonic() > deadline:
            logs = "\n".join(map(tail, processes))
            raise ServerError(f"{what} was not ready after {timeout:.0f} s.\n{logs}")
        time.sleep(0.1)


def answers(url: str) -> bool:
    """Return whether a GET request to this URL succeeds."""
    try:
        return httpx.get(url, timeout=30).is_success
    except httpx.TransportError:
        return False


def tail(log: Path, lines: int = 60) -> str:
    """Return the last lines of a log, with its name before them."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return f"--- {log}\n" + "\n".join(text.splitlines()[-lines:])


def stop_groups(*pids: int, timeout: float = 10) -> None:
    """End all processes of these groups: ask them to end, and kill those that still run after a time.

    :param pids: process ids of the groups' leaders, which are children of this process or of another one
    :param timeout: seconds until they are killed
    """
    deadline = time.monotonic() + timeout
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)
        while _any_alive(pids) and time.monotonic() < deadline:
            time.sleep(0.05)


def _any_alive(groups: Collection[int]) -> bool:
    """Return whether a process of these groups still runs; zombies do not count."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) in groups and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False
