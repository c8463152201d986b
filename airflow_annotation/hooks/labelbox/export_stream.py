"""The lines of an export, as Labelbox hands them out: in files, after a task.

The SDK's own reader keeps the whole export on disk and asks for each file once. Here a file that breaks off is asked
for again, and nothing is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from airflow_annotation.exceptions import AnnotationConnectionError, AnnotationError
from airflow_annotation.hooks.labelbox.client import LabelboxClient
from airflow_annotation.hooks.labelbox.tasks import ATTEMPTS, pause, repeat, wait_for_task

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


def export_blocks(
    client: LabelboxClient,
    project_id: str,
    *,
    params: Mapping[str, bool] | None = None,
    filters: Mapping[str, Any] | None = None,
) -> Iterator[bytes]:
    """Yield a project's export, a line of JSON for each data row, cut anywhere.

    :param client: of the organisation
    :param project_id: the project
    :param params: what to export besides the labels, by the SDK's names (``ProjectExportParams``)
    :param filters: which data rows to export, by the SDK's names (``ProjectExportFilters``)
    """
    task_id = repeat(lambda: _export(client, project_id, params, filters))
    header = client.query(_SIZE, id=task_id)["task"]["exportMetadataHeader"]
    total = int(header["totalSize"]) if header else 0
    offset = 0
    while offset < total:
        for block in _read_file(client, task_id, offset):
            offset += len(block)
            yield block


def export_lines(
    client: LabelboxClient,
    project_id: str,
    *,
    params: Mapping[str, bool] | None = None,
    filters: Mapping[str, Any] | None = None,
) -> Iterator[bytes]:
    """Yield the lines of a project's export, with no more than ids and labels in them.

    :param params: what else is to be in them, see :func:`export_blocks`
    :param filters: see :func:`export_blocks`
    """
    rest = b""
    for block in export_blocks(client, project_id, params=params, filters=filters):
        *lines, rest = (rest + block).split(b"\n")
        yield from filter(None, lines)
    if rest.strip():
        yield rest


def _export(
    client: LabelboxClient, project_id: str, params: Mapping[str, bool] | None, filters: Mapping[str, Any] | None
) -> str:
    with client.using_sdk() as sdk:
        task = sdk.get_project(project_id).export(params=dict(params or {}), filters=dict(filters or {}))
    wait_for_task(client, task.uid, f"the export of project {project_id}")
    return str(task.uid)


def _check_complete(done: int, expected: int) -> None:
    if done < expected:
        raise AnnotationConnectionError(f"Of a file of the export, {done} of {expected} bytes came.")


class _File(msgspec.Struct):
    file: str
    offsets: dict[str, int | float]


def _read_file(client: LabelboxClient, task_id: str, offset: int) -> Iterator[bytes]:
    """Yield the file that begins at an offset, in blocks. Asked for again, it goes on where it broke off."""
    done = 0
    for attempt in range(1, ATTEMPTS + 1):
        answer = client.query(_FILE, id=task_id, offset=str(offset))
        file = msgspec.convert(answer["task"]["exportFileFromOffset"], _File)
        expected = int(file.offsets["end"]) - offset + 1
        skipped = 0
        try:
            with client.stream(file.file) as response:
                for block in response.iter_bytes(_BLOCK_BYTES):
                    fresh = block[max(0, done - skipped) :]
                    skipped = min(done, skipped + len(block))
                    done += len(fresh)
                    if fresh:
                        yield fresh
            _check_complete(done, expected)
        except AnnotationError as error:
            # A signed address may also have expired while the lines before were being used.
            if attempt == ATTEMPTS:
                raise
            log.warning("%s Asking for the file again.", error)
            pause(attempt)
        else:
            return
