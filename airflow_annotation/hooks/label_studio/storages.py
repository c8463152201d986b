"""Make the storages of a Label Studio project, and start their syncs.

If Label Studio has Redis, it syncs in a worker of its own, else during the request that starts the sync. So the code
does not wait for that request, but for what the storage reports about its syncs.
"""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any, Final

import httpx
import msgspec

from airflow_annotation.exceptions import (
    AnnotationConnectionError,
    AnnotationError,
    AnnotationRequestError,
)
from airflow_annotation.hooks.errors import shorten
from airflow_annotation.hooks.label_studio.actions import delete
from airflow_annotation.hooks.label_studio.client import LabelStudioClient, project_path
from airflow_annotation.hooks.label_studio.storage_credentials import read_credentials
from airflow_annotation.hooks.late_requests import keep_first, make_once
from airflow_annotation.hooks.settings import check_settings
from airflow_annotation.hooks.storages import Storage, StorageSync

log = logging.getLogger(__name__)

STORAGES: Final = "/api/storages/"

_TYPES: Final = {"s3": "s3", "gcs": "gcs", "azure": "azure", "file": "localfiles"}
"""Label Studio's name for each kind of storage, as in the paths of its API."""

_OF_IMPORTS: Final = ("description", "recursive_scan", "regex_filter", "use_blob_urls")
_OF_EXPORTS: Final = ("can_delete_objects", "description")
_OF_BUCKETS: Final = ("presign", "presign_ttl")
_OF_TYPES: Final = {
    "s3": ("aws_sse_kms_key_id", "region_name", "s3_endpoint"),
    "gcs": ("google_project_id",),
    "azure": (),
    "file": (),
}

_ANSWER_WITHIN: Final = 10.0
"""Seconds that a worker waits for the answer to the request that starts a sync."""

SILENCE: Final = timedelta(minutes=30)
"""Maximum time without a report of a sync. It reports after each 1,000 objects, and at the end of a file of tasks."""

_LONGEST_DETAILS: Final = 4000
_ERRORS_LISTED: Final = 20
_LONGEST_TITLE: Final = 256
_RAISED: Final = re.compile(r"^[A-Za-z_][\w.]*: (?=\S)", re.MULTILINE)
"""Start of the line of a traceback that has the exception's message. Most other lines are indented."""


class FoundStorage(msgspec.Struct):
    """A storage that a project is connected to. Fields that its type does not have are None."""

    id: int
    type: str = ""
    title: str | None = None
    description: str | None = None
    created_at: datetime | None = None
    path: str | None = None
    bucket: str | None = None
    container: str | None = None
    prefix: str | None = None
    regex_filter: str | None = None
    use_blob_urls: bool | None = None
    recursive_scan: bool | None = None
    presign: bool | None = None
    presign_ttl: int | None = None
    can_delete_objects: bool | None = None
    aws_sse_kms_key_id: str | None = None
    region_name: str | None = None
    s3_endpoint: str | None = None
    google_project_id: str | None = None
    status: str = ""
    last_sync: Any = None
    last_sync_count: int | None = None
    traceback: str | None = None
    meta: dict[str, Any] | None = None

    @property
    def settings(self) -> tuple[Any, ...]:
        """The settings that people change."""
        return (
            self.title,
            self.description or None,
            self.regex_filter or None,
            self.use_blob_urls,
            self.recursive_scan or None,
        )

    @property
    def place(self) -> tuple[str, str]:
        """The bucket and the folder."""
        if self.path is not None:
            return "", posixpath.normpath(self.path)
        return self.bucket or self.container or "", (self.prefix or "").strip("/")

    @property
    def number(self) -> int:
        """Number of syncs that have been started."""
        number = (self.meta or {}).get("attempts")
        return number if isinstance(number, int) else 0

    @property
    def is_silent(self) -> bool:
        """Whether its newest sync has never reported, or not for longer than :data:`SILENCE`."""
        said = (self.meta or {}).get("time_last_ping") or (self.meta or {}).get("time_queued")
        try:
            at = datetime.fromisoformat(str(said))
            return datetime.now(timezone.utc) - at > SILENCE
        except (TypeError, ValueError):  # it has never reported, or its time is not in a known form
            return True

    @property
    def is_running(self) -> bool:
        """Whether its newest sync is not over, as far as Label Studio knows.

        If a sync has not reported for 25 seconds, Label Studio calls it failed as soon as somebody lists the storages,
        although the sync goes on. A sync that has really failed has the time of its failure in ``meta``.
        """
        if self.status == "failed":
            return "time_failure" not in (self.meta or {}) and self.number > 0 and not self.is_silent
        return self.status in {"queued", "in_progress"}


