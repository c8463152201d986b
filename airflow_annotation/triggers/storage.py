"""The trigger of the sync of storages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from airflow_annotation.exceptions import AnnotationError
from airflow_annotation.hooks.storages import StorageSync
from airflow_annotation.triggers.poller import ProgressPoller, shared_poller
from airflow_annotation.triggers.waiting import WaitTrigger

ASK_AGAIN: Final = 30.0
"""Maximum seconds until a tool that is out of reach is asked again, even if ``poke_interval`` is longer."""


class StorageSyncTrigger(WaitTrigger):
    """Waits until a sync of a storage is over, or until the deadline.

    Fires once, with a dictionary whose ``status`` is

    - ``over`` or ``timed_out``, with ``sync`` (the fields of :class:`~airflow_annotation.hooks.storages.StorageSync`),
      and with the arguments ``project``, ``started`` and ``deadline``. The event carries these because ``dag.test()``
      keeps nothing else for the task
    - ``error``, with what :func:`~airflow_annotation.triggers.waiting.event_error` needs

    While the tool is out of reach (no connection, 429, 5xx), it asks again. All other errors fire at once.

    :param annotation_conn_id: the connection of the labeling tool
    :param project: the fields of an :class:`~airflow_annotation.hooks.annotation.AnnotationProject`
    :param storage_id: id of the storage, as the hook returned it
    :param number: number of the sync
    :param started: whether the task itself started the sync
    :param deadline: time at which the wait ends, in seconds since the epoch; restarts of the triggerer do not move it
    :param poke_interval: seconds between two polls
    :param max_outage: maximum seconds for which the tool may be out of reach
    :param not_before: earliest time of the event, in seconds since the epoch: see
        :data:`~airflow_annotation.triggers.deferring.DEFERRED_AT_LEAST`
    """

    def __init__(
        self,
        *,
        annotation_conn_id: str,
        project: Mapping[str, Any],
        storage_id: str,
        number: int,
        started: bool,
        deadline: float,
        poke_interval: float,
        max_outage: float = 600.0,
        not_before: float = 0.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Airflow's is untyped
        self.annotation_conn_id = annotation_conn_id
        self.project = dict(project)
        self.storage_id = storage_id
        self.number = number
        self.started = started
        self.deadline = deadline
        self.poke_interval = poke_interval
        self.max_outage = max_outage
        self.not_before = not_before

    async def _wait(self) -> dict[str, Any]:
        seen = -1
        async with shared_poller(self.annotation_conn_id) as poller:
            while True:
                sync = await self._ask_through_outages(poller)
                if sync.is_over(self.number):
                    return self._event("over", sync)
                if sync.synced != seen:
                    self.log.info("Storage %s is %s: %d synced.", self.storage_id, sync.status, sync.synced)
                    seen = sync.synced
                remaining = self.deadline - time.time()
                if remaining <= 0:
                    return self._event("timed_out", sync)
                await asyncio.sleep(min(self.poke_interval, remaining))

    def _event(self, status: str, sync: StorageSync) -> dict[str, Any]:
        given = {"project": self.project, "started": self.started, "deadline": self.deadline}
        return {"status": status, "sync": msgspec.to_builtins(sync), **given}

    async def _ask_through_outages(self, poller: ProgressPoller) -> StorageSync:
        """Ask for the sync. While the tool is out of reach, ask again, until ``max_outage`` or the deadline."""
        give_up: float | None = None
        while True:
            try:
                return await poller.storage_sync(self.project["id"], self.storage_id)
            except AnnotationError as error:
                give_up = give_up or min(time.time() + self.max_outage, self.deadline)
                pause = min(self.poke_interval, ASK_AGAIN)
                if not error.is_transient or time.time() + pause > give_up:
                    raise
                self.log.warning("%s Asking again in %.0f s.", error, pause)
            await asyncio.sleep(pause)
