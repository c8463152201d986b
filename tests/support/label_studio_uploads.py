"""Uploads to Label Studio by a client of the tests' own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow_annotation.hooks.annotation import UploadReport
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.hooks.label_studio.predictions import PredictionUpload
from airflow_annotation.hooks.label_studio.upload import ItemUpload
from airflow_annotation.labels.submissions import Submission
from airflow_annotation.media.items import MediaItem


def upload_items(
    client: LabelStudioClient, project_id: str, items: Iterable[MediaItem], **options: Any
) -> UploadReport:
    return ItemUpload(client, project_id, **options).run(items)


def upload_predictions(
    client: LabelStudioClient, project_id: str, submissions: Iterable[Submission], **options: Any
) -> UploadReport:
    return PredictionUpload(client, project_id, **options).run(submissions)
