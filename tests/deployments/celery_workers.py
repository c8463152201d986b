"""Celery workers of a running Airflow, each with a home, logs and temporary files of its own, as on its own machine."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from devtools.airflow import Airflow
from devtools.processes import spawn, stop_groups, wait_until


@dataclass(frozen=True, kw_only=True)
class CeleryWorker:
    """A running worker.

    :param name: its name
    :param home: its ``AIRFLOW_HOME``
    :param process: leader of its process group
    """

    name: str
    home: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> Path:
        """Its own log."""
        return self.home / "worker.log"

    def logs_of(self, run_id: str) -> list[Path]:
        """Return the logs of the tasks of a DAG run that ran here."""
        return [path for path in (self.home / "logs").rglob("attempt=*.log") if f"run_id={run_id}" in path.parts]

    def kill(self) -> None:
        """Let it be gone at once, with all that it runs, as a machine that fails."""
        leader = psutil.Process(self.process.pid)
        for process in (leader, *leader.children(recursive=True)):
            process.kill()


def start_worker(airflow: Airflow, name: str) -> CeleryWorker:
    """Start a worker and wait until it takes tasks.

    :raises ServerError: it did not start; the message ends with its log
    """
    home = Path(airflow.home) / name
    (home / "tmp").mkdir(parents=True)
    # All that belongs to this Airflow has these settings; the scheduler has them for sure.
    environment = psutil.Process(airflow.pids[1]).environ() | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "TMPDIR": str(home / "tmp"),
        # Celery lets no root work unless it is told to; the tests may run as root.
        **({"C_FORCE_ROOT": "true"} if os.getuid() == 0 else {}),
    }
    command = [sys.executable, "-m", "airflow", "celery", "worker", "--skip-serve-logs", "--concurrency", "1"]
    command += ["--celery-hostname", f"{name}@deployment", "--without-mingle", "--without-gossip"]
    log = home / "worker.log"
    process = spawn(command, env=environment, log=log)
    ready = f"{name}@deployment ready"
    try:
        wait_until(lambda: ready in log.read_text(errors="replace"), processes={log: process}, what=name, timeout=300)
    except BaseException:
        stop_groups(process.pid)
        raise
    return CeleryWorker(name=name, home=home, process=process)
