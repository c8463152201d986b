"""Finds the objects of several people that are one object."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from airflow_annotation.labels.agreement.matching import match_objects
from airflow_annotation.labels.agreement.objects import Objects
from airflow_annotation.labels.agreement.submissions import Submissions
from airflow_annotation.labels.arrays import FloatArray, IntArray


class Cluster(NamedTuple):
    """Objects that are one object, each of another submission.

    :param members: numbers of the objects, ascending
    :param likeness: sum of each member's similarities to the others
    :param similarity: mean similarity of two members, 1 for a single member
    """

    members: list[int]
    likeness: list[float]
    similarity: float


def find_clusters(given: Submissions, objects: Objects, min_similarity: float) -> list[Cluster]:
    """Return the clusters of one field's objects that are one object, regardless of the class that each person gave it.

    First, the objects of each two submissions are matched 1:1. Then matched pairs are put together, the most similar
    first, as long as no submission has two objects in a cluster. So the same objects give the same clusters in any
    order.

    :param given: the submissions
    :param objects: objects of one field
    :param min_similarity: smallest similarity of two objects that count as one
    """

    def near(left: IntArray, right: IntArray) -> FloatArray:
        similarity = objects.similarity(left, right)
        return np.where(similarity >= min_similarity, similarity, 0.0)

    without_class = objects._replace(label=np.zeros_like(objects.label), similarity=near)
    left, right, similarity = match_objects(given, without_class)
    cluster_of = list(range(len(objects.owner)))
    clusters: dict[int, list[int]] = {number: [number] for number in cluster_of}
    owners = objects.owner.tolist()
    order = np.lexsort((right, left, -np.round(similarity, 12)))
    for one, other in zip(left[order].tolist(), right[order].tolist(), strict=True):
        first, second = sorted((cluster_of[one], cluster_of[other]))
        mine, theirs = clusters[first], clusters[second]
        if first == second or {owners[at] for at in mine} & {owners[at] for at in theirs}:
            continue
        mine += clusters.pop(second)
        for member in theirs:
            cluster_of[member] = first
    likeness = np.zeros(len(owners))
    inside = np.zeros(len(owners))
    for one, other, alike in zip(left.tolist(), right.tolist(), similarity.tolist(), strict=True):
        if cluster_of[one] == cluster_of[other]:
            likeness[one] += alike
            likeness[other] += alike
            inside[cluster_of[one]] += alike
    found = []
    for number, members in clusters.items():
        pairs = len(members) * (len(members) - 1) // 2
        mean = float(inside[number]) / pairs if pairs else 1.0
        found.append(Cluster(sorted(members), [float(likeness[member]) for member in sorted(members)], mean))
    return found
