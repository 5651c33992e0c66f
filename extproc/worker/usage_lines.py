"""Lines of a ledger of usage -> sums by minute, organisation, kind of call, model and token.

A call counts if it used tokens, or succeeded; what was rejected before a model had it is no usage. The model is
`known_model`, which callers cannot make up.

The invariant: the sums are those of the lines, in whatever pieces these come. A line that is no record, such as half
of one after a crash, counts for nothing.

Decision: docs/decisions.md, D256.
"""

import datetime
from collections.abc import Iterable
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta

from extproc.telemetry.ledger_line import LineDecoder

COMPLETIONS: Final = 0
EMBEDDINGS: Final = 1

_KINDS: Final = {"chat": COMPLETIONS, "responses": COMPLETIONS, "embeddings": EMBEDDINGS}
"""Kinds by the operation of a call; others use no tokens that are billed."""

_MINUTE: Final = len("2026-11-02T10:00")

Number = Annotated[int, Meta(ge=0, le=1 << 53)]


class Line(msgspec.Struct):
    """What is read of a line. A worker that was killed early may have left out what has a default here."""

    start: str
    organisation: str
    operation: str | None = ""
    token: str | None = ""
    known_model: str | None = ""
    status: int = 0
    input_tokens: Number | None = 0
    cached_tokens: Number | None = 0
    cache_write_tokens: Number | None = 0
    output_tokens: Number | None = 0
    cost_micro_usd: Number | None = 0


class Key(NamedTuple):
    """What calls are summed up by; `minute` is its start in unix seconds."""

    minute: int
    organisation: str
    kind: int
    model: str
    token: str


Numbers = tuple[int, int, int, int, int, int]
"""Requests; tokens of the input, those of them that were read from a cache, and written to one; tokens of the output;
millionths of a US dollar."""

Sums = dict[Key, Numbers]

_DECODER: Final = LineDecoder(Line)


def add(sums: Sums, key: Key, numbers: Numbers) -> None:
    """Add numbers to those of a key."""
    before = sums.get(key)
    sums[key] = numbers if before is None else plus(before, numbers)


def plus(one: Numbers, other: Numbers) -> Numbers:
    """Return the sums of the numbers of both."""
    a, b, c, d, e, f = one
    return a + other[0], b + other[1], c + other[2], d + other[3], e + other[4], f + other[5]


def summed(lines: Iterable[bytes]) -> tuple[Sums, int]:
    """Return the sums of the lines, and how many of these are no records."""
    sums: Sums = {}
    minutes: dict[str, int] = {}
    broken = 0
    for text in lines:
        line: Line | None
        try:
            line = _DECODER.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            broken += 1
            line = _DECODER.rest(text)
        if line is None:
            continue
        try:
            minute = minutes.get(line.start[:_MINUTE]) or _minute(line.start, minutes)
        except ValueError:
            broken += 1
            continue
        kind = _KINDS.get(line.operation or "")
        if kind is not None and _counts(line):
            add(sums, Key(minute, line.organisation, kind, line.known_model or "", line.token or ""), _numbers(line))
    return sums, broken


def _minute(start: str, minutes: dict[str, int]) -> int:
    """Return the minute of a time in UTC, and note it. Raises `ValueError`."""
    moment = datetime.datetime.fromisoformat(start)
    if moment.tzinfo is not datetime.UTC:
        raise ValueError(f"{start} is no time in UTC")
    seconds = int(moment.timestamp())
    minutes[start[:_MINUTE]] = minute = seconds - seconds % 60
    return minute


def _counts(line: Line) -> bool:
    return bool(line.input_tokens or line.output_tokens) or 200 <= line.status < 300


def _numbers(line: Line) -> Numbers:
    return (
        1,
        line.input_tokens or 0,
        line.cached_tokens or 0,
        line.cache_write_tokens or 0,
        line.output_tokens or 0,
        line.cost_micro_usd or 0,
    )
