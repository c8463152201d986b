"""Upload items into a Label Studio project: files in bounded requests, then tasks that carry the item keys.

Some threads read files ahead of :mod:`~airflow_annotation.hooks.label_studio.upload_requests`, which sends them.
"""

from __future__ import annotations

import io
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from operator import length_hint
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Final, NamedTuple

import msgspec

from airflow_annotation.exceptions import AnnotationError, MediaError
from airflow_annotation.hooks.annotation import MediaAccess, OnDuplicate, UploadReport
from airflow_annotation.hooks.errors import other_item_type
from airflow_annotation.hooks.item_upload import WantedItems, item_name, read_conversation
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
from airflow_annotation.hooks.label_studio.upload_requests import ReadyItem, UploadRequests
from airflow_annotation.hooks.progress_log import UploadProgress
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.media_objects import MediaObject
from airflow_annotation.labels.label_studio.task_data import RESERVED_KEYS
from airflow_annotation.media.items import MediaItem, check_data, key_hash
from airflow_annotation.media.probe import MediaProbe, probe_media
from airflow_annotation.media.storage import (
    MediaTooLargeError,
    local_path,
    open_media,
    shown,
    uri_scheme,
    without_connection,
)
from airflow_annotation.media.texts import from_json_text, read_json, read_text
from airflow_annotation.transport.room import Room

_READERS: Final = 8
_READ_AHEAD: Final = 64
"""Maximum number of files that are read ahead of the sending."""

_READ_AHEAD_BYTES: Final = 256 * 1024 * 1024
"""Total size of these files from which no further one is begun."""

_LIST: Final = "list"
"""Tag of a list that people put into an order."""

_SIDES: Final = ("width", "height")
_SIZES: Final = (*_SIDES, "frame_count", "frame_rate")
"""Keys of a task's data for the size of its media. The first two hold lists if the item has several images."""


class _Reading(NamedTuple):
    """A file that is being read, or an item without one.

    :param item: the item
    :param number: number of the file in the item, from 0
    :param file: result of the reading; None if nothing is read
    :param is_last: whether this is the item's last file
    """

    item: ReadyItem
    number: int
    file: Future[_ReadFile] | None
    is_last: bool


class _ReadFile(NamedTuple):
    """The result of reading a file.

    :param probe: facts from the file's headers; None if the content was read instead
    :param file: the file to send; None if no file is sent
    :param data: the content, if the task holds it instead of a file
    """

    probe: MediaProbe | None
    file: MediaFile | None = None
    data: Any = None