def read_sync(client: LabelStudioClient, project_id: str, storage_id: str) -> StorageSync:
    """Return the state of a storage's newest sync.

    :param client: client of the server
    :param project_id: the project
    :param storage_id: id of the storage, from the result of :meth:`ProjectStorage.sync`
    :raises AnnotationError: the storage no longer exists
    """
    missing: AnnotationConnectionError | None = None
    try:
        found = client.read("GET", f"{STORAGES}{storage_id}", FoundStorage)
        if not (found.is_running and found.is_silent):
            return _sync_of(storage_id, found)
    except AnnotationConnectionError as error:  # the answer for a missing storage is a web page
        missing = error
    # When storages are listed, Label Studio checks whether their syncs are alive.
    path, _, number = storage_id.rpartition("/")
    for one in list_storages(client, project_id, path):
        if one.id == int(number):
            if missing is not None:
                raise missing
            return _sync_of(storage_id, one)
    raise AnnotationError(f"Storage {storage_id} of project {project_id} was deleted while it was synced.") from missing


def list_storages(client: LabelStudioClient, project_id: str, path: str = "") -> list[FoundStorage]:
    """Return the storages of a project, by id.

    :param client: client of the server
    :param project_id: the project
    :param path: path of a type, such as ``s3`` or ``export/s3``; by default all import storages
    """
    params = {"project": project_id}
    found: list[FoundStorage] = client.read("GET", f"{STORAGES}{path}", list[FoundStorage], params=params)
    return sorted(found, key=lambda one: one.id)


class ProjectStorage:
    """A storage of a project. It may exist already, or even several times.

    :param client: client of the server
    :param project_id: the project
    :param storage: description of the storage
    :raises AnnotationError: Label Studio does not have one of the settings
    """

    def __init__(self, client: LabelStudioClient, project_id: str, storage: Storage) -> None:
        project_path(project_id)
        self._client = client
        self._project_id = project_id
        self._storage = storage
        type_ = _TYPES[storage.kind]
        is_export = storage.direction == "export"
        self._path = f"export/{type_}" if is_export else type_
        known = [
            *(_OF_EXPORTS if is_export else _OF_IMPORTS),
            *(_OF_BUCKETS if storage.kind != "file" and not is_export else ()),
            *_OF_TYPES[storage.kind],
        ]
        what = f"Label Studio has, of {storage.direction} storages of type {type_}, no setting"
        check_settings(storage.settings, sorted(known), what)
        self._title = (storage.title or storage.uri)[:_LONGEST_TITLE]
        if storage.kind == "file":
            self._place: dict[str, Any] = {"path": storage.folder}
        else:
            bucket = "container" if storage.kind == "azure" else "bucket"
            self._place = {bucket: storage.bucket, "prefix": storage.folder}

    def sync(self) -> StorageSync:
        """Find or make the storage, and start a sync unless one runs.

        See :meth:`~airflow_annotation.hooks.ports.Storages.sync_storage`.

        :raises AnnotationError: Label Studio refuses the storage, or cannot read or write there
        """
        found = self._keep_one()
        created = found is None
        if found is None:
            # Label Studio syncs a new export storage at once, but not a new import storage.
            found, before = self._make(), 0
        else:
            if found.is_running:
                return _sync_of(self._id_of(found), found)
            found = self._update(found)
            before = found.number
        if found.number == before:
            found = self._start(found)
        return msgspec.structs.replace(_sync_of(self._id_of(found), found), started=True, created=created)

    def _id_of(self, found: FoundStorage) -> str:
        return f"{self._path}/{found.id}"

    def _find(self) -> list[FoundStorage]:
        """Return the storages of the folder; if a title is asked for, only those with it. The first one is used."""
        place = (self._storage.bucket, self._storage.folder)
        there = [one for one in list_storages(self._client, self._project_id, self._path) if one.place == place]
        if self._storage.title:
            return [one for one in there if one.title == self._title]
        return sorted(there, key=lambda one: one.title != self._title)

    def _keep_one(self) -> FoundStorage | None:
        """Return the storage, and delete doubles that late requests made."""
        found = self._find()
        synced = 1 if self._storage.direction == "export" else 0
        return keep_first(
            found,
            f"storage {self._title}",
            made_at=lambda one: one.created_at,
            is_as_made=lambda one: one.settings == found[0].settings and one.number <= synced and not one.is_running,
            delete=lambda one: delete(self._client, f"{STORAGES}{self._id_of(one)}"),
        )

    def _make(self) -> FoundStorage:
        wanted = {
            "project": int(self._project_id),
            "title": self._title,
            **self._place,
            **self._credentials(),
            **self._storage.settings,
        }
        if self._storage.direction == "import":
            # Make each file an item, as in an upload of files. By default, Label Studio expects files of tasks.
            wanted = {"use_blob_urls": True, "recursive_scan": True, **wanted}
        # Label Studio answers only after the sync of a new export storage, so do not wait long.
        within = _ANSWER_WITHIN if self._storage.direction == "export" else None
        made = _send_once(
            lambda: self._send("POST", self._path, wanted, within),
            lambda: next(iter(self._find()), None),
        )
        first = self._keep_one() or made
        log.info("Project %s has a storage %s now: %s", self._project_id, self._id_of(first), self._title)
        return first

    def _update(self, found: FoundStorage) -> FoundStorage:
        """Give the storage the settings and credentials that are asked for, if they may differ from its own."""
        settings, credentials = self._storage.settings, self._credentials()
        changed = [name for name, value in settings.items() if getattr(found, name) != value]
        if not credentials and not changed:
            return found
        if changed:
            log.info("Storage %s gets other settings: %s.", self._id_of(found), ", ".join(changed))
        # Send the place too, so that Label Studio checks that it can reach it.
        return self._send("PATCH", self._id_of(found), self._place | credentials | settings)

    def _credentials(self) -> dict[str, Any]:
        """Return the connection's credentials, except those that the settings contain."""
        conn_id = self._storage.conn_id
        if conn_id is None or self._storage.kind == "file":
            return {}
        found = read_credentials(self._storage.kind, conn_id)
        return {name: value for name, value in found.items() if name not in self._storage.settings}

    def _start(self, found: FoundStorage) -> FoundStorage:
        """Start a sync, and return the storage once it has begun."""
        path = self._id_of(found)

        def read_started() -> FoundStorage | None:
            now = self._client.read("GET", f"{STORAGES}{path}", FoundStorage)
            return now if now.number > found.number else None

        return _send_once(lambda: self._send("POST", f"{path}/sync", timeout=_ANSWER_WITHIN), read_started)

    def _send(
        self, method: str, path: str, body: dict[str, Any] | None = None, timeout: float | None = None
    ) -> FoundStorage:
        """Send a request on which Label Studio accesses the bucket or folder.

        :raises AnnotationError: Label Studio cannot access it
        """
        try:
            return self._client.read(
                method,
                f"{STORAGES}{path}",
                FoundStorage,
                json=body or {},
                repeatable=method == "PATCH",
                timeout=timeout,
            )
        except AnnotationRequestError as error:
            # Errors of the bucket's own library have status 500. A repeated request would not help.
            if error.is_transient and error.status_code != httpx.codes.INTERNAL_SERVER_ERROR:
                raise
            told = str(error).rstrip(".")
            raise AnnotationError(
                f"Label Studio cannot use the {self._storage.direction} storage {self._storage.uri}: {told}. "
                f"{_ways_out(self._storage)}"
            ) from error


