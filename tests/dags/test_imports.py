from __future__ import annotations

import json
import subprocess
import sys

import pytest

from devtools.airflow import Airflow
from devtools.processes import REPOSITORY

HEAVY = {"av", "label_studio_sdk", "labelbox", "pandas"}
PARSE = """
import json, os, runpy, sys
import airflow.sdk
before = set(sys.modules)
for path in sys.argv[1:]:
    # A process each, so that none finds what another one has imported; a fork, since Airflow takes seconds to start.
    if not os.fork():
        runpy.run_path(path)
        print(json.dumps([path, sorted(set(sys.modules) - before)]), flush=True)
        os._exit(0)
    os.wait()
"""
EXAMPLES = sorted((REPOSITORY / "dags").glob("*.py"))


def test_example_dags_import_and_leave_what_is_heavy_to_their_tasks() -> None:
    done = subprocess.run([sys.executable, "-c", PARSE, *EXAMPLES], capture_output=True, text=True, check=False)
    imported = dict(map(json.loads, filter(_is_list, done.stdout.splitlines())))
    assert set(imported) == set(map(str, EXAMPLES)), done.stderr
    assert {path: heavy for path, modules in imported.items() if (heavy := HEAVY.intersection(modules))} == {}


def _is_list(line: str) -> bool:
    return line.startswith("[")


@pytest.mark.live_airflow
def test_airflow_finds_every_example_dag(airflow: Airflow) -> None:
    for path in EXAMPLES:
        airflow.wait_for_dag(path.stem)
    assert airflow.import_errors() == {}
