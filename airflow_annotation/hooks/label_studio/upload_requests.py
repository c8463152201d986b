"""Items that are ready, on their way into a Label Studio project: files in bounded requests, then tasks that show them.

One thread sends while others read, so that the server is never waited for with nothing read, and no more is held than a
request's files and the next one's. On Label Studio's own server a second sender gained nothing.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

import msgspec

from airflow_annotation.hooks.annotation import UploadReport
from airflow_annotation.hooks.label_studio.item_tasks import ItemTasks
from airflow_annotation.hooks.label_studio.media_files import MediaFile, MediaFiles
from airflow_annotation.labels.label_studio.media_objects import MediaObject

FILES_PER_REQUEST: Final = 50
BYTES_PER_REQUEST: Final = 64 * 1024 * 1024
"""A default server takes 100 files and 250 MiB; proxies before it often take less."""

FILES_PER_IMPORT: Final = 200
TASKS_PER_IMPORT: Final = 1000
BYTES_PER_IMPORT: Final = 16 * 1024 * 1024
"""Of the tasks' data, which the last of them may exceed: a text may be as long as a book."""

_SENDS_AHEAD: Final = 2

T = TypeVar("T")


class ReadyItem(msgspec.Struct, kw_only=True, eq=False):
    """An item as a task, but for the server's places of the files that it sends.

    :param item_key: the item's
    :param data: the task's
    :param media: what shows the item's files; None for a row
    :param places: what the task refers to each file by; None where the file is sent
    :param names: the name of each file that is sent, by its number
    :param size: of a row, in bytes of JSON
    :param has_failed: whether the report has it
    :param is_refused: whether the server has refused a file of it
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


class UploadRequests:
    """Sends files and makes tasks, in the order in which they are added; counts in the report what became of them.

    :param files: of the project
    :param tasks: of the project
    :param report: of the upload
    """

    def __init__(self, files: MediaFiles, tasks: ItemTasks, report: UploadReport) -> None:
        self._files = files
        self._tasks = tasks
        self._report = report
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="send-media")
        self._sending: deque[Future[_Outcome]] = deque()
        self._request: list[tuple[ReadyItem, MediaFile]] = []
        self._request_bytes = 0
        self._import: list[ReadyItem] = []
        self._import_files = self._import_bytes = 0

    def add_file(self, item: ReadyItem, number: int, file: MediaFile) -> None:
        """Send a file of an item, and close it then.

        :param number: of the file in its item, from 0
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
        """Make a task of an item, of which all files have been added."""
        # Not before it is added: its files, which are sent by then, would be looked up with those of other items.
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
            # Names of files need not be valid Unicode; what is reported goes through JSON.
            self._report.fail(item.item_key.encode(errors="backslashreplace").decode(), reason)

    def finish(self) -> None:
        """Send what is left, and wait until all is there."""
        self._send_import()
        while self._sending:
            self._count(self._sending.popleft())

    def shut_down(self) -> None:
        """Stop after the request that is under way."""
        self._sender.shutdown(cancel_futures=True)

    def _send_request(self) -> None:
        if self._request:
            self._submit(self._send_files, self._request)
        self._request, self._request_bytes = [], 0

    def _send_import(self) -> None:
        self._send_request()
        if self._import:
            self._submit(self._create_tasks, self._import)
        self._import, self._import_files, self._import_bytes = [], 0, 0

    def _submit(self, send: Callable[[list[T]], _Outcome], parts: list[T]) -> None:
        while len(self._sending) >= _SENDS_AHEAD:
            self._count(self._sending.popleft())
        self._sending.append(self._sender.submit(send, parts))

    def _count(self, sending: Future[_Outcome]) -> None:
        outcome = sending.result()
        self._report.uploaded += outcome.created
        for item, reason in outcome.failures:
            self.fail(item, reason)

    def _send_files(self, parts: list[tuple[ReadyItem, MediaFile]]) -> _Outcome:
        files = {file.name: file for _, file in parts}  # what is there twice has one file
        refused = {file.name: str(error) for file, error in self._files.send(list(files.values()))}
        outcome = _Outcome()
        for item, file in parts:
            file.file.close()
            if file.name in refused:
                item.is_refused = True
                outcome.failures.append((item, refused[file.name]))
        return outcome

    def _create_tasks(self, items: list[ReadyItem]) -> _Outcome:
        paths = self._files.take_paths()
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
