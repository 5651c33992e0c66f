"""The rules of an organisation for its requests, beside those for models."""

from collections.abc import Mapping

import msgspec


class Rules(msgspec.Struct, frozen=True):
    """What an operator has decided for the requests of an organisation; by default nothing."""

    metadata: Mapping[str, str] = {}
    """The pairs of `requestMetadata` that the gateway adds."""
    max_tokens: int | None = None
    """Most tokens of a completion, reasoning included."""
    guardrail: tuple[str, str] | None = None
    """The id or ARN, and the version, of the guardrail that each chat passes."""
    budgeted: bool = False
    """Whether what a completion may cost is reserved of a budget before the request leaves."""


NO_RULES = Rules()
