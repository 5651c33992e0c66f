"""Orders to the local Bedrock inside the user's text, for tests and demonstrations: `[[local: key=value …]]`.

They stand in the last text of the user (for embeddings: inside a text) and are cut out before it is echoed. A value
with blanks stands in double quotes. `after=N` counts event-stream frames; of an answer without stream, bytes.

    exception=throttlingException after=3    an exception frame after N frames (0: as the first event), then the end;
                                             without stream, the same as an HTTP error
    error=internalFailure after=3            a frame with `:message-type: error`, then the end; without stream, a 500
    cut after=3                              the connection is closed after N frames, before messageStop; without
                                             stream, after N bytes of the body (0: before any answer)
    end after=3                              a clean end after N frames, and nothing that says why; without stream, a
                                             whole answer with N bytes of the body
    corrupt after=3                          the frame after N frames has a wrong checksum; without stream, the body is
                                             no JSON from there
    status=429 type=ThrottlingException message="Too many requests"
                                             an HTTP error instead of an answer; type and message may be left out
    stop=guardrail_intervened                this stopReason
    reasoning=text                           a reasoningContent block with this text comes first, signed if the model
                                             signs
    redacted                                 a reasoningContent block that is redactedContent comes before the answer
    texts=3                                  the answer as several text blocks
    cite=https://example.com/a               the first text block cites this page
    servicetier=flex                         this tier is reported as the one that served
    empty                                    an answer without any content
    unknown                                  an event of a type that nobody knows comes after messageStart; without
                                             stream, a content block of such a kind comes first
    cacheread=100 cachewrite=20              usage of the prompt cache
    pace=0.5                                 seconds between frames
    hold=1                                   everything after the first delta (without streaming, and for embeddings:
                                             the whole answer) waits for `POST /_local/release`
    hold=answer                              the whole answer waits for it, of a stream too
    hold=headers                             everything after the answer's headers waits for it
    hold=start                               everything after messageStart waits for it; without stream, everything
                                             after the first byte of the body
    hold=end                                 the end of the body waits for it: all frames are out, or all bytes but one
    pause=55                                 a hold goes on by itself after so many seconds; without `hold`, hold=1
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args
from urllib.parse import urlsplit

from botocore.model import NoShapeFoundError

from bedrock_local.errors import NAME_OF_STATUS, AwsError, invalid
from bedrock_local.shapes import service

Hold = Literal["here", "answer", "headers", "start", "end"]

_ORDER = re.compile(r"\s*\[\[local:(.*?)\]\]", re.DOTALL)
_PAIR = re.compile(r'(\w+)(?:=(?:"([^"]*)"|(\S+)))?(?:\s+|$)')
_NAME = re.compile(r"[\w.:/#-]{1,200}", re.ASCII)

#: Characters of a message at most, and of a value in a complaint about it.
_LONGEST, _SHOWN = 10_000, 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """What a text orders; each field is a key of the module's table."""

    exception: str | None = None
    error: str | None = None
    cut: bool = False
    end: bool = False
    corrupt: bool = False
    after: int = 0
    status: int | None = None
    type: str | None = None
    message: str | None = None
    stop: str | None = None
    reasoning: str | None = None
    redacted: bool = False
    texts: int = 1
    cite: str | None = None
    servicetier: str | None = None
    empty: bool = False
    unknown: bool = False
    cacheread: int = 0
    cachewrite: int = 0
    pace: float | None = None
    hold: Hold | None = None
    pause: float | None = None

    def refuse(self) -> None:
        """Raise the HTTP error that was ordered, if one was."""
        if self.status is not None:
            name = self.type or NAME_OF_STATUS.get(self.status, "InternalServerException")
            members = {"originalStatusCode": 500, "resourceName": "local"} if self.status == 424 else {}
            raise AwsError(self.status, name, self.told(name), **members)

    def refuse_whole(self) -> None:
        """Raise what a stream would end with as the HTTP error that it is without a stream."""
        if self.exception is not None:
            raise AwsError(_status_of(self.exception), _capitalised(self.exception), self.told(self.exception))
        if self.error is not None:
            raise AwsError(500, _capitalised(self.error), self.told(self.error))

    @property
    def spoils(self) -> bool:
        """Whether the answer itself is to be cut, ended early or spoiled."""
        return self.cut or self.end or self.corrupt

    def told(self, name: str) -> str:
        """The message of an ordered failure."""
        return self.message or f"{name} was ordered."


