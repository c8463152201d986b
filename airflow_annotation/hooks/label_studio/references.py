"""Media that a Label Studio server reads where they are."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

import msgspec

from airflow_annotation.exceptions import AnnotationError, AnnotationRequestError
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.media.storage import local_path, uri_scheme, without_connection

_STORAGES: Final = {"s3": ("s3", "bucket"), "gs": ("gcs", "bucket"), "azure-blob": ("azure", "container")}
"""Label Studio's storage type for a URI scheme, and the storage's attribute that holds the bucket's name."""


class _Storage(msgspec.Struct):
    """A storage that a project is connected to."""

    type: str
    path: str | None = None
    bucket: str | None = None
    container: str | None = None


class MediaReferences:
    """What a project's tasks can refer to.

    Label Studio serves files below its ``LOCAL_FILES_DOCUMENT_ROOT`` if a local storage of the project is connected to
    a folder below it, and signs bucket URIs if a storage of the project is connected to the bucket.

    :param document_root: the server's ``LOCAL_FILES_DOCUMENT_ROOT``, at the same path here; None if it serves no files
    """

    def __init__(self, client: LabelStudioClient, project_id: str, *, document_root: str | None) -> None:
        self._client = client
        self._project_id = project_id
        self._root = Path(document_root).absolute() if document_root else None

    def find(self, uri: str) -> str | None:
        """Return what a task refers to the media by, None if the server cannot read them.

        Connects the project to the folder of a local file if need be.

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
        # A file right in the document root cannot be served: no storage may be connected to the root itself.
        if self._root is None or self._root not in path.parent.parents:
            return None
        relative = path.relative_to(self._root)
        connected = {Path(storage.path) for storage in self._storages if storage.type == "localfiles" and storage.path}
        if not connected.intersection(path.parents):
            self._connect(self._root / relative.parts[0])
        return f"{urlsplit(self._client.url).path.rstrip('/')}/data/local-files/?d={quote(relative.as_posix())}"

    def _connect(self, folder: Path) -> None:
        storage = {"project": self._project_id, "title": folder.name, "path": str(folder), "use_blob_urls": True}
        try:
            made = self._client.read("POST", "/api/storages/localfiles", _Storage, json=storage)
        except AnnotationRequestError as error:
            raise AnnotationError(
                f"Label Studio cannot be referred to the files in {folder}. Use media_access='upload', or mend what it "
                f"says: {error}"
            ) from error
        self._storages.append(made)

    @cached_property
    def _storages(self) -> list[_Storage]:
        params = {"project": self._project_id}
        found: list[_Storage] = self._client.read("GET", "/api/storages/", list[_Storage], params=params)
        return found
