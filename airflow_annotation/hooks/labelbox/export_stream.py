"""Read the lines of an export, which a task of Labelbox writes into files.

The SDK's own reader stores the whole export on disk and requests each file only once. This module requests a file again
if it breaks off, and stores nothing.
"""

from __future__ import annotations

import itertools
import logging
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

import httpx
import msgspec

from airflow_annotation.exceptions import AnnotationAnswerError, AnnotationError
from airflow_annotation.hooks.answers import garbled
from airflow_annotation.hooks.labelbox.client import LabelboxClient
from airflow_annotation.hooks.labelbox.errors import missing_project
from airflow_annotation.hooks.labelbox.tasks import pause, repeat, wait_for_task
from airflow_annotation.labels.lenient import decode_lenient

T = TypeVar("T")

log = logging.getLogger(__name__)

_SIZE: Final = """query ExportSize($id: ID!) {
    task(where: {id: $id}) { exportMetadataHeader(streamType: RESULT) { totalSize } }
}"""
_FILE: Final = """query ExportFile($id: ID!, $offset: UInt64!) {
    task(where: {id: $id}) {
        exportFileFromOffset(streamType: RESULT, offset: $offset) { offsets { start end } file }
    }
}"""
_BLOCK_BYTES: Final = 1 << 20
_FILES_AT_ONCE: Final = 4
_LARGEST_AHEAD: Final = 8 << 20
"""Size in bytes from which a file is not read ahead. Smaller files are held whole while earlier ones are used."""


def make_export(
    client: LabelboxClient,
    project_id: str,
    *,
    params: Mapping[str, bool] | None = None,
    filters: Mapping[str, Any] | None = None,
) -> str:
    """Let Labelbox make an export with a line of JSON for each data row, and return the id of its task.

    :param client: client of the organization
    :param project_id: the project
    :param params: what to export besides the labels, by the SDK's names (``ProjectExportParams``)
    :param filters: which data rows to export, by the SDK's names (``ProjectExportFilters``)
    :raises AnnotationProjectNotFoundError: there is no such project
    """

    def export() -> str:
        with client.using_sdk() as sdk:
            task = sdk.get_project(project_id).export(params=dict(params or {}), filters=dict(filters or {}))
        wait_for_task(client, task.uid, f"the export of project {project_id}")
        return str(task.uid)

    with missing_project(client.app_url, project_id):
        return repeat(export)


def read_blocks(client: LabelboxClient, task_id: str) -> Iterator[bytes]:
    """Yield the bytes of a finished export in blocks, which may end within a line.

    Files are read ahead while Labelbox is asked for the next ones. Only the answer for a file tells where the next one
    is, so these requests go one after the other.

    :param client: client of the organization
    :param task_id: id of the export's task
    """
    header = client.query(_SIZE, "task.exportMetadataHeader", _Header | None, id=task_id)
    at_once = min(client.concurrency, _FILES_AT_ONCE)
    with ThreadPoolExecutor(at_once, thread_name_prefix="labelbox-export") as pool:
        ahead: deque[Future[list[bytes]] | Iterator[bytes]] = deque()
        try:
            for offset, file in _list_files(client, task_id, int(header.total_size) if header else 0):
                blocks = _read_file(client, task_id, offset, file)
                is_small = file.offsets.end - offset < _LARGEST_AHEAD
                ahead.append(pool.submit(list, blocks) if is_small else blocks)
                if len(ahead) > at_once:
                    yield from _wait(ahead.popleft())
            while ahead:
                yield from _wait(ahead.popleft())
        finally:
            for reading in ahead:
                if isinstance(reading, Future):
                    reading.cancel()


def _wait(reading: Future[list[bytes]] | Iterator[bytes]) -> Iterable[bytes]:
    return reading.result() if isinstance(reading, Future) else reading


def _list_files(client: LabelboxClient, task_id: str, total: int) -> Iterator[tuple[int, _File]]:
    offset = 0
    while offset < total:
        file = client.query(_FILE, "task.exportFileFromOffset", _File, id=task_id, offset=str(offset))
        yield offset, file
        offset = int(file.offsets.end) + 1


def export_rows(
    client: LabelboxClient,
    project_id: str,
    type_: type[T],
    *,
    params: Mapping[str, bool] | None = None,
    filters: Mapping[str, Any] | None = None,
) -> Iterator[T]:
    """Yield the data rows of a project's export. By default, they have only ids and labels.

    :param client: client of the organization
    :param project_id: the project
    :param type_: type of a data row, with the fields to read
    :param params: what else to export, see :func:`make_export`
    :param filters: which data rows to export, see :func:`make_export`
    :raises AnnotationAnswerError: a line is not a data row
    """
    for number, line in enumerate(export_lines(client, project_id, params, filters), 1):
        try:
            row = decode_lenient(line, type_)
        except (ValueError, RecursionError) as error:
            raise AnnotationAnswerError(
                f"Line {number} of the export of project {project_id} is no data row of Labelbox: {error}"
            ) from error
        yield row


def export_lines(
    client: LabelboxClient,
    project_id: str,
    params: Mapping[str, bool] | None = None,
    filters: Mapping[str, Any] | None = None,
) -> Iterator[bytes]:
    """Yield the lines of an export without their ends, see :func:`make_export`."""
    rest = b""
    for block in read_blocks(client, make_export(client, project_id, params=params, filters=filters)):
        *lines, rest = (rest + block).split(b"\n")
        yield from filter(None, lines)
    if rest.strip():
        yield rest


def _check_whole(response: httpx.Response, expected: int) -> None:
    """Check that a file has the length that Labelbox said, before any of its bytes is used."""
    length = response.headers.get("content-length", "")
    if length.isdecimal() and "content-encoding" not in response.headers and int(length) != expected:
        raise garbled(response, f"{int(length):,} bytes instead of {expected:,}")


def _check_same(response: httpx.Response, checksum: int, block: bytes) -> None:
    """Check that a block of a file is the same as in the request before."""
    if zlib.crc32(block) != checksum:
        raise garbled(response, "another file than before")


class _Header(msgspec.Struct, rename="camel"):
    total_size: float


class _Offsets(msgspec.Struct):
    end: float


class _File(msgspec.Struct):
    file: str
    offsets: _Offsets


def _read_file(client: LabelboxClient, task_id: str, offset: int, file: _File) -> Iterator[bytes]:
    """Yield the file that begins at an offset, in blocks. After a repeated request, go on where the file broke off.

    A block is held until more bytes have come, or the file is complete. So a wrong file that is short is noticed before
    any of it is used. A longer one is noticed by the first block that differs from the earlier answer.
    """
    given: list[int] = []  # checksums of the blocks that have been used
    for attempt in itertools.count(1):
        if attempt > 1:
            file = client.query(_FILE, "task.exportFileFromOffset", _File, id=task_id, offset=str(offset))
        expected = int(file.offsets.end) - offset + 1
        done, waiting = 0, b""
        try:
            with client.stream(file.file) as response:
                _check_whole(response, expected)
                for number, block in enumerate(response.iter_bytes(_BLOCK_BYTES)):
                    done += len(block)
                    if number < len(given):
                        _check_same(response, given[number], block)
                        continue
                    if waiting:
                        given.append(zlib.crc32(waiting))
                        yield waiting
                    waiting = block
            if done != expected:
                raise AnnotationAnswerError(f"Of a file of the export, {done} of {expected} bytes came.")
        except AnnotationError as error:
            # The signed address of the file may also have expired while earlier lines were being used.
            pause(attempt, error, "Asking for the file again.")
        else:
            if waiting:
                yield waiting
            return