class ItemUpload:
    """Creates a task for each item that the project does not have yet. For one upload.

    A file is sent to the server, or the task refers to it. If tasks hold the media itself, such as texts, the file is
    read. The data of an item without a file must have each key that a tag of the labeling config shows, and no other.

    A task's data contain the item's own data, ``item_key`` and ``media_uri``. The media is under the key from which the
    labeling config shows it. ``width``, ``height``, ``frame_count`` and ``frame_rate`` are there if they are known. For
    an item of several images, the media, ``media_uri``, ``width`` and ``height`` are lists.
    Sizes are read from files that are uploaded and from local files. Media that a task only refers to on the web or in
    a bucket are not read. They have the size that the caller gave, if any.

    Safe to run again after any failure: items in the project are found by their keys, and files without a task by their
    names. If two callers make tasks of one item at the same time, all but one of these tasks are removed at the end.

    :param client: client of the server
    :param project_id: the project
    :param media_access: ``upload`` sends the files. ``reference`` lets the server read them: web URLs, URIs of a bucket
        that the project has a storage for, files below the server's document root. ``auto`` refers to web URLs and
        files below the document root, and uploads the rest
    :param on_duplicate: what to do with an item that the project has already: ``skip`` it, let it ``fail``, or
        ``allow`` a second one
    :param local_files_document_root: the server's ``LOCAL_FILES_DOCUMENT_ROOT``, if the worker has the same files there
    :raises AnnotationError: the upload cannot continue
    """

    def __init__(
        self,
        client: LabelStudioClient,
        project_id: str,
        *,
        media_access: MediaAccess = "auto",
        on_duplicate: OnDuplicate = "skip",
        local_files_document_root: str | None = None,
    ) -> None:
        self._config = LabelingConfig(get_label_config(client, project_id) or "<View/>")
        if not self._config.objects:
            raise AnnotationError(f"Project {project_id} shows no media: its labeling config has no tag like Image.")
        self._media_access = media_access
        self._on_duplicate = on_duplicate
        self._references = MediaReferences(client, project_id, document_root=local_files_document_root)
        self._report = UploadReport()
        self._tasks = ItemTasks(client, project_id, config=self._config)
        self._known_keys: set[int] = set()
        if on_duplicate == "allow":
            self._tasks.skip_keys()
        else:
            self._known_keys = self._tasks.read_keys()
        self._wanted = WantedItems(on_duplicate, self._report)
        self._files = MediaFiles(client, project_id, known_keys=self._known_keys)
        self._room = Room(_READ_AHEAD_BYTES)
        self._reads = itertools.count()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="read-media")
        self._requests = UploadRequests(self._files, self._tasks, self._report, concurrency=client.concurrency)

    def run(self, items: Iterable[MediaItem]) -> UploadReport:
        """Upload items.

        :param items: the items; may be a generator of millions
        :return: counts, and the first items that failed
        """
        progress = UploadProgress(length_hint(items, 0))
        reading: deque[_Reading] = deque()
        try:
            for item in items:
                is_wanted = self._on_duplicate == "allow" or self._wanted.take(item.item_key, self._known_keys)
                for one in self._start(item) if is_wanted else ():
                    reading.append(one)
                    if len(reading) > _READ_AHEAD:
                        self._add(reading.popleft())
                progress.log(self._report)
            while reading:
                self._add(reading.popleft())
                progress.log(self._report)
            self._requests.finish()
        finally:
            self._room.close()
            self._readers.shutdown(cancel_futures=True)
            self._requests.shut_down()
            self._files.close()
        self._tasks.remove_doubles(self._wanted.keys)
        progress.log(self._report, last=True)
        return self._report

    # Reading

    def _start(self, item: MediaItem) -> Iterator[_Reading]:
        """Start to prepare an item, and yield its files. Threads read the files that must be read.

        A thread starts only when its file is yielded, so that an item of a thousand pages does not open them all.
        """
        try:
            if item.is_row:
                yield _Reading(self._ready_row(item), 0, None, is_last=True)
                return
            media = self._find_media(item)
            item = msgspec.structs.replace(item, media_type=media.media_type)
            ready = self._ready_files(item, media)
        except MediaError as error:
            self._requests.fail(ReadyItem(item_key=item.item_key, data={}), str(error))
            return
        for number, (file, place) in enumerate(zip(item.files, ready.places, strict=True)):
            read = None
            if ready.media is not None and ready.media.holds != "url":
                read = self._readers.submit(self._read_data, next(self._reads), item, ready.media)
            elif place is None or local_path(file.media):
                read = self._readers.submit(self._read, next(self._reads), item, file.media, place is None)
            yield _Reading(ready, number, read, is_last=number == len(ready.places) - 1)
            if ready.has_failed:
                return

    def _reference(self, uri: str, media: MediaObject) -> str | None:
        """Return the task's reference to a file; None to send the file or its content."""
        if media.holds != "url":
            if self._media_access == "reference":
                raise MediaError(
                    f"{shown(uri)} cannot be referred to: tasks of the project hold the {media.media_type} itself, as "
                    f"the tag {media.tag} has no valueType=\"url\". Use media_access='upload'."
                )
            return None
        if self._media_access == "upload":
            return None
        if self._media_access == "auto" and uri_scheme(uri) not in {"http", "https", "file"}:
            return None
        reference = self._references.find(uri)
        if reference is None and self._media_access == "reference":
            raise MediaError(
                f"Label Studio cannot read {shown(uri)} by itself: it is not on the web, in a bucket that the "
                "project has a storage for, or in a folder below the connection's local_files_document_root. Use "
                "media_access='upload'."
            )
        return reference

    def _ready_row(self, item: MediaItem) -> ReadyItem:
        """Prepare an item without a file. Check that its data have each key that the project shows, and no other."""
        tags = self._config.data_tags
        shown_keys = {media.data_key for media in self._config.objects.values()}
        absent = sorted(key for key in shown_keys if item.data.get(key) in (None, "", []))
        if absent:
            key = absent[0]
            lack = f"has no {key!r}" if item.data.get(key) is None else f"has nothing in {key!r}"
            raise MediaError(f"Item {item.item_key!r} {lack}, which the tag {tags[key]} shows.")
        unknown = sorted(item.data.keys() - tags.keys())
        if unknown:
            taken = ", ".join(f"{key!r} ({tag})" for key, tag in tags.items())
            raise MediaError(
                f"Item {item.item_key!r} has {unknown[0]!r}, which no tag of the project shows. Leave it out, or "
                f"name it in the context of a field of the label schema. Tags show {taken}."
            )
        sizes = {name: value for name in _SIZES if (value := getattr(item, name)) is not None}
        data = {"item_key": item.item_key, **sizes, **item.data}
        for media in self._config.objects.values():
            if media.holds_messages:
                data[media.data_key] = _messages(item, from_json_text(data[media.data_key]), media)
            elif media.tag.lower() == _LIST:
                data[media.data_key] = _entries(item, from_json_text(data[media.data_key]), media)
        return ReadyItem(item_key=item.item_key, data=data, size=self._json_size(item, data))

    def _json_size(self, item: MediaItem, data: Any) -> int:
        check_data(item.data, item_name(item))
        try:
            return len(msgspec.json.encode(data))
        except (TypeError, ValueError, OverflowError) as error:
            raise MediaError(f"The data of {item_name(item)!a} cannot be JSON: {error}.") from error

    def _ready_files(self, item: MediaItem, media: MediaObject) -> ReadyItem:
        """Prepare an item with files. Check that its own data fit the project and have no key of the upload.

        :param item: the item
        :param media: object of the labeling config that shows the files
        """
        name = item_name(item)
        taken = sorted({media.data_key, *RESERVED_KEYS} & item.data.keys())
        if taken:
            raise MediaError(f"Data key {taken[0]!r} of {name} is taken by the upload: rename it.")
        objects = self._config.objects.values()
        absent = sorted({one.data_key for one in objects} - {media.data_key} - item.data.keys())
        if absent:
            raise MediaError(f"The project also shows {absent[0]!r}, which the data of {name} lack.")
        uris = [without_connection(file.media) for file in item.files]
        data = {media.data_key: None, "item_key": item.item_key, "media_uri": uris if item.pages else uris[0]}
        if item.pages:
            sizes: dict[str, Any] = {side: [getattr(page, side) for page in item.pages] for side in _SIDES}
        else:
            sizes = {name: value for name in _SIZES if (value := getattr(item, name)) is not None}
        data |= sizes | item.data
        size = self._json_size(item, data)
        places = [self._reference(file.media, media) for file in item.files]
        return ReadyItem(item_key=item.item_key, data=data, media=media, places=places, size=size)

    def _find_media(self, item: MediaItem) -> MediaObject:
        """Return the object of the labeling config that shows the files of an item."""
        objects = self._config.objects.values()
        media_type = item.media_type or self._config.main_objects[0].media_type
        fitting = [media for media in objects if media.media_type == media_type]
        if not fitting:
            labeled = list(dict.fromkeys(media.media_type for media in self._config.main_objects))
            raise other_item_type(item_name(item), media_type, labeled)
        media = next((media for media in fitting if media.shows_several or not item.pages), None)
        if media is None:
            raise MediaError(
                f"Item {item.item_key!r} has {len(item.pages)} images, but the project shows one image of an "
                "item. Make the project with media_type='images', give the Image tag of your labeling config a "
                "valueList, or upload each image as an item."
            )
        return media

    def _read(self, number: int, item: MediaItem, uri: str, is_sent: bool) -> _ReadFile:
        self._room.wait(number)
        read = _read(item, uri, is_sent)
        if read.file is not None:
            self._room.hold(number, read.file.file.seek(0, io.SEEK_END))
        return read

    def _read_data(self, number: int, item: MediaItem, media: MediaObject) -> _ReadFile:
        self._room.wait(number)
        return _read_data(item, media)

    def _add(self, reading: _Reading) -> None:
        ready = reading.item
        try:
            read = reading.file.result() if reading.file else None
        except MediaError as error:
            self._requests.fail(ready, str(error))
            return
        finally:
            if reading.file:
                self._room.release()
        if read is not None and ready.has_failed and read.file is not None:
            read.file.file.close()
        elif read is not None and read.probe is None and ready.media is not None:
            ready.data[ready.media.data_key] = read.data
            ready.size = len(msgspec.json.encode(ready.data))
            ready.media = None
        elif read is not None and read.probe is not None:
            _note_sizes(ready, reading.number, read.probe)
            if read.file is not None:
                self._requests.add_file(ready, reading.number, read.file)
        if reading.is_last and not ready.has_failed:
            for side in _SIDES:
                if isinstance(ready.data.get(side), list) and not any(ready.data[side]):
                    del ready.data[side]
            self._requests.add_item(ready)


