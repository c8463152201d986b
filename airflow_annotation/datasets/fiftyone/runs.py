"""Annotation runs of FiftyOne's own integration: what it stores about a project that it made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from airflow_annotation.exceptions import AnnotationError


class AnnotationRun(msgspec.Struct, frozen=True):
    """A project that FiftyOne's ``annotate`` made, and its items.

    :param key: key of the run
    :param project_id: id of the project
    :param samples: ids of the samples, by item id
    """

    key: str
    project_id: str
    samples: Mapping[str, str]


def read_run(dataset: Any, key: str) -> AnnotationRun:
    """Return an annotation run of a dataset.

    :param dataset: FiftyOne dataset
    :param key: key of the run, which FiftyOne calls ``anno_key``
    :raises AnnotationError: there is no such run, or it does not say which sample each item is
    """
    if not dataset.has_annotation_run(key):
        runs = ", ".join(map(repr, dataset.list_annotation_runs())) or "none"
        raise AnnotationError(f"FiftyOne's dataset {dataset.name!r} has no annotation run {key!r}. It has: {runs}.")
    results = dataset.load_annotation_results(key, cache=False)
    samples = getattr(results, "uploaded_tasks", None)
    if samples is None:
        raise AnnotationError(
            f"The annotation run {key!r} of FiftyOne's dataset {dataset.name!r} does not say which item is which "
            "sample: annotation_run is for runs that annotate(backend='labelstudio') made."
        )
    return AnnotationRun(key, str(results.project_id), {str(task): sample for task, sample in samples.items()})
