"""Options for uploads to Labelbox."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from airflow_annotation.arguments import as_text
from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.labelbox.projects import FoundProject
from airflow_annotation.hooks.settings import check_settings

LARGEST_BATCH: Final = 100_000
"""Largest number of data rows that Labelbox takes in a batch."""

_NAMES: Final = ("dataset", "batch", "iam_integration")


class UploadSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Options for uploads to Labelbox.

    :param dataset: name of the dataset for new data rows; by default the project's name
    :param batch: name of the batch that adds them to the project; further batches get a number after the name
    :param batch_size: number of data rows in a batch
    :param priority: priority of the batch's data rows, 1 (first) to 5
    :param consensus_settings: ``number_of_labels`` and ``coverage_percentage`` of the batch
    :param iam_integration: name or id of the integration by which Labelbox reads buckets; by default the connection's
    """

    dataset: str
    batch: str = "upload"
    batch_size: int = 10_000
    priority: int = 5
    consensus_settings: dict[str, Any] | None = None
    iam_integration: str | None = None


def read_upload_settings(
    settings: Mapping[str, Any], project: FoundProject, overlap: int | None = None
) -> UploadSettings:
    """Check the upload settings that a caller gave.

    :param settings: settings by name
    :param project: the project
    :param overlap: number of people who label each item; None to use the settings
    :raises AnnotationError: a name is not a field of :class:`UploadSettings`, or a value is not allowed
    """
    check_settings(settings, UploadSettings.__struct_fields__, "Labelbox has no upload setting")
    try:
        # Airflow may render a name as a number.
        names = {name: as_text(settings[name]) for name in _NAMES if name in settings}
        read = msgspec.convert({"dataset": project.title, **settings, **names}, UploadSettings, strict=False)
    except msgspec.ValidationError as error:
        raise AnnotationError(f"The upload settings are not as Labelbox takes them: {error}.") from error
    if not 1 <= read.priority <= 5:
        raise AnnotationError(f"The upload setting priority is {read.priority}: pass 1 (first) to 5.")
    if not 1 <= read.batch_size <= LARGEST_BATCH:
        raise AnnotationError(f"The upload setting batch_size is {read.batch_size}: pass 1 to {LARGEST_BATCH:,}.")
    if overlap is None:
        return read
    if read.consensus_settings is not None:
        raise AnnotationError("Pass either overlap or the upload setting consensus_settings.")
    if overlap == 1:
        return read
    if project.is_consensus_enabled is False:
        raise AnnotationError(
            f"Project {project.id} has no consensus: each of its items is labeled once, and not {overlap} times. "
            "Make it with project_settings={'quality_mode': ['benchmark', 'consensus']}, as it is by default."
        )
    consensus = {"number_of_labels": overlap, "coverage_percentage": 1.0}
    return msgspec.structs.replace(read, consensus_settings=consensus)
