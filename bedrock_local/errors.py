"""AWS's errors as exceptions: what is raised anywhere here is what goes on the wire.

An `AwsError` becomes a response with its status, `x-amzn-ErrorType` and a JSON body with `message`. Statuses and
names are those of botocore's service models and of AWS's list of common errors.
"""

from typing import Any

#: The error that a bare status stands for, where a test control names only the status.
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
    """One refusal: HTTP `status`, AWS's error `name`, the `message`, and further members of the body."""

    def __init__(self, status: int, name: str, message: str, **members: Any) -> None:
        super().__init__(f"{name}: {message}")
        self.status = status
        self.name = name
        self.message = message
        self.members = members

    def body(self) -> dict[str, Any]:
        """The JSON body that AWS sends with it."""
        return {"message": self.message, **self.members}


def invalid(message: str) -> AwsError:
    """A ValidationException (400): the request is understood, and refused."""
    return AwsError(400, "ValidationException", message)


def malformed(message: str) -> AwsError:
    """A SerializationException (400): the body could not be read at all."""
    return AwsError(400, "SerializationException", message)


def not_found(message: str) -> AwsError:
    """A ResourceNotFoundException (404)."""
    return AwsError(404, "ResourceNotFoundException", message)


class UnknownOperationError(AwsError):
    """What AWS's front end says to a path or a method that no operation has."""

    def __init__(self) -> None:
        super().__init__(404, "UnknownOperationException", "The requested operation is not recognized by the service.")

    def body(self) -> dict[str, Any]:
        """The front end has a shape of its own."""
        kind = f"com.amazon.coral.service#{self.name}"
        return {"Output": {"__type": kind, "message": self.message}, "Version": "1.0"}


def forbidden(name: str, message: str) -> AwsError:
    """A refusal of the caller's credentials (403), before the service has looked at the request."""
    return AwsError(403, name, message)
