"""One poller for all waits through a connection, in the event loop of a triggerer.

A tool counts many projects in one request. So waits do not ask the tool: they ask this poller, and say how long the
answer may take. When the answer of one wait is due, the request includes the questions of other waits. So waits with
equal intervals soon share all requests. The poller lives while a wait uses it.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import random
import socket
import time
from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async

from airflow_annotation import metrics
from airflow_annotation.exceptions import AnnotationAuthenticationError, AnnotationError
from airflow_annotation.hooks.annotation import (
    AnnotationHook,
    AnnotationProgress,
    AnnotationProject,
    no_project_of,
)
from airflow_annotation.hooks.storages import StorageSync
from airflow_annotation.transport.pacing import RequestPace
from airflow_annotation.triggers.goal_meter import GoalMeter
from airflow_annotation.triggers.wakeups import check_interval, read_news, webhooks_enabled

_SHORTEST_BACKOFF = 2.0
_LONGEST_BACKOFF = 60.0
_HOOK_LIFETIME: Final = 300.0
"""Seconds after which the connection is read again, since its key may have changed."""

_HOSTNAME: Final = socket.gethostname()

log = logging.getLogger(__name__)


class _Question:
    """What a wait asks, and by when it needs the answer.

    :param project_id: id of the project, None if the question is about runs
    :param ask: function that asks the tool, if no other question can be in the same request; None for progress and runs
    :param run_keys: keys of the runs whose projects are wanted
    :param prefix: prefix of keys, if all runs with such a key are wanted
    :param within: seconds that the answer may take
    """

    def __init__(
        self,
        *,
        project_id: str | None = None,
        ask: Callable[[AnnotationHook], Awaitable[Any]] | None = None,
        run_keys: Sequence[str] = (),
        prefix: str | None = None,
        within: float,
    ) -> None:
        self.project_id = project_id
        self.ask = ask
        self.run_keys = run_keys
        self.prefix = prefix
        now = time.monotonic()
        self.due = now + within
        self.early = now + within / 2
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def settle(self, answer: Any) -> None:
        """Set the answer, or the error, unless the wait has ended."""
        if self.answer.done():
            return
        if isinstance(answer, BaseException):
            self.answer.set_exception(answer)
        else:
            self.answer.set_result(answer)


class ProgressPoller:
    """Answers the questions of all waits through one connection, in as few requests as the tool allows.

    The requests for questions go out one after the other. The connection's ``polls_per_minute`` limits all requests. If
    a request fails because the tool is out of reach, all questions that are due get the error, and the next request for
    any question is sent after :attr:`backoff` seconds. Other errors go to the questions of the request. The connection
    is read again every few minutes, and when the tool refuses its key.

    :param conn_id: id of the connection
    """

    def __init__(self, conn_id: str) -> None:
        self.conn_id = conn_id
        self.users = 0
        self._questions: list[_Question] = []
        self._changed = asyncio.Event()
        self._pace: RequestPace | None = None
        self._hook: AnnotationHook | None = None
        self._hook_lock = asyncio.Lock()
        self._renew_hook_at = math.inf
        self._failures = 0
        self._not_before = 0.0
        # In its own context, since its log lines do not belong in the log of the task that starts it.
        self._task = contextvars.Context().run(asyncio.create_task, self._serve())
        self._task.add_done_callback(self._end)
        self._listening = contextvars.Context().run(asyncio.create_task, self._listen()) if webhooks_enabled() else None

    @property
    def backoff(self) -> float:
        """Minimum seconds until the tool is asked again; 0 unless it is out of reach."""
        return max(self._not_before - time.monotonic(), 0.0)

    async def progress(self, project_id: str, *, within: float = 0.0) -> AnnotationProgress:
        """Return the progress of a project, as :meth:`AnnotationHook.aget_progress_of` counts it.

        :param project_id: id of the project
        :param within: seconds that the answer may take, so that the question can share a request with others
        :raises AnnotationProjectNotFoundError: there is no such project
        """
        answer: AnnotationProgress = await self._ask(_Question(project_id=project_id, within=within))
        return answer

    async def find_project(self, run_keys: Sequence[str], *, within: float = 0.0) -> AnnotationProject:
        """Return the project of the first of these runs that has one.

        :raises AnnotationProjectNotFoundError: none of the runs has a project
        """
        found: dict[str, AnnotationProject] = await self._ask(_Question(run_keys=run_keys, within=within))
        for run_key in run_keys:
            if run_key in found:
                return found[run_key]
        raise no_project_of(run_keys)

    async def list_runs(self, prefix: str, *, within: float = 0.0) -> list[AnnotationProject]:
        """Return the projects of the runs whose keys start with ``prefix``."""
        projects: list[AnnotationProject] = await self._ask(_Question(prefix=prefix, within=within))
        return [project for project in projects if (project.run_key or "").startswith(prefix)]

    async def exact_progress(
        self, project_id: str, *, min_annotations: int | None = None, within: float = 0.0
    ) -> AnnotationProgress:
        """Return the progress of a project, as :meth:`AnnotationHook.aget_progress` counts it.

        :param project_id: id of the project
        :param min_annotations: count the items with this many submissions as completed
        :param within: seconds that the answer may take
        """

        def ask(hook: AnnotationHook) -> Awaitable[AnnotationProgress]:
            return hook.aget_progress(project_id, min_annotations=min_annotations)

        answer: AnnotationProgress = await self._ask(_Question(project_id=project_id, ask=ask, within=within))
        return answer

    async def last_change(self, project_id: str) -> datetime | None:
        """Return the time of a project's last change, as :meth:`AnnotationHook.get_last_change` does."""

        def ask(hook: AnnotationHook) -> Awaitable[datetime | None]:
            return sync_to_async(hook.get_last_change, thread_sensitive=False)(project_id)

        answer: datetime | None = await self._ask(_Question(project_id=project_id, ask=ask, within=0.0))
        return answer

    async def find_missing(self, meter: GoalMeter, project_id: str, progress: AnnotationProgress) -> list[str]:
        """Return what a project lacks of a goal, as :meth:`GoalMeter.find_missing` does.

        This does not wait for the questions, and they do not wait for it, since reading labels may take long.
        """
        hook = await self._current_hook()
        return await sync_to_async(meter.find_missing, thread_sensitive=False)(hook, project_id, progress)

    async def project_uri(self, project_id: str) -> str:
        """Return the asset URI of a project."""
        hook = await self._current_hook()
        # In a thread: it may be the first to read the connection.
        return await sync_to_async(hook.project_uri)(project_id)

    async def storage_sync(self, project_id: str, storage_id: str) -> StorageSync:
        """Return the state of the newest sync of a storage. Its request does not wait for other waits' questions."""
        try:
            return await self._read_sync(project_id, storage_id)
        except AnnotationAuthenticationError as error:
            problem = await self._read_key_again(error)
            if problem is not None:
                raise problem from None
            return await self._read_sync(project_id, storage_id)

    def wake(self, project_ids: set[str] | None) -> None:
        """Make all questions about these projects due now; with None, those about all projects."""
        now = time.monotonic()
        for question in self._questions:
            if question.project_id is not None and (project_ids is None or question.project_id in project_ids):
                question.due = question.early = min(question.due, now)
        self._changed.set()

    def close(self) -> None:
        """End the poller."""
        self._task.cancel()
        if self._listening:
            self._listening.cancel()

    async def _listen(self) -> None:
        """Make all questions about projects due whenever a webhook has come."""
        last: str | None = None
        first = True
        while True:
            try:
                news = await sync_to_async(read_news)(self.conn_id)
            except Exception:
                log.warning("Could not check whether webhooks of connection %r have come.", self.conn_id, exc_info=True)
            else:
                if news != last and not first:
                    self.wake(None)
                last, first = news, False
            await asyncio.sleep(check_interval())

    def _end(self, task: asyncio.Task[None]) -> None:
        """End all questions, since their answers will not come."""
        for question in self._questions:
            question.settle(asyncio.CancelledError() if task.cancelled() else task.exception())

    async def _read_sync(self, project_id: str, storage_id: str) -> StorageSync:
        hook = await self._current_hook()
        return await sync_to_async(hook.get_storage_sync, thread_sensitive=False)(project_id, storage_id)

    async def _ask(self, question: _Question) -> Any:
        self._questions.append(question)
        self._changed.set()
        try:
            return await question.answer
        finally:
            self._questions.remove(question)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            waiting = [question for question in self._questions if not question.answer.done()]
            first = min((question.due for question in waiting), default=math.inf)
            delay = max(first, self._not_before) - time.monotonic()
            if delay <= 0:
                await self._answer(waiting)
                continue
            alarm = loop.call_later(min(delay, 3600.0), self._changed.set)
            await self._changed.wait()
            alarm.cancel()

    async def _answer(self, waiting: list[_Question]) -> None:
        """Answer the question that is due first, and those that share its request."""
        waiting.sort(key=lambda question: question.due)
        answered: list[_Question] = []
        results: list[Any]
        try:
            hook = await self._current_hook()
            if waiting[0].ask is not None:
                answered = waiting[:1]
                results = [await waiting[0].ask(hook)]
            elif waiting[0].project_id is not None:
                answered = _together(waiting, hook.projects_a_request)
                answers = await hook.aget_progress_of({str(question.project_id) for question in answered})
                results = [answers[str(question.project_id)] for question in answered]
            elif waiting[0].prefix is not None:
                answered = [question for question in waiting if question.prefix is not None]
                runs = await sync_to_async(lambda: list(hook.list_runs()), thread_sensitive=False)()
                results = [runs] * len(answered)
            else:
                answered = [question for question in waiting if question.run_keys]
                run_keys = {run_key for question in answered for run_key in question.run_keys}
                found = await sync_to_async(hook.find_projects, thread_sensitive=False)(run_keys)
                results = [found] * len(answered)
        except Exception as error:
            problem = await self._read_key_again(error) if isinstance(error, AnnotationAuthenticationError) else error
            if problem is not None:
                self._fail(problem, answered, waiting)
            return
        self._failures = 0
        for question, result in zip(answered, results, strict=True):
            question.settle(result)

    def _fail(self, error: Exception, asked: Sequence[_Question], waiting: Sequence[_Question]) -> None:
        now = time.monotonic()
        if isinstance(error, AnnotationError) and error.is_transient:
            backoff = min(_SHORTEST_BACKOFF * 2**self._failures, _LONGEST_BACKOFF)
            self._failures += 1
            # Jitter, so that not all triggerers send requests at the same time when a server is back.
            self._not_before = now + random.uniform(0.5, 1) * backoff  # nosec B311 # noqa: S311 - no secret
        else:
            self._hook = None if isinstance(error, AnnotationAuthenticationError) else self._hook
            waiting = asked or waiting
        for question in waiting:
            if question.due <= now or question in asked:
                question.settle(error)

    async def _read_key_again(self, error: AnnotationAuthenticationError) -> Exception | None:
        """Read the connection again. Return None if it has another key than the refused one, otherwise the error."""
        refused, self._hook = self._hook, None
        if refused is None:
            return error
        try:
            hook = await self._current_hook()
            keys = await sync_to_async(lambda: [hook.connection.password, refused.connection.password])()
        except Exception as problem:
            return problem
        return error if keys[0] == keys[1] else None

    async def _current_hook(self) -> AnnotationHook:
        async with self._hook_lock:
            if self._hook is None or time.monotonic() > self._renew_hook_at:
                self._hook = await self._make_hook()
                self._renew_hook_at = time.monotonic() + _HOOK_LIFETIME
            return self._hook

    async def _make_hook(self) -> AnnotationHook:
        try:
            # In a thread, because Airflow looks up secrets and imports providers, which blocks.
            hook = await sync_to_async(AnnotationHook.for_connection)(self.conn_id)
            per_minute = await sync_to_async(lambda: hook.polls_per_minute)()
        except Exception:
            if self._hook is None:
                raise
            log.warning("Connection %r cannot be read. Its old values are still used.", self.conn_id, exc_info=True)
            return self._hook
        if self._pace is None:
            self._pace = RequestPace(per_minute)
        self._pace.per_minute = per_minute
        hook.pace = self._pace
        return hook


