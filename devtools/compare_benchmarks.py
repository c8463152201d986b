"""Run the benchmarks of two commits in turns, and print what got slower.

    python -m devtools.compare_benchmarks OLD NEW [--select EXPRESSION] [--rounds 3]

Each commit is checked out into a temporary folder, with an environment of its own. Both environments have the releases
of NEW's constraints, so that only the code differs. For each figure, the best of all rounds counts.
"""

# ruff: noqa: T201 - prints a table

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from devtools.processes import REPOSITORY

SLOWER: Final = 1.1
"""A row is marked if both the figure and its ratio are more than this many times the old ones.

If only the figure has grown, the machine was busier.
"""

_NOTHING_SELECTED: Final = 5


class Best(NamedTuple):
    """The best figure of some rounds: the measured value, and its ratio to the benchmark's own comparison."""

    measured: float
    ratio: float
    unit: str


def best_of(rounds: Iterable[Mapping[str, Any]]) -> dict[str, Best]:
    """Return the best figures by name.

    :param rounds: what ``make benchmark`` wrote in each round
    """
    best: dict[str, Best] = {}
    for figure in (figure for written in rounds for figure in written["figures"]):
        measured = next(iter(figure["sides"].values()))
        found = best.get(figure["name"], Best(measured, figure["ratio"], figure["unit"]))
        best[figure["name"]] = Best(min(found.measured, measured), min(found.ratio, figure["ratio"]), found.unit)
    return best


def table(old: Mapping[str, Best], new: Mapping[str, Best]) -> Iterator[str]:
    """Yield the lines of a table: the old and the new value of each figure, and how many times as fast the new one is.

    The ratios compare a benchmark with its own comparison. On a machine that others use, they say more than the values.
    """
    yield f"{'':60}{'old':>12}{'new':>12}{'old/new':>9}{'old ratio':>11}{'new ratio':>11}"
    for name in [*new, *(name for name in old if name not in new)]:
        before, after = old.get(name), new.get(name)
        if before is None or after is None:
            yield f"{name:60}  only in {'new' if before is None else 'old'}"
            continue
        values = f"{before.measured:>12.4g}{after.measured:>12.4g}{before.measured / after.measured:>8.2f}x"
        is_slower = after.measured > SLOWER * before.measured and after.ratio > SLOWER * before.ratio
        mark = f"  MORE {after.unit}" if is_slower else ""
        yield f"{name:60}{values}{before.ratio:>11.3g}{after.ratio:>11.3g}{mark}"


@contextmanager
def checkouts(old: str, new: str) -> Iterator[dict[str, Path]]:
    """Check out two commits with environments, and remove them at the end."""
    with TemporaryDirectory(prefix="compare-benchmarks-") as folder:
        paths = {"old": Path(folder, "old"), "new": Path(folder, "new")}
        try:
            for path, commit in zip(paths.values(), (old, new), strict=True):
                subprocess.run(
                    ["git", "worktree", "add", "--quiet", "--detach", path, commit], cwd=REPOSITORY, check=True
                )
            for constraints in paths["new"].glob("constraints*.txt"):
                shutil.copy(constraints, paths["old"])
            for path in (paths["new"], paths["old"]):
                subprocess.run(["make", "--silent", ".venv/ready", ".venv-label-studio/ready"], cwd=path, check=True)
                if path is paths["new"]:  # the server's environment does not depend on this package's code
                    Path(paths["old"], ".venv-label-studio").symlink_to(path / ".venv-label-studio")
            yield paths
        finally:
            for path in paths.values():
                subprocess.run(["git", "worktree", "remove", "--force", path], cwd=REPOSITORY, check=False)


def run(checkout: Path, select: str | None) -> tuple[dict[str, Any], bool]:
    """Run benchmarks, and return their figures and whether all of them succeeded."""
    file = checkout / "build" / "benchmarks.json"
    file.unlink(missing_ok=True)
    command = [".venv/bin/python", "-m", "pytest", "-q", "-m", "benchmark", "tests/benchmarks"]
    ran = subprocess.run(
        [*command, *(["-k", select] if select else [])], cwd=checkout, capture_output=True, text=True, check=False
    )
    ended_well = ran.returncode in (0, _NOTHING_SELECTED)
    if not ended_well:
        print(ran.stdout[-5000:], ran.stderr[-5000:], sep="\n")
    return (json.loads(file.read_text()) if file.exists() else {"figures": []}), ended_well


def main() -> int:
    """Compare two commits, and return 1 if a benchmark failed or nothing can be compared."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", help="a commit, branch or tag")
    parser.add_argument("new", help="another one")
    parser.add_argument("--select", help="which benchmarks, as pytest -k takes it; all by default")
    parser.add_argument("--rounds", type=int, default=3, help="how often each runs")
    arguments = parser.parse_args()
    written: dict[str, list[dict[str, Any]]] = {"old": [], "new": []}
    ended_well = True
    with checkouts(arguments.old, arguments.new) as paths:
        for round_ in range(arguments.rounds):
            for side in ("old", "new") if round_ % 2 == 0 else ("new", "old"):
                found, well = run(paths[side], arguments.select)
                written[side].append(found)
                ended_well &= well
                print(f"Round {round_ + 1} of {arguments.rounds}, {side}: {len(found['figures'])} figures", flush=True)
    old, new = best_of(written["old"]), best_of(written["new"])
    print(*table(old, new), sep="\n")
    return 0 if ended_well and old.keys() & new.keys() else 1


if __name__ == "__main__":
    sys.exit(main())
