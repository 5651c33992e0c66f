"""Bedrock's errors, over HTTP and inside a stream.

Source: the exceptions of botocore's `bedrock-runtime` service model. Over HTTP the name is in `x-amzn-errortype`
(sometimes followed by `:http://…`), the text in the body's `message` or, from AWS's authentication layer, `Message`.
In a stream an exception frame has `:exception-type` in lower camel case, an error frame `:error-code` and
`:error-message`. The response for an operation that AWS does not know has status 200, and is
`{"Output": {"__type": "com.amazon.coral.service#UnknownOperationException"}, "Version": "1.0"}`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

LONGEST = 64 * 1024
"""Bytes of an error's body that is decoded: AWS's have less than one KiB, and its text is searched for phrases."""


@dataclass(frozen=True, slots=True)
class BedrockError:
    """An error of Bedrock: `kind` is AWS's name for it (`ThrottlingException`), `status` 0 inside a stream.

    `original` is the status of the model's own server, 0 where Bedrock does not report it.
    """

    kind: str
    message: str
    status: int = 0
    original: int = 0

    def __str__(self) -> str:
        """Return a line for a log, without the signed headers that AWS quotes below a wrong signature's message."""
        kind, text = self.kind[:100] or self.status, self.message.partition("\n")[0][:300]
        return f"{kind}: {text}" if text else f"{kind}"


class _Output(msgspec.Struct):
    type: str | None = msgspec.field(default=None, name="__type")


class _Body(msgspec.Struct):
    lower: str | None = msgspec.field(default=None, name="message")
    upper: str | None = msgspec.field(default=None, name="Message")
    type: str | None = msgspec.field(default=None, name="__type")
    output: _Output | None = msgspec.field(default=None, name="Output")
    original_status: int | None = msgspec.field(default=None, name="originalStatusCode")
    original_message: str | None = msgspec.field(default=None, name="originalMessage")

    @property
    def message(self) -> str:
        """Return the text, and the text of the model's own server if it differs."""
        text, original = self.lower or self.upper or "", self.original_message or ""
        if original and original not in text:
            return f"{text} ({original})" if text else original
        return text

    @property
    def kind(self) -> str:
        return self.type or (self.output.type if self.output else None) or ""


_DECODER = msgspec.json.Decoder(_Body)


def from_response(status: int, headers: Mapping[str, str], body: bytes) -> BedrockError:
    """Return the error of an HTTP response, whatever its body is."""
    decoded = _read(body)
    kind = (headers.get("x-amzn-errortype") or decoded.kind).split(":", 1)[0].rsplit("#", 1)[-1]
    return BedrockError(kind.strip(), decoded.message, status, decoded.original_status or 0)


def from_frame(headers: Mapping[str, object], payload: bytes) -> BedrockError:
    """Return the error of a frame whose `:message-type` is `exception` or `error`."""
    if headers.get(":message-type") == "error":
        text = headers.get(":error-message")
        return BedrockError(_kind(headers.get(":error-code")), _read(payload).message if text is None else str(text))
    body = _read(payload)
    return BedrockError(_kind(headers.get(":exception-type")), body.message, original=body.original_status or 0)


def _read(body: bytes) -> _Body:
    if len(body) > LONGEST:
        return _Body(lower=_text(body[:4000]))
    try:
        return _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Body(lower=_text(body[:4000]))


def _text(body: bytes) -> str | None:
    """Return the first 1,000 characters of a body that is text; None for any other, such as frames of a stream."""
    text = body.decode("utf-8", "replace")[:1000].strip()
    return text if text and "".join(text.split()).isprintable() else None


def _kind(name: object) -> str:
    """Return a frame's name for an error as HTTP writes it: with a capital, and without a namespace."""
    text = "" if name is None else str(name).rsplit("#", 1)[-1].strip()
    return text[:1].upper() + text[1:]
