"""Versions of a dataset in a folder of any object store, and the manifest that says which one is current.

::

    target/
      manifest.json                        the current version, its files and their checksums
      README.md                            for Parquet datasets: the same files, for Hugging Face's ``datasets``
      versions/20261122T171532Z-5f0c2e8a/  the files of a version, and its manifest at the time of the landing;
                                           formats other than Parquet keep their source rows in tables/

A version's folder never changes after the manifest names it. A landing replaces the manifest last, in one step. So a
reader sees either the whole landing or the one before it.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Final, NamedTuple

import msgspec
from airflow.providers.common.compat.sdk import AirflowNotFoundException
from airflow.sdk import BaseHook, ObjectStoragePath

from airflow_annotation import __version__
from airflow_annotation.datasets.dataset_card import update_card
from airflow_annotation.datasets.stores import DatasetStore, FolderStore
from airflow_annotation.datasets.table_files import TableFile
from airflow_annotation.exceptions import AnnotationError, LandingMovedError
from airflow_annotation.labels.schema import LabelSchema
from airflow_annotation.labels.tables import SCHEMAS, TABLES_VERSION
from airflow_annotation.media.storage import without_connection
from airflow_annotation.storage_providers import provider_of_scheme

log = logging.getLogger(__name__)

MANIFEST_NAME: Final = "manifest.json"
VERSIONS: Final = "versions"
PARQUET: Final = "parquet"
DELTA: Final = "delta"

ABANDONED_AFTER: Final = timedelta(days=1)
"""Age at which a folder that no manifest names is removed: before, another landing may still be writing it."""

MOVES: Final = 5
"""How often a landing tries to replace the manifest while others replace it."""

_VERSION_TIME: Final = "%Y%m%dT%H%M%SZ"
_VERSION_NAME: Final = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a dataset holds: the content of ``manifest.json``.

    :param tables_version: version of the tables' columns, see ``labels.tables.TABLES_VERSION``
    :param version: name of the current version
    :param versions: the versions that are kept, newest first, including the current one
    :param created_at: when writing of the current version began
    :param project: the project's URI
    :param run_key: the annotation run, None for projects that this provider did not make
    :param label_schema: label schema in the tool, before any renaming of fields
    :param label_schema_digest: digest of the schema, equal for equal schemas
    :param settings: settings of the landing
    :param rows: rows by table; in other formats than Parquet, ``images`` and ``objects``
    :param files: files by table, relative to the dataset's folder; in other formats ``images`` is the Parquet file that
        says which image is which item, and ``objects`` those that have the objects of many images
    :param dataset_format: ``parquet``, or another of ``formats.registry.FORMATS``
    :param full_at: when all items were read the last time; since then, unchanged items were copied from the version
        before
    :param watermark: time by the tool's clock: all changes up to it are in the version. None if the tool cannot tell
    :param changes: how many items the version replaced or added, and removed, ``changed_items`` and ``removed_items``
    :param landed_at: when the version was last found to have the same labels as the tool
    :param delta_versions: for the format ``delta``: the version of each Delta table, which has no ``files``
    :param tables: for formats other than Parquet and Delta: the source rows of the files, as Parquet files by table,
        which the next landing reuses for unchanged items; and ``item_files``, the files that are each of one item
    :param written_by: for the same formats: the release of this provider that wrote the files
    """

    tables_version: int
    version: str
    versions: list[str]
    created_at: datetime
    project: str
    run_key: str | None
    label_schema: dict[str, Any]
    label_schema_digest: str
    settings: dict[str, Any]
    rows: dict[str, int]
    files: dict[str, list[TableFile]]
    dataset_format: str = PARQUET
    full_at: datetime | None = None
    watermark: datetime | None = None
    changes: dict[str, int] | None = None
    landed_at: datetime | None = None
    delta_versions: dict[str, int] = {}
    tables: dict[str, list[TableFile]] = {}
    written_by: str | None = None


def check_target(target: str) -> None:
    """Check that a target is valid, without connecting to it.

    :raises AnnotationError: it is neither a URI nor an absolute path, or has characters that end a URI's path
    """
    if "://" not in target and not target.startswith("/"):
        raise AnnotationError(f"The target {target!r} is neither a URI (gs://…, file:///…) nor an absolute path.")
    if "#" in target or "?" in target:
        raise AnnotationError(
            f"The target {target!r} has a # or a ?, which ObjectStoragePath does not take as a name's."
        )


