"""Turns errors of disks and object stores into errors of this provider, which say what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_annotation.exceptions import AnnotationError

_LIBRARIES: Final = frozenset(
    {
        "_internal",
        "adlfs",
        "aiobotocore",
        "aiohttp",
        "azure",
        "boto3",
        "botocore",
        "deltalake",
        "gcsfs",
        "google",
        "pyiceberg",
        "s3fs",
    }
)
"""Packages that access object stores. Delta's is named ``_internal``. Some of their errors are not OSErrors."""

_NO_CREDENTIALS: Final = frozenset(
    {"ClientAuthenticationError", "DefaultCredentialsError", "NoCredentialsError", "RefreshError", "UnauthorizedError"}
)
_UNREACHABLE: Final = frozenset(
    {
        "ClientConnectorError",
        "ConnectTimeoutError",
        "EndpointConnectionError",
        "ServiceRequestError",
        "ServiceUnavailable",
        "TransportError",
    }
)
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@contextmanager
def storage_errors(subject: str) -> Iterator[None]:
    """Turn the errors of disks and object stores into errors of this provider.

    :param subject: first words of the message: what the code reads or writes, and where
    :raises AnnotationError: a disk is full, a permission to write is missing, a bucket is missing, a store cannot be
        reached, or its connection is not defined
    """
    try:
        yield
    except AirflowNotFoundException as error:
        raise AnnotationError(f"{subject} failed, and what was there before is unchanged: {error}.") from error
    except Exception as error:
        if not is_storage_error(error):
            raise
        text = str(error).rstrip(". ") or type(error).__name__
        raise AnnotationError(
            f"{subject} failed, and what was there before is unchanged: {text}. {_advice(error)}"
        ) from error


def is_storage_error(error: Exception) -> bool:
    """Return whether an error comes from a disk or from a library that accesses an object store."""
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _LIBRARIES


def _advice(error: BaseException) -> str:
    causes = list(_causes(error))
    names = {type(cause).__name__ for cause in causes}
    numbers = {getattr(cause, "errno", None) for cause in causes}
    codes = {_status(cause) for cause in causes}
    if numbers & _FULL:
        return "Make room, and run the task again."
    if names & _NO_CREDENTIALS or 401 in codes:
        return "Name a connection with valid credentials for this store."
    if numbers & _FORBIDDEN or 403 in codes or "PermissionError" in names:
        return "Give the task's user, or the connection's, the right to write there: docs/systems/object_storage.md."
    if "FileNotFoundError" in names or 404 in codes:
        return "Check the name. Tasks make folders, but no buckets and no containers: make a missing one first."
    if names & _UNREACHABLE or any(isinstance(cause, ConnectionError | TimeoutError) for cause in causes):
        return "The store cannot be reached from here. Run the task again when it can."
    return "Run the task again when the cause is gone."


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _status(error: BaseException) -> int | None:
    """Return the HTTP status in a library's error. Each library stores it in another place."""
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status if isinstance(status, int) else None
    for value in (getattr(error, "code", None), getattr(error, "status_code", None), getattr(error, "status", None)):
        if isinstance(value, int):
            return int(value)
    return None
