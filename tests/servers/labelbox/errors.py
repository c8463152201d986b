"""The errors of the service, in the shape that the SDK's request client reads."""

from __future__ import annotations


class ServiceError(Exception):
    """An error that the service reports inside a GraphQL answer.

    :param message: shown to the caller
    :param code: `errors[].extensions.code`, which the SDK maps to an exception class
    :param status: `errors[].extensions.exception.status`, read with the code INTERNAL_SERVER_ERROR only
    """

    code = "INTERNAL_SERVER_ERROR"

    def __init__(self, message: str, *, code: str | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.code = code or self.code
        self.status = status

    @property
    def extensions(self) -> dict[str, object]:
        extensions: dict[str, object] = {"code": self.code}
        if self.status is not None:
            extensions["exception"] = {"status": self.status}
        return extensions


class NotFoundError(ServiceError):
    code = "RESOURCE_NOT_FOUND"

    def __init__(self, kind: str, identifier: object) -> None:
        super().__init__(f"{kind} not found: {identifier}")


class ConflictError(ServiceError):
    code = "RESOURCE_CONFLICT"


class MalformedError(ServiceError):
    code = "MALFORMED_REQUEST"


class InvalidInputError(ServiceError):
    """The SDK turns status 422 into UnprocessableEntityError."""

    def __init__(self, message: str) -> None:
        super().__init__(message, status=422)


class RestError(Exception):
    """An error of a REST route: a status and a JSON body with `message`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