def _together(waiting: Sequence[_Question], projects: int) -> list[_Question]:
    """Return the questions of one request: those that are due, then those that have waited half of their time.

    :param waiting: all questions, in the order in which they are due
    :param projects: maximum number of projects in one request
    """
    now = time.monotonic()
    asked: dict[str, list[_Question]] = {}
    for question in waiting:
        if question.project_id is None or question.ask is not None or now < min(question.early, question.due):
            continue
        if question.project_id in asked or len(asked) < projects:
            asked.setdefault(question.project_id, []).append(question)
    return [question for questions in asked.values() for question in questions]


_pollers: WeakKeyDictionary[AbstractEventLoop, dict[str, ProgressPoller]] = WeakKeyDictionary()


@asynccontextmanager
async def shared_poller(conn_id: str) -> AsyncIterator[ProgressPoller]:
    """Yield the poller that all waits through a connection share in this event loop."""
    pollers = _pollers.setdefault(asyncio.get_running_loop(), {})
    poller = pollers.get(conn_id)
    if poller is None:
        poller = pollers[conn_id] = ProgressPoller(conn_id)
    poller.users += 1
    metrics.gauge("waits", poller.users, conn_id=conn_id, hostname=_HOSTNAME)
    try:
        yield poller
    finally:
        poller.users -= 1
        metrics.gauge("waits", poller.users, conn_id=conn_id, hostname=_HOSTNAME)
        if not poller.users:
            del pollers[conn_id]
            poller.close()
