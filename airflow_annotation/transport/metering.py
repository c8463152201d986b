"""Counts the requests to a labeling tool, for Airflow's metrics."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec

from airflow_annotation import metrics


class RequestMeter(msgspec.Struct, frozen=True):
    """Counts requests, which include retries.

    :param conn_id: id of the connection
    :param tool: type of the connection
    """

    conn_id: str
    tool: str

    def count(self, status: int | None) -> None:
        """Count a request.

        :param status: HTTP status of its answer; None if there was no answer
        """
        tags: dict[str, Any] = {"conn_id": self.conn_id, "tool": self.tool}
        metrics.count("requests", **tags)
        if status is None or status >= httpx.codes.BAD_REQUEST:
            metrics.count("requests_refused", status=status or "no_answer", **tags)
