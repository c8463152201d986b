"""Estimates how often each person is right, and the most likely true answers, only from people's answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from airflow_annotation.labels.arrays import FloatArray

_ITERATIONS: Final = 100
_TOLERANCE: Final = 1e-7


class DawidSkene(NamedTuple):
    """Estimated classes and error rates.

    :param classes: classes, sorted
    :param posterior: probability of each class for each item, array of shape (items, classes)
    :param priors: frequency of each class
    :param confusions: for each annotator, the probability of each answer (column) for each true class (row)
    """

    classes: list[str]
    posterior: FloatArray
    priors: FloatArray
    confusions: dict[str, FloatArray]

    def accuracy(self, annotator: str) -> float:
        """Return the estimated probability that an annotator's answer is right.

        :param annotator: name of the annotator
        """
        return float(self.priors @ np.diag(self.confusions[annotator]))


def dawid_skene(answers: Sequence[Mapping[str, Sequence[str]]]) -> DawidSkene:
    """Estimate true classes, and the errors of each annotator, by expectation and maximization.

    This is the method of Dawid and Skene (Maximum likelihood estimation of observer error-rates using the EM algorithm,
    1979). It begins with each item's shares of answers as the probabilities of its classes. Then it repeats two steps:
    it estimates the frequencies of classes and each annotator's error rates from these probabilities, and the
    probabilities from these estimates. It ends when no probability of a class changes by more than 1e-7, or after 100
    rounds.

    :param answers: each item's answers by annotators; an annotator may have answered several times
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
    """Return the weight of each annotator's vote in a majority, which grows with the annotator's accuracy.

    With k classes and an accuracy p, the weight is log(p (k - 1) / (1 - p)), which is best if all errors are equally
    frequent (Nitzan and Paroush 1982). It is at least 0.01, so that no vote counts against an answer. Accuracies come
    from :func:`dawid_skene` and are at most 0.99. The mean weight is 1.

    :param answers: answers as for :func:`dawid_skene`
    """
    found = dawid_skene(answers)
    others = max(len(found.classes) - 1, 1)
    weights = {}
    for name in found.confusions:
        accuracy = min(max(found.accuracy(name), 0.01), 0.99)
        weights[name] = max(math.log(accuracy * others / (1 - accuracy)), 0.01)
    mean = sum(weights.values()) / max(len(weights), 1)
    return {name: weight / mean for name, weight in weights.items()}
