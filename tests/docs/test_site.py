from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from devtools.processes import REPOSITORY


def test_the_site_builds_without_a_warning_and_has_every_page(tmp_path: Path) -> None:
    pytest.importorskip("furo")
    command = ["sphinx", "--fail-on-warning", "--keep-going", "--quiet", str(REPOSITORY / "docs"), str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    built = {page.relative_to(tmp_path).with_suffix("") for page in tmp_path.rglob("*.html")}
    assert built >= {page.relative_to(REPOSITORY / "docs").with_suffix("") for page in REPOSITORY.glob("docs/**/*.md")}
    reference = (tmp_path / "reference" / "operators.html").read_text()
    assert "UploadMediaOperator" in reference