def dataset_path(target: str, conn_id: str | None = None) -> ObjectStoragePath:
    """Return the dataset's folder.

    :param target: a URI (``gs://bucket/labels``, ``file:///data/labels``) or an absolute local path
    :param conn_id: the connection of the object store, if the URI names none
    :raises AnnotationError: it is neither, nothing installed serves its scheme, or its connection is not defined
    """
    check_target(target)
    scheme, separator, _ = target.partition("://")
    named = target.partition("://")[2].partition("/")[0].rpartition("@")[0] or conn_id
    if named:
        # Without the connection, some providers would go on without credentials.
        try:
            BaseHook.get_connection(named)
        except AirflowNotFoundException as error:
            raise AnnotationError(f"The connection of {without_connection(target)} is not defined: {error}.") from error
    path = ObjectStoragePath(target if separator else f"file://{target}", conn_id=conn_id)
    try:
        _ = path.fs
    except ValueError as error:
        raise AnnotationError(
            f"No installed Airflow provider serves {scheme}:// (target {target!r}): install "
            f"{provider_of_scheme(scheme)}."
        ) from error
    return path


def read_manifest(
    target: str,
    *,
    conn_id: str | None = None,
    dataset_format: str | Sequence[str] | None = PARQUET,
    version: str | None = None,
) -> Manifest:
    """Read the manifest of the dataset in a folder.

    :param target: the folder, as for :func:`dataset_path`
    :param conn_id: the connection of the object store, if the URI names none
    :param dataset_format: one or several formats that the caller can read; None for any
    :param version: one of the versions that are kept, instead of the current one
    :raises AnnotationError: there is no dataset, it is in another format, the version is not kept, or a newer release
        of this provider wrote it
    """
    store = FolderStore(dataset_path(target, conn_id))
    current = manifest = find_current(store)
    if current is not None and version not in (None, current.version):
        manifest = find_version(store, str(version)) if version in current.versions else None
        if manifest is None:
            raise AnnotationError(
                f"The dataset in {target!r} has no version {version!r}: it keeps {', '.join(current.versions)}."
            )
    if manifest is None:
        raise AnnotationError(f"There is no dataset in {target!r}: it has no {MANIFEST_NAME}.")
    formats = (dataset_format,) if isinstance(dataset_format, str) else dataset_format
    if formats is not None and manifest.dataset_format not in formats:
        raise AnnotationError(
            f"The dataset in {target!r} is in the format {manifest.dataset_format}, not {' or '.join(formats)}."
        )
    return manifest


def find_version(store: DatasetStore, version: str) -> Manifest | None:
    """Return the manifest of a version as it landed, None if the version no longer exists."""
    found = store.find(f"{VERSIONS}/{version}/{MANIFEST_NAME}")
    return _decode(store, found.content) if found else None


def find_current(store: DatasetStore) -> Manifest | None:
    """Return the current manifest, None if there is no dataset.

    :raises AnnotationError: the folder holds something other than a dataset, or a newer release of this provider
        wrote it
    """
    found = store.find(MANIFEST_NAME)
    return _decode(store, found.content) if found else None


class NewVersion(msgspec.Struct, frozen=True, kw_only=True):
    """What a new version is made of, and what happens to the versions before it.

    :param project: URI of the project
    :param run_key: annotation run, None for projects that this provider did not make
    :param label_schema: the project's label schema, before any renaming of fields
    :param settings: settings of the landing
    :param dataset_format: format of the files
    :param tables: names of the version's tables, in formats that have tables
    :param follows: the version that unchanged rows are copied from; None if all items were read
    :param watermark: time by the tool's clock: all changes up to it are in the version
    :param changes: numbers of changed and removed items, as in the manifest
    :param keep_versions: number of versions to keep, including the new one. If it is more than one, readers that have
        read the manifest before it was replaced still find its files
    :param is_kept: takes the new manifest, and returns a function that says whether to keep an older version, as long
        as ``keep_versions`` allows it
    :param check_settings: takes the settings of the current version, and raises an error if it must not be replaced
    :param replace_project: whether to replace a dataset of another project, or in another format, whatever its
        settings are
    """

    project: str
    run_key: str | None = None
    label_schema: LabelSchema
    settings: dict[str, Any]
    dataset_format: str = PARQUET
    tables: tuple[str, ...] = tuple(SCHEMAS)
    follows: Manifest | None = None
    watermark: datetime | None = None
    changes: dict[str, int] | None = None
    keep_versions: int = 2
    is_kept: Callable[[Manifest], Callable[[Manifest], bool]] | None = None
    check_settings: Callable[[dict[str, Any]], None] | None = None
    replace_project: bool = False