def _send_once(send: Callable[[], FoundStorage], find: Callable[[], FoundStorage | None]) -> FoundStorage:
    """Like :func:`make_once`, for a request whose answer comes after a sync. It is enough that the sync has begun."""

    def send_and_look() -> FoundStorage:
        try:
            return send()
        except AnnotationConnectionError as error:
            if not error.was_sent or (found := find()) is None:
                raise
            return found

    return make_once(send_and_look, find)


def _ways_out(storage: Storage) -> str:
    if storage.kind == "file":
        return (
            "The folder has to be on the server's disk, below its LOCAL_FILES_DOCUMENT_ROOT, and the server has to run "
            "with LOCAL_FILES_SERVING_ENABLED=true."
        )
    empty = " and whether there is an object in it yet" if storage.direction == "import" else ""
    credentials = f"connection {storage.conn_id!r}" if storage.conn_id else "the credentials of the storage or server"
    return f"See whether bucket and folder are right{empty}, and what {credentials} may do there."


def _sync_of(storage_id: str, found: FoundStorage) -> StorageSync:
    meta = found.meta or {}
    told = (found.traceback or "").strip()
    has_failed = found.status == "failed" and not found.is_running
    errors = told.splitlines() if found.status == "completed_with_errors" else []
    return StorageSync(
        storage_id=storage_id,
        number=found.number,
        status=found.status,
        is_running=found.is_running,
        has_failed=has_failed,
        synced=found.last_sync_count or 0,
        existed=_count(meta, "tasks_existed"),
        failed=_count(meta, "tasks_failed_validation") or len(errors),
        errors=[shorten(error) for error in errors[:_ERRORS_LISTED]],
        message=_message(told) if has_failed else "",
        details=told[-_LONGEST_DETAILS:] if has_failed or errors else "",
        seconds=float(duration) if isinstance(duration := meta.get("duration"), (int, float)) else 0.0,
    )


def _count(meta: dict[str, Any], name: str) -> int:
    count = meta.get(name)
    return count if isinstance(count, int) else 0


def _message(told: str) -> str:
    """Return the message of a failure, from a traceback or from plain text."""
    raised = list(_RAISED.finditer(told))
    message = told or "Label Studio does not say why"
    if told.startswith("Traceback") and raised:
        kind, _, message = told[raised[-1].start() :].partition(": ")
        message = f"{kind.rpartition('.')[2]}: {message}"
    way_out = " (storage_settings={'use_blob_urls': True})" if "import method" in message else ""
    return f"{shorten(message).rstrip('.')}{way_out}"
