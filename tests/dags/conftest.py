"""A live Airflow with the example DAGs, in a version that holds a worker while it waits, too."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.servers.airflow import Airflow, start_airflow
from tests.servers.label_studio import LabelStudio
from tests.servers.processes import REPOSITORY
from tests.servers.shared import shared_server

DAGS = REPOSITORY / "dags"
IN_WORKER = "annotate_images_in_worker"


@pytest.fixture(scope="session")
def airflow(session_path: Path, label_studio: LabelStudio) -> Airflow:
    """An Airflow shared by the whole session, connected to the session's Label Studio and to an empty SQLite."""

    def start(home: Path) -> dict[str, Any]:
        dags = home / "dags"
        dags.mkdir()
        for source in DAGS.glob("*.py"):
            (dags / source.name).write_text(source.read_text())
        example = (DAGS / "annotate_images.py").read_text()
        waiting = example.replace("deferrable=True", "deferrable=False").replace('"annotate_images"', f'"{IN_WORKER}"')
        (dags / f"{IN_WORKER}.py").write_text(waiting)
        connections = {
            "annotation_default": {
                "conn_type": "label_studio",
                "host": label_studio.url,
                "password": label_studio.api_key,
            },
            "annotations_db": {"conn_type": "sqlite", "host": str(home / "annotations.db")},
        }
        return asdict(start_airflow(home, dags=dags, connections=connections))

    return Airflow(**shared_server(session_path, "airflow", start))