class Written(NamedTuple):
    """What was written for a version.

    :param files: files by table, relative to the version's folder
    :param delta_versions: versions of the Delta tables, as in the manifest
    :param rows: number of rows by table; by default those of the files
    :param tables: source rows, as in the manifest, relative to the version's folder
    :param taken: paths of files to copy from the version that this one follows, relative to both versions' folders
    """

    files: dict[str, list[TableFile]]
    delta_versions: dict[str, int] = {}  # noqa: RUF012 - replaced, never changed
    rows: dict[str, int] | None = None
    tables: dict[str, list[TableFile]] = {}  # noqa: RUF012
    taken: Sequence[str] = ()


def write_version(store: DatasetStore, new: NewVersion, write: Callable[[ObjectStoragePath], Written]) -> Manifest:
    """Write a version of the dataset, make it the current one, and remove the versions that are not kept.

    :param store: the dataset's folder
    :param new: the version
    :param write: writes the version's files into a folder of their own
    :raises AnnotationError: the dataset is of another project or in another format, or was written by a newer release
        of this provider
    :raises LandingMovedError: the current version is not the one that the new one follows
    """
    # This finds a wrong target before anything is written.
    _check(store, find_current(store), new)
    created_at = datetime.now(timezone.utc)
    version = f"{created_at.strftime(_VERSION_TIME)}-{uuid.uuid4().hex[:8]}"
    with store.write(f"{VERSIONS}/{version}") as folder:
        try:
            written = write(folder)
        except FileNotFoundError:
            _check(store, find_current(store), new)  # the version that it follows may have been removed under it
            raise
        manifest = Manifest(
            tables_version=TABLES_VERSION,
            version=version,
            versions=[version],
            created_at=created_at,
            project=new.project,
            run_key=new.run_key,
            label_schema=new.label_schema.to_dict(),
            label_schema_digest=new.label_schema.digest(),
            settings=new.settings,
            rows=written.rows or {name: sum(file.rows for file in files) for name, files in written.files.items()},
            files=_in_folder(written.files, version),
            dataset_format=new.dataset_format,
            full_at=new.follows.full_at if new.follows else created_at,
            watermark=new.watermark,
            changes=new.changes,
            landed_at=created_at,
            delta_versions=written.delta_versions,
            tables=_in_folder(written.tables, version),
            written_by=__version__ if written.tables else None,
        )
        copy = folder / MANIFEST_NAME
        copy.fs.pipe_file(copy.path, _encode(manifest))

    try:
        if new.follows is not None and written.taken:
            _take_over(store, new, version, written.taken)
        return _move(store, manifest, new)
    except LandingMovedError:
        store.remove(f"{VERSIONS}/{version}")
        raise


def _in_folder(files: dict[str, list[TableFile]], version: str) -> dict[str, list[TableFile]]:
    return {
        name: [msgspec.structs.replace(file, path=f"{VERSIONS}/{version}/{file.path}") for file in some]
        for name, some in files.items()
    }


def _take_over(store: DatasetStore, new: NewVersion, version: str, paths: Sequence[str]) -> None:
    """Copy files into a version from the one that it follows."""
    assert new.follows is not None
    try:
        store.copy(f"{VERSIONS}/{new.follows.version}", f"{VERSIONS}/{version}", paths)
    except BaseException as error:
        store.remove(f"{VERSIONS}/{version}")
        if isinstance(error, FileNotFoundError):
            _check(store, find_current(store), new)  # the version that it follows may have been removed under it
        raise


def keep_version(store: DatasetStore, current: Manifest, new: NewVersion) -> Manifest:
    """Note in the manifest that the current version still has the same labels as the tool.

    :param store: the dataset's folder
    :param current: manifest of the current version
    :param new: the next version, which need not be written because nothing has changed
    :raises LandingMovedError: another version is current now
    """
    manifest = msgspec.structs.replace(
        current,
        watermark=new.watermark,
        settings={**current.settings, **new.settings},
        landed_at=datetime.now(timezone.utc),
    )
    return _move(store, manifest, new)


