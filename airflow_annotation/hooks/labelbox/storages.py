"""Buckets that Labelbox reads by an IAM integration: their objects become data rows, without an upload of a file."""

from __future__ import annotations

import time
from functools import partial

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.annotation import AnnotationHook
from airflow_annotation.hooks.labelbox.client import LabelboxClient
from airflow_annotation.hooks.labelbox.datasets import find_iam_integration
from airflow_annotation.hooks.storages import Storage, StorageSync, check_storage
from airflow_annotation.media.listing import list_media


def sync_storage(
    hook: AnnotationHook, client: LabelboxClient, project_id: str, storage: Storage, *, iam_integration: str | None
) -> StorageSync:
    """Put each object of a bucket's folder that a project does not have yet into it, by reference.

    Labelbox neither lists buckets nor writes to them. So the worker lists this one, with the storage's connection.

    :param hook: uploads
    :param client: of the organization
    :param project_id: the project
    :param storage: the bucket's; its settings are those of an upload
    :param iam_integration: the connection's
    :return: a sync that is over
    :raises ValueError: the storage is none that Labelbox reads
    :raises AnnotationError: there is no such integration
    """
    check_storage(storage, "labelbox")
    integration = storage.settings.get("iam_integration") or iam_integration
    if not integration:
        raise AnnotationError(
            f"Labelbox reads nothing of {storage.uri} without an IAM integration: name one in the connection's extra "
            "field iam_integration, or in storage_settings."
        )
    find_iam_integration(client, str(integration))
    started = time.monotonic()
    media = list_media(storage.media_uri, media_types=partial(hook.get_media_types, project_id))
    report = hook.upload_items(project_id, media, media_access="reference", upload_settings=storage.settings)
    return StorageSync(
        storage_id=storage.uri,
        number=1,
        status="completed",
        started=True,
        synced=report.uploaded,
        existed=report.skipped,
        failed=report.failed,
        errors=[failure.reason for failure in report.failures],
        seconds=time.monotonic() - started,
    )