def _note_sizes(item: ReadyItem, number: int, probe: MediaProbe) -> None:
    """Put the sizes from a file's headers into the data of its task, except those that the caller gave."""
    for name in _SIZES:
        value, known = getattr(probe, name), item.data.get(name)
        if isinstance(known, list):
            known[number] = value if known[number] is None else known[number]
        elif known is None and value is not None and len(item.places) == 1:
            item.data[name] = value


def _read(item: MediaItem, uri: str, is_sent: bool) -> _ReadFile:
    """Read the headers of a file.

    :param item: the item
    :param uri: URI of one of the item's files
    :param is_sent: whether the file is sent; if so, it stays open
    """
    with ExitStack() as until_sent:
        try:
            file = until_sent.enter_context(open_media(uri, limit=LARGEST_FILE if is_sent else None))
        except MediaTooLargeError as error:
            raise _too_large(shown(uri), error.size) from error
        probe = probe_media(file, shown(uri), item.media_type)
        if not is_sent:
            return _ReadFile(probe)
        sent = _file_to_send(item.item_key, uri, file, probe.mime_type)
        until_sent.pop_all()
        return _ReadFile(probe, sent)


def _read_data(item: MediaItem, media: MediaObject) -> _ReadFile:
    """Read a file whose content goes into the task's data."""
    data: Any = read_text(item.media) if media.holds == "text" else read_json(item.media)
    return _ReadFile(None, data=_messages(item, data, media) if media.holds_messages else data)


