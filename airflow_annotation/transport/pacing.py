"""A limit on how many requests a minute go to a server."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Final

import httpx

BURST: Final = 10.0
"""Seconds whose share of requests may go out at once after a quiet while."""


class RequestPace:
    """Gives each request its turn. Safe in threads and coroutines.

    :param per_minute: how many requests go out a minute at most, but for one burst of :data:`BURST` seconds' worth
    """

    def __init__(self, per_minute: float) -> None:
        self.per_minute = per_minute
        self._next = 0.0
        self._lock = threading.Lock()

    def take_turn(self) -> float:
        """Take the next turn, and return in how many seconds it is."""
        with self._lock:
            now = time.monotonic()
            turn = max(self._next, now - BURST)
            self._next = turn + 60 / self.per_minute
        return max(turn - now, 0.0)


class PacedTransport(httpx.BaseTransport):
    """Sends requests, those that are repeated too, when it is their turn.

    :param transport: what sends them
    :param pace: whose turn it is
    """

    def __init__(self, transport: httpx.BaseTransport, pace: RequestPace) -> None:
        self._transport = transport
        self._pace = pace

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Wait for a turn, and send the request."""
        time.sleep(self._pace.take_turn())
        return self._transport.handle_request(request)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()


class AsyncPacedTransport(httpx.AsyncBaseTransport):
    """Like :class:`PacedTransport`, for coroutines."""

    def __init__(self, transport: httpx.AsyncBaseTransport, pace: RequestPace) -> None:
        self._transport = transport
        self._pace = pace

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Wait for a turn, and send the request."""
        await asyncio.sleep(self._pace.take_turn())
        return await self._transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()
