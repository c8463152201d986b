"""The base of the triggers of waiting tasks."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping
from typing import Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowNotFoundException, AirflowSkipException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_annotation.exceptions import (
    AnnotationAnswerError,
    AnnotationAuthenticationError,
    AnnotationConnectionError,
    AnnotationError,
    AnnotationProjectNotFoundError,
    AnnotationRequestError,
)
from airflow_annotation.triggers.serialization import serialized

_ERRORS = {
    error.__name__: error
    for error in (
        AirflowNotFoundException,
        AirflowSkipException,
        AnnotationAnswerError,
        AnnotationAuthenticationError,
        AnnotationConnectionError,
        AnnotationProjectNotFoundError,
        AnnotationRequestError,
    )
}


class WaitTrigger(BaseTrigger):
    """Waits, and fires one event: what :meth:`_wait` returns, or the error that ended it."""

    not_before: float
    """Earliest time of the event, in seconds since the epoch."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments from which this trigger can be made again."""
        return serialized(self)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire one event."""
        try:
            event = await self._wait()
        except AirflowException as error:
            event = _error_event(error)
        await asyncio.sleep(max(self.not_before - time.time(), 0))
        yield TriggerEvent(event)  # type: ignore[no-untyped-call] # Airflow's is untyped

    @abstractmethod
    async def _wait(self) -> dict[str, Any]:
        """Wait, and return the event to fire."""


def _error_event(error: AirflowException) -> dict[str, Any]:
    """Return the event that reports an error; see :func:`event_error`."""
    return {
        "status": "error",
        "error": type(error).__name__,
        "message": str(error),
        "status_code": error.status_code if isinstance(error, AnnotationRequestError) else None,
    }


def event_error(event: Mapping[str, Any]) -> AirflowException:
    """Return the error that an event of status ``error`` reports, of the same class as in the triggerer.

    :param event: event with ``error`` (name of the class), ``message`` and ``status_code``
    """
    error_class = _ERRORS.get(event["error"], AnnotationError)
    if error_class is AnnotationRequestError:
        return AnnotationRequestError(event["message"], status_code=event["status_code"])
    return error_class(event["message"])
