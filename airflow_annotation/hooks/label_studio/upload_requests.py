"""Send prepared items to a Label Studio project: files in bounded requests, then tasks that show them.

Some threads send while others read, so that reading goes on while the server works. Files go in several requests at
once: one fewer than the connection allows, but at least one. A single thread makes tasks, one request after the other,
so that tasks have the order of their items. The files that are being sent have no more bytes together than two requests
may have. A larger file is sent alone.
"""

from __future__ import annotations

import io
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import msgspec

from airflow_annotation.hooks.annotation import UploadReport
from airflow_annotation.hooks.label_studio.item_tasks import ItemTasks
from airflow_annotation.hooks.label_studio.media_files import MediaFile, MediaFiles
from airflow_annotation.labels.label_studio.media_objects import MediaObject

FILES_PER_REQUEST: Final = 50
BYTES_PER_REQUEST: Final = 64 * 1024 * 1024
"""Limits for a request. A server accepts 100 files and 250 MiB by default; proxies in front of it often less."""

FILES_PER_IMPORT: Final = 200
TASKS_PER_IMPORT: Final = 1000
BYTES_PER_IMPORT: Final = 16 * 1024 * 1024
"""Limit of the tasks' data in bytes. The last task may exceed it: a text may be as long as a book."""

_IMPORTS_AHEAD: Final = 2


class ReadyItem(msgspec.Struct, kw_only=True, eq=False):
    """An item in the form of a task. Only the server's paths of the files that are sent are missing.

    :param item_key: key of the item
    :param data: data of the task
    :param media: object of the labeling config that shows the item's files; None if the data are complete
    :param places: for each file, the reference to it in the task's data; None if the file is sent
    :param names: names of the files that are sent, by the number of the file
    :param size: size of the data, in bytes of JSON
    :param has_failed: whether the report counts the item as failed
    :param is_refused: whether the server has refused one of the item's files
    """

    item_key: str
    data: dict[str, Any]
    media: MediaObject | None = None
    places: list[str | None] = []
    names: dict[int, str] = {}
    size: int = 0
    has_failed: bool = False
    is_refused: bool = False


class _Outcome(msgspec.Struct):
    created: int = 0
    failures: list[tuple[ReadyItem, str]] = []
    file_ids: list[int] = []


class _Sending(NamedTuple):
    """A request that is under way.

    :param outcome: result of the request
    :param size: bytes of its files; 0 for a request that makes tasks
    """

    outcome: Future[_Outcome]
    size: int


