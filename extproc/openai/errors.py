"""OpenAI's error shape: `{"error": {"message", "type", "param", "code"}}`, all four keys always there.

Source: the `ErrorResponse` schema of OpenAI's API description; the SDKs read `error.message`, `.type`, `.param`
and `.code`, and choose their exception by the HTTP status.
"""

from collections.abc import Mapping

import msgspec

_LONGEST = 2000
"""Longest message, in characters: it may quote the client's request, which can be a whole book."""


class ApiError(Exception):
    """An error response. Raise it anywhere below `exchange/`; the caller gets it as it is.

    `message` explains what is wrong and what to do; `param` is the path of the offending field, as in
    `messages[0].content[1].image_url.url`; `headers` are sent with it (`retry-after`, `allow`).
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
        """Return the error as JSON has it."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error}

    def encode(self) -> bytes:
        """Encode the error as a response body."""
        return msgspec.json.encode(self.as_object())


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """Return a 400 for something that the caller can fix."""
    return ApiError(400, message, param=param, code=code)


def _shortened(text: str) -> str:
    """Return a text that can be encoded: a server's header may hold halves of surrogate pairs."""
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return text if text.isascii() else text.encode(errors="replace").decode()