def _move(store: DatasetStore, manifest: Manifest, new: NewVersion) -> Manifest:
    """Make a manifest the current one, and remove the versions that it does not name."""
    for attempt in range(1, MOVES + 1):
        found = store.find(MANIFEST_NAME)
        previous = _decode(store, found.content) if found else None
        try:
            _check(store, previous, new)
            older = [name for name in (previous.versions if previous else ()) if name != manifest.version]
            if new.is_kept:
                kept = [(name, find_version(store, name)) for name in older[: new.keep_versions - 1]]
                is_kept = new.is_kept(manifest) if kept else None
                older = [name for name, old in kept if old and is_kept and is_kept(old)]
            manifest = msgspec.structs.replace(manifest, versions=[manifest.version, *older][: new.keep_versions])
            store.replace(MANIFEST_NAME, _encode(manifest), found)
            break
        except LandingMovedError:
            # A landing of all items may replace any other version, so it tries again.
            if attempt == MOVES:
                raise
    if manifest.dataset_format == PARQUET:
        update_card(store, lambda: find_current(store))
    # After any other error nothing is removed: the store may have replaced the manifest although its answer was lost.
    try:
        for name in _unused_versions(store, manifest, previous):
            store.remove(f"{VERSIONS}/{name}")
    except Exception as error:
        log.warning("%s has landed; older versions could not be listed to remove them: %s", store.uri, error)
    return manifest


def _check(store: DatasetStore, current: Manifest | None, new: NewVersion) -> None:
    """Check that a version may replace the current one."""
    if new.follows is not None and (current is None or current.version != new.follows.version):
        raise LandingMovedError(f"{store.uri} has another version than {new.follows.version}, which this one follows.")
    if not new.replace_project:
        check_same_run(store.uri, current, new.project, new.run_key, new.dataset_format)
        if current is not None and new.check_settings:
            new.check_settings(current.settings)


def _encode(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest))


def _decode(store: DatasetStore, content: bytes) -> Manifest:
    path = f"{store.uri}/{MANIFEST_NAME}"
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.DecodeError as error:
        raise AnnotationError(f"{path} is not the manifest of a dataset of this provider: {error}.") from error
    if manifest.tables_version > TABLES_VERSION:
        raise AnnotationError(
            f"{path} was written by a newer release of airflow-provider-annotation (its tables have version "
            f"{manifest.tables_version}, this release knows {TABLES_VERSION}): upgrade, or land in another target."
        )
    return manifest


def check_same_run(
    target: str, previous: Manifest | None, project: str, run_key: str | None, dataset_format: str
) -> None:
    """Check that no other labels are lost: a dataset has one format, and one project or the projects of one run.

    :param target: folder of the dataset, as errors name it
    :param previous: manifest of its current version, None if there is none
    :param project: URI of the project that lands there
    :param run_key: annotation run of this project
    :param dataset_format: format of the landing
    :raises AnnotationError: labels would be lost
    """
    if previous is None:
        return
    if previous.dataset_format != dataset_format:
        raise AnnotationError(
            f"{target} holds a dataset in the format {previous.dataset_format}, not {dataset_format}. Land each format "
            "in a folder of its own, or pass replace_project=True."
        )
    if previous.project == project:
        return
    if run_key is None or previous.run_key != run_key:
        raise AnnotationError(
            f"{target} holds the labels of {previous.project} (run {previous.run_key!r}), not of {project}. Land each "
            "project in a folder of its own, for example with {{ run_id }} in the target, or pass "
            "replace_project=True."
        )


def _unused_versions(store: DatasetStore, manifest: Manifest, previous: Manifest | None) -> Iterator[str]:
    """Yield the versions that the manifest no longer names, and the old ones that crashed landings left."""
    dropped = set(previous.versions if previous else ()) - set(manifest.versions)
    began_before = (datetime.now(timezone.utc) - ABANDONED_AFTER).strftime(_VERSION_TIME)
    for name in store.list(VERSIONS):
        abandoned = _VERSION_NAME.fullmatch(name) and name not in manifest.versions and name < began_before
        if name in dropped or abandoned:
            yield name
