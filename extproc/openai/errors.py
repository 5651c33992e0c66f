"""OpenAI's error shape: `{"error": {"message", "type", "param", "code"}}`, all four keys always there.

Source: the `ErrorResponse` schema of OpenAI's API description; the SDKs read `error.message`, `.type`, `.param`
and `.code`, and choose their exception by the HTTP status.
"""

from collections.abc import Mapping

import msgspec

_LONGEST = 2000
"""Characters of a message: it may quote what the client sent, which may be a whole book."""


class ApiError(Exception):
    """An answer that is an error. Raise it anywhere below `exchange/`; it is what the caller will see.

    `message` says what is wrong and what to do; `param` is the path of the offending field, as in
    `messages[0].content[1].image_url.url`; `headers` go out with it (`retry-after`, `allow`).
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",  # noqa: A002 - the wire's own name
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = _shortened(message)
        self.type = type
        self.param = None if param is None else _shortened(param)
        self.code = code
        self.headers = dict(headers or {})

    def as_object(self) -> dict[str, dict[str, str | None]]:
        """The error as JSON has it."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error}

    def encode(self) -> bytes:
        """The error as a response body."""
        return msgspec.json.encode(self.as_object())


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """A 400 for something the caller can mend."""
    return ApiError(400, message, param=param, code=code)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
