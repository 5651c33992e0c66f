"""Sampling, lengths, stop sequences, service tiers, latency and guardrails."""

from collections.abc import Iterator

from bedrock_local.conversation import Conversation
from bedrock_local.rules.words import errors
from bedrock_local.tokens import input_tokens


def sampling(conversation: Conversation) -> Iterator[str]:
    """Temperature and topP: both, one of them, or neither, by model."""
    names = [name for name in ("temperature", "topP") if name in conversation.inference]
    if conversation.family.sampling == "none" and names:
        spelled = {"temperature": "temperature", "topP": "top_p"}[names[0]]
        yield errors(f"`{spelled}` is deprecated for this model.")
    if conversation.family.sampling == "one" and len(names) > 1:
        yield errors("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")


def response_length(conversation: Conversation) -> Iterator[str]:
    """maxTokens is at most the model's limit; some models have a minimum too."""
    requested, limit, least = conversation.limit, conversation.model.max_tokens, conversation.family.least_tokens
    if requested > limit:
        yield (
            f"The maximum tokens you requested exceeds the model limit of {limit}. Try again with a maximum tokens "
            f"value that is lower than {limit}."
        )
    if requested < least:
        yield errors(
            f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= {least}, but got "
            f"{requested} instead."
        )


def prompt_length(conversation: Conversation) -> Iterator[str]:
    """The request fits into the model's context."""
    if input_tokens(conversation) > conversation.model.context:
        yield "Input is too long for requested model."


def stop_sequences(conversation: Conversation) -> Iterator[str]:
    """Many models take none, others a number of them, and none takes one of white space alone."""
    sequences = conversation.inference.get("stopSequences")
    if sequences is None:
        return
    most = conversation.family.stops
    if not most:
        yield "This model doesn't support the stopSequences field. Remove stopSequences and try again."
    elif len(sequences) > most:
        yield (
            f"1 validation error detected: Value '{sequences}' at 'inferenceConfig.stopSequences' failed to satisfy "
            f"constraint: Member must have length less than or equal to {most}"
        )
    if any(not sequence.strip() for sequence in sequences):
        yield errors("stop_sequences: each stop sequence must contain non-whitespace")


def service_tiers(conversation: Conversation) -> Iterator[str]:
    """Tiers other than the default exist for some models, and `reserved` for those with a reservation."""
    tier = conversation.request.get("serviceTier", {}).get("type", "default")
    if tier == "reserved" and tier not in conversation.family.tiers:
        yield "Reservation not found."
    elif tier not in ("default", *conversation.family.tiers):
        yield f"The service tier {tier} is not supported for {conversation.model.id}."


def latency(conversation: Conversation) -> Iterator[str]:
    """Optimised latency exists for a few models."""
    if conversation.at(("performanceConfig", "latency")) == "optimized" and not conversation.family.optimised:
        yield f"Latency performance configuration is not supported for {conversation.model.id}."


def guardrails(conversation: Conversation) -> Iterator[str]:
    """A guardrail has an identifier and a version, and some models take none."""
    config = conversation.request.get("guardrailConfig")
    if config is None:
        return
    if not conversation.family.guardrails:
        yield "This model doesn't support the guardrailConfig field. Remove guardrailConfig and try again."
    if not (config.get("guardrailIdentifier") and config.get("guardrailVersion")):
        yield "The guardrailConfig field needs both a guardrailIdentifier and a guardrailVersion."


RULES = (
    sampling,
    response_length,
    stop_sequences,
    service_tiers,
    latency,
    guardrails,
    prompt_length,
)
