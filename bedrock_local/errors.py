"""AWS's errors as exceptions.

An `AwsError` becomes a response with its status, `x-amzn-ErrorType` and a JSON body with `message`. Statuses and
names are those of botocore's service models and of AWS's list of common errors.
"""

from typing import Any

#: The error of a status, for directives that name only the status.
NAME_OF_STATUS = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    413: "RequestEntityTooLargeException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}


class AwsError(Exception):
    """An error response: HTTP `status`, AWS's error `name`, the `message`, and further members of the body."""

    def __init__(self, status: int, name: str, message: str, **members: Any) -> None:
        super().__init__(f"{name}: {message}")
        self.status = status
        self.name = name
        self.message = message
        self.members = members

    def body(self) -> dict[str, Any]:
        """Return the JSON body that AWS sends with it."""
        return {"message": self.message, **self.members}


def invalid(message: str) -> AwsError:
    """Return a ValidationException (400): the request is readable and invalid."""
    return AwsError(400, "ValidationException", message)


def malformed(message: str) -> AwsError:
    """Return a SerializationException (400): the body is not readable."""
    return AwsError(400, "SerializationException", message)


def not_found(message: str) -> AwsError:
    """Return a ResourceNotFoundException (404)."""
    return AwsError(404, "ResourceNotFoundException", message)


class UnknownOperationError(AwsError):
    """The response of AWS's front end to a path or a method of no operation."""

    def __init__(self) -> None:
        super().__init__(404, "UnknownOperationException", "The requested operation is not recognized by the service.")

    def body(self) -> dict[str, Any]:
        """Return the body in the front end's own shape."""
        kind = f"com.amazon.coral.service#{self.name}"
        return {"Output": {"__type": kind, "message": self.message}, "Version": "1.0"}


def forbidden(name: str, message: str) -> AwsError:
    """Return a rejection of the caller's credentials (403), before the service reads the request."""
    return AwsError(403, name, message)
