"""Wait for Labelbox's asynchronous tasks, and repeat them if that does no harm."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from airflow_annotation.exceptions import AnnotationConnectionError, AnnotationError, AnnotationRequestError
from airflow_annotation.hooks.errors import shorten
from airflow_annotation.hooks.labelbox.client import LabelboxClient

if TYPE_CHECKING:
    import labelbox

log = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")

_TASK: Final = "query TaskState($id: ID!) { task(where: {id: $id}) { status result } }"
ATTEMPTS: Final = 4
"""Maximum number of tries of a request that may be repeated."""

_WAIT: Final = 1.0
"""Seconds after the first attempt, twice as many after the next. The client has waited out what it could already."""

_LONGEST_TASK: Final = 2 * 60 * 60.0
_POLLS: Final = (0.2, 5.0)
"""Seconds between two looks, at first and at most."""


class _TaskState(msgspec.Struct):
    status: str
    result: Any = None


class TaskFailedError(AnnotationRequestError):
    """Labelbox took on a task and failed at it. Asking for it once more may help."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.is_transient = True


def repeat(ask: Callable[[], _Answer]) -> _Answer:
    """Send a request, and repeat it after a passing failure. Use it only for requests that may arrive twice."""
    for attempt in itertools.count(1):
        try:
            return ask()
        except AnnotationError as error:  # noqa: PERF203 - asking again is what the loop is for
            if not error.is_transient:
                raise
            pause(attempt, error, "Asking again.")
    raise AssertionError


def ask_sdk(client: LabelboxClient, ask: Callable[[labelbox.Client], _Answer]) -> _Answer:
    """Ask the SDK for something, as :func:`repeat` does."""

    def once() -> _Answer:
        with client.using_sdk() as sdk:
            return ask(sdk)

    return repeat(once)


def pause(attempt: int, error: AnnotationError, then: str) -> None:
    """Wait after a failed attempt, longer after each. Raise the error of the last attempt.

    :param attempt: 1 for the first
    :param error: of the attempt
    :param then: what is done next, for the log
    """
    if attempt >= ATTEMPTS:
        raise error
    log.warning("%s %s", error, then)
    time.sleep(_WAIT * 2 ** (attempt - 1))


def polls(what: str) -> Iterator[None]:
    """Yield before each poll, with increasing pauses.

    :param what: is waited for, for the error
    :raises AnnotationConnectionError: it takes hours
    """
    interval, longest = _POLLS
    deadline = time.monotonic() + _LONGEST_TASK
    while time.monotonic() < deadline:
        yield
        time.sleep(interval)
        interval = min(1.5 * interval, longest)
    raise AnnotationConnectionError(f"Labelbox has not finished {what} in {_LONGEST_TASK / 3600:.0f} hours.")


def wait_for_task(client: LabelboxClient, task_id: str, what: str) -> None:
    """Wait until a task is done.

    :param what: is being done, for the error: ``the export of project ck…``
    :raises TaskFailedError: Labelbox failed at it; the message is its own
    """
    for _ in polls(what):
        task = client.query(_TASK, "task", _TaskState, id=task_id)
        if task.status == "COMPLETE":
            return
        if task.status != "IN_PROGRESS":
            reason = shorten(str(task.result or "no reason given"))
            raise TaskFailedError(f"Labelbox failed at {what} ({task.status}): {reason}")
