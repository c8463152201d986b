"""How items are split over people, in whatever tool."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from airflow_annotation.exceptions import AnnotationError


class Split:
    """Gives items to those who have the fewest, the first named of several.

    :param annotators: the people
    :param overlap: how many of them an item gets
    :raises AnnotationError: there are too few, or one is named twice
    """

    def __init__(self, annotators: Sequence[str], overlap: int) -> None:
        if len(set(annotators)) != len(annotators):
            raise AnnotationError(f"annotators names somebody twice: {', '.join(annotators)}.")
        if not 1 <= overlap <= len(annotators):
            raise AnnotationError(
                f"overlap is {overlap}, with {len(annotators)} annotators: each item gets that many of them."
            )
        self.counts = dict.fromkeys(annotators, 0)
        self._overlap = overlap

    def keep(self, assigned: Iterable[str]) -> None:
        """Count the people that an item has."""
        for one in self._ours(assigned):
            self.counts[one] += 1

    def is_short(self, assigned: Iterable[str]) -> bool:
        """Return whether an item with these people gets more."""
        return len(self._ours(assigned)) < self._overlap

    def fill(self, assigned: Iterable[str]) -> list[str]:
        """Return the people of an item that has some of them already, which are counted. Count those that it gets."""
        kept = self._ours(assigned)
        others = sorted((one for one in self.counts if one not in kept), key=self.counts.__getitem__)
        added = others[: self._overlap - len(kept)]
        for one in added:
            self.counts[one] += 1
        return [*kept, *added]

    def _ours(self, assigned: Iterable[str]) -> list[str]:
        return [one for one in dict.fromkeys(assigned) if one in self.counts][: self._overlap]


def check_known(annotators: Iterable[str], known: Collection[str], where: str) -> None:
    """Check that people are users of a tool.

    :param where: of which tool they are, for the message: ``Label Studio at https://…``
    :raises AnnotationError: one is not
    """
    strangers = [one for one in annotators if one not in known]
    if strangers:
        raise AnnotationError(
            f"{where} has no user {' and no user '.join(map(repr, strangers))}. Invite them first, or correct "
            "annotators: they are e-mail addresses."
        )
