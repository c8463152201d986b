"""An Airflow as teams run it: Postgres, Redis, Celery workers, and connections that a secrets backend has."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from devtools.airflow import Airflow, start_airflow
from devtools.processes import stop_groups
from tests.deployments.celery_workers import CeleryWorker, start_worker
from tests.deployments.redis_server import start_redis
from tests.servers.postgres import sqlalchemy_url, start_postgres
from tests.servers.s3 import start_s3
from tests.servers.shared import shared_server

SECRETS_BACKEND = "airflow.secrets.local_filesystem.LocalFilesystemBackend"


@dataclass(kw_only=True)
class Deployment:
    """What runs.

    :param secrets: the file of the secrets backend, which is asked anew for each connection
    :param warehouse: address of a Postgres to land in, as SQLAlchemy has it
    """

    airflow: Airflow
    secrets: Path
    warehouse: str
    workers: list[CeleryWorker] = field(default_factory=list)

    def add_connection(self, conn_id: str, connection: dict[str, Any]) -> None:
        """Give the secrets backend a connection more."""
        self.secrets.write_text(json.dumps({**json.loads(self.secrets.read_text()), conn_id: connection}))


@pytest.fixture(scope="module")
def deployment(
    session_path: Path,
    s3_conn_id: str,
    postgres_conn_id: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Deployment]:
    """Two workers, none of which shares a folder with the other one but that of the DAGs."""
    home = tmp_path_factory.mktemp("celery")
    dags, secrets = home / "dags", home / "secrets.json"
    dags.mkdir()
    warehouse = shared_server(session_path, "postgres", start_postgres)
    bucket = {
        "conn_type": "aws",
        "login": "test",
        "password": "test",
        "extra": {
            "endpoint_url": shared_server(session_path, "s3", start_s3)["url"],
            "region_name": "us-east-1",
        },
    }
    secrets.write_text(json.dumps({postgres_conn_id: warehouse, s3_conn_id: bucket}))
    redis, redis_pid = start_redis(home / "redis")
    running: list[int] = [redis_pid]
    workers: list[CeleryWorker] = []
    try:
        with pytest.MonkeyPatch.context() as patched:
            # The connections of the tests' own process are none of what runs: it has those of the secrets backend.
            for name in [name for name in os.environ if name.startswith("AIRFLOW_CONN_")]:
                patched.delenv(name)
            airflow = start_airflow(
                home,
                dags=dags,
                connections={},
                database=sqlalchemy_url(shared_server(session_path, "deployment-database", start_postgres)),
                settings={
                    "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
                    "AIRFLOW__CELERY__BROKER_URL": redis,
                    "AIRFLOW__CELERY__WORKER_PREFETCH_MULTIPLIER": "1",
                    # A busy machine publishes slowly, and its workers miss heartbeats.
                    "AIRFLOW__CELERY__OPERATION_TIMEOUT": "60",
                    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "90",
                    "AIRFLOW__SECRETS__BACKEND": SECRETS_BACKEND,
                    "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps({"connections_file_path": str(secrets)}),
                    "AIRFLOW__ANNOTATION__CONNECTIONS": "tool_of_team, not_there",
                },
            )
        running += airflow.pids
        workers += [start_worker(airflow, "worker-1")]
        workers += [start_worker(airflow, "worker-2")]
        yield Deployment(airflow=airflow, secrets=secrets, warehouse=sqlalchemy_url(warehouse), workers=workers)
    finally:
        stop_groups(*running, *(worker.process.pid for worker in workers))
