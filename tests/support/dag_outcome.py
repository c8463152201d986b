"""DAG files that run their DAG with ``dag.test()``, in a process and an Airflow home of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from devtools.airflow import migrated_database
from devtools.processes import REPOSITORY
from tests.support.stored_dag import store_and_read_back


def find_outcome(dag_file: Path, home: Path) -> Any:
    """Run a DAG file that ends in :func:`print_outcome`, and return the outcome with the run's ``log``.

    :param home: an empty folder
    """
    (home / "dags").mkdir()
    copy = shutil.copy(dag_file, home / "dags")
    env = os.environ | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__UNIT_TEST_MODE": "false",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db?timeout=60",
        "PYTHONPATH": str(REPOSITORY),
    }
    shutil.copy(migrated_database(), home / "airflow.db")
    run = subprocess.run([sys.executable, copy], env=env, check=False, capture_output=True, text=True)
    outcomes = [line for line in run.stdout.splitlines() if line.startswith("OUTCOME ")]
    assert outcomes, run.stdout[-5000:] + run.stderr[-5000:]
    log = "".join(
        line for line in (run.stdout + run.stderr).splitlines(keepends=True) if not line.startswith("OUTCOME ")
    )
    return json.loads(outcomes[0].removeprefix("OUTCOME ")) | {"log": log}


def print_rounds(dag: DAG, conf: dict[str, Any], *, until_skipped: str, most: int) -> None:
    """Run a DAG again and again, and print the states of each run's tasks and what they returned, by ``task_id``.

    :param until_skipped: the task that ends it once it is skipped
    :param most: how often at most
    """
    rounds: list[tuple[dict[str, str], dict[str, Any]]] = []
    first = datetime(2026, 1, 1, tzinfo=timezone.utc)
    for number in range(most):
        run = dag.test(logical_date=first + timedelta(days=number), run_conf=conf)
        states = {ti.task_id: str(ti.state) for ti in run.get_task_instances()}
        rounds.append((states, {name.partition("[")[0]: value for name, value in _returned(run.run_id).items()}))
        if states[until_skipped] != "success":
            break
    print(f"OUTCOME {json.dumps({'rounds': rounds})}")  # noqa: T201


def print_outcome(dag: DAG) -> None:
    """Run a DAG and print what became of it, by ``task_id[map_index]`` (-1 of what is not mapped)."""
    run = dag.test()
    stored = store_and_read_back(dag)
    outcome = {
        "state": str(run.state),
        "tasks": {f"{ti.task_id}[{ti.map_index}]": str(ti.state) for ti in run.get_task_instances()},
        "returned": _returned(run.run_id),
        "links": {
            f"{ti.task_id}[{ti.map_index}]": stored.get_task(ti.task_id).get_extra_links(ti, "Open project")
            for ti in run.get_task_instances()
            if "Open project" in stored.get_task(ti.task_id).extra_links
        },
    }
    print(f"OUTCOME {json.dumps(outcome)}")  # noqa: T201


def _returned(run_id: str) -> dict[str, Any]:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        xcoms = session.query(XComModel).filter_by(run_id=run_id, key="return_value").all()
        return {f"{xcom.task_id}[{xcom.map_index}]": xcom.value for xcom in xcoms}
