"""The slow things an exchange may ask for with `Wait`, and what each of them comes to."""

from collections.abc import Mapping
from dataclasses import dataclass

from extproc.exchange.directives import Headers


@dataclass(frozen=True, slots=True)
class SideCall:
    """One signed POST to Bedrock's runtime endpoint, beside the exchange's own request."""

    path: str
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class SideCalls:
    """Several calls, at most `concurrency` of them in flight."""

    calls: tuple[SideCall, ...]
    concurrency: int


@dataclass(frozen=True, slots=True)
class SideAnswer:
    """Bedrock's answer to one side call; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class SideFailure:
    """A side call that got no answer: `timed_out`, or Bedrock could not be reached."""

    timed_out: bool
    message: str


SideResult = tuple[SideAnswer, ...] | SideAnswer | SideFailure
"""All answers in the order of the calls, each a 200; or else the first failure, and no further call was made."""
