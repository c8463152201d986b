"""Buckets and folders that the labeling tool reads and writes itself."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from airflow.providers.common.compat.sdk import TaskDeferred, conf

from airflow_annotation.arguments import check_duration, check_max_failures, is_templated
from airflow_annotation.exceptions import AnnotationError, AnnotationUploadError
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.connection_fields import environment_connection_type
from airflow_annotation.hooks.storages import Storage, StorageDirection, StorageSync, check_storage
from airflow_annotation.project_task import AnnotationProjectTask, ProjectTaskParameters
from airflow_annotation.triggers.deferring import DEFERRED_AT_LEAST, TRIGGER_GRACE, in_seconds
from airflow_annotation.triggers.storage import StorageSyncTrigger
from airflow_annotation.triggers.waiting import event_error

if TYPE_CHECKING:
    from airflow.sdk import Context
    from typing_extensions import Unpack


class SyncStorageOperator(AnnotationProjectTask):
    """Let the labeling tool read a bucket or folder itself, or write submissions there, and wait until it has finished.

    New objects in the folder become items of the project, without an upload; their ``item_key`` is their location. In
    Label Studio, the project gets a storage, which is made once. The operator finds it by its folder, and by its
    ``title`` if one is given; so it also syncs a storage that people made by hand. In Labelbox, which reads buckets by
    an IAM integration, the worker lists the bucket. For the files of a folder, use either this operator or
    :class:`~airflow_annotation.operators.media.UploadMediaOperator`: if both upload a file, the project has two items
    of it.

    With ``deferrable``, the triggerer waits for syncs that take longer than a few seconds. The wait survives restarts
    of the triggerer, and outages of the tool up to ``max_outage``. A retry continues where the last try ended. If a
    sync runs already, this task waits for its end and starts another, so that it includes every object that was there
    when the task began.

    Returns the project's ``id``, ``uri`` and ``url``, the ``storage`` and its ``storage_id``, the tool's ``status`` of
    it, the number of new items or written submissions (``synced``), how many objects were items already (``existed``)
    and how many ``failed``, the first ``errors``, and the ``seconds`` that the sync took.

    :param storage: URI of the folder: ``s3://``, ``gs://``, for Azure ``abfs://container/folder``, or the path of a
        folder on the tool's own disk. An Airflow connection may stand before the bucket, as in
        ``s3://aws_default@bucket/folder``. (templated)
    :param object_storage_conn_id: connection of the object store, if the URI names none. Label Studio gets its
        credentials, which replace those of an existing storage. Without a connection, an existing storage keeps its own
        credentials, and a new one uses those of the server. Labelbox gets none: the worker lists the bucket with it.
        (templated)
    :param direction: ``import`` makes items of objects; with ``export``, Label Studio writes each submission as a file
    :param title: title of the storage, to distinguish several storages of one folder; by default its URI. (templated)
    :param storage_settings: the tool's own settings of a storage. For Label Studio: ``regex_filter``,
        ``recursive_scan``, ``use_blob_urls``, ``presign_ttl`` and others by the names of its API. For Labelbox: those
        of an upload. An unknown setting is an error that lists the known ones. If an existing storage has other
        settings, it is changed. (templated)
    :param max_failures: how many objects may fail. If more fail, the task fails after all other items are in. With
        None, failed objects never fail the task. (templated)
    :param timeout: longest wait for the end of the sync, a timedelta or seconds, 6 hours by default
    :param poke_interval: seconds between two checks of the sync, 30 by default
    :param max_outage: while deferred, how long the tool may be out of reach before the task fails: a timedelta or
        seconds, 10 minutes by default
    :param deferrable: wait in the triggerer, for at least 10 seconds; by default what Airflow's ``[operators]
        default_deferrable`` says
    :raises ValueError: an argument is invalid
    :raises AnnotationUploadError: more than ``max_failures`` objects failed; the message quotes the tool about the
        first ones
    :raises AnnotationError: the tool cannot use the storage, or the sync failed or took too long
    """

    template_fields: Sequence[str] = (
        *AnnotationProjectTask.template_fields,
        "storage",
        "object_storage_conn_id",
        "title",
        "storage_settings",
        "max_failures",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"storage_settings": "json"}

    def __init__(
        self,
        *,
        storage: str,
        object_storage_conn_id: str | None = None,
        direction: StorageDirection = "import",
        title: str | None = None,
        storage_settings: Mapping[str, Any] | None = None,
        max_failures: int | str | None = 0,
        timeout: timedelta | float = timedelta(hours=6),
        poke_interval: float = 30.0,
        max_outage: timedelta | float = timedelta(minutes=10),
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Unpack[ProjectTaskParameters],
    ) -> None:
        super().__init__(**kwargs)
        self.storage = storage
        self.object_storage_conn_id = object_storage_conn_id
        self.direction = direction
        self.title = title
        self.storage_settings = storage_settings
        self.max_failures = max_failures
        self.timeout = in_seconds(timeout)
        self.poke_interval = poke_interval
        self.max_outage = in_seconds(max_outage)
        self.deferrable = deferrable
        check_max_failures(max_failures)
        check_duration("timeout", self.timeout)
        check_duration("poke_interval", poke_interval)
        if not is_templated(storage):
            conn_id = self.annotation_conn_id
            check_storage(self._storage(), "" if is_templated(conn_id) else environment_connection_type(conn_id))

    def execute(self, context: Context) -> dict[str, Any]:
        """Start a sync, and wait for its end or defer."""
        check_max_failures(self.max_failures)
        storage = self._storage()
        return self._sync(self.find_project(context), storage, deadline=time.time() + self.timeout)

    def execute_complete(
        self,
        context: Context,  # noqa: ARG002 - Airflow's signature
        event: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Return what the trigger saw, start a sync after an older one, or raise the error that the trigger met."""
        if event["status"] == "error":
            raise event_error(event)
        project, storage = msgspec.convert(event["project"], AnnotationProject), self._storage()
        sync = msgspec.convert(event["sync"], StorageSync)
        if event["status"] == "timed_out":
            raise self._timed_out(storage, sync)
        if event["started"]:
            return self._result(project, storage, sync)
        return self._sync(project, storage, deadline=event["deadline"])

    def _storage(self) -> Storage:
        return Storage.of(
            self.storage,
            conn_id=self.object_storage_conn_id,
            direction=self.direction,
            title=self.title,
            settings=dict(self.storage_settings or {}),
        )

    def _sync(self, project: AnnotationProject, storage: Storage, *, deadline: float) -> dict[str, Any]:
        while True:
            sync = self.hook.sync_storage(project.id, storage)
            if not sync.started:
                self.log.info("Storage %s is being synced already. Another sync begins afterwards.", sync.storage_id)
            elif sync.is_running:
                self.log.info("Started a sync of %s (%s) with %s.", storage.uri, sync.storage_id, project.url)
            if sync.is_running and self.deferrable:
                self._defer(project, sync, deadline)
            started = sync.started
            while sync.is_running:
                if time.time() >= deadline:
                    raise self._timed_out(storage, sync)
                time.sleep(min(self.poke_interval, max(deadline - time.time(), 0)))
                sync = self.hook.get_storage_sync(project.id, sync.storage_id)
            if started:
                return self._result(project, storage, sync)

    def _defer(self, project: AnnotationProject, sync: StorageSync, deadline: float) -> None:
        raise TaskDeferred(
            trigger=StorageSyncTrigger(
                annotation_conn_id=self.annotation_conn_id,
                project=msgspec.to_builtins(project),
                storage_id=sync.storage_id,
                number=sync.number,
                started=sync.started,
                deadline=deadline,
                poke_interval=self.poke_interval,
                max_outage=self.max_outage,
                not_before=time.time() + DEFERRED_AT_LEAST,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=max(deadline - time.time(), 0)) + TRIGGER_GRACE,
        )

    def _result(self, project: AnnotationProject, storage: Storage, sync: StorageSync) -> dict[str, Any]:
        """Return the result of a sync that is over.

        :raises AnnotationError: it has failed, or too many objects have
        """
        if sync.details:
            self.log.warning("%s", sync.details)
        if sync.has_failed:
            raise AnnotationError(
                f"The sync of {storage.uri} with {project.url} failed: {sync.message}. What it has taken stays; once "
                "that is fixed, running the task again does the rest."
            )
        self.log.info(
            "Synced %s with %s: %d new, %d were there, %d failed.",
            storage.uri,
            project.url,
            sync.synced,
            sync.existed,
            sync.failed,
        )
        if self.max_failures is not None and sync.failed > int(self.max_failures):
            more = sync.failed - len(sync.errors)
            raise AnnotationUploadError(
                f"{sync.failed} objects of {storage.uri} did not become items, more than "
                f"max_failures={self.max_failures} allows; the others are in the project. {' '.join(sync.errors)}"
                f"{f' And {more} more.' if more > 0 else ''}"
            )
        counts = {name: getattr(sync, name) for name in ("status", "synced", "existed", "failed", "errors", "seconds")}
        return {
            "id": project.id,
            "uri": project.uri,
            "url": project.url,
            "storage": storage.uri,
            "storage_id": sync.storage_id,
            **counts,
        }

    def _timed_out(self, storage: Storage, sync: StorageSync) -> AnnotationError:
        return AnnotationError(
            f"The sync of {storage.uri} is not over after {self.timeout:.0f} s: storage {sync.storage_id} is "
            f"{sync.status}, with {sync.synced} synced. What it has taken stays. See whether the tool's workers run, "
            "or give the task a longer timeout."
        )
