"""Airflow's command line, with a metadata database of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devtools.airflow import airflow_settings, migrated_database


class AirflowCommand:
    """``airflow …`` in processes of its own.

    :param home: an empty folder that becomes its ``AIRFLOW_HOME``
    :param connections: by connection id, as Airflow's JSON has them; they come from the environment
    """

    def __init__(self, home: Path, connections: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        home.mkdir(parents=True, exist_ok=True)
        shutil.copy(migrated_database(), home / "airflow.db")
        self.environment = airflow_settings(home, home / "dags") | {
            f"AIRFLOW_CONN_{conn_id.upper()}": json.dumps(connection)
            for conn_id, connection in (connections or {}).items()
        }

    def __call__(self, *arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end.

        :param answer: what a person types
        """
        command = [sys.executable, "-m", "airflow", *arguments]
        return subprocess.run(
            command, env=self.environment, input=answer, capture_output=True, text=True, check=False, timeout=300
        )
