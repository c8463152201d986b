"""Counting the requests that go to a labeling tool, for Airflow's metrics."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec

from airflow_annotation import metrics


class RequestMeter(msgspec.Struct, frozen=True):
    """Counts requests, repeated ones too.

    :param conn_id: of the connection that they go through
    :param tool: the type of the connection
    """

    conn_id: str
    tool: str

    def count(self, status: int | None) -> None:
        """Count a request.

        :param status: the HTTP status of its answer; None where there was none
        """
        tags: dict[str, Any] = {"conn_id": self.conn_id, "tool": self.tool}
        metrics.count("requests", **tags)
        if status is None or status >= httpx.codes.BAD_REQUEST:
            metrics.count("requests_refused", status=status or "no_answer", **tags)


class MeteredTransport(httpx.BaseTransport):
    """Counts what it sends.

    :param transport: what sends them
    :param meter: counts them
    """

    def __init__(self, transport: httpx.BaseTransport, meter: RequestMeter) -> None:
        self._transport = transport
        self._meter = meter

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request."""
        try:
            response = self._transport.handle_request(request)
        except httpx.TransportError:
            self._meter.count(None)
            raise
        self._meter.count(response.status_code)
        return response

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()


class AsyncMeteredTransport(httpx.AsyncBaseTransport):
    """Like :class:`MeteredTransport`, for coroutines."""

    def __init__(self, transport: httpx.AsyncBaseTransport, meter: RequestMeter) -> None:
        self._transport = transport
        self._meter = meter

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request."""
        try:
            response = await self._transport.handle_async_request(request)
        except httpx.TransportError:
            self._meter.count(None)
            raise
        self._meter.count(response.status_code)
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()
