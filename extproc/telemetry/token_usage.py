"""The tokens of a call as Envoy's own filters for AI know them (`envoy.ai.token_usage`).

Names and meanings are those of `envoy.data.ai.v3.TokenUsage` as Envoy 1.40 has it. The counts include their parts, as
the record's do: cached input is input, reasoning is output.

Decision: docs/decisions.md, D261.
"""

from typing import Final

from extproc.telemetry.record import Record
from extproc.value import Value

_PROTOCOLS: Final = {"chat": "OPENAI_CHAT_COMPLETIONS", "responses": "OPENAI_RESPONSES"}
"""Operation -> `envoy.type.ai.v3.LLMProtocol`, which has none for embeddings."""

Fields = dict[str, str | int | bool]


class EnvoyTokenUsage(Value, frozen=True):
    """A message of that type, by the names of its fields."""

    fields: Fields
    input_details: Fields
    output_details: Fields


def token_usage(record: Record) -> EnvoyTokenUsage | None:
    """Return the tokens of a call that has ended; None where it has taken none."""
    total = record.input_tokens + record.output_tokens
    if not total:
        return None
    fields: Fields = {
        "model": record.model,
        "input_tokens": record.input_tokens,
        "output_tokens": record.output_tokens,
        "total_tokens": total,
        "provider_total_tokens": total,
        "extraction_status": "PARTIAL" if record.estimated else "COMPLETE",
    }
    if record.operation in _PROTOCOLS:
        fields["llm_protocol"] = _PROTOCOLS[record.operation]
    cache: Fields = {"cached_tokens": record.cached_tokens, "cache_creation_tokens": record.cache_write_tokens}
    return EnvoyTokenUsage(fields, cache, {"reasoning_tokens": record.reasoning_tokens})
