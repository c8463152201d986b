"""Counts values that the tables cannot hold, by name, for the log."""

from __future__ import annotations

from collections import Counter

_SHOWN = 20


class OddValues:
    """Counts values of records that their columns cannot hold.

    Their items, submissions and labels still land.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def note(self, what: str) -> None:
        """Count a value.

        :param what: name of the column or the key of the value
        """
        self._counts[what] += 1

    def total(self) -> int:
        """Return the number of counted values."""
        return self._counts.total()

    def __str__(self) -> str:
        """Return the counts by name, the most frequent first."""
        named = [f"{count} of {name}" for name, count in self._counts.most_common(_SHOWN)]
        return ", ".join(named + (["…"] if len(self._counts) > _SHOWN else []))
