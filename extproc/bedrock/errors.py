"""What Bedrock says when it fails: over HTTP, or inside a stream.

Source: the exceptions of botocore's `bedrock-runtime` service model. Over HTTP the name stands in
`x-amzn-errortype` (sometimes with `:http://…` behind it), the text in the body's `message` or, from AWS's
authentication layer, `Message`. In a stream an exception frame has `:exception-type` in lower camel case, an error
frame `:error-code` and `:error-message`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class BedrockError:
    """One failure: `kind` is AWS's name for it (`ThrottlingException`), `status` 0 where there was none."""

    kind: str
    message: str
    status: int = 0

    def __str__(self) -> str:
        """One line for a log, without the signed headers that AWS quotes behind its text about a bad signature."""
        said = self.message.partition("\n")[0][:300]
        return f"{self.kind or self.status}: {said}" if said else f"{self.kind or self.status}"


class _Body(msgspec.Struct):
    lower: str | None = msgspec.field(default=None, name="message")
    upper: str | None = msgspec.field(default=None, name="Message")
    type: str | None = msgspec.field(default=None, name="__type")


_DECODER = msgspec.json.Decoder(_Body)


def from_response(status: int, headers: Mapping[str, str], body: bytes) -> BedrockError:
    """The failure in an HTTP answer, whatever its body is."""
    try:
        said = _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        said = _Body(lower=body.decode("utf-8", "replace")[:1000].strip() or None)
    kind = (headers.get("x-amzn-errortype") or said.type or "").split(":", 1)[0].rsplit("#", 1)[-1]
    return BedrockError(kind, said.lower or said.upper or "", status)


def from_frame(headers: Mapping[str, object], payload: bytes) -> BedrockError:
    """The failure in a frame whose `:message-type` is `exception` or `error`."""
    if headers.get(":message-type") == "error":
        return BedrockError(_kind(headers.get(":error-code")), str(headers.get(":error-message", "")))
    return BedrockError(_kind(headers.get(":exception-type")), from_response(0, {}, payload).message)


def _kind(name: object) -> str:
    """A frame's name for a failure as HTTP writes it, with a capital."""
    text = "" if name is None else str(name)
    return text[:1].upper() + text[1:]
