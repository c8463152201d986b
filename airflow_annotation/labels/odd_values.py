"""Values that have no place in the tables: counted by what they are, so that the log can say so."""

from __future__ import annotations

from collections import Counter

_SHOWN = 20


class OddValues:
    """Counts values that a record has and that its columns cannot hold.

    The item, the submission and the label that they are of land all the same.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def note(self, what: str) -> None:
        """Count a value.

        :param what: the name of the column or of the key that it is under
        """
        self._counts[what] += 1

    def total(self) -> int:
        """Return how many values were counted."""
        return self._counts.total()

    def __str__(self) -> str:
        """The values by name, the most frequent first."""
        named = [f"{count} of {name}" for name, count in self._counts.most_common(_SHOWN)]
        return ", ".join(named + (["…"] if len(self._counts) > _SHOWN else []))
