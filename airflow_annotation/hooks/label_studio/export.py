"""Read a whole project of a Label Studio server, in pieces.

The export of a large project takes the server minutes, and proxies do not wait that long. So each request asks the
export endpoint for some hundred items, by id and in the order of the ids. Requests run a little ahead of the reader. If
items are deleted or added during the export, all other items still come exactly once. Ids that are not in the project
do no harm. So if most ids between the first and the last are in it, all ids in between are tried and none are listed:
listing takes the server a sixth of the time of the export.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from typing import Final, NamedTuple

import httpx
import msgspec
import pyarrow.compute as pc

from airflow_annotation.exceptions import AnnotationError, AnnotationProjectNotFoundError, AnnotationRequestError
from airflow_annotation.hooks.annotation import AnnotationProject
from airflow_annotation.hooks.answers import reading
from airflow_annotation.hooks.label_studio.client import AsyncRequests, LabelStudioClient, project_path
from airflow_annotation.hooks.label_studio.task_pages import Task, alist_page, condition, list_page, list_pages
from airflow_annotation.hooks.progress_log import ReadProgress
from airflow_annotation.labels.json_repair import split_records
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.export import ExportSource, tables_from_export
from airflow_annotation.labels.lenient import decode_lenient
from airflow_annotation.labels.mask_budget import DEFAULT_BUDGET, MaskBudget
from airflow_annotation.labels.reading import ReadOptions
from airflow_annotation.labels.tables import LabelTables
from airflow_annotation.transport.read_ahead import read_ahead
from airflow_annotation.transport.width import Width

log = logging.getLogger(__name__)

_DENSE: Final = 2
"""Up to this many ids per item between the first and the last, all of these ids are tried instead of listed."""

_PIECE_ITEMS: Final = 900
"""Label Studio takes no more than 998 ids in a request."""

_FILLED_PIECE_ITEMS: Final = 10
"""Number of videos per piece if all their frames are read: one video may have a hundred thousand labels."""

_PIECE_QUERY_BYTES: Final = 14_000
"""Length of the ids in the URL. If a proxy accepts less, requests become shorter: see :meth:`_PieceReader._fetch`."""

_TOO_LONG: Final = frozenset({400, 414, 431})
"""Statuses with which servers and proxies refuse a URL that is too long for them."""

_SMALLEST_PIECE: Final = 50
"""Pieces of this many items or fewer are not halved after a failure: their size is not the cause."""

_PIECE_BYTES: Final = 16 * 2**20
"""Target size of a piece. If items are larger, later pieces have fewer of them, since several pieces are held."""

_PREDICTIONS: Final = "id,predictions,result,model_version,score,created_at,updated_at"


_UNFINISHED: Final = (
    condition("is_labeled", "equal", "Boolean", False),
    condition("total_annotations", "greater", "Number", 0),
)


class _PredictedTask(msgspec.Struct, gc=False):
    id: int
    predictions: list[msgspec.Raw] = []


class _CountedTask(msgspec.Struct, gc=False):
    id: int
    total_predictions: int = 0


class _User(msgspec.Struct):
    email: str


class _Piece(NamedTuple):
    """Some items, in the server's form.

    :param export: export of the items
    :param unfinished: ids of the items that have submissions and wait for more
    :param predictions: predictions of the items, by the item's id
    """

    export: bytes
    unfinished: frozenset[int]
    predictions: dict[int, list[msgspec.Raw]]

    @property
    def size(self) -> int:
        """Bytes that the server sent. Predictions with masks may be much larger than the export, which has none."""
        return len(self.export) + sum(memoryview(one).nbytes for some in self.predictions.values() for one in some)


def read_tables(
    client: LabelStudioClient,
    project: AnnotationProject,
    config: LabelingConfig,
    options: ReadOptions = ReadOptions(),
    *,
    mask_budget: MaskBudget = DEFAULT_BUDGET,
    item_ids: Iterable[int] | None = None,
) -> Iterator[LabelTables]:
    """Yield the project as batches of whole items, in the order of their ids.

    A request for a piece that fails is repeated. If the server or a proxy keeps failing, the piece is read in halves.

    :param client: client of the server
    :param project: the project
    :param config: its labeling config
    :param options: options of the reading
    :param mask_budget: limits for a mask; a mask beyond them lands as it stands
    :param item_ids: ids of the items to read; None reads all
    """
    source = ExportSource(
        project=project.uri,
        config=config,
        item_url=f"{client.url}/projects/{project.id}/data?task={{item_id}}",
        run_key=project.run_key,
        options=options,
        find_email=_email_finder(client),
        mask_budget=mask_budget,
    )
    filled = options.frames == "all" and config.has_video
    piece_items = _FILLED_PIECE_ITEMS if filled else _PIECE_ITEMS
    chosen = None if item_ids is None else sorted(set(item_ids))
    in_range = [condition("id", "in", "Number", {"min": chosen[0], "max": chosen[-1]})] if chosen else []
    reader = _PieceReader(
        client,
        project.id,
        include_predictions=options.include_predictions,
        piece_items=piece_items,
        # Only in the range of the items to read: the server counts all that match, and a shard is one of a thousand.
        has_unfinished=list_page(client, project.id, Task, [*in_range, *_UNFINISHED], page_size=1).total > 0,
    )
    progress = ReadProgress(project)
    other_rates = 0
    for piece in reader.pieces(_find_ids(client, project.id) if chosen is None else iter(chosen)):
        try:
            tables = tables_from_export(
                piece.export, source, unfinished=piece.unfinished, predictions=piece.predictions
            )
        except ValueError as error:
            raise AnnotationError(f"The export of project {project.id} cannot be read: {error}") from error
        progress.count(tables)
        other_rates += _count_other_rates(tables, config)
        yield tables
    progress.report_end(source.odd)
    if other_rates:
        log.warning(
            "%d videos of project %s have another frame rate than the labeling config's. Label Studio's player counts "
            "frames at the config's rate, so tool_frame is not the file's frame + 1, and frames of the files are left "
            "out or come twice. Set the Video tag's frameRate to that of the files.",
            other_rates,
            project.id,
        )


def _count_other_rates(tables: LabelTables, config: LabelingConfig) -> int:
    """Count videos whose file has another frame rate than the one that the player counts with."""
    media = next((media for media in config.objects.values() if media.media_type == "video"), None)
    if media is None:
        return 0
    known = tables.items.filter(pc.is_valid(tables.items["frame_rate"]))
    rates = zip(known["frame_rate"].to_pylist(), known["data"].to_pylist(), strict=True)
    return sum(
        not math.isclose(rate, media.find_frame_rate(msgspec.json.decode(data) | {"frame_rate": rate}), rel_tol=1e-4)
        for rate, data in rates
    )


# Requests


class _PieceReader:
    """Fetches a project's items.

    :param client: client of the server
    :param project_id: the project
    :param include_predictions: whether to fetch predictions too
    :param piece_items: maximum number of items in a piece
    :param has_unfinished: whether there are items with submissions that wait for more
    """

    def __init__(
        self,
        client: LabelStudioClient,
        project_id: str,
        *,
        include_predictions: bool,
        piece_items: int,
        has_unfinished: bool,
    ) -> None:
        self._client = client
        self._project_id = project_id
        self._include_predictions = include_predictions
        self._piece_items = piece_items
        self._query_bytes = _PIECE_QUERY_BYTES
        self._has_unfinished = has_unfinished

    def pieces(self, ids: Iterator[int]) -> Iterator[_Piece]:
        """Yield the pieces in order, and fetch the next ones at the same time."""
        width = Width(self._client.concurrency)
        reads = (partial(self._fetch, ids=piece) for piece in self._split(ids))
        for pieces in read_ahead(reads, lambda: self._client.open(width), width, size=_count_bytes):
            yield from pieces

    def _split(self, ids: Iterator[int]) -> Iterator[list[int]]:
        piece: list[int] = []
        query_bytes = 0
        for id_ in ids:
            id_bytes = _query_bytes([id_])
            if piece and (len(piece) >= self._piece_items or query_bytes + id_bytes > self._query_bytes):
                yield piece
                piece, query_bytes = [], 0
            piece.append(id_)
            query_bytes += id_bytes
        if piece:
            yield piece

    async def _fetch(self, requests: AsyncRequests, ids: list[int]) -> list[_Piece]:
        """Fetch items. If the server fails on all at once, fetch them in halves, and halve later pieces too."""
        try:
            params = [("exportType", "JSON"), ("download_all_tasks", "true"), *(("ids[]", str(id_)) for id_ in ids)]
            path = f"{project_path(self._project_id)}export"
            export, counted = await requests.read_with("GET", path, _export, params=params)
            unfinished = await self._list_unfinished(requests, ids) if self._has_unfinished else frozenset()
            predictions = await self._fetch_predictions(requests, counted) if self._include_predictions else {}
        except AnnotationError as error:
            too_long = isinstance(error, AnnotationRequestError) and error.status_code in _TOO_LONG
            if not (error.is_transient or too_long) or len(ids) <= _SMALLEST_PIECE:
                raise
            self._query_bytes = min(self._query_bytes, _query_bytes(ids) // 2)
            log.warning("%s Asking for the %d items in halves.", error, len(ids))
            middle = len(ids) // 2
            return await self._fetch(requests, ids[:middle]) + await self._fetch(requests, ids[middle:])
        piece = _Piece(export, unfinished, predictions)
        if piece.size > _PIECE_BYTES:
            self._piece_items = max(min(self._piece_items, len(ids) * _PIECE_BYTES // piece.size), 1)
        return [piece]

    async def _list_unfinished(self, requests: AsyncRequests, ids: list[int]) -> frozenset[int]:
        page = await alist_page(requests, self._project_id, Task, _UNFINISHED, selected=ids)
        return frozenset(task.id for task in page.tasks)

    async def _fetch_predictions(
        self, requests: AsyncRequests, counted: Iterable[_CountedTask]
    ) -> dict[int, list[msgspec.Raw]]:
        """Fetch the predictions of exported items. The export has their ids only."""
        ids = [task.id for task in counted if task.total_predictions]
        if not ids:
            return {}
        page = await alist_page(
            requests, self._project_id, _PredictedTask, selected=ids, fields="all", include=_PREDICTIONS
        )
        return {task.id: task.predictions for task in page.tasks}


def list_ids(client: LabelStudioClient, project_id: str) -> Iterator[int]:
    """Yield the ids of the project's items in ascending order.

    If the project has more than one page of items, there may also be ids that are not in the project.

    :param client: client of the server
    :param project_id: the project
    """
    page = list_page(client, project_id, Task)
    if len(page.tasks) < page.total:
        yield from _find_ids(client, project_id)
    else:
        yield from (task.id for task in page.tasks)


def _find_ids(client: LabelStudioClient, project_id: str) -> Iterator[int]:
    """Yield the ids of the project's items in ascending order. Some may be ids that are not in the project."""
    first = list_page(client, project_id, Task, page_size=1)
    last = list_page(client, project_id, Task, ordering="-tasks:id", page_size=1)
    if not first.tasks or not last.tasks:
        return
    next_id, last_id = first.tasks[0].id, last.tasks[0].id
    if last_id - next_id < _DENSE * first.total:
        yield from range(next_id, last_id + 1)
        return
    for tasks in list_pages(client, project_id, Task, first=next_id, last=last_id):
        yield from (task.id for task in tasks)


def _export(response: httpx.Response) -> tuple[bytes, list[_CountedTask]]:
    """Return an export unchanged, after a check that it is complete, and what its tasks count."""
    with reading(response):
        counted = [decode_lenient(task, _CountedTask) for task in split_records(response.content)]
    return response.content, counted


def _count_bytes(pieces: list[_Piece]) -> int:
    return sum(piece.size for piece in pieces)


def _query_bytes(ids: Iterable[int]) -> int:
    return sum(len(f"&ids%5B%5D={id_}") for id_ in ids)


def _email_finder(client: LabelStudioClient) -> Callable[[int], str]:
    """Return a function that finds a person's e-mail by their id, and asks the server only once per person."""

    @cache
    def find_email(user_id: int) -> str:
        try:
            return client.read("GET", f"/api/users/{user_id}/", _User).email or str(user_id)
        except (AnnotationProjectNotFoundError, AnnotationRequestError) as error:
            if error.is_transient:
                raise
            log.warning("The e-mail of user %d cannot be read, so the id stands for it: %s", user_id, error)
            return str(user_id)

    return find_email
