"""Errors of this provider, grouped by the person who has to act."""

from __future__ import annotations

from airflow.sdk.exceptions import AirflowException


class AnnotationError(AirflowException):
    """Base of the errors that this provider raises when a task runs. When a DAG is parsed, they are ``ValueError``."""

    is_transient: bool = False
    """Whether the same request may succeed later without any change, so that waiting may help."""


class AnnotationConnectionError(AnnotationError):
    """The labeling tool cannot be reached, refuses the key, or is not the tool the connection says it is."""

    is_transient = True

    was_sent: bool = True
    """Whether the tool may have received the request, or may still receive it. False if there was no connection."""


class AnnotationAnswerError(AnnotationConnectionError):
    """An answer that the tool never gives: a login page, a body that is cut off, JSON of another shape."""


class AnnotationAuthenticationError(AnnotationConnectionError):
    """The labeling tool refuses the connection's key."""

    is_transient = False


class AnnotationRequestError(AnnotationError):
    """The labeling tool refused a request. The error has the tool's own message.

    :param message: the request, and the tool's answer
    :param status_code: HTTP status of the answer, None if there was no answer
    """

    status_code: int | None  # type: ignore[assignment] # in Airflow's own errors, this is the status of Airflow's API

    def __init__(self, message: str, *, status_code: int | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.is_transient = status_code is not None and (status_code == 429 or status_code >= 500)


class AnnotationProjectNotFoundError(AnnotationError):
    """The labeling tool has no such project, or does not show it to the connection's user."""


class AnnotationStalledError(AnnotationError):
    """Nobody labeled anything during ``stalled_after``. The message says the progress and the goal."""


class AnnotationArgumentError(AnnotationError, ValueError):
    """An argument or an input is wrong. The message says what is wrong; in a task, it also names the task."""


class AnnotationUploadError(AnnotationError):
    """More uploads of items failed than ``max_failures`` allows. The message lists the first failed items by name."""


class MediaError(AnnotationError, ValueError):
    """A media file is missing, empty, or not of the type that it claims. The message names the file."""


class LandingMovedError(AnnotationError):
    """Another landing was committed after this one was planned, so this one must not be applied."""
