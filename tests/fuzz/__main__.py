"""``python -m tests.fuzz --records 1000000 --seed 1``: mutate records until something breaks."""

from __future__ import annotations

import argparse
import sys

from tests.fuzz.checks import Figures, FuzzError, fuzz


def main() -> int:
    """Run, and print what was done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    try:
        print(fuzz(asked.records, asked.seed, _report))  # noqa: T201
    except FuzzError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _report(figures: Figures) -> None:
    print(f"{figures.records:,} records, {figures.seconds:,.0f} s", file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
