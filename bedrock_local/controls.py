"""Orders to the local Bedrock inside the user's text, for tests and demonstrations: `[[local: key=value …]]`.

They stand in the last text of the user (for embeddings: inside a text) and are cut out before it is echoed. A value
with blanks stands in double quotes. `after=N` counts event-stream frames.

    exception=throttlingException after=3    an exception frame after N frames (0: as the first event), then the end
    error=internalFailure after=3            a frame with `:message-type: error`, then the end
    cut after=3                              the connection is closed after N frames, before messageStop
    corrupt after=3                          the frame after N frames has a wrong checksum
    status=429 type=ThrottlingException message="Too many requests"
                                             an HTTP error instead of an answer; type and message may be left out
    stop=guardrail_intervened                this stopReason
    reasoning=text                           a reasoningContent block with this text comes first
    texts=3                                  the answer as several text blocks
    empty                                    an answer without any content
    unknown                                  an event of a type that nobody knows comes after messageStart
    cacheread=100 cachewrite=20              usage of the prompt cache
    pace=0.5                                 seconds between frames
    hold=1                                   everything after the first delta (without streaming, and for embeddings:
                                             the whole answer) waits for `POST /_local/release`
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bedrock_local.errors import NAME_OF_STATUS, AwsError, invalid
from bedrock_local.shapes import service

_ORDER = re.compile(r"\s*\[\[local:(.*?)\]\]", re.DOTALL)
_PAIR = re.compile(r'(\w+)(?:=(?:"([^"]*)"|(\S+)))?(?:\s+|$)')


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """What a text orders; each field is a key of the module's table."""

    exception: str | None = None
    error: str | None = None
    cut: bool = False
    corrupt: bool = False
    after: int = 0
    status: int | None = None
    type: str | None = None
    message: str | None = None
    stop: str | None = None
    reasoning: str | None = None
    texts: int = 1
    empty: bool = False
    unknown: bool = False
    cacheread: int = 0
    cachewrite: int = 0
    pace: float | None = None
    hold: bool = False

    def refuse(self) -> None:
        """Raise the HTTP error that was ordered, if one was."""
        if self.status is not None:
            name = self.type or NAME_OF_STATUS.get(self.status, "InternalServerException")
            members = {"originalStatusCode": 500, "resourceName": "local"} if self.status == 424 else {}
            raise AwsError(self.status, name, self.message or f"{name} was ordered.", **members)


def parse(text: str) -> tuple[Controls, str]:
    """Give what the text orders, and the text without the orders; an unknown key is a ValidationException."""
    values: dict[str, Any] = {}
    for order in _ORDER.findall(text):
        values.update(_pairs(order.strip()))
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
        raise invalid(f"bedrock_local cannot read the value of the order {key}={value}.") from None


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


def _stop_reason(value: str) -> str:
    if value not in service("bedrock-runtime").shape_for("StopReason").metadata["enum"]:
        raise ValueError(value)
    return value


_flag = {"0": False, "1": True, "false": False, "true": True}.__getitem__

_CONVERTERS: dict[str, Callable[[str], Any]] = {
    "exception": str,
    "error": str,
    "cut": _flag,
    "corrupt": _flag,
    "after": _natural,
    "status": _status,
    "type": str,
    "message": str,
    "stop": _stop_reason,
    "reasoning": str,
    "texts": _natural,
    "empty": _flag,
    "unknown": _flag,
    "cacheread": _natural,
    "cachewrite": _natural,
    "pace": _seconds,
    "hold": _flag,
}
