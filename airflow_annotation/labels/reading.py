"""Options for reading a project."""

from __future__ import annotations

from typing import Literal

import msgspec

from airflow_annotation.labels.video import Frames

AnnotationChoice = Literal["all", "latest", "ground_truth", "consensus"]
AnnotatorNames = Literal["email", "id"]


class ReadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a project to read, and their form.

    :param annotations: ``all`` submissions, the ``latest`` of each item, or those marked ``ground_truth``. A skipped
        submission is the latest only if the item has no other. The other submissions are missing in ``annotations`` and
        ``labels``; ``items`` always has all items. For a ``consensus``, which a landing computes, all submissions
        except drafts are read
    :param include_predictions: whether the models' predictions are also read, with origin ``prediction``
    :param annotators: name of people: their ``email``, or the tool's opaque ``id``
    :param frames: frames in which objects of videos are read: the ``keyframes`` that people set, or ``all`` in which
        they are shown
    :param keep_raw: whether ``labels.raw`` has a value in every row, not only for type ``other``
    """

    annotations: AnnotationChoice = "all"
    include_predictions: bool = False
    annotators: AnnotatorNames = "email"
    frames: Frames = "keyframes"
    keep_raw: bool = False
