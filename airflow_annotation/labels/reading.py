"""Options for reading a project."""

from __future__ import annotations

from typing import Literal

import msgspec

from airflow_annotation.labels.video import Frames

AnnotationChoice = Literal["all", "latest", "ground_truth", "consensus"]
AnnotatorNames = Literal["email", "id"]


class ReadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Which parts of a project are read, and in which form.

    :param annotations: ``all`` submissions, the ``latest`` of each item, or those marked ``ground_truth``. A skipped
        submission is the latest only if the item has no other. The other submissions are missing in ``annotations`` and
        ``labels``; ``items`` always has all items. For a ``consensus``, which a landing makes, all submissions except
        drafts are read
    :param include_predictions: also read the models' predictions, with origin ``prediction``
    :param annotators: name people by their ``email``, or by the tool's opaque ``id``
    :param frames: frames in which objects of videos are read: the ``keyframes`` that people set, or ``all`` in which
        they are shown
    :param keep_raw: fill ``labels.raw`` for every row, not only for type ``other``
    """

    annotations: AnnotationChoice = "all"
    include_predictions: bool = False
    annotators: AnnotatorNames = "email"
    frames: Frames = "keyframes"
    keep_raw: bool = False
