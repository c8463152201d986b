"""What of a project is read."""

from __future__ import annotations

from typing import Literal

import msgspec

from airflow_annotation.labels.video import Frames

AnnotationChoice = Literal["all", "latest", "ground_truth", "consensus"]
AnnotatorNames = Literal["email", "id"]


class ReadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of a project, and how it looks.

    :param annotations: ``all`` submissions, the ``latest`` of each item, or those marked ``ground_truth``. Skipped ones
        are the latest only where there is no other. What is left out is left out of ``annotations`` and ``labels``,
        never of ``items``. For a ``consensus``, which a landing makes, these are all but drafts
    :param include_predictions: also read the models' predictions, with origin ``prediction``
    :param annotators: name people by their ``email``, or by the tool's opaque ``id``
    :param frames: of objects in videos, the ``keyframes`` that people set, or ``all`` in which they are shown
    :param keep_raw: fill ``labels.raw`` for every row, not only for type ``other``
    """

    annotations: AnnotationChoice = "all"
    include_predictions: bool = False
    annotators: AnnotatorNames = "email"
    frames: Frames = "keyframes"
    keep_raw: bool = False
