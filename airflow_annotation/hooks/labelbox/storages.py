"""Make data rows of a bucket's objects by reference. Labelbox reads the bucket by an IAM integration."""

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
    """Add each object of a bucket's folder to a project by reference, unless the project has it already.

    Labelbox neither lists buckets nor writes to them. So the worker lists this one, with the storage's connection.

    :param hook: hook that uploads the items
    :param client: client of the organization
    :param project_id: the project
    :param storage: storage of the bucket; its settings are those of an upload
    :param iam_integration: name or id of the connection's IAM integration, unless the storage's settings name another
    :return: a sync that is over
    :raises ValueError: Labelbox does not read such a storage
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
