"""A real MariaDB, where the machine has its server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

from devtools.processes import ServerError, free_port, spawn, stop_groups, wait_until

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
PROGRAMS = ("mariadbd", "mariadb-install-db", "my_print_defaults")
HOW_TO_INSTALL = "needs MariaDB's server, such as Debian's mariadb-server-core and mariadb-client-core"


def has_mariadb() -> bool:
    """Whether the machine has the server, and what makes its first database."""
    return all(shutil.which(program, path=PATH) for program in PROGRAMS)


def start_mariadb(home: Path) -> dict[str, Any]:
    """Start MariaDB with an empty database and return the Airflow connection to it, but for its client.

    :param home: an empty folder for its data and log
    :raises ServerError: it did not start; the message ends with its log
    """
    data, log, port = home / "data", home / "mariadb.log", free_port()
    common = ["--no-defaults", f"--datadir={data}", "--innodb-flush-log-at-trx-commit=2"]
    if os.getuid() == 0:
        common.append("--user=root")
    install = ["mariadb-install-db", *common, "--auth-root-authentication-method=normal", "--skip-test-db"]
    made = subprocess.run(install, check=False, capture_output=True, text=True, env=os.environ | {"PATH": PATH})
    if made.returncode:
        raise ServerError(f"mariadb-install-db failed.\n{made.stdout}\n{made.stderr}")
    address = [f"--port={port}", "--bind-address=127.0.0.1", f"--socket={home / 'socket'}"]
    init = home / "init.sql"
    # Not what this provider's tables have: what they say of themselves has to hold.
    init.write_text("CREATE DATABASE IF NOT EXISTS labels CHARACTER SET latin1;\n")
    command = [str(shutil.which("mariadbd", path=PATH)), *common, *address, f"--init-file={init}"]
    process = spawn(command, env=os.environ, log=log)
    try:
        wait_until(lambda: _listens(port), processes={log: process}, what="MariaDB", timeout=300)
    except BaseException:
        stop_groups(process.pid)
        raise
    return {"conn_type": "mysql", "host": "127.0.0.1", "port": port, "login": "root", "schema": "labels"}


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
