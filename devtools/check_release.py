"""Check that an installed release is complete: metadata, all public modules, the plugin, and the files of the page.

Run it in an environment that has the release and nothing of this repository.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator
from importlib.metadata import distribution, entry_points
from pathlib import Path

logger = logging.getLogger(__name__)

PACKAGE = "airflow-provider-annotation"
FILES = ("py.typed", "plugins/page/static/runs.html", "plugins/page/static/run.html", "plugins/page/static/icon.svg")


def public_modules() -> Iterator[str]:
    """Yield the modules that the provider tells Airflow about."""
    info = entry_points(group="apache_airflow_provider")["provider_info"].load()()
    for kind in ("hooks", "operators", "sensors", "transfers"):
        for entry in info.get(kind, ()):
            yield from entry.get("python-modules") or [entry["python-module"]]


def main() -> None:
    """Check the release in this environment.

    :raises SystemExit: something is missing
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    release = distribution(PACKAGE)
    root = Path(str(release.locate_file("airflow_annotation")))
    if "site-packages" not in root.parts:
        sys.exit(f"{root} is no installed package: this checks the repository and not the release.")
    modules = sorted(set(public_modules()))
    for module in modules:
        importlib.import_module(module)  # works without extras: their packages are imported only when a task needs them
    entry_points(group="airflow.plugins")["annotation"].load()
    missing = [name for name in FILES if not (root / name).is_file()]
    if missing:
        sys.exit(f"The release has no {', '.join(missing)}.")
    logger.info("%s %s: %d modules, the plugin and the page are there.", PACKAGE, release.version, len(modules))


if __name__ == "__main__":
    main()
