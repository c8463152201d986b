"""Errors of this provider, by who has to act on them."""

from __future__ import annotations

from airflow.sdk.exceptions import AirflowException


class AnnotationError(AirflowException):
    """Base of the errors that this provider raises when a task runs. When a DAG is parsed, they are ``ValueError``."""

    is_transient: bool = False
    """Whether the same request may succeed later although nobody changes anything, so that waiting may help."""


class AnnotationConnectionError(AnnotationError):
    """The labeling tool cannot be reached, refuses the key, or is not the tool that the connection says."""

    is_transient = True

    was_sent: bool = True
    """Whether the tool may have got the request, or may still get it: False where there was no connection."""


class AnnotationAnswerError(AnnotationConnectionError):
    """An answer that the tool never gives: a login page, a body that is cut off, JSON of another shape."""


class AnnotationAuthenticationError(AnnotationConnectionError):
    """The labeling tool refuses the connection's key."""

    is_transient = False


class AnnotationRequestError(AnnotationError):
    """The labeling tool refused a request; the message is the tool's own.

    :param message: the request, and the tool's answer
    :param status_code: the HTTP status of the answer, None if there was none
    """

    status_code: int | None  # type: ignore[assignment] # Airflow's own errors have the status that its API answers

    def __init__(self, message: str, *, status_code: int | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.is_transient = status_code is not None and (status_code == 429 or status_code >= 500)


class AnnotationProjectNotFoundError(AnnotationError):
    """The labeling tool has no such project, or does not show it to the connection's user."""


class AnnotationStalledError(AnnotationError):
    """Nothing was labeled for the time in ``stalled_after``; the message has the progress and the goal."""


class AnnotationArgumentError(AnnotationError, ValueError):
    """An argument, or given data, is invalid; the message says what is wrong, and in a task names it."""


class AnnotationUploadError(AnnotationError):
    """More items failed than ``max_failures`` allows; the message lists the first ones by name."""


class MediaError(AnnotationError, ValueError):
    """A media file is missing, empty, or not what it says it is; the message names the file."""


class LandingMovedError(AnnotationError):
    """Another landing was committed since this one was planned, so this one must not be applied any more."""
