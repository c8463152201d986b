"""Connections of Airflow that tests make."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4


@contextmanager
def airflow_connection(conn_id: str, connection: dict[str, Any]) -> Iterator[str]:
    """Give Airflow a connection through its environment variable."""
    variable = f"AIRFLOW_CONN_{conn_id.upper()}"
    os.environ[variable] = json.dumps(connection)
    yield conn_id
    del os.environ[variable]


@contextmanager
def kept_connection(connection: dict[str, Any]) -> Iterator[str]:
    """Give Airflow a connection of its own for good: who reads the environment in a thread finds nothing gone."""
    conn_id = f"kept_{uuid4().hex}"
    os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(connection)
    yield conn_id
