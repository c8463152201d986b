"""Media items into a Label Studio project: files in bounded requests, then tasks that carry the item keys.

Files are read by some threads while one other sends, so that the server is never waited for with nothing read, and no
more is held than a request's files and the next one's. On Label Studio's own server a second sender gained nothing.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from operator import length_hint
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Final

import msgspec

from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.hooks.annotation import MediaAccess, OnDuplicate, UploadReport
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.hooks.label_studio.item_tasks import ItemTasks
from airflow_annotation.hooks.label_studio.media_files import (
    EXTENSIONS,
    LARGEST_FILE,
    MediaFile,
    MediaFiles,
    file_name,
)
from airflow_annotation.hooks.label_studio.projects import get_label_config
from airflow_annotation.hooks.label_studio.references import MediaReferences
from airflow_annotation.hooks.progress_log import UploadProgress
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.task_data import RESERVED_KEYS
from airflow_annotation.media.items import MediaItem, key_hash
from airflow_annotation.media.probe import probe_media
from airflow_annotation.media.storage import local_path, open_media, shown, uri_scheme, without_connection

FILES_PER_REQUEST: Final = 50
BYTES_PER_REQUEST: Final = 64 * 1024 * 1024
"""A default server takes 100 files and 250 MiB; proxies before it often take less."""

FILES_PER_IMPORT: Final = 200
TASKS_PER_IMPORT: Final = 1000
BYTES_PER_IMPORT: Final = 16 * 1024 * 1024
"""Of rows: a text may be as long as a book."""

_READERS: Final = 8
_READ_AHEAD: Final = 64
_SENDS_AHEAD: Final = 2

_SIZES: Final = ("width", "height", "frame_count", "frame_rate")
"""Keys of a task's data that say something of the item."""


def upload_items(
    client: LabelStudioClient,
    project_id: str,
    items: Iterable[MediaItem],
    *,
    media_access: MediaAccess = "auto",
    on_duplicate: OnDuplicate = "skip",
    local_files_document_root: str | None = None,
) -> UploadReport:
    """Create a task for each item that the project does not have yet.

    The data of an item without a file are what the labeling config shows: each key that a tag shows, and no other.

    A task's data hold the media under the key that the labeling config shows it from, ``item_key``, ``media_uri``,
    what is known of ``width``, ``height``, ``frame_count`` and ``frame_rate``, and the item's own data beside them.
    Sizes are read from files that are uploaded and from local files; what is only referred to on the web or in a bucket
    is not read, and has the size that the item came with, if any.

    Safe to call again after any failure: items in the project are found by their keys, files without a task by their
    names. Tasks that two callers make of one item at once are removed down to one at the end.

    :param client: of the server
    :param project_id: the project
    :param items: may be a generator of millions
    :param media_access: ``upload`` sends the bytes; ``reference`` has the server read them: web URLs, URIs of a bucket
        that the project has a storage for, files below the server's document root; ``auto`` refers to web URLs and
        files below the document root, and uploads the rest
    :param on_duplicate: what to do with an item that the project has: ``skip`` it, have it ``fail``, or ``allow`` it
    :param local_files_document_root: the server's ``LOCAL_FILES_DOCUMENT_ROOT``, at the same path here
    :return: counts, and the first items that failed
    :raises AnnotationError: the upload cannot go on
    """
    config = LabelingConfig(get_label_config(client, project_id) or "<View/>")
    if not config.objects:
        raise AnnotationError(f"Project {project_id} shows no media: its labeling config has no tag like Image.")
    upload = _Upload(
        client=client,
        project_id=project_id,
        config=config,
        media_access=media_access,
        on_duplicate=on_duplicate,
        references=MediaReferences(client, project_id, document_root=local_files_document_root),
    )
    return upload.run(items)


class _ReadyItem(msgspec.Struct, kw_only=True, eq=False):
    """An item of which only the server's place for its file, if it has one to send, is not known yet."""

    item_key: str
    data_key: str
    data: dict[str, Any]
    file: MediaFile | None = None
    refused: bool = False
    size: int = 0
    """Of a row, in bytes of JSON."""


class _Outcome(msgspec.Struct):
    created: int = 0
    failures: list[tuple[str, str]] = []


