"""Child processes that are sure to end: each in a process group of its own, with its output in a file."""

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
    """Return a TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def spawn(command: Sequence[str | Path], *, env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a command as the leader of a new process group, without input.

    :param log: where its output goes; a file of the same name with the suffix ``.pid`` gets the group's id
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
    """Ask ``ready`` until it says yes.

    :param processes: by their logs; none of them may end before that
    :param what: names the server in errors
    :param timeout: seconds
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
    """Whether a GET request to this URL is answered with success."""
    try:
        return httpx.get(url, timeout=30).is_success
    except httpx.TransportError:
        return False


def tail(log: Path, lines: int = 60) -> str:
    """Return the last lines of a log, under its name."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return f"--- {log}\n" + "\n".join(text.splitlines()[-lines:])


def stop_groups(*pids: int, timeout: float = 10) -> None:
    """End every process of these groups: politely, then not.

    :param pids: of the groups' leaders, children of this process or of another one
    :param timeout: seconds between the two
    """
    deadline = time.monotonic() + timeout
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)
        while _any_alive(pids) and time.monotonic() < deadline:
            time.sleep(0.05)


def _any_alive(groups: Collection[int]) -> bool:
    """Whether a process of these groups still runs; the dead that nobody has waited for yet do not."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) in groups and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False
