"""What is needed to make a training dataset in any format."""

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
    """What is needed to make a training dataset.

    :param options: options of the dataset
    :param schema: label schema, with the names of fields that the labels have
    :param media: landed media, to read or to put in their places; None if media stay where they are
    :param item_files: list of the files that belong to one item each, which knows the files that need no rewrite
    :param left_out: counter of what is not in the dataset, by reason
    :param problems: the first item that lacks something that an example needs, and what it lacks
    """

    options: Any
    schema: LabelSchema
    media: LandedMedia | None
    item_files: ItemFiles | None
    left_out: Counter[str]
    problems: list[AnnotationError]

    def leave_out(self, why: str, problem: AnnotationError) -> None:
        """Leave out an item that lacks something that an example needs, and go on with the others.

        :param why: reason under which to count it
        :param problem: error that names the item, and says what to do if all items lack it
        """
        self.left_out[why] += 1
        if not self.problems:
            log.warning("Left out, with whatever lacks the same: %s", problem)
            self.problems.append(problem)
