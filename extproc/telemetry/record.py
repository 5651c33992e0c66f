"""The record of one call.

The exchange fills it in as the call goes on; the transport passes it to Envoy as dynamic metadata (`NAMESPACE`), where
access logs, metrics and rate limits read it. It never contains content, an API key or a credential: `token` is a name.

Decision: docs/decisions.md, D331.
"""

import re
from typing import Final

import msgspec

from extproc.openai.completion import Usage

LONGEST_USER_AGENT: Final = 256
"""Characters of `user-agent` that are kept."""

LONGEST_UNKNOWN: Final = 64
"""Characters that are kept of the name of a model that is none, or that its caller may not use."""

LONGEST_MODEL: Final = 256
"""Characters that are kept of an id or ARN, which may name a model: AWS's own have some 120 at most."""

_UNPRINTABLE: Final = re.compile(r"[^ -~]")
"""Characters of a caller's that a terminal may obey when somebody reads a log, and that take six bytes each in JSON."""


def printable(text: str, longest: int) -> str:
    """Return the beginning of a caller's words, in printable ASCII."""
    return _UNPRINTABLE.sub("?", text[:longest])


class Record(msgspec.Struct):
    """A call. Tokens are the billed ones, as OpenAI counts them; `finish` is the reason of its end."""

    request_id: str
    region: str = ""
    user_agent: str = ""
    """The caller's program in its own words, cut to `LONGEST_USER_AGENT`; printable ASCII."""
    operation: str = ""
    organisation: str = ""
    token: str = ""
    model: str = ""
    """The model in the caller's own words, cut to `LONGEST_MODEL`; of what is none `LONGEST_UNKNOWN` printable ones."""
    bedrock_model: str = ""
    known_model: str = ""
    """`bedrock_model` of a request that was translated, once it is known that there is such a model: AWS lists it, or
    it has responded. Callers cannot make these up, nor many of them for nothing."""
    stream: bool = False
    finish: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    """The part of `output_tokens` that is reasoning, where Bedrock reports it."""
    estimated: bool = False
    """True if the tokens are an estimate: Bedrock counts them at the end of a call, which this one has not reached."""
    cost_micro_usd: int = 0
    """The cost of these tokens, in millionths of a US dollar."""
    priced: bool = False
    """True if the model has a price; without one the cost is 0."""
    budget_warned: str = ""
    """Whose budget has reached its `warn_at`: `organisation`, or else `token`, or else `user`; empty for none."""
    store_away: bool = False
    """True if the store of its caller's limits or budgets did not work: it was decided without it, or rejected."""
    time_to_first_token_ms: int = 0
    """From the request's headers to a stream's first content; 0 where there was none."""
    bedrock_request_id: str = ""
    ignored_params: int = 0
    """Number of the request's fields that were accepted without effect."""
    bedrock_error: str = ""
    """Bedrock's error, or the reason why it was not reached; for operators, callers do not see all of it."""

    def account(self, usage: Usage, finish: str) -> None:
        """Set the tokens, and the reason of the end."""
        self.input_tokens, self.output_tokens = usage.prompt, usage.completion
        self.cached_tokens, self.cache_write_tokens = usage.cached, usage.cache_written
        self.reasoning_tokens = usage.reasoning or 0
        self.finish = finish

    def metadata(self) -> dict[str, str | int | bool]:
        """Return every field by its name, unset ones included."""
        return msgspec.structs.asdict(self)
