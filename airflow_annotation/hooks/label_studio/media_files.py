"""Send files to a Label Studio server in bounded requests, and find files there that no task uses yet."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from threading import Lock
from typing import Any, BinaryIO, Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from airflow_annotation.exceptions import AnnotationError, AnnotationRequestError
from airflow_annotation.hooks.answers import decode_records
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.hooks.label_studio.sending import send_without_refused
from airflow_annotation.hooks.late_requests import send_until_taken
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.task_data import RESERVED_KEYS

_T = TypeVar("_T")

log = logging.getLogger(__name__)

LARGEST_FILE: Final = 250 * 1024 * 1024
"""Label Studio's ``DATA_UPLOAD_MAX_MEMORY_SIZE`` in bytes. All files of a request together must be smaller."""

EXTENSIONS: Final = {
    "image/bmp": ".bmp",
    "image/gif": ".gif",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/svg+xml": ".svg",
    "image/webp": ".webp",
    "video/mp4": ".mp4",
    "video/webm": ".webm",
    "audio/flac": ".flac",
    "audio/x-flac": ".flac",
    "audio/mp4": ".m4a",
    "audio/mp4a-latm": ".m4a",
    "audio/x-m4a": ".m4a",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "audio/wav": ".wav",
    "audio/x-wav": ".wav",
    "application/json": ".json",
    "application/pdf": ".pdf",
    "text/csv": ".csv",
    "text/html": ".html",
    "text/plain": ".txt",
}
"""Media types that Label Studio accepts as files (``SUPPORTED_EXTENSIONS``), with the extension that it expects."""

_NAME: Final = re.compile(r"-([0-9a-f]{16})([0-9a-f]{16})-[\w-]*\.\w+$")
_IDS_IN_URL: Final = 200
_HASHED_AT_ONCE: Final = 1 << 20


class _ShownTask(msgspec.Struct):
    project: int
    data: dict[str, Any] = {}


class MediaFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file to send.

    :param name: name by which the server's copy can be recognized, with hashes of item and content: see
        :func:`file_name`
    :param file: the open file, at any position
    :param mime_type: media type of the content
    """

    name: str
    file: BinaryIO
    mime_type: str


class SentFiles(msgspec.Struct):
    """The results of sending files.

    :param ids: the server's ids of the files that were sent
    :param refused: files that the server refused, each with its answer
    """

    ids: list[int] = []
    refused: list[tuple[MediaFile, AnnotationRequestError]] = []


class _Sent(msgspec.Struct):
    file_upload_ids: list[int]


class _FileUpload(msgspec.Struct):
    id: int
    file: str


class _StoredFiles:
    """Paths of files on the server, by their names. SQLite moves them to the worker's disk if they are many.

    :param files: name and path of each file; of two with the same name, the last one is found
    """

    def __init__(self, files: Iterable[tuple[str, str]] = ()) -> None:
        self._database = sqlite3.connect("", check_same_thread=False)
        try:
            self._database.execute("CREATE TABLE files (name TEXT, path TEXT)")
            self.add(files)
            self._database.execute("CREATE INDEX by_name ON files (name)")
        except BaseException:
            self.close()
            raise

    def count(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM files").fetchone()[0])

    def add(self, files: Iterable[tuple[str, str]]) -> None:
        with self._database:
            self._database.executemany("INSERT INTO files VALUES (?, ?)", files)

    def find(self, names: Iterable[str]) -> dict[str, str]:
        """Return the paths of those of these files that are there."""
        query = "SELECT name, path FROM files WHERE name = ? ORDER BY rowid DESC LIMIT 1"
        return dict(row for name in names for row in self._database.execute(query, (name,)))

    def close(self) -> None:
        self._database.close()


class MediaFiles:
    """The files of one project. Its methods are safe in threads.

    :param known_keys: hashes of the keys of the project's items, whose files on the server are in use
    """

    def __init__(self, client: LabelStudioClient, project_id: str, *, known_keys: set[int]) -> None:
        self._client = client
        self._project_id = project_id
        self._known_keys = known_keys
        self._unused: _StoredFiles | None = None
        self._lock = Lock()

    def send(self, files: list[MediaFile]) -> SentFiles:
        """Send files in one request, except those that an interrupted upload left on the server."""
        with self._lock:
            if self._unused is None:
                self._unused = self._find_unused()
            there = self._unused.find(file.name for file in files)
        sent = SentFiles()
        missing = [file for file in files if file.name not in there]

        def post(part: list[MediaFile]) -> None:
            sent.ids += self._post(part)

        if missing:
            sent.refused += send_without_refused(missing, lambda part: send_until_taken(part, post, self._find_stored))
        return sent

    def find_paths(self, ids: list[int], names: Iterable[str]) -> dict[str, str]:
        """Return the paths of files on the server: of those that were sent, and of those that were there already.

        :param ids: the server's ids of the files that were sent
        :param names: names of all the files
        :return: value for a task's data, by the name of the file
        """
        with self._lock:
            paths = {} if self._unused is None else self._unused.find(names)
        for start in range(0, len(ids), _IDS_IN_URL):
            asked = ids[start : start + _IDS_IN_URL]
            uploads: list[_FileUpload] = self._client.read(
                "GET", self._path, list[_FileUpload], params={"ids": json.dumps(asked, separators=(",", ":"))}
            )
            paths |= self._named(uploads)
        return paths

    def close(self) -> None:
        """Forget the files."""
        with self._lock:
            if self._unused is not None:
                self._unused.close()
                self._unused = None

    def _find_unused(self) -> _StoredFiles:
        try:
            unused = self._read_all(
                lambda stored: _StoredFiles(file for file in stored if int(file[0][:16], 16) not in self._known_keys)
            )
        except AnnotationError as error:
            # The list may take too long: it has no pages, and a server with its files in a bucket looks up each there.
            log.warning("Files of an interrupted upload, if there was one, are sent again: %s", error)
            return _StoredFiles()
        if count := unused.count():
            log.info("The server has %d files already, which are not sent again if an item to add needs them.", count)
        return unused

    def _find_stored(self, files: list[MediaFile]) -> list[MediaFile]:
        names = {file.name for file in files}
        there = self._read_all(lambda stored: {name: path for name, path in stored if name in names})
        with self._lock:
            if self._unused is not None:
                self._unused.add(there.items())
        return [file for file in files if file.name in there]

    def _post(self, files: list[MediaFile]) -> list[int]:
        for file in files:
            file.file.seek(0)
        answer = self._client.read(
            "POST",
            f"/api/projects/{self._project_id}/import",
            _Sent,
            params={"commit_to_project": "false"},
            # Each part has its own field name: of several parts with the same name, the server silently keeps one.
            files=[(f"file{number}", (file.name, file.file, file.mime_type)) for number, file in enumerate(files)],
            repeatable=False,
        )
        return answer.file_upload_ids

    def _read_all(self, use: Callable[[Iterator[tuple[str, str]]], _T]) -> _T:
        """Pass name and path of each file of the project to a function. The list has no pages, and may have millions.

        :param use: function that takes them one by one; it is called again if the request is repeated
        """
        return self._client.read_streamed(
            self._path, lambda response: use(self._named(decode_records(response, _FileUpload))), params={"all": "true"}
        )

    def _named(self, uploads: Iterable[_FileUpload]) -> Iterator[tuple[str, str]]:
        prefix = urlsplit(self._client.url).path.rstrip("/")
        for upload in uploads:
            if match := _NAME.search(upload.file):
                yield upload.file[match.start() + 1 :], f"{prefix}/data/{upload.file}"

    @property
    def _path(self) -> str:
        return f"/api/projects/{self._project_id}/file-uploads"


def file_name(key: int, file: BinaryIO, stem: str, extension: str) -> str:
    """Return the name under which to send a file: hashes of its item key and its content, and a part of its own name.

    The server puts eight digits and a dash before this name, and keeps the rest unchanged.

    :param key: hash of the item key
    :param file: the open file, which is read to its end
    :param stem: the file's own name without its extension, for people to read
    :param extension: extension with its dot
    """
    content = hashlib.blake2b(digest_size=8)
    file.seek(0)
    while chunk := file.read(_HASHED_AT_ONCE):
        content.update(chunk)
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", stem)[:24]
    return f"{key:016x}{content.hexdigest()}-{readable}{extension}"


def find_media(
    client: LabelStudioClient, project_id: str, item_id: str, target: str = "", config: LabelingConfig | None = None
) -> tuple[str, Mapping[str, str]] | None:
    """Return the URL of a task's first media file, and the headers to read it with; None if the task has none.

    :param client: client of the server
    :param project_id: the project that the task must be in
    :param item_id: id of the task
    :param target: target of the image to return, instead of the first file
    :param config: the project's labeling config, which says where in the task's data this image is
    :raises AnnotationError: the id is not one of a task, or the task is not in the project
    """
    if not item_id.isdecimal():
        raise AnnotationError(f"{item_id!r} is not the id of a task.")
    task = client.read("GET", f"/api/tasks/{item_id}/", _ShownTask)
    if str(task.project) != project_id:
        raise AnnotationError(f"Task {item_id} is not in project {project_id}.")
    if target and config is not None:
        shown = [uri for name, uri in config.list_images(task.data) if name == target]
    else:
        values = [value for key, value in task.data.items() if key not in RESERVED_KEYS]
        shown = [one for value in values for one in (value if isinstance(value, list) else [value])]
    for uri in shown:
        if isinstance(uri, str) and uri.startswith(("/", "http://", "https://")):
            server = urlsplit(client.url)
            return client.media_request(f"{server.scheme}://{server.netloc}{uri}" if uri[0] == "/" else uri)
    return None
