"""The tokens and the cost of one call, into its record: counted by Bedrock, or estimated until it has counted.

Envoy keeps what it was told last. So it is told an estimate when the call leaves, and again with some pieces of a
stream: a call whose client disconnects, or whose worker is killed, is then counted too, and marked `estimated`. So is
one whose response cannot be read, does not end, or has no count of Bedrock's: Bedrock bills it.

Estimates: four bytes of JSON or of text are a token; an image or a clip is `MEDIA_TOKENS`, and so is a document, or
what it has by its length, if that is more. A PDF on its way has the tokens of its pages at least (`pdf_pages`);
reserved for it is less, so that no small budget rejects PDFs. A response that is not streamed shows nothing before its
end: until then it is taken for as long as it may be, as is one that never comes. A model that reasons may show a
summary of that, or nothing: its stream has at least `REASONING_RATE` tokens for each second.

Decisions: docs/decisions.md, D231, D233, D246, D258, D261, D266, D294, D298, D330.
"""

import re
from typing import Final

from extproc.bedrock.prices import Prices, micro_usd
from extproc.exchange.directives import Metadata
from extproc.openai.completion import Usage
from extproc.payload import Payload, segments
from extproc.telemetry.record import Record
from extproc.telemetry.token_usage import EnvoyTokenUsage, token_usage
from extproc.translate.pdf_pages import PDF_BYTES_PER_TOKEN

BYTES_PER_TOKEN: Final = 4

MEDIA_TOKENS: Final = 1500
"""About what a model takes an image of its usual size for."""

LATER: Final = (
    "known_model",
    "finish",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "estimated",
    "cost_micro_usd",
    "time_to_first_token_ms",
    "bedrock_request_id",
    "bedrock_error",
)
"""The fields of a record that are set once a request is on its way to Bedrock."""

ASSUMED_OUTPUT: Final = 4096
"""Tokens of an output without a limit."""

LONGEST_OUTPUT: Final = 128_000
"""Most tokens of an output that nobody has counted: about what the models write at most, whatever a limit permits."""

REASONING_RATE: Final = 200
"""Tokens that a model is taken to write in a second of a stream whose reasoning may not show; few write more."""

TELL_SECONDS: Final = 1.0
"""Shortest time between two pieces of a stream with which Envoy is told of reasoning that does not show."""

_DOCUMENT: Final = re.compile(rb'\{"document":\{"format":"([a-z]+)","name":"[^"]*","source":\{"bytes":"\Z')
_LONGEST_OPENING: Final = 320
"""Bytes of a document's JSON before its base64: its name has 200 at most."""

_TEXTS: Final = (b"txt", b"md", b"csv", b"html")


def input_estimate(body: Payload) -> int:
    """Return about how many tokens the body of a call has."""
    sure, guessed = input_estimates(body)
    return sure + guessed


