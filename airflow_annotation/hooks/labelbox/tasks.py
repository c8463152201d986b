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
"""Pause in seconds after the first attempt. It doubles each time. The client's own retries come before."""

_LONGEST_TASK: Final = 2 * 60 * 60.0
_POLLS: Final = (0.2, 5.0)
"""Seconds between two polls: at first, and at most."""


class _TaskState(msgspec.Struct):
    status: str
    result: Any = None


class TaskFailedError(AnnotationRequestError):
    """Labelbox accepted a task and failed at it. A new request for the task may succeed."""

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
    """Send a request with the SDK, and repeat it as :func:`repeat` does."""

    def once() -> _Answer:
        with client.using_sdk() as sdk:
            return ask(sdk)

    return repeat(once)


def pause(attempt: int, error: AnnotationError, then: str) -> None:
    """Wait after a failed attempt, longer after each. Raise the error of the last attempt.

    :param attempt: number of the attempt, from 1
    :param error: error of the attempt
    :param then: description of the next step, for the log
    """
    if attempt >= ATTEMPTS:
        raise error
    log.warning("%s %s", error, then)
    time.sleep(_WAIT * 2 ** (attempt - 1))


def polls(what: str) -> Iterator[None]:
    """Yield before each poll, with increasing pauses.

    :param what: name of the task that the caller waits for, for the error
    :raises AnnotationConnectionError: the task takes longer than two hours
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

    :param client: client of the organization
    :param task_id: id of the task
    :param what: name of the task, for the error: ``the export of project ck…``
    :raises TaskFailedError: the task failed; the message is Labelbox's own
    """
    for _ in polls(what):
        task = client.query(_TASK, "task", _TaskState, id=task_id)
        if task.status == "COMPLETE":
            return
        if task.status != "IN_PROGRESS":
            reason = shorten(str(task.result or "no reason given"))
            raise TaskFailedError(f"Labelbox failed at {what} ({task.status}): {reason}")