def _status_of(exception: str) -> int:
    """The HTTP status that the service model gives an exception; 400 for one that it does not know."""
    try:
        shape = service("bedrock-runtime").shape_for(_capitalised(exception))
    except NoShapeFoundError:
        return 400
    status: int = shape.metadata.get("error", {}).get("httpStatusCode", 400)
    return status


def _capitalised(name: str) -> str:
    return name[:1].upper() + name[1:]


def parse(text: str) -> tuple[Controls, str]:
    """Give what the text orders, and the text without the orders; an unknown key is a ValidationException."""
    values: dict[str, Any] = {}
    for order in _ORDER.findall(text):
        values.update(_pairs(order.strip()))
    if "pause" in values:
        values.setdefault("hold", "here")
    return Controls(**values), _ORDER.sub("", text).strip()


def _pairs(order: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    position = 0
    while position < len(order):
        pair = _PAIR.match(order, position)
        if pair is None:
            raise invalid(f"bedrock_local does not understand the order {order[position:]!r}.")
        key, value = pair[1], pair[2] if pair[2] is not None else pair[3]
        values[key] = _convert(key, value)
        position = pair.end()
    return values


def _convert(key: str, value: str | None) -> Any:
    if key not in _CONVERTERS:
        raise invalid(f"bedrock_local knows no order {key!r}; it knows {', '.join(_CONVERTERS)}.")
    try:
        return _CONVERTERS[key]("1" if value is None else value)
    except (ValueError, KeyError):
        shown = value if value is None else value[:_SHOWN]
        raise invalid(f"bedrock_local cannot read the value of the order {key}={shown}.") from None


def _name(value: str) -> str:
    """The name of a failure, which goes into a header: nothing that would end it."""
    if not _NAME.fullmatch(value):
        raise ValueError(value)
    return value


def _message(value: str) -> str:
    """A text that a header of an event stream has room for."""
    if len(value) > _LONGEST:
        raise ValueError(value)
    return value


def _page(value: str) -> str:
    """The address of a page on the web."""
    if not urlsplit(value).netloc:
        raise ValueError(value)
    return value


def _natural(value: str) -> int:
    if not value.isdecimal():
        raise ValueError(value)
    return int(value)


def _status(value: str) -> int:
    if not 400 <= int(value) <= 599:
        raise ValueError(value)
    return int(value)


def _seconds(value: str) -> float:
    if not 0 <= float(value) < 3600:
        raise ValueError(value)
    return float(value)


def _hold(value: str) -> Hold | None:
    """Where to wait; a bare `hold` and `hold=1` mean the usual place."""
    if value in get_args(Hold):
        return cast(Hold, value)
    return "here" if _flag(value) else None


def _member_of(enum: str) -> Callable[[str], str]:
    """A converter for the values of one of the service model's enumerations."""

    def convert(value: str) -> str:
        if value not in service("bedrock-runtime").shape_for(enum).metadata["enum"]:
            raise ValueError(value)
        return value

    return convert


_flag = {"0": False, "1": True, "false": False, "true": True}.__getitem__

_CONVERTERS: dict[str, Callable[[str], Any]] = {
    "exception": _name,
    "error": _name,
    "cut": _flag,
    "end": _flag,
    "corrupt": _flag,
    "after": _natural,
    "status": _status,
    "type": _name,
    "message": _message,
    "stop": _member_of("StopReason"),
    "reasoning": str,
    "redacted": _flag,
    "texts": _natural,
    "cite": _page,
    "servicetier": _member_of("ServiceTierType"),
    "empty": _flag,
    "unknown": _flag,
    "cacheread": _natural,
    "cachewrite": _natural,
    "pace": _seconds,
    "hold": _hold,
    "pause": _seconds,
}
