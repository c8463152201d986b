"""Split items among people, for all tools."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from airflow_annotation.exceptions import AnnotationError


class Split:
    """Gives each item to the people with the fewest items; of several with equally few, to the first ones of the list.

    :param annotators: the people
    :param overlap: number of people per item
    :raises AnnotationError: there are fewer people than ``overlap``, or one is named twice
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
        """Count an item for the people who have it already."""
        for one in self._ours(assigned):
            self.counts[one] += 1

    def is_short(self, assigned: Iterable[str]) -> bool:
        """Return whether an item that has these people needs more."""
        return len(self._ours(assigned)) < self._overlap

    def fill(self, assigned: Iterable[str]) -> list[str]:
        """Return all people of an item: those it has (counted already), and new ones (counted here)."""
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

    :param annotators: the people
    :param known: the users of the tool
    :param where: name of the tool, for the message: ``Label Studio at https://…``
    :raises AnnotationError: one of the people is not a user
    """
    strangers = [one for one in annotators if one not in known]
    if strangers:
        raise AnnotationError(
            f"{where} has no user {' and no user '.join(map(repr, strangers))}. Invite them first, or correct "
            "annotators: they are e-mail addresses."
        )
