from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from devtools.airflow import Airflow
from devtools.processes import REPOSITORY

HEAVY = {"av", "label_studio_sdk", "labelbox", "pandas"}
PARSE = """
import json, runpy, sys
import airflow.sdk
before = set(sys.modules)
runpy.run_path(sys.argv[1])
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.mark.parametrize("path", sorted((REPOSITORY / "dags").glob("*.py")), ids=lambda path: path.stem)
def test_an_example_dag_imports_and_leaves_what_is_heavy_to_its_tasks(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PARSE, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not HEAVY.intersection(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.live_airflow
def test_airflow_finds_every_example_dag(airflow: Airflow) -> None:
    for path in (REPOSITORY / "dags").glob("*.py"):
        airflow.wait_for_dag(path.stem)
    assert airflow.import_errors() == {}
