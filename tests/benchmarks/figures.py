"""What benchmarks measure, which ``make benchmark`` writes as JSON beside the tables that it prints."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from devtools.processes import REPOSITORY

FILE: Final = REPOSITORY / "build" / "benchmarks.json"

figures: Final[list[dict[str, Any]]] = []
"""Those of this session."""


def record(name: str, sides: Mapping[str, float], unit: str = "seconds") -> None:
    """Note a figure.

    :param name: says what is measured, the same in every run
    :param sides: what each side took: first what is measured, then what it is compared with. Less is better.
    :param unit: of both
    """
    measured, against, *_ = sides.values()
    figures.append({"name": name, "ratio": measured / against, "sides": dict(sides), "unit": unit})


def write_figures(file: Path) -> None:
    """Write the figures of this session, with the commit and the machine they were measured on."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    ).stdout.strip()
    machine = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
    }
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"commit": commit, "machine": machine, "figures": figures}, indent=1))
