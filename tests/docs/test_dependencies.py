"""The page of what an install brings names what pyproject.toml does."""

from __future__ import annotations

import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ALWAYS, EXTRAS = (ROOT / "docs/reference/dependencies.md").read_text().split("## Extras")


def _named(text: str) -> set[str]:
    """The packages in the first column of a table."""
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([a-z0-9-]+)`", row)}


def test_every_dependency_has_a_reason() -> None:
    declared = {re.split(r"[<>=\[ ;]", requirement)[0] for requirement in PROJECT["dependencies"]}
    providers = {name.removeprefix("apache-airflow-providers-") for name in declared}
    assert _named(ALWAYS) == providers


def test_every_extra_has_a_row() -> None:
    assert _named(EXTRAS) == set(PROJECT["optional-dependencies"])