def input_estimates(body: Payload) -> tuple[int, int]:
    """Return about how many tokens the body of a call has, apart from those that are guessed by a file's length."""
    if isinstance(body, bytes):
        return len(body) // BYTES_PER_TOKEN, 0
    parts = segments(body)
    text = sum(map(len, parts[::2]))  # between them, in segments of their own, is the base64 of media
    sure, guessed = text // BYTES_PER_TOKEN + len(parts) // 2 * MEDIA_TOKENS, 0
    for at in range(1, len(parts), 2):
        document = _DOCUMENT.search(bytes(parts[at - 1][-_LONGEST_OPENING:]))
        if document is None:
            continue
        kind = document.group(1)
        size = len(parts[at]) * 3 // 4
        more = max(size // (PDF_BYTES_PER_TOKEN if kind == b"pdf" else BYTES_PER_TOKEN) - MEDIA_TOKENS, 0)
        if kind in _TEXTS:
            sure += more
        else:
            guessed += more
    return sure, guessed


def output_estimate(most: int) -> int:
    """Return about how many tokens a response has at most that is not streamed; `most` is its limit, 0 for none."""
    return min(most or ASSUMED_OUTPUT, LONGEST_OUTPUT)


class Meter:
    """Counts one call, which began at `begun` (unix seconds); `envoy_ai` is the key of `usage`."""

    def __init__(self, record: Record, begun: float, envoy_ai: bool = False) -> None:
        self._record = record
        self._envoy_ai = envoy_ai
        self._begun = begun
        self._prices: Prices | None = None
        self._prompt_units = 0
        """What the estimated prompt costs, in the units of prices."""
        self._most_output = LONGEST_OUTPUT
        self._reasons_since = 0.0
        """When a stream began in which the model reasons, in unix seconds; 0 for others."""
        self._told: dict[str, str | int | bool] = {}
        """The record as Envoy has it."""
        self._told_at = 0.0

    def changes(self) -> Metadata:
        """Return the fields of the record that Envoy has not been told of: all of them the first time."""
        told, record = self._told, self._record
        if not told:
            self._told = record.metadata()
            return self._told
        changed = {}
        for name in LATER:
            value: str | int | bool = getattr(record, name)
            if value != told[name]:
                changed[name] = told[name] = value
        return changed

    def token_usage(self) -> EnvoyTokenUsage | None:
        """Return the tokens as Envoy's own filters know them, if it is to have them and the call has taken any."""
        return token_usage(self._record) if self._envoy_ai else None

    def choose(self, prices: Prices | None) -> None:
        """Set the prices of the model; None: it has none."""
        self._prices = prices
        self._record.priced = prices is not None

    def prioritise(self) -> None:
        """Count at the prices of the service tier `priority`."""
        if self._prices is not None:
            self._prices = self._prices.at_priority()

    def estimate(self, prompt: int, completion: int = 0, most_output: int = 0) -> None:
        """Record that Bedrock has about so many tokens to bill, from now on.

        An output is never estimated beyond its limit of `most_output` tokens, 0 for none.
        """
        self._most_output = min(most_output or LONGEST_OUTPUT, LONGEST_OUTPUT)
        self._record.input_tokens, self._record.output_tokens = prompt, completion
        self._record.estimated = True
        self._record.cost_micro_usd = self.price(prompt, completion)
        self._prompt_units = 0 if self._prices is None else prompt * self._prices.input

    def price(self, prompt: int, completion: int) -> int:
        """Return the micro-USD of so many tokens; 0 where the model has no price."""
        return 0 if self._prices is None else self._prices.cost(prompt, completion, 0, 0, 0)

    def reason(self, now: float) -> None:
        """Have what is streamed from now on estimated as that of a model that reasons."""
        self._reasons_since = self._told_at = now

    @property
    def reasons(self) -> bool:
        """Whether the call is a stream in which the model reasons."""
        return self._reasons_since > 0

    def is_behind(self, now: float) -> bool:
        """Return whether a stream in which the model reasons has a new estimate, although it has no more text."""
        return now >= self._told_at + TELL_SECONDS

    def running(self, text_bytes: int, now: float) -> Metadata:
        """Return what changes while a stream runs that has so many bytes of text so far."""
        record = self._record
        self._told_at = now
        self.written(text_bytes, now)
        changed: dict[str, str | int | bool] = {"output_tokens": record.output_tokens}
        if self._prices is not None:
            changed["cost_micro_usd"] = record.cost_micro_usd
        if text_bytes and not record.time_to_first_token_ms:
            record.time_to_first_token_ms = max(round((now - self._begun) * 1000), 1)
            changed["time_to_first_token_ms"] = record.time_to_first_token_ms
            changed["known_model"] = record.known_model = record.bedrock_model
        self._told.update(changed)
        return changed

    def written(self, text_bytes: int, now: float) -> None:
        """Record the estimate of a stream that has so many bytes of text."""
        tokens = -(-text_bytes // BYTES_PER_TOKEN)
        if self.reasons:
            tokens = max(tokens, int((now - self._reasons_since) * REASONING_RATE))
        self._output(min(tokens, self._most_output))

    def leave(self, now: float) -> None:
        """Record the estimate of a stream whose client has left."""
        if self.reasons and self._record.estimated:
            self.written(self._record.output_tokens * BYTES_PER_TOKEN, now)

    def _output(self, tokens: int) -> None:
        self._record.output_tokens = tokens
        if self._prices is not None:
            self._record.cost_micro_usd = micro_usd(self._prompt_units + tokens * self._prices.output)

    def count(self, usage: Usage, finish: str, now: float) -> None:
        """Record the tokens that Bedrock has counted, and the reason of the end.

        Where it has not counted, the estimate stays, with an output of the length that there was.
        """
        if usage.uncounted is not None:
            self._record.finish = finish
            self._record.known_model = self._record.bedrock_model
            self.written(usage.uncounted, now)
            return
        self._record.account(usage, finish)
        self._record.known_model = self._record.bedrock_model
        self._record.estimated = False
        self._record.cost_micro_usd = self._cost(usage)

    def reject(self) -> None:
        """Record that nothing is billed: Bedrock has responded with an error, or not been reached."""
        self._record.account(Usage(), self._record.finish)
        self._record.estimated = False
        self._record.cost_micro_usd = 0

    def _cost(self, usage: Usage) -> int:
        if self._prices is None:
            return 0
        read, written, hour = usage.cached, usage.cache_written, usage.written_for_an_hour
        return self._prices.cost(usage.prompt, usage.completion, read, written, hour)
