"""Directives to the local Bedrock inside the user's text, for tests and demonstrations: `[[local: key=value …]]`.

They are in the user's last text (for embeddings: in an input) and are removed before it is echoed. A value with blanks
is in double quotes. `after=N` counts event-stream frames; in a response that is not streamed, bytes of the body.
docs/local-bedrock.md has examples; a test holds its table and this one together.

    exception=throttlingException after=3    an exception frame after N frames (0: as the first event), then the end;
                                             not streamed, the same as an HTTP error
    error=internalFailure after=3            a frame with `:message-type: error`, then the end; not streamed, a 500
    cut after=3                              the connection is closed after N frames, before messageStop; not streamed,
                                             after N bytes of the body (0: before any response)
    end after=3                              a clean end after N frames, without a reason; not streamed, a complete
                                             response with N bytes of the body
    nometadata                               a stream ends after messageStop, without metadata
    nousage                                  the metadata of a stream, or the whole response, have no usage
    corrupt after=3                          the frame after N frames has a wrong checksum; not streamed, the body is
                                             no JSON from there
    status=429 type=ThrottlingException message="Too many requests"
                                             an HTTP error; type and message are optional
    stop=guardrail_intervened                this stopReason
    reasoning=text                           a reasoningContent block with this text comes first, signed if the model
                                             signs
    redacted                                 a reasoningContent block with redactedContent comes before the text
    think="a thought"                        the first text begins with this thought, in <thinking>…</thinking>
    fence                                    the text is in a code fence
    call=get_weather                         a call of this tool, which the request must have; with arguments that its
                                             schema accepts, or with those of `arguments`
    arguments={"city": "Paris"}              the arguments of that call, an object in JSON, whether the schema accepts
                                             them or not; `]]` in it is written as `] ]`
    image                                    an image, a PNG of one pixel, comes last
    texts=3                                  the text in several text blocks
    cite=https://example.com/a               the first text block cites this page
    router=amazon.nova-lite-v1:0             a prompt router chose this model
    servicetier=flex                         this tier is reported as the one that served
    empty                                    no content
    unknown                                  an event of an unknown type follows messageStart; not streamed, a content
                                             block of an unknown type comes first
    cacheread=100 cachewrite=20              usage of the prompt cache
    pace=0.5                                 seconds between frames
    hold=1                                   everything after the first delta (not streamed, and for embeddings: the
                                             whole response) waits for `POST /_local/release`
    hold=answer                              the whole response waits for it, that of a stream too
    hold=headers                             everything after the response's headers waits for it
    hold=start                               everything after messageStart waits for it; not streamed, everything after
                                             the first byte of the body
    hold=after after=9                       everything after N frames waits for it
    hold=end                                 the end of the body waits for it: all frames are out, or all bytes but one
    pause=55                                 a hold ends by itself after so many seconds; without `hold`, hold=1
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args
from urllib.parse import urlsplit

from botocore.model import NoShapeFoundError

from bedrock_local.errors import NAME_OF_STATUS, AwsError, invalid
from bedrock_local.shapes import service

Hold = Literal["here", "answer", "headers", "start", "after", "end"]

HOLDS: frozenset[str] = frozenset(get_args(Hold))
"""The places at which a response can wait; `here` is written as `hold=1`."""

_DIRECTIVE = re.compile(r"\s*\[\[local:(.*?)\]\]", re.DOTALL)
_PAIR = re.compile(r'(\w+)(?:=(?:"([^"]*)"|(\S+)))?(?:\s+|$)')
_OBJECT = re.compile(r"arguments=(?=\{)")
_NAME = re.compile(r"[\w.:/#-]{1,200}", re.ASCII)

#: Longest accepted message, and longest part of a value that an error message repeats, in characters.
_LONGEST, _SHOWN = 10_000, 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """The directives of a text; each field is a key of the module's table."""

    exception: str | None = None
    error: str | None = None
    cut: bool = False
    end: bool = False
    nometadata: bool = False
    nousage: bool = False
    corrupt: bool = False
    after: int = 0
    status: int | None = None
    type: str | None = None
    message: str | None = None
    stop: str | None = None
    reasoning: str | None = None
    redacted: bool = False
    think: str | None = None
    fence: bool = False
    call: str | None = None
    arguments: dict[str, Any] | None = None
    image: bool = False
    texts: int = 1
    cite: str | None = None
    router: str | None = None
    servicetier: str | None = None
    empty: bool = False
    unknown: bool = False
    cacheread: int = 0
    cachewrite: int = 0
    pace: float | None = None
    hold: Hold | None = None
    pause: float | None = None

    def raise_status(self) -> None:
        """Raise the HTTP error of `status`, if there is one."""
        if self.status is not None:
            name = self.type or NAME_OF_STATUS.get(self.status, "InternalServerException")
            members = {"originalStatusCode": 500, "resourceName": "local"} if self.status == 424 else {}
            raise AwsError(self.status, name, self.message_of(name), **members)

    def raise_exception(self) -> None:
        """Raise, for a response that is not streamed, the HTTP error that stands for `exception` or `error`."""
        if self.exception is not None:
            raise AwsError(_status_of(self.exception), _capitalised(self.exception), self.message_of(self.exception))
        if self.error is not None:
            raise AwsError(500, _capitalised(self.error), self.message_of(self.error))

    @property
    def damages(self) -> bool:
        """Return whether the body is to be cut, ended early or corrupted."""
        return self.cut or self.end or self.corrupt

    def message_of(self, name: str) -> str:
        """Return the message of a failure."""
        return self.message or f"{name} was ordered."


