"""What a training dataset is made with, whatever its format is."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any, NamedTuple

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.formats.item_files import ItemFiles
from airflow_annotation.formats.landed_media import LandedMedia
from airflow_annotation.labels.schema import LabelSchema

log = logging.getLogger(__name__)


class DatasetContext(NamedTuple):
    """What a training dataset is made with.

    :param options: what is asked of the dataset
    :param schema: what was labeled, with the fields' names as the labels have them
    :param media: those that have landed, read or put where they belong; None where media stay where they are
    :param item_files: lists the files that are each of one item, and knows which need not be written again
    :param left_out: counts what is not in the dataset, by why
    :param problems: the first item that lacks what an example is made of, and what it lacks
    """

    options: Any
    schema: LabelSchema
    media: LandedMedia | None
    item_files: ItemFiles | None
    left_out: Counter[str]
    problems: list[AnnotationError]

    def leave_out(self, why: str, problem: AnnotationError) -> None:
        """Leave out what lacks something that an example is made of: one such item keeps no others out.

        :param why: under which to count it
        :param problem: names the item, and the way out where all items lack it
        """
        self.left_out[why] += 1
        if not self.problems:
            log.warning("Left out, with whatever lacks the same: %s", problem)
            self.problems.append(problem)
