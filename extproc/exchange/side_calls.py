"""The side calls of one request: made, signed and sent in batches, all of them within one timeout.

Signing takes a while where there are thousands: between two batches the event loop serves others.

Invariant: no batch is made once the timeout of all is over, and no response is left out.

Decision: docs/decisions.md, D317.
"""

from collections.abc import Callable, Sequence

from extproc.bedrock.sigv4 import Headers
from extproc.config import Settings
from extproc.exchange.call_series import CallSeries
from extproc.exchange.directives import Wait
from extproc.exchange.endpoint import BedrockCall
from extproc.exchange.jobs import SideCall, SideCalls, SideFailure, SideIdle, SideResponse, SideResponses
from extproc.exchange.local_replies import bedrock_idle, late, response_too_large, unreachable
from extproc.exchange.meter import input_estimate
from extproc.openai.errors import ApiError

BATCH = 256
"""Side calls that are signed and made in one go."""


class SideCallBatches:
    """The side calls of an organisation's request, and the responses to those that were made."""

    def __init__(
        self, calls: Sequence[BedrockCall], settings: Settings, organisation: str, now: float, region: str = ""
    ) -> None:
        """`region` is where the calls go, empty for the gateway's own."""
        self._calls = calls
        self._next = 0
        """How many of them are made."""
        self._expected = calls.response if isinstance(calls, CallSeries) else sum([call.response for call in calls])
        """Bytes of the responses to the others."""
        self._settings = settings
        self._organisation = organisation
        self._region = region
        self._deadline = now + settings.embeddings.seconds
        self._made: Sequence[BedrockCall] = ()
        """The calls of the last batch."""
        self.responses: tuple[SideResponse, ...] = ()
        self.input_tokens = 0
        """About how many tokens the calls have that Bedrock has served or may have begun, or that are under way."""

    @property
    def complete(self) -> bool:
        """Return whether all calls are made; then `responses` has one for each."""
        return self._next >= len(self._calls)

    @property
    def response_bytes(self) -> int:
        """Bytes of the responses so far, and of those that are expected to the other calls."""
        received = sum([len(response.body) for response in self.responses])
        return received + self._expected

    def next(self, sign: Callable[[BedrockCall, float], Headers], now: float) -> Wait:
        """Sign the next batch, and wait for it. Raises `ApiError`."""
        settings = self._settings
        left = min(settings.embeddings.seconds, self._deadline - now)
        if left <= 0:
            raise self._late()
        self._made = self._calls[self._next : self._next + BATCH]
        self._next += len(self._made)
        self._expected -= sum([call.response for call in self._made])
        calls = tuple(
            [SideCall(call.path, sign(call, now), bytes(call.body), call.max_response) for call in self._made]
        )
        self.input_tokens += _tokens(self._made)
        concurrency, idle_seconds = settings.embeddings.concurrency, settings.streaming.idle_seconds
        return Wait(SideCalls(calls, concurrency, idle_seconds, self._organisation, self._region), left)

    def count(self, result: SideResponses | SideResponse | SideFailure | SideIdle) -> None:
        """Count the calls of the batch that Bedrock has served or may have begun: it bills them, and no others."""
        if isinstance(result, SideResponses):
            return
        begun = frozenset(result.begun)
        self.input_tokens -= _tokens([call for place, call in enumerate(self._made) if place not in begun])

    def receive(self, result: SideResponses | SideFailure | SideIdle) -> None:
        """Keep the responses to a batch. Raises `ApiError` where Bedrock sent none."""
        if isinstance(result, SideIdle):
            raise bedrock_idle(result.seconds)
        if isinstance(result, SideFailure):
            if result.too_large:
                raise response_too_large()
            raise self._late() if result.timed_out else unreachable()
        self.responses += result

    def _late(self) -> ApiError:
        return late(self._settings.embeddings.seconds)


def _tokens(calls: Sequence[BedrockCall]) -> int:
    return sum([input_estimate(call.body) for call in calls])
