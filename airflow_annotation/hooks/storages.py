"""Buckets and folders that a tool itself reads or writes, and what it reports about them."""

from __future__ import annotations

import posixpath
import re
from typing import Any, Final, Literal, NamedTuple

import msgspec

from airflow_annotation.media.storage import uri_scheme

StorageDirection = Literal["import", "export"]
StorageKind = Literal["s3", "gcs", "azure", "file"]

_KINDS: Final[dict[str, StorageKind]] = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "abfs": "azure",
    "abfss": "azure",
    "az": "azure",
    "azure-blob": "azure",
    "wasb": "azure",
    "wasbs": "azure",
    "file": "file",
}
"""The kind of storage for each URI scheme."""

_AZURE_HOST: Final = re.compile(r"\.(blob|dfs)\.core\.")


class _Tool(NamedTuple):
    name: str
    directions: tuple[StorageDirection, ...]
    kinds: tuple[StorageKind, ...]
    way_out: str


_TOOLS: Final = {
    "labelbox": _Tool(
        "Labelbox",
        ("import",),
        ("s3", "gcs"),
        "It reads buckets of S3 and Google Cloud by an IAM integration; labels land by a transfer, such as "
        "AnnotationsToObjectStorageOperator, and files on a disk go in by UploadMediaOperator.",
    ),
}
"""Tools that accept only some storages, by the type of their connections."""


class Storage(msgspec.Struct, frozen=True, kw_only=True):
    """A bucket or folder that a project of a tool is connected to.

    :param uri: URI of the folder, without the Airflow connection
    :param kind: kind of the store
    :param bucket: the bucket or container; empty for a folder on a disk
    :param folder: folder in the bucket, without slashes at its ends; the absolute path of a folder on a disk
    :param direction: whether the tool makes items of the objects, or writes submissions there
    :param conn_id: the Airflow connection whose credentials the tool gets; with None it keeps its own
    :param title: title that distinguishes several storages of one folder; None for any
    :param settings: the tool's own settings
    """

    uri: str
    kind: StorageKind
    bucket: str
    folder: str
    direction: StorageDirection = "import"
    conn_id: str | None = None
    title: str | None = None
    settings: dict[str, Any] = {}

    @classmethod
    def of(cls, uri: str, *, conn_id: str | None = None, **parts: Any) -> Storage:
        """Return the storage at a URI.

        :param uri: URI in the form of ``ObjectStoragePath``, with the Airflow connection before an ``@``
        :param conn_id: the connection, if the URI names none
        :param parts: further fields of this class
        :raises ValueError: the URI is not that of a storage
        """
        kind = _KINDS.get(uri_scheme(uri))
        scheme, _, rest = uri.partition("://") if "://" in uri else ("file", "", uri)
        if kind is None:
            raise ValueError(
                f"storage is {uri!r}: pass a folder of a bucket (s3://, gs:// or abfs://), or a folder on the tool's "
                "own disk."
            )
        if any(sign in rest for sign in "*?["):
            raise ValueError(
                f"storage is {uri!r}: pass the folder, and say which of its files by "
                "storage_settings={'regex_filter': ...}."
            )
        if kind == "file":
            if not rest.startswith("/") or not rest.strip("/"):
                raise ValueError(f"storage is {uri!r}: pass the absolute path of a folder on the tool's own disk.")
            folder = posixpath.normpath(f"/{rest.strip('/')}")
            return cls(uri=folder, kind=kind, bucket="", folder=folder, **parts)
        host, _, folder = rest.partition("/")
        named, _, bucket = host.rpartition("@")
        folder = folder.strip("/")
        if not bucket or _AZURE_HOST.search(bucket):
            raise ValueError(
                f"storage is {uri!r}, which names no bucket: pass {scheme}://bucket/folder, for Azure the container "
                "without the account."
            )
        return cls(
            uri=f"{scheme}://{bucket}/{folder}".rstrip("/"),
            kind=kind,
            bucket=bucket,
            folder=folder,
            conn_id=named or conn_id or None,
            **parts,
        )

    @property
    def media_uri(self) -> str:
        """The URI by which a worker reads the folder, with the connection."""
        if self.kind == "file" or self.conn_id is None:
            return self.uri
        scheme, _, rest = self.uri.partition("://")
        return f"{scheme}://{self.conn_id}@{rest}"


class StorageSync(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool reports about a storage and its newest sync. It travels through the triggerer.

    :param storage_id: id of the storage, for the hook
    :param number: number of syncs that have been started
    :param status: status in the tool's own word
    :param is_running: whether the sync still runs
    :param has_failed: whether the sync has ended with a failure
    :param started: whether this call started the sync, so that the sync sees everything that was there before the call
    :param created: whether this call made the storage
    :param synced: items that the sync has made, or submissions that it has written
    :param existed: objects that were items already
    :param failed: objects or tasks that did not become items
    :param errors: their first errors
    :param message: why the sync failed, on one line
    :param details: the tool's full text about it
    :param seconds: duration of the sync
    """

    storage_id: str
    number: int = 0
    status: str = ""
    is_running: bool = False
    has_failed: bool = False
    started: bool = False
    created: bool = False
    synced: int = 0
    existed: int = 0
    failed: int = 0
    errors: list[str] = []
    message: str = ""
    details: str = ""
    seconds: float = 0.0

    def is_over(self, number: int) -> bool:
        """Return whether the sync of this number, or a later one, has ended."""
        return self.number >= number and not self.is_running


def check_storage(storage: Storage, conn_type: str) -> None:
    """Check that a tool accepts a storage.

    :param storage: the storage
    :param conn_type: type of the tool's connection; empty if it is not known
    :raises ValueError: the tool does not accept it
    """
    tool = _TOOLS.get(conn_type)
    if tool is None or (storage.direction in tool.directions and storage.kind in tool.kinds):
        return
    does = "writes to no" if storage.direction == "export" else "reads no such"
    raise ValueError(f"{tool.name} {does} storage as {storage.uri}. {tool.way_out}")
