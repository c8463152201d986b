"""Reading a whole project of a Label Studio server, in pieces.

The export of a large project takes the server minutes, and proxies do not wait that long. So a light listing finds the
items, and the same export endpoint is asked for some hundred of them at a time, a little ahead of what is being used.
Items come in the order of their ids, and each page of the listing begins behind the last id of the page before: what is
deleted or added meanwhile makes no other item come twice or not at all.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Final, NamedTuple

import msgspec
import pyarrow.compute as pc

from airflow_annotation.exceptions import AnnotationError, AnnotationProjectNotFound, AnnotationRequestError
from airflow_annotation.hooks.annotation import AnnotationChoice, AnnotationProject, AnnotatorNames
from airflow_annotation.hooks.label_studio.client import LabelStudioClient, project_path
from airflow_annotation.hooks.label_studio.errors import decode_answer
from airflow_annotation.labels.label_studio.controls import LabelingConfig
from airflow_annotation.labels.label_studio.export import ExportSource, tables_from_export
from airflow_annotation.labels.schema import OTHER
from airflow_annotation.labels.tables import LabelTables

log = logging.getLogger(__name__)

_LAST_ID: Final = 2**31 - 1
_PAGE_ITEMS: Final = 1000
_PIECE_ITEMS: Final = 500
_PIECE_QUERY_BYTES: Final = 7000
"""The ids go into the URL, and many proxies take no more than 8 kB of it."""

_SMALLEST_PIECE: Final = 50
"""Items below which a piece that fails is not halved any more: something else is wrong."""

_PIECES_AHEAD: Final = 2
_LOG_SECONDS: Final = 15.0


class _ListedItem(msgspec.Struct, gc=False):
    id: int
    is_labeled: bool = False
    total_predictions: int = 0
    predictions: list[msgspec.Raw] = []


class _ItemPage(msgspec.Struct):
    tasks: list[_ListedItem]
    total: int


class _User(msgspec.Struct):
    email: str


class _Piece(NamedTuple):
    """Items that are read in one request, and what the server answered."""

    items: Sequence[_ListedItem]
    export: bytes
    predictions: dict[int, list[msgspec.Raw]]


def read_tables(
    client: LabelStudioClient,
    project: AnnotationProject,
    label_config: str,
    *,
    annotations: AnnotationChoice = "all",
    include_predictions: bool = False,
    annotators: AnnotatorNames = "email",
    keep_raw: bool = False,
    item_ids: Iterable[int] | None = None,
) -> Iterator[LabelTables]:
    """Yield the project as batches of whole items, in the order of their ids.

    A piece that fails is asked for again, and in halves where the server or a proxy keeps giving up on it.

    :param client: speaks to the server
    :param project: the project
    :param label_config: its labeling config
    :param annotations: ``all`` submissions, the ``latest`` of each item, or those marked ``ground_truth``
    :param include_predictions: also read the models' predictions
    :param annotators: name people by their ``email``, or by Label Studio's ``id``
    :param keep_raw: fill ``labels.raw`` for every row
    :param item_ids: read these items only; None reads all
    """
    source = ExportSource(
        project=project.uri,
        config=LabelingConfig(label_config),
        item_url=f"{client.url}/projects/{project.id}/data?task={{item_id}}",
        run_key=project.run_key,
        annotators=annotators,
        find_email=_email_finder(client),
        annotations=annotations,
        keep_raw=keep_raw,
    )
    wanted = None if item_ids is None else set(item_ids)
    listed = _list_items(
        client, project.id, first=1, last=_LAST_ID, fields="task_only", include="id,is_labeled,total_predictions"
    )
    items = (item for item in listed if wanted is None or item.id in wanted)
    progress = _Progress(project)
    for piece in _read_ahead(client, project.id, items, include_predictions=include_predictions):
        finished = {item.id: item.is_labeled for item in piece.items}
        tables = tables_from_export(piece.export, source, finished=finished, predictions=piece.predictions)
        progress.count(tables)
        yield tables
    progress.report_end()


class _Progress:
    """Counts what has been read, and says so in the log."""

    def __init__(self, project: AnnotationProject) -> None:
        self._project = project
        self._items = 0
        self._labels = 0
        self._others: Counter[str] = Counter()
        self._start = self._reported = time.monotonic()

    def count(self, tables: LabelTables) -> None:
        self._items += len(tables.items)
        self._labels += len(tables.labels)
        others = tables.labels.filter(pc.equal(tables.labels["type"], OTHER))
        self._others.update(others["field"].to_pylist())
        if time.monotonic() - self._reported >= _LOG_SECONDS:
            self._report()

    def report_end(self) -> None:
        self._report()
        if self._others:
            log.warning(
                "%d labels of project %s have no type of ours and land as type other with their raw record: %s.",
                self._others.total(),
                self._project.id,
                ", ".join(f"{count} of {field or 'no control'}" for field, count in self._others.most_common()),
            )

    def _report(self) -> None:
        self._reported = time.monotonic()
        rate = self._items / max(self._reported - self._start, 1e-3)
        log.info(
            "Read %d items with %d labels of project %s, %.0f items a second.",
            self._items,
            self._labels,
            self._project.id,
            rate,
        )


# Requests


def _list_items(
    client: LabelStudioClient, project_id: str, *, first: int, last: int, fields: str, include: str
) -> Iterator[_ListedItem]:
    """Yield the project's items whose ids are in a range, by id.

    :param fields: ``task_only``, or ``all`` for predictions and the like, which is slower
    :param include: the fields that are read
    """
    while True:
        condition = {"filter": "filter:tasks:id", "operator": "in", "type": "Number"}
        filters = {"conjunction": "and", "items": [{**condition, "value": {"min": first, "max": last}}]}
        params = {
            "project": project_id,
            "query": msgspec.json.encode({"filters": filters, "ordering": ["tasks:id"]}).decode(),
            "fields": fields,
            "include": include,
            "page_size": str(_PAGE_ITEMS),
        }
        page = decode_answer(client.request("GET", "/api/tasks/", params=params), _ItemPage)
        yield from page.tasks
        if len(page.tasks) >= page.total or not page.tasks:
            return
        first = page.tasks[-1].id + 1


def _read_ahead(
    client: LabelStudioClient, project_id: str, items: Iterator[_ListedItem], *, include_predictions: bool
) -> Iterator[_Piece]:
    """Yield the pieces in order, while the next ones are being fetched."""
    with ThreadPoolExecutor(_PIECES_AHEAD, thread_name_prefix="label-studio-export") as pool:
        ahead: deque[Future[list[_Piece]]] = deque()
        try:
            for piece in _pieces(items):
                ahead.append(pool.submit(_fetch, client, project_id, piece, include_predictions))
                if len(ahead) > _PIECES_AHEAD:
                    yield from ahead.popleft().result()
            while ahead:
                yield from ahead.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _pieces(items: Iterator[_ListedItem]) -> Iterator[list[_ListedItem]]:
    piece: list[_ListedItem] = []
    query_bytes = 0
    for item in items:
        item_bytes = len(f"&ids%5B%5D={item.id}")
        if len(piece) == _PIECE_ITEMS or query_bytes + item_bytes > _PIECE_QUERY_BYTES:
            yield piece
            piece, query_bytes = [], 0
        piece.append(item)
        query_bytes += item_bytes
    if piece:
        yield piece


def _fetch(
    client: LabelStudioClient, project_id: str, items: list[_ListedItem], include_predictions: bool
) -> list[_Piece]:
    """Fetch items, in halves where the server fails on all of them at once."""
    try:
        params = [("exportType", "JSON"), ("download_all_tasks", "true"), *(("ids[]", str(item.id)) for item in items)]
        export = client.request("GET", f"{project_path(project_id)}export", params=params).content
        predicted = [item.id for item in items if include_predictions and item.total_predictions]
        return [_Piece(items, export, _fetch_predictions(client, project_id, predicted))]
    except AnnotationError as error:
        if not error.is_transient or len(items) <= _SMALLEST_PIECE:
            raise
        log.warning("%s Asking for the %d items in halves.", error, len(items))
        middle = len(items) // 2
        return [
            piece
            for half in (items[:middle], items[middle:])
            for piece in _fetch(client, project_id, half, include_predictions)
        ]


def _fetch_predictions(
    client: LabelStudioClient, project_id: str, item_ids: Sequence[int]
) -> dict[int, list[msgspec.Raw]]:
    """Fetch the items' predictions, by the item's id. The export endpoint has their ids only."""
    if not item_ids:
        return {}
    include = "id,predictions,result,model_version,score,created_at,updated_at"
    items = _list_items(client, project_id, first=item_ids[0], last=item_ids[-1], fields="all", include=include)
    return {item.id: item.predictions for item in items}


def _email_finder(client: LabelStudioClient) -> Callable[[int], str]:
    """Return a function that finds a person's e-mail by their id, asking the server for each person once."""

    @cache
    def find_email(user_id: int) -> str:
        try:
            return decode_answer(client.request("GET", f"/api/users/{user_id}/"), _User).email or str(user_id)
        except (AnnotationProjectNotFound, AnnotationRequestError) as error:
            if error.is_transient:
                raise
            log.warning("The e-mail of user %d cannot be read, so the id stands for it: %s", user_id, error)
            return str(user_id)

    return find_email