def _status_of(exception: str) -> int:
    """Return the HTTP status of an exception by the service model; 400 for an exception that it does not define."""
    try:
        shape = service("bedrock-runtime").shape_for(_capitalised(exception))
    except NoShapeFoundError:
        return 400
    status: int = shape.metadata.get("error", {}).get("httpStatusCode", 400)
    return status


def _capitalised(name: str) -> str:
    return name[:1].upper() + name[1:]


def parse(text: str) -> tuple[Controls, str]:
    """Return the directives of a text, and the text without them; raise ValidationException on an unknown key."""
    values: dict[str, Any] = {}
    for directive in _DIRECTIVE.findall(text):
        values.update(_pairs(directive.strip()))
    if "pause" in values:
        values.setdefault("hold", "here")
    if "arguments" in values and "call" not in values:
        raise invalid("bedrock_local has arguments without a call: send call=NAME too.")
    return Controls(**values), _DIRECTIVE.sub("", text).strip()


def _pairs(directive: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    position = 0
    while position < len(directive):
        arguments = _OBJECT.match(directive, position)
        if arguments is not None:
            values["arguments"], position = _object(directive, arguments.end())
            continue
        pair = _PAIR.match(directive, position)
        if pair is None:
            raise invalid(f"bedrock_local cannot read the directive {directive[position:]!r}: send key=value.")
        key, value = pair[1], pair[2] if pair[2] is not None else pair[3]
        values[key] = _convert(key, value)
        position = pair.end()
    return values


def _object(directive: str, start: int) -> tuple[dict[str, Any], int]:
    """Return the JSON object that starts there, and where the next pair starts."""
    try:
        value, end = json.JSONDecoder().raw_decode(directive, start)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()  # what cannot be sent is rejected here
    except (ValueError, RecursionError):
        raise invalid(f"bedrock_local cannot read the arguments {directive[start : start + _SHOWN]}.") from None
    return value, len(directive) - len(directive[end:].lstrip())


def _convert(key: str, value: str | None) -> Any:
    if key not in _CONVERTERS:
        raise invalid(f"bedrock_local has no directive {key!r}; it has {', '.join(_CONVERTERS)}.")
    try:
        return _CONVERTERS[key]("1" if value is None else value)
    except (ValueError, KeyError):
        shown = value if value is None else value[:_SHOWN]
        raise invalid(f"bedrock_local cannot read the value of the directive {key}={shown}.") from None


def _name(value: str) -> str:
    """Return the name of a failure. It goes into a header, and may contain nothing that ends one."""
    if not _NAME.fullmatch(value):
        raise ValueError(value)
    return value


def _message(value: str) -> str:
    """Return a text that fits into a header of an event stream."""
    if len(value) > _LONGEST:
        raise ValueError(value)
    return value


def _no_object(value: str) -> dict[str, Any]:
    """Reject arguments that are no object; `_pairs` reads those that are."""
    raise ValueError(value)


def _page(value: str) -> str:
    """Return the address of a page on the web."""
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
    """Return the place to wait at; a bare `hold` and `hold=1` mean `here`."""
    if value in HOLDS:
        return cast(Hold, value)
    return "here" if _flag(value) else None


def _member_of(enum: str) -> Callable[[str], str]:
    """Return a converter for the values of an enumeration of the service model."""

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
    "nometadata": _flag,
    "nousage": _flag,
    "corrupt": _flag,
    "after": _natural,
    "status": _status,
    "type": _name,
    "message": _message,
    "stop": _member_of("StopReason"),
    "reasoning": str,
    "redacted": _flag,
    "think": str,
    "fence": _flag,
    "call": _name,
    "arguments": _no_object,
    "image": _flag,
    "texts": _natural,
    "cite": _page,
    "router": _name,
    "servicetier": _member_of("ServiceTierType"),
    "empty": _flag,
    "unknown": _flag,
    "cacheread": _natural,
    "cachewrite": _natural,
    "pace": _seconds,
    "hold": _hold,
    "pause": _seconds,
}

KEYS = frozenset(_CONVERTERS)
"""The keys of all directives."""