class UploadRequests:
    """Sends files and makes tasks, and counts the results in the report. Tasks are made in the order of their items.

    :param files: files of the project
    :param tasks: tasks of the project
    :param report: report of the upload
    :param concurrency: maximum number of requests at once
    """

    def __init__(self, files: MediaFiles, tasks: ItemTasks, report: UploadReport, *, concurrency: int) -> None:
        self._files = files
        self._tasks = tasks
        self._report = report
        self._senders = ThreadPoolExecutor(max(concurrency - 1, 1), thread_name_prefix="send-media")
        # If there is only one thread, it sends the files of an import before it makes the import.
        self._importer = ThreadPoolExecutor(1, thread_name_prefix="make-tasks") if concurrency > 1 else self._senders
        self._concurrency = concurrency
        self._sending: deque[_Sending] = deque()
        self._sent: list[Future[_Outcome]] = []
        """Requests that send files of the next import's items."""
        self._request: list[tuple[ReadyItem, MediaFile]] = []
        self._request_bytes = 0
        self._import: list[ReadyItem] = []
        self._import_files = self._import_bytes = 0

    def add_file(self, item: ReadyItem, number: int, file: MediaFile) -> None:
        """Send a file of an item, and close it afterwards.

        :param item: the item
        :param number: number of the file in the item, from 0
        :param file: the file
        """
        size = file.file.seek(0, io.SEEK_END)
        if self._request_bytes + size > BYTES_PER_REQUEST:
            self._send_request()
        item.names[number] = file.name
        self._request.append((item, file))
        self._request_bytes += size
        self._import_files += 1
        if len(self._request) == FILES_PER_REQUEST:
            self._send_request()

    def add_item(self, item: ReadyItem) -> None:
        """Make a task of an item. All its files must have been added before."""
        # Check the limits only after the item is added: its files are looked up together with the items of one import.
        self._import.append(item)
        self._import_bytes += item.size
        if (
            self._import_files >= FILES_PER_IMPORT
            or len(self._import) == TASKS_PER_IMPORT
            or self._import_bytes >= BYTES_PER_IMPORT
        ):
            self._send_import()

    def fail(self, item: ReadyItem, reason: str) -> None:
        """Count an item as failed, once."""
        if not item.has_failed:
            item.has_failed = True
            self._report.fail(item.item_key, reason)

    def finish(self) -> None:
        """Send the rest, and wait for the results of all requests."""
        self._send_import()
        while self._sending:
            self._count_first()

    def shut_down(self) -> None:
        """Stop after the requests that are under way."""
        for pool in (self._senders, self._importer):
            pool.shutdown(cancel_futures=True)

    def _send_request(self) -> None:
        if self._request:
            self._make_room(self._request_bytes)
            outcome = self._senders.submit(self._send_files, self._request)
            self._sending.append(_Sending(outcome, max(self._request_bytes, 1)))
            self._sent.append(outcome)
        self._request, self._request_bytes = [], 0

    def _send_import(self) -> None:
        self._send_request()
        if self._import:
            while sum(not sending.size for sending in self._sending) >= _IMPORTS_AHEAD:
                self._count_first()
            outcome = self._importer.submit(self._create_tasks, self._import, self._sent)
            self._sending.append(_Sending(outcome, 0))
        self._import, self._sent = [], []
        self._import_files = self._import_bytes = 0

    def _make_room(self, size: int) -> None:
        """Wait until files of this many bytes can be sent in addition to those that are under way."""
        while self._sending and (
            len(self._sending) > self._concurrency
            or sum(sending.size for sending in self._sending) + size > 2 * BYTES_PER_REQUEST
        ):
            self._count_first()

    def _count_first(self) -> None:
        """Wait for the oldest request, and count its results. Raise the error of any request that has ended."""
        for sending in self._sending:
            if sending.outcome.done():
                sending.outcome.result()
        outcome = self._sending.popleft().outcome.result()
        self._report.uploaded += outcome.created
        for item, reason in outcome.failures:
            self.fail(item, reason)

    def _send_files(self, parts: list[tuple[ReadyItem, MediaFile]]) -> _Outcome:
        files = {file.name: file for _, file in parts}  # files with the same name are equal
        sent = self._files.send(list(files.values()))
        refused = {file.name: str(error) for file, error in sent.refused}
        outcome = _Outcome(file_ids=sent.ids)
        for item, file in parts:
            file.file.close()
            if file.name in refused:
                item.is_refused = True
                outcome.failures.append((item, refused[file.name]))
        return outcome

    def _create_tasks(self, items: list[ReadyItem], sent: list[Future[_Outcome]]) -> _Outcome:
        paths = self._files.find_paths(
            [id_ for files in sent for id_ in files.result().file_ids],
            [name for item in items for name in item.names.values()],
        )
        taken = [item for item in items if not item.is_refused]
        for item in taken:
            if item.media is not None:
                places = [place or paths[item.names[number]] for number, place in enumerate(item.places)]
                item.data[item.media.data_key] = item.media.show(places)
        refused = {id(data): error for data, error in self._tasks.create([item.data for item in taken])}
        return _Outcome(
            created=len(taken) - len(refused),
            failures=[(item, str(refused[id(item.data)])) for item in taken if id(item.data) in refused],
        )