class _Upload:
    def __init__(
        self,
        *,
        client: LabelStudioClient,
        project_id: str,
        config: LabelingConfig,
        media_access: MediaAccess,
        on_duplicate: OnDuplicate,
        references: MediaReferences,
    ) -> None:
        self._config = config
        self._media_access = media_access
        self._on_duplicate = on_duplicate
        self._references = references
        self._report = UploadReport()
        self._tasks = ItemTasks(client, project_id, config=config)
        self._known_keys: set[int] = set()
        if on_duplicate == "allow":
            self._tasks.skip_keys()
        else:
            self._known_keys = self._tasks.read_keys()
        self._own_keys: set[int] = set()
        self._files = MediaFiles(client, project_id, known_keys=self._known_keys)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="read-media")
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="send-media")
        self._sending: deque[Future[_Outcome]] = deque()
        self._request: list[_ReadyItem] = []
        self._request_bytes = 0
        self._import: list[_ReadyItem] = []
        self._import_files = self._import_bytes = 0

    def run(self, items: Iterable[MediaItem]) -> UploadReport:
        progress = UploadProgress(length_hint(items, 0))
        reading: deque[tuple[MediaItem, Future[_ReadyItem]]] = deque()
        try:
            for item in items:
                if self._is_wanted(item):
                    reading.append((item, self._start(item)))
                if len(reading) > _READ_AHEAD:
                    self._add(*reading.popleft())
                progress.log(self._report)
            while reading:
                self._add(*reading.popleft())
                progress.log(self._report)
            self._send_import()
            while self._sending:
                self._finish(self._sending.popleft())
                progress.log(self._report)
        finally:
            self._readers.shutdown(cancel_futures=True)
            self._sender.shutdown(cancel_futures=True)
        self._tasks.remove_doubles(self._own_keys)
        progress.log(self._report, last=True)
        return self._report

    def _is_wanted(self, item: MediaItem) -> bool:
        if self._on_duplicate == "allow":
            return True
        key = key_hash(item.item_key)
        if key not in self._known_keys and key not in self._own_keys:
            self._own_keys.add(key)
            return True
        if self._on_duplicate == "skip":
            self._report.skipped += 1
        else:
            self._report.fail(item.item_key, f"The project already has an item {item.item_key!r}.")
        return False

    # Reading

    def _start(self, item: MediaItem) -> Future[_ReadyItem]:
        """Begin to make an item ready. Only a file has to be read for that, by the threads for it."""
        done: Future[_ReadyItem] = Future()
        try:
            if item.is_row:
                done.set_result(self._ready_row(item))
                return done
            data_key = self._data_key(item)
            reference = self._reference(item)
        except MediaError as error:
            done.set_exception(error)
            return done
        if reference is None or local_path(item.media):
            return self._readers.submit(_read, item, data_key, reference)
        done.set_result(_ready(item, data_key, reference))
        return done

    def _reference(self, item: MediaItem) -> str | None:
        """Return what the task refers to the media by; None to send the file."""
        if self._media_access == "upload":
            return None
        if self._media_access == "auto" and uri_scheme(item.media) not in {"http", "https", "file"}:
            return None
        reference = self._references.find(item.media)
        if reference is None and self._media_access == "reference":
            raise MediaError(
                f"Label Studio cannot read {shown(item.media)} by itself: it is not on the web, in a bucket that the "
                "project has a storage for, or in a folder below the connection's local_files_document_root. Use "
                "media_access='upload'."
            )
        return reference

    def _ready_row(self, item: MediaItem) -> _ReadyItem:
        """Return an item without a file; check that it has what the project shows, and nothing else."""
        tags = self._config.data_tags
        shown_keys = {media.data_key for media in self._config.objects.values()}
        absent = sorted(key for key in shown_keys if item.data.get(key) in (None, "", []))
        if absent:
            raise MediaError(f"Item {item.item_key!r} has no {absent[0]!r}, which the tag {tags[absent[0]]} shows.")
        unknown = sorted(item.data.keys() - tags.keys())
        if unknown:
            taken = ", ".join(f"{key!r} ({tag})" for key, tag in tags.items())
            raise MediaError(
                f"Item {item.item_key!r} has {unknown[0]!r}, which no tag of the project shows. Leave it out, or show "
                f"it. Tags show {taken}."
            )
        sizes = {name: value for name in _SIZES if (value := getattr(item, name)) is not None}
        data = {"item_key": item.item_key, **sizes, **item.data}
        return _ReadyItem(item_key=item.item_key, data_key="", data=data, size=self._json_size(item, data))

    def _json_size(self, item: MediaItem, data: Any) -> int:
        try:
            return len(msgspec.json.encode(data))
        except (TypeError, ValueError, OverflowError) as error:
            name = shown(item.media) if item.media else item.item_key
            raise MediaError(f"The data of {name!a} cannot be JSON: {error}.") from error

    def _data_key(self, item: MediaItem) -> str:
        """Return the key of the task's data for the item's media; check that its data can stand beside it."""
        objects = self._config.objects.values()
        data_key = next((media.data_key for media in objects if media.media_type == item.media_type), None)
        if data_key is None:
            labeled = " and ".join(sorted({media.media_type for media in objects}))
            raise MediaError(f"{shown(item.media)} is of type {item.media_type}, but the project labels {labeled}.")
        taken = sorted({data_key, *RESERVED_KEYS} & item.data.keys())
        if taken:
            raise MediaError(f"Data key {taken[0]!r} of {shown(item.media)} is taken by the upload: rename it.")
        absent = sorted({media.data_key for media in objects} - {data_key} - item.data.keys())
        if absent:
            raise MediaError(f"The project also shows {absent[0]!r}, which the data of {shown(item.media)} lack.")
        self._json_size(item, (item.item_key, item.media, item.data))
        return data_key

    # Sending

    def _add(self, item: MediaItem, reading: Future[_ReadyItem]) -> None:
        try:
            ready = reading.result()
        except MediaError as error:
            # Names of files need not be valid Unicode; what is reported goes through JSON.
            self._report.fail(item.item_key.encode(errors="backslashreplace").decode(), str(error))
            return
        if ready.file is not None:
            size = ready.file.file.seek(0, io.SEEK_END)
            if self._request_bytes + size > BYTES_PER_REQUEST:
                self._send_request()
            self._request.append(ready)
            self._request_bytes += size
            self._import_files += 1
        if self._import_bytes + ready.size > BYTES_PER_IMPORT:
            self._send_import()
        self._import.append(ready)
        self._import_bytes += ready.size
        if len(self._request) == FILES_PER_REQUEST:
            self._send_request()
        if self._import_files == FILES_PER_IMPORT or len(self._import) == TASKS_PER_IMPORT:
            self._send_import()

    def _send_request(self) -> None:
        if self._request:
            self._submit(self._send_files, self._request)
        self._request, self._request_bytes = [], 0

    def _send_import(self) -> None:
        self._send_request()
        if self._import:
            self._submit(self._create_tasks, self._import)
        self._import, self._import_files, self._import_bytes = [], 0, 0

    def _submit(self, send: Callable[[list[_ReadyItem]], _Outcome], items: list[_ReadyItem]) -> None:
        while len(self._sending) >= _SENDS_AHEAD:
            self._finish(self._sending.popleft())
        self._sending.append(self._sender.submit(send, items))

    def _finish(self, sending: Future[_Outcome]) -> None:
        outcome = sending.result()
        self._report.uploaded += outcome.created
        for item_key, reason in outcome.failures:
            self._report.fail(item_key, reason)

    def _send_files(self, items: list[_ReadyItem]) -> _Outcome:
        files = {item.file.name: item.file for item in items if item.file}  # an item that is there twice has one file
        refused = {file.name: str(error) for file, error in self._files.send(list(files.values()))}
        outcome = _Outcome()
        for item in items:
            if item.file is None:
                continue
            item.file.file.close()
            if item.file.name in refused:
                item.refused = True
                outcome.failures.append((item.item_key, refused[item.file.name]))
        return outcome

    def _create_tasks(self, items: list[_ReadyItem]) -> _Outcome:
        paths = self._files.take_paths()
        taken = [item for item in items if not item.refused]
        for item in taken:
            if item.file:
                item.data[item.data_key] = paths[item.file.name]
        refused = self._tasks.create([item.data for item in taken])
        return _Outcome(
            created=len(taken) - len(refused),
            failures=[(data["item_key"], str(error)) for data, error in refused],
        )


