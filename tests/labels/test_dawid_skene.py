"""How far each person is right, from their answers alone."""

from __future__ import annotations

import random

import pytest

from airflow_annotation.labels.consensus.dawid_skene import dawid_skene, estimate_weights

ANESTHETISTS = """
    111 1 1 1 1;333 4 3 3 4;112 2 1 2 2;222 3 1 2 1;222 3 2 2 2;222 3 3 2 2;122 2 1 1 1;333 3 4 3 3;222 2 2 2 3;
    232 2 2 2 3;444 4 4 4 4;222 3 3 4 3;111 1 1 1 1;222 3 2 1 2;121 1 1 1 1;111 2 1 1 1;111 1 1 1 1;111 1 1 1 1;
    222 2 2 2 1;222 1 3 2 2;222 2 2 2 2;222 2 2 2 1;222 3 2 2 2;221 2 2 2 2;111 1 1 1 1;111 1 1 1 1;232 2 2 2 2;
    111 1 1 1 1;111 1 1 1 1;112 1 1 2 1;111 1 1 1 1;333 3 2 3 3;111 1 1 1 1;222 2 2 2 2;222 3 2 3 2;433 4 3 4 3;
    221 2 2 3 2;232 3 2 3 3;333 3 4 3 2;111 1 1 1 1;111 1 1 1 1;121 2 1 1 1;232 2 2 2 2;121 1 1 1 1;222 2 2 2 2
"""
"""Table 1 of Dawid and Skene (1979): how fit for anesthesia five people held 45 patients, the first one three times."""


def test_dawid_skene_estimates_what_its_paper_does() -> None:
    answers = [
        {str(observer): list(own) for observer, own in enumerate(patient.split(), 1)}
        for patient in ANESTHETISTS.replace("\n", "").split(";")
    ]
    assert len(answers) == 45
    found = dawid_skene(answers)
    assert found.classes == ["1", "2", "3", "4"]
    assert found.priors == pytest.approx([0.40, 0.42, 0.11, 0.07], abs=0.005)  # table 3
    assert found.confusions["1"][0] == pytest.approx([0.89, 0.11, 0, 0], abs=0.005)
    assert found.posterior[0, 0] == pytest.approx(1, abs=1e-4)


def test_people_who_are_right_more_often_weigh_more() -> None:
    chance = random.Random(1)
    answers = []
    for _ in range(300):
        truth = chance.choice("xyz")
        wrong = {"good": 0.05, "fair": 0.25, "poor": 0.6}
        answers.append(
            {who: [truth if chance.random() > rate else chance.choice("xyz")] for who, rate in wrong.items()}
        )
    weights = estimate_weights(answers)
    assert weights["good"] > weights["fair"] > weights["poor"] > 0
    assert sum(weights.values()) == pytest.approx(3)
    assert estimate_weights([]) == {}
