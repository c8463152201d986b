"""Confirms a watcher's events when Airflow, from 3.3 on, says that it has stored them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from airflow.triggers.shared_stream import AdvanceItem, SharedStreamProducer

from airflow_annotation.triggers.looks import Look


class LookProducer(SharedStreamProducer):
    """Yields looks, and confirms those whose events are in Airflow's database.

    :param look: function that yields looks without end
    """

    def __init__(self, look: Callable[[], AsyncIterator[Look]]) -> None:
        self._look = look

    async def open_stream(self) -> AsyncIterator[tuple[Look, Look]]:
        """Yield each look twice: once to judge it, and once to confirm it."""
        async for look in self._look():
            yield look, look

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Confirm the looks whose events Airflow has stored."""
        for item in batch:
            if item.outcome.is_clean and item.broker_payload.confirm is not None:
                await item.broker_payload.confirm()
