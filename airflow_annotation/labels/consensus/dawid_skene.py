"""How far each person is right, from their answers alone, and what the true answers most likely are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from airflow_annotation.labels.arrays import FloatArray

_ITERATIONS: Final = 100
_TOLERANCE: Final = 1e-7


class DawidSkene(NamedTuple):
    """What was estimated.

    :param classes: sorted
    :param posterior: for each item how likely each class is, array of shape (items, classes)
    :param priors: how frequent each class is
    :param confusions: for each annotator how often each class (row) was given each answer (column)
    """

    classes: list[str]
    posterior: FloatArray
    priors: FloatArray
    confusions: dict[str, FloatArray]

    def accuracy(self, annotator: str) -> float:
        """Return how often an annotator's answer is right, estimated.

        :param annotator: whose
        """
        return float(self.priors @ np.diag(self.confusions[annotator]))


def dawid_skene(answers: Sequence[Mapping[str, Sequence[str]]]) -> DawidSkene:
    """Estimate true classes, and the errors of each annotator, by expectation and maximization.

    The method of Dawid and Skene (Maximum likelihood estimation of observer error-rates using the EM algorithm, 1979):
    begins with each item's shares of answers; then in turns takes the frequencies of the classes and each annotator's
    error rates for what they are most likely, given the classes, and the other way round. Ends when no likelihood of a
    class changes by more than 1e-7, or after 100 turns.

    :param answers: of each item what each annotator answered; one may have answered several times
    """
    classes = sorted({answer for item in answers for own in item.values() for answer in own})
    names = sorted({name for item in answers for name in item})
    if not classes:
        return DawidSkene([], np.empty((len(answers), 0)), np.empty(0), {name: np.empty((0, 0)) for name in names})
    class_place = {name: place for place, name in enumerate(classes)}
    name_place = {name: place for place, name in enumerate(names)}
    given = [
        (row, name_place[name], class_place[answer])
        for row, item in enumerate(answers)
        for name, own in item.items()
        for answer in own
    ]
    item, who, what = np.array(given, np.int64).reshape(-1, 3).T
    items, annotators, count = len(answers), len(names), len(classes)
    said = np.bincount(item * count + what, minlength=items * count).reshape(items, count)
    total = said.sum(axis=1, keepdims=True)
    posterior = np.divide(said, total, out=np.full(said.shape, 1 / count), where=total > 0)
    answer = who * count + what
    priors, errors = np.empty(0), np.empty((0, 0, 0))
    for _ in range(_ITERATIONS):
        priors = posterior.mean(axis=0)
        times = [np.bincount(answer, posterior[item, of], annotators * count) for of in range(count)]
        expected = np.stack([one.reshape(annotators, count) for one in times], axis=1)
        sums = expected.sum(axis=2, keepdims=True)
        errors = np.divide(expected, sums, out=np.full_like(expected, 1 / count), where=sums > 0)
        with np.errstate(divide="ignore"):
            logs = [np.log(errors[who, of, what]) for of in range(count)]
            likelihood = np.log(priors) + np.stack([np.bincount(item, log, items) for log in logs], axis=1)
        after = np.exp(likelihood - likelihood.max(axis=1, keepdims=True))
        after /= after.sum(axis=1, keepdims=True)
        change = np.abs(after - posterior).max(initial=0)
        posterior = after
        if change < _TOLERANCE:
            break
    return DawidSkene(classes, posterior, priors, dict(zip(names, errors, strict=True)))


def estimate_weights(answers: Sequence[Mapping[str, Sequence[str]]]) -> dict[str, float]:
    """Return how much each annotator's vote should count in a majority: more, the more often it is right.

    With k classes and an accuracy p, that is log(p (k - 1) / (1 - p)), which is best where all errors are equally
    frequent (Nitzan and Paroush 1982); at least 0.01, since nobody's vote counts against an answer. Accuracies are
    those of :func:`dawid_skene`, at most 0.99. The mean weight is 1.

    :param answers: as for :func:`dawid_skene`
    """
    found = dawid_skene(answers)
    others = max(len(found.classes) - 1, 1)
    weights = {}
    for name in found.confusions:
        accuracy = min(max(found.accuracy(name), 0.01), 0.99)
        weights[name] = max(math.log(accuracy * others / (1 - accuracy)), 0.01)
    mean = sum(weights.values()) / max(len(weights), 1)
    return {name: weight / mean for name, weight in weights.items()}
