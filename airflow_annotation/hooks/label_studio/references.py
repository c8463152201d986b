"""Refer to media that a Label Studio server reads from where they are stored."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from airflow_annotation.exceptions import AnnotationError, AnnotationRequestError
from airflow_annotation.hooks.label_studio.actions import delete
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.hooks.label_studio.storages import STORAGES, FoundStorage, list_storages
from airflow_annotation.hooks.late_requests import keep_first, make_once
from airflow_annotation.media.storage import local_path, uri_scheme, without_connection

_STORAGES: Final = {"s3": ("s3", "bucket"), "gs": ("gcs", "bucket"), "azure-blob": ("azure", "container")}
"""Label Studio's storage type for a URI scheme, and the storage's attribute that holds the bucket's name."""


class MediaReferences:
    """References from a project's tasks to media that the server reads itself.

    Label Studio serves files below its ``LOCAL_FILES_DOCUMENT_ROOT`` if a local storage of the project is connected to
    a folder below it, and signs bucket URIs if a storage of the project is connected to the bucket.

    :param client: client of the server
    :param project_id: the project
    :param document_root: the server's ``LOCAL_FILES_DOCUMENT_ROOT``, if the worker has the same files there; None if
        the server serves no local files
    """

    def __init__(self, client: LabelStudioClient, project_id: str, *, document_root: str | None) -> None:
        self._client = client
        self._project_id = project_id
        self._root = Path(document_root).absolute() if document_root else None
        self._checked: set[Path] = set()

    def find(self, uri: str) -> str | None:
        """Return the reference to media for a task's data; None if the server cannot read the media.

        Connects the project to the folder of a local file if it is not connected yet.

        :param uri: URI of the media
        :raises AnnotationError: the server does not serve local files
        """
        scheme = uri_scheme(uri)
        if scheme in {"http", "https"}:
            return uri
        path = local_path(uri)
        if path is not None:
            return self._find_local(Path(os.path.normpath(path.absolute())))
        bucket = urlsplit(without_connection(uri)).netloc
        storage_type, attribute = _STORAGES.get(scheme, ("", "bucket"))
        connected = any(
            storage.type == storage_type and getattr(storage, attribute) == bucket for storage in self._storages
        )
        return without_connection(uri) if connected else None

    def _find_local(self, path: Path) -> str | None:
        # Files directly in the document root cannot be served: no storage may be connected to the root itself.
        if self._root is None or self._root not in path.parent.parents:
            return None
        relative = path.relative_to(self._root)
        connected = {Path(storage.path) for storage in self._storages if storage.type == "localfiles" and storage.path}
        if not connected.intersection(path.parents):
            self._connect(self._root / relative.parts[0])
        else:
            self._keep_one(self._root / relative.parts[0])
        return f"{urlsplit(self._client.url).path.rstrip('/')}/data/local-files/?d={quote(relative.as_posix())}"

    def _connect(self, folder: Path) -> None:
        storage = {"project": self._project_id, "title": folder.name, "path": str(folder), "use_blob_urls": True}
        try:
            make_once(
                lambda: self._client.read("POST", f"{STORAGES}localfiles", FoundStorage, json=storage),
                lambda: next(iter(self._of(folder)), None),
            )
        except AnnotationRequestError as error:
            raise AnnotationError(
                f"Label Studio cannot read the files in {folder} itself. Use media_access='upload', or correct what it "
                f"reports: {error}"
            ) from error
        self._storages = list_storages(self._client, self._project_id)
        self._keep_one(folder)

    def _keep_one(self, folder: Path) -> None:
        """Delete a second storage that a late request made."""
        if folder in self._checked:
            return
        self._checked.add(folder)
        keep_first(
            self._of(folder, self._storages),
            f"local storage {folder}",
            made_at=lambda one: one.created_at,
            is_as_made=lambda one: one.settings == (folder.name, None, None, True, None) and not one.last_sync,
            delete=lambda one: delete(self._client, f"{STORAGES}localfiles/{one.id}"),
        )

    def _of(self, folder: Path, storages: list[FoundStorage] | None = None) -> list[FoundStorage]:
        found = list_storages(self._client, self._project_id) if storages is None else storages
        return sorted(
            (one for one in found if one.type == "localfiles" and one.path and Path(one.path) == folder),
            key=lambda one: one.id,
        )

    @cached_property
    def _storages(self) -> list[FoundStorage]:
        return list_storages(self._client, self._project_id)
