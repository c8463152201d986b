"""Upload few predictions into a large project, one by one.

For a request with many predictions, Label Studio counts those of all tasks of the project again. This takes a minute
for 60,000 tasks, even if the request brings few predictions. For a single prediction, it counts those of its task only.

Items with several predictions are not uploaded this way. The predictions of an item must arrive all together or not at
all, since an item with one prediction of a version does not get the others later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, Final

import msgspec

from airflow_annotation.exceptions import AnnotationRequestError
from airflow_annotation.hooks.label_studio.client import LabelStudioClient
from airflow_annotation.hooks.label_studio.sending import send_without_refused
from airflow_annotation.hooks.label_studio.task_pages import list_selected
from airflow_annotation.hooks.label_upload import Part
from airflow_annotation.hooks.late_requests import send_until_taken

_COUNTED_TASKS: Final = 500
"""Number of tasks whose predictions the server counts in about the time that a request with one prediction takes."""

_INCLUDED: Final = "id,total_predictions,predictions,result,model_version,score"


class _Made(msgspec.Struct):
    id: int


class _Prediction(msgspec.Struct):
    result: Any = None
    score: float | None = None
    model_version: str | None = None


class _Task(msgspec.Struct):
    id: int
    total_predictions: int = 0
    predictions: list[_Prediction] = []


def are_few(parts: Sequence[Part], total: int) -> bool:
    """Return whether predictions should be sent one by one: this is faster, and no item has several predictions.

    :param parts: predictions of items
    :param total: number of tasks in the project
    """
    return len(parts) * _COUNTED_TASKS <= total and all(len(part.pieces) == 1 for part in parts)


def send_one_by_one(
    client: LabelStudioClient, project_id: str, parts: list[Part], recount: Callable[[], object]
) -> tuple[list[tuple[Part, AnnotationRequestError]], list[Part]]:
    """Send each prediction in its own request, as many requests at once as the connection allows.

    :param client: client of the server
    :param project_id: the project
    :param parts: one prediction for each item; the items have no prediction of the version yet
    :param recount: function that lets the server count the predictions of all tasks again
    :return: the parts that the server refused, each with its answer, and the parts that may have arrived twice
    :raises AnnotationRequestError: the server failed for all parts
    """
    doubtful: list[Part] = []
    post = partial(_post, client)

    def send(part: Part) -> list[tuple[Part, AnnotationRequestError]]:
        def find_taken(pieces: list[msgspec.Raw]) -> list[msgspec.Raw]:
            """Return the pieces that the task has: predictions with the same content."""
            pages = list_selected(client, project_id, _Task, [part.item_id], include=_INCLUDED)
            there = {_content(one) for page in pages for task in page for one in task.predictions}
            return [piece for piece in pieces if _content(msgspec.json.decode(piece, type=_Prediction)) in there]

        def send_part(_: list[Part]) -> None:
            if send_until_taken(list(part.pieces), post, find_taken):
                doubtful.append(part)

        return send_without_refused([part], send_part)

    with ThreadPoolExecutor(client.concurrency, thread_name_prefix="send-predictions") as pool:
        sending = [pool.submit(send, part) for part in parts]
        try:
            wait(sending, return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    # After an error, requests that have not begun are canceled. They come later in the list.
    errors = [one.exception() for one in sending if not one.cancelled()]
    for error in filter(None, errors):
        raise error
    refused = [one for future in sending for one in future.result()]
    if len(refused) == len(parts) and all(error.is_transient for _, error in refused):
        raise refused[0][1]
    ids = [part.item_id for part in parts]
    pages = list_selected(client, project_id, _Task, ids, include="id,total_predictions,predictions")
    # While the server deletes another project, it does not count new predictions.
    if any(task.total_predictions < len(task.predictions) for page in pages for task in page):
        recount()
    return refused, doubtful


def _post(client: LabelStudioClient, pieces: list[msgspec.Raw]) -> None:
    for piece in pieces:
        client.read(
            "POST",
            "/api/predictions/",
            _Made,
            content=bytes(piece),
            headers={"Content-Type": "application/json"},
            repeatable=False,
        )


def _content(prediction: _Prediction) -> bytes:
    return msgspec.json.encode(prediction, order="sorted")
