"""A Label Studio as in production: several processes on one Postgres.

Label Studio needs an extension that the wheel of Postgres lacks: ``apt-get install postgresql`` brings both.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devtools.label_studio import API_KEY, PASSWORD, USERNAME, environment_path
from devtools.processes import ServerError, answers, free_port, spawn, stop_groups, tail, wait_until


@dataclass(frozen=True)
class Workers:
    """The database, on which processes can be started several times.

    :param env: of Label Studio's processes
    :param home: folder for logs
    """

    env: dict[str, str]
    home: Path

    @contextmanager
    def running(self, processes: int) -> Iterator[str]:
        """Run so many processes while the block runs, and give their URL."""
        script = Path(__file__).with_name("serve_label_studio.py")
        started: dict[Path, subprocess.Popen[bytes]] = {}
        with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            command = [str(environment_path() / "bin" / "python"), str(script), str(listener.fileno())]
            for number in range(processes):
                log = self.home / f"label-studio-{listener.getsockname()[1]}-{number}.log"
                with log.open("wb") as output:
                    # In a session each, as one that others share gets one process's part of a busy machine.
                    started[log] = subprocess.Popen(
                        command,
                        env=self.env,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                        start_new_session=True,
                        pass_fds=[listener.fileno()],
                    )
            try:
                for _ in range(4 * processes):  # each process answers, and not only the first that is ready
                    wait_until(lambda: answers(f"{url}/health"), processes=started, what="Label Studio", timeout=300)
                yield url
            finally:
                stop_groups(*(process.pid for process in started.values()))


@contextmanager
def label_studio_on_postgres(home: Path) -> Iterator[Workers]:
    """Make a Postgres with Label Studio's empty tables and user; it ends with the block."""
    with _postgres(home / "postgres") as port:
        env = _environment(home, port)
        log = home / "init.log"
        init = spawn([environment_path() / "bin" / "label-studio", "init"], env=env, log=log)
        if init.wait():
            raise ServerError(f"Label Studio did not make its tables.\n{tail(log)}")
        yield Workers(env, home)


@contextmanager
def _postgres(home: Path) -> Iterator[int]:
    """Run an empty Postgres that trusts everybody on loopback, and give its port."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        raise FileNotFoundError("There is no Postgres: apt-get install postgresql brings one.")
    # It does not run as root.
    user = "postgres" if os.getuid() == 0 else None
    home.mkdir(parents=True)
    if user:
        subprocess.run(["chown", user, home], check=True)
        for folder in home.parents:
            folder.chmod(folder.stat().st_mode | 0o011)
    initdb: list[str | Path] = [
        found[-1] / "initdb",
        "--auth=trust",
        "--username=postgres",
        "--no-sync",
        "-D",
        home / "data",
    ]
    subprocess.run(initdb, check=True, capture_output=True, user=user, cwd="/")
    port, log = free_port(), home.parent / "postgres.log"
    command: list[str | Path] = [
        found[-1] / "postgres",
        "-D",
        home / "data",
        "-p",
        str(port),
        "-k",
        "",
        "-h",
        "127.0.0.1",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, user=user, cwd="/", start_new_session=True
        )
    try:
        wait_until(lambda: _accepts(port), processes={log: process}, what="Postgres", timeout=60)
        yield port
    finally:
        stop_groups(process.pid)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _environment(home: Path, port: int) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "DJANGO_DB": "default",
        "POSTGRE_HOST": "127.0.0.1",
        "POSTGRE_PORT": str(port),
        "SENTRY_DSN": "",
        "LABEL_STUDIO_BASE_DATA_DIR": str(home / "data"),
        "LABEL_STUDIO_USERNAME": USERNAME,
        "LABEL_STUDIO_PASSWORD": PASSWORD,
        "LABEL_STUDIO_USER_TOKEN": API_KEY,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
        "COLLECT_ANALYTICS": "false",
        "LOG_LEVEL": "WARNING",
    }
