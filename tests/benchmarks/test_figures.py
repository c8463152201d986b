"""What ``make benchmark`` writes, and what ``make benchmark-compare`` makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from devtools.compare_benchmarks import best_of, table
from tests.benchmarks import figures


def written(folder: Path, patch: pytest.MonkeyPatch, *measured: tuple[str, float, float]) -> dict[str, Any]:
    patch.setattr(figures, "figures", [])
    for name, here, there in measured:
        figures.record(name, {"here": here, "there": there})
    figures.write_figures(folder / "build" / "benchmarks.json")
    found: dict[str, Any] = json.loads((folder / "build" / "benchmarks.json").read_text())
    return found


def test_figures_have_a_name_a_ratio_both_sides_and_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = written(tmp_path, monkeypatch, ("a landing", 3, 2))
    assert found["figures"] == [
        {"name": "a landing", "ratio": 1.5, "sides": {"here": 3, "there": 2}, "unit": "seconds"}
    ]
    assert found["machine"].keys() == {"python", "system", "processor", "cores"}


def test_the_best_rounds_are_compared_and_what_takes_more_is_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = best_of(
        written(tmp_path, monkeypatch, *measured)
        for measured in ([("slower", 2, 1), ("same", 1, 2), ("gone", 1, 1)], [("slower", 1, 1), ("same", 4, 1)])
    )
    new = best_of([written(tmp_path, monkeypatch, ("slower", 1.5, 1), ("same", 2, 4), ("added", 1, 1))])
    _, slower, same, added, gone = table(old, new)
    assert slower.split() == ["slower", "1", "1.5", "0.67x", "1", "1.5", "MORE", "seconds"]
    assert same.split() == ["same", "1", "2", "0.50x", "0.5", "0.5"], "the machine was busier, as the other side shows"
    assert added.endswith("only in new")
    assert gone.endswith("only in old")
