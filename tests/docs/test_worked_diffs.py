"""The worked diffs of the guides for contributors fit the code of today, and what they add works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DIFFS = sorted((ROOT / "docs" / "worked_diffs").glob("*.diff"))


@pytest.mark.slow
def test_worked_diffs_apply_and_their_tests_pass(tmp_path: Path) -> None:
    for folder in ("airflow_annotation", "devtools", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    added = []
    for diff in DIFFS:
        subprocess.run(["git", "apply", str(diff)], cwd=tmp_path, check=True)
        tests = re.findall(r"^\+\+\+ b/(tests/\S+)$", diff.read_text(), re.MULTILINE)
        assert tests, f"{diff.name} adds no test."
        added += tests
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTEST"))}
    command = [sys.executable, "-m", "pytest", "-q", *added]
    run = subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
