"""Labels that a task gets: a dataset, rows, or a function that returns labels."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from airflow_annotation.callables import KeptCallable, call_with_context
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.annotation import Coordinates
from airflow_annotation.labels.errors import LabelRowError
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.submissions import Row, Submission, read_rows

if TYPE_CHECKING:
    from airflow.sdk import Context

_DOTTED_PATH: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+(:[A-Za-z_]\w*)?")


class OpenedLabels(NamedTuple):
    """Labels that a task got.

    :param submissions: submissions, which are read during the iteration
    :param coordinates: unit of ``bbox`` and ``points``
    :param label_schema: label schema of the landed dataset, if it has one
    """

    submissions: Iterator[Submission]
    coordinates: Coordinates = "relative"
    label_schema: LabelSchema | None = None

    def find_schema(self) -> LabelSchema:
        """Return the label schema. If the dataset has none, infer it from the labels.

        :raises LabelSchemaError: no schema fits the labels
        :raises LabelRowError: a row cannot be read
        """
        if self.label_schema is not None:
            return self.label_schema
        return LabelSchema.from_labels(read_rows(self._read_labels()))

    def _read_labels(self) -> Iterator[Row]:
        for submission in self.submissions:
            if submission.problem is not None:
                raise LabelRowError(f"Item {submission.item_key!r}: {submission.problem}")
            yield from submission.labels


def open_labels(labels: Any, context: Context, *, conn_id: str | None = None) -> OpenedLabels:
    """Find the labels that a task got.

    :param labels: argument ``labels`` of :class:`~airflow_annotation.operators.predictions.UploadPredictionsOperator`
    :param context: context of the task, for a function
    :param conn_id: connection of a dataset's object store
    :raises AnnotationError: labels cannot come from this argument, or there is no such dataset
    """
    from airflow_annotation.datasets.label_sources import find_dataset, read_given, read_landed

    if isinstance(labels, str) and _DOTTED_PATH.fullmatch(labels):
        try:
            labels = pkgutil.resolve_name(labels)
        except (ImportError, AttributeError) as error:
            raise AnnotationError(f"labels names {labels!r}, which cannot be imported: {error}.") from error
    if isinstance(labels, KeptCallable):
        labels = labels.function
    if callable(labels):
        labels = call_with_context(labels, cast("Mapping[str, Any]", context))
    target = find_dataset(labels)
    if target is None:
        return OpenedLabels(read_given(labels))
    landing, submissions = read_landed(target, conn_id=conn_id)
    renamed = landing.settings.get("field_mapping")
    return OpenedLabels(
        submissions,
        coordinates=landing.settings.get("coordinates", "relative"),
        label_schema=None if renamed else landing.label_schema,
    )
