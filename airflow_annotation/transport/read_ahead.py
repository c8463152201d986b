"""Reads several pieces at the same time, to use them one after the other."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from typing import Any, Final, TypeVar

from airflow_annotation.transport.width import Width

_SPARE: Final = 2
"""Pieces that are held in addition to the width, so that others are read while the caller waits for the first."""

ClientT = TypeVar("ClientT")
T = TypeVar("T")


def read_ahead(
    reads: Iterable[Callable[[ClientT], Awaitable[T]]],
    open_client: Callable[[], AbstractAsyncContextManager[ClientT]],
    width: Width,
    *,
    size: Callable[[T], int],
) -> Iterator[T]:
    """Yield the pieces that are read, in order, while the next pieces are being read.

    An error of any piece is raised as soon as the caller asks for the next piece, even if earlier pieces are still
    being read. After an error, or when the caller stops, the other reads are cancelled and their connections are
    closed. No thread is left when the generator has ended.

    :param reads: functions that each read a piece; they are taken as earlier pieces are used
    :param open_client: returns the client of all requests, which is closed at the end
    :param width: how many pieces are read at the same time; at most a few more are held
    :param size: returns the size of a piece in bytes
    """
    with _event_loop() as loop:
        opened = AsyncExitStack()
        client = _run(opened.enter_async_context(open_client()), loop)
        turns = asyncio.Condition()
        under_way = 0

        async def read_in_turn(read: Callable[[ClientT], Awaitable[T]]) -> T:
            nonlocal under_way
            async with turns:
                await turns.wait_for(lambda: under_way < width.now)
                under_way += 1
            started = time.monotonic()
            try:
                piece = await read(client)
                width.count(time.monotonic() - started, size(piece))
                return piece
            finally:
                under_way -= 1
                async with turns:
                    turns.notify_all()

        ahead: deque[Future[T]] = deque()
        try:
            for read in reads:
                ahead.append(asyncio.run_coroutine_threadsafe(read_in_turn(read), loop))
                while len(ahead) >= width.now + _SPARE:
                    yield _first(ahead)
            while ahead:
                yield _first(ahead)
        finally:
            _run(_cancel_all(), loop)
            _run(opened.aclose(), loop)


def read_in_threads(pool: ThreadPoolExecutor, reads: Iterable[Callable[[], T]], most: int) -> Generator[T, None, None]:
    """Yield the pieces that are read, in order, while threads read the next. When it ends, no other read begins.

    :param pool: pool of the threads
    :param reads: functions that each read a piece; they are taken as earlier pieces are used
    :param most: maximum number of pieces that are being read or held
    """
    ahead: deque[Future[T]] = deque()
    try:
        for read in reads:
            ahead.append(pool.submit(read))
            if len(ahead) > most:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        for reading in ahead:
            reading.cancel()


def _first(ahead: deque[Future[T]]) -> T:
    """Wait for the first piece and return it; raise the error of any piece as soon as there is one."""
    while True:
        for piece in ahead:
            if piece.done() and piece.exception() is not None:
                piece.result()
        if ahead[0].done():
            return ahead.popleft().result()
        wait([piece for piece in ahead if not piece.done()], return_when=FIRST_COMPLETED)


@contextmanager
def _event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop in a thread of its own, while the block runs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="read-ahead", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        _run(loop.shutdown_default_executor(), loop)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _run(coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result()


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