def _messages(item: MediaItem, document: Any, media: MediaObject) -> Any:
    """Return the messages of a conversation, with the keys from which the project shows them."""
    if isinstance(document, list) and all(
        isinstance(message, dict) and media.message_keys[1] in message for message in document
    ):
        return document
    messages = read_conversation(item, document)
    return [dict(zip(media.message_keys, (message.role, message.content), strict=True)) for message in messages]


def _entries(item: MediaItem, entries: Any, media: MediaObject) -> Any:
    """Check that the entries of a list that people put into an order have ids, which the order consists of."""
    ids = [entry.get("id") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    known = {str(id_) for id_ in ids if isinstance(id_, (str, int)) and id_ != ""}
    if not known or len(known) < len(entries):
        raise MediaError(
            f"{media.data_key!r} of {item_name(item)} is no list to put into an order. Such a list has entries with an "
            'id each that no other has, such as [{"id": "a", "title": "First", "body": "…"}].'
        )
    return entries


def _file_to_send(item_key: str, uri: str, file: BinaryIO, mime_type: str) -> MediaFile:
    name = shown(uri)
    if mime_type not in EXTENSIONS:
        raise MediaError(
            f"{name} is {mime_type}, which Label Studio does not take. It takes "
            f"{', '.join(sorted(set(EXTENSIONS.values())))} files."
        )
    size = file.seek(0, io.SEEK_END)
    if size >= LARGEST_FILE:
        raise _too_large(name, size)
    stem = PurePosixPath(name).stem
    return MediaFile(
        name=file_name(key_hash(item_key), file, stem, EXTENSIONS[mime_type]), file=file, mime_type=mime_type
    )


def _too_large(name: str, size: int | None) -> MediaError:
    most = f"{LARGEST_FILE / 2**20:.0f}"
    has = f"{most} MiB or more" if size is None else f"{size / 2**20:,.0f} MiB"
    return MediaError(
        f"{name} has {has}; Label Studio takes files of less than {most} MiB. Use media_access='reference'."
    )
