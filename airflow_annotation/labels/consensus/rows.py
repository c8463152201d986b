"""Makes the rows of merged labels."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from airflow_annotation.labels.agreement.submissions import Submissions
from airflow_annotation.labels.consensus.votes import Vote, half_of, majority

Row = dict[str, Any]

CONSENSUS: Final = "consensus"
"""``label_origin`` of merged labels, and the prefix of the ids of merged submissions."""


class Electorate(NamedTuple):
    """The submissions that vote.

    :param given: the submissions
    :param names: names of the annotators, by submission
    :param weights: weights of the votes, by submission
    :param recency: number of each submission, greater for submissions that were changed later
    :param totals: weight of all submissions, by item
    """

    given: Submissions
    names: list[str | None]
    weights: list[float]
    recency: list[int]
    totals: list[float]

    def vote(self, submission: int, value: Any) -> Vote:
        """Return a submission's answer as a vote."""
        return Vote(value, self.weights[submission], self.recency[submission])

    def total(self, submission: int) -> float:
        """Return the weight of all submissions of a submission's item."""
        return self.totals[int(self.given.item[submission])]

    def has_majority(self, submissions: Sequence[int]) -> bool:
        """Return whether submissions of one item have more than half of the item's weight."""
        return bool(submissions) and self.weight(submissions) > half_of(self.total(submissions[0]))

    def weight(self, submissions: Sequence[int]) -> float:
        """Return the weight of submissions."""
        return sum(self.weights[submission] for submission in submissions)


def merged_row(
    electorate: Electorate, base: Row, label_id: str, supporters: Sequence[int], similarity: float = 1.0, **columns: Any
) -> Row:
    """Return the row of a merged label, without its annotation and its ordinal.

    :param electorate: the submissions that vote
    :param base: row of one of the labels, for the columns that are not merged
    :param label_id: id of the merged label
    :param supporters: submissions that have the label
    :param similarity: similarity of their labels, 0..1
    :param columns: merged columns
    """
    share = electorate.weight(supporters) / electorate.total(supporters[0])
    names = sorted({electorate.names[one] or "" for one in supporters} - {""})
    record = {"agreement": round(share * similarity, 6), "annotators": names}
    own = {"label_id": label_id, "label_origin": CONSENSUS, "raw": json.dumps(record, ensure_ascii=False)}
    return {**base, **columns, **own}


def merged_id(members: Sequence[tuple[str, Any]]) -> str:
    """Return the id of a merged label, which is the same for the same labels.

    :param members: annotation id and label id of each label
    """
    names = "\n".join(f"{annotation}\t{label}" for annotation, label in sorted(members, key=str))
    return hashlib.blake2b(names.encode(), digest_size=6).hexdigest()


def vote_on_classes(votes: Sequence[tuple[Vote, Row]]) -> Row:
    """Return the columns ``label`` and ``labels`` with the greatest weight."""
    chosen = majority([vote._replace(value=classes_of(row)) for vote, row in votes])
    return next({name: row[name] for name in ("label", "labels")} for _, row in votes if classes_of(row) == chosen)


def classes_of(row: Row) -> tuple[str, ...]:
    """Return the classes of a label, sorted, because their order has no meaning."""
    return tuple(sorted(row["labels"] or ([] if row["label"] is None else [row["label"]])))


def vote_on_attributes(votes: Sequence[tuple[Vote, Row]]) -> Row:
    """Return the column ``attributes``: each attribute's answer with the greatest weight of those who answered it."""
    answers: defaultdict[str, list[Vote]] = defaultdict(list)
    for vote, row in votes:
        attributes: Mapping[str, Any] = json.loads(row["attributes"] or "{}")
        for name, answer in attributes.items():
            answers[name].append(vote._replace(value=json.dumps(answer, ensure_ascii=False, sort_keys=True)))
    if not answers:
        return {"attributes": None}
    merged = {name: json.loads(majority(found)) for name, found in sorted(answers.items())}
    return {"attributes": json.dumps(merged, ensure_ascii=False)}