def _ready(item: MediaItem, data_key: str, reference: str | None) -> _ReadyItem:
    sizes = {name: value for name in _SIZES if (value := getattr(item, name)) is not None}
    data = {data_key: reference, "item_key": item.item_key, "media_uri": without_connection(item.media)}
    return _ReadyItem(item_key=item.item_key, data_key=data_key, data={**data, **sizes, **item.data})


def _read(item: MediaItem, data_key: str, reference: str | None) -> _ReadyItem:
    """Make an item ready whose file is at hand.

    :param reference: what the server reads the file by; None to send it
    """
    with ExitStack() as until_sent:
        file = until_sent.enter_context(open_media(item.media))
        probe = probe_media(file, shown(item.media), item.media_type)
        unknown = {name: getattr(probe, name) for name in _SIZES if getattr(item, name) is None}
        ready = _ready(msgspec.structs.replace(item, **unknown), data_key, reference)
        if reference is None:
            ready.file = _file_to_send(item, file, probe.mime_type)
            until_sent.pop_all()
        return ready


def _file_to_send(item: MediaItem, file: BinaryIO, mime_type: str) -> MediaFile:
    name = shown(item.media)
    if mime_type not in EXTENSIONS:
        raise MediaError(
            f"{name} is {mime_type}, which Label Studio does not take. It takes "
            f"{', '.join(sorted(set(EXTENSIONS.values())))} files."
        )
    size = file.seek(0, io.SEEK_END)
    if size >= LARGEST_FILE:
        raise MediaError(
            f"{name} has {size / 2**20:,.0f} MiB; Label Studio takes files of less than {LARGEST_FILE / 2**20:.0f} "
            "MiB. Use media_access='reference'."
        )
    stem = PurePosixPath(name).stem
    return MediaFile(
        name=file_name(key_hash(item.item_key), file, stem, EXTENSIONS[mime_type]), file=file, mime_type=mime_type
    )
