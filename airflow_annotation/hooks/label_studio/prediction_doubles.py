"""Remove predictions that a project has twice because a request arrived late or was delivered twice."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from airflow_annotation.hooks.errors import unless_gone
from airflow_annotation.hooks.label_studio.actions import delete
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.hooks.label_studio.task_pages import find_drafted, list_selected

log = logging.getLogger(__name__)

_AT_ONCE: Final = timedelta(seconds=1)
"""Label Studio sets an annotation's two times one after the other when it makes the annotation."""

_INCLUDED: Final = (
    "id,predictions,annotations,result,model_version,score,parent_prediction,lead_time,ground_truth,"
    "created_at,updated_at"
)


class _Prediction(msgspec.Struct):
    id: int
    model_version: str | None = None
    score: float | None = None
    result: Any = None


class _Annotation(msgspec.Struct):
    id: int
    created_at: datetime
    updated_at: datetime
    parent_prediction: int | None = None
    result: Any = None
    lead_time: float | None = None
    ground_truth: bool = False


class _Task(msgspec.Struct):
    id: int
    predictions: list[_Prediction] = []
    annotations: list[_Annotation] = []


def remove_prediction_doubles(
    client: LabelStudioClient, project_id: str, model_version: str, expected: Mapping[int, int]
) -> int:
    """Remove surplus equal predictions of tasks, with the annotations made of them.

    Of equal predictions, one that a person worked with stays. If there is none, one with an annotation stays, else the
    oldest. Nothing that a person worked with is removed: neither an annotation that was edited, nor its prediction. So
    doubles may stay; then the log says so.

    :param client: client of the server
    :param project_id: the project
    :param model_version: version of the predictions
    :param expected: number of predictions of this version that each task was given, by the task's id
    :return: number of predictions and annotations that were removed
    """
    removed = left = 0
    for tasks in list_selected(client, project_id, _Task, expected, include=_INCLUDED):
        drafted = find_drafted(client, project_id, [task.id for task in tasks])
        for task in tasks:
            found = _Doubles(task, model_version, expected.get(task.id, 0), has_drafts=task.id in drafted)
            # Annotations first: without its prediction, an annotation no longer says what it was made of.
            for kind, id_ in itertools.chain(found.annotations(), found.predictions()):
                with unless_gone():
                    delete(client, f"/api/{kind}/{id_}/")
                removed += 1
            left += found.surplus
    if removed:
        log.info("Removed %d predictions and annotations that the project had twice.", removed)
    if left:
        log.warning("%d predictions are there twice and stay, since people worked with both or they differ.", left)
    return removed


class _Doubles:
    """The doubles of one task.

    :param task: the task
    :param model_version: version of the predictions
    :param expected: number of predictions of this version that the task was given
    :param has_drafts: whether any user has a draft in the task
    """

    def __init__(self, task: _Task, model_version: str, expected: int, *, has_drafts: bool) -> None:
        self._has_drafts = has_drafts
        mine = sorted((one for one in task.predictions if one.model_version == model_version), key=lambda one: one.id)
        self._children: dict[int, list[_Annotation]] = {one.id: [] for one in mine}
        for annotation in sorted(task.annotations, key=lambda one: one.id):
            if annotation.parent_prediction in self._children:
                self._children[annotation.parent_prediction].append(annotation)
        self._mine = {one.id: one for one in mine}
        self.surplus = max(len(mine) - expected, 0)
        self._removed = list(self._choose())

    def predictions(self) -> Iterator[tuple[str, int]]:
        """Yield the predictions to remove."""
        for prediction in self._removed:
            yield "predictions", prediction.id

    def annotations(self) -> Iterator[tuple[str, int]]:
        """Yield the annotations to remove: those of removed predictions, and untouched doubles of other predictions."""
        removed = {prediction.id for prediction in self._removed}
        for prediction_id, children in self._children.items():
            untouched = [one for one in children if self._is_untouched(one)]
            for annotation in untouched if prediction_id in removed else untouched[1:]:
                yield "annotations", annotation.id

    def _choose(self) -> Iterator[_Prediction]:
        alike: dict[bytes, list[_Prediction]] = {}
        for prediction in self._mine.values():
            key = msgspec.json.encode((prediction.result, prediction.score), order="sorted")
            alike.setdefault(key, []).append(prediction)
        for group in alike.values():
            # The one to keep comes first: one that a person worked with, else one with an annotation, else the oldest.
            group.sort(key=lambda one: (not self._is_touched(one), not self._children[one.id], one.id))
            for prediction in reversed(group[1:]):
                if self.surplus and not self._is_touched(prediction):
                    self.surplus -= 1
                    yield prediction

    def _is_touched(self, prediction: _Prediction) -> bool:
        return not all(map(self._is_untouched, self._children[prediction.id]))

    def _is_untouched(self, annotation: _Annotation) -> bool:
        """Return whether an annotation is still as the server made it of a prediction."""
        return (
            annotation.lead_time is None
            and not annotation.ground_truth
            and not self._has_drafts
            and annotation.updated_at - annotation.created_at < _AT_ONCE
            and annotation.result == self._mine[annotation.parent_prediction or 0].result
        )
