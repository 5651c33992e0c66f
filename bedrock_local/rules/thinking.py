"""Reasoning: how a request controls it, and which reasoning a model accepts in the history.

Sources: Anthropic's pages on extended and adaptive thinking and on preserved thinking, AWS's on the same, and
errors that clients of Converse have met.
"""

from collections.abc import Iterator
from typing import Any

from bedrock_local import seals
from bedrock_local.conversation import Block, Conversation
from bedrock_local.reasoning import effort, reasons, thinking
from bedrock_local.rules.extras import BINDING_BETA
from bedrock_local.rules.words import errors, unsupported

#: Claude's least budget for thinking, in tokens, and the least topP beside it.
_LEAST_BUDGET = 1024
_LEAST_TOP_P = 0.95

#: Keys of `thinking.block_binding`: the name, and the older one that is still read.
_BINDING = ("prefix_mismatch_behavior", "mismatch_behavior")
_BEHAVIOURS = ("drop_block", "error")


def thinking_types(conversation: Conversation) -> Iterator[str]:
    """A model has certain types of thinking."""
    if "thinking" not in conversation.extra:
        return
    kind, known = thinking(conversation).get("type"), conversation.family.thinking
    if kind == "enabled" and kind not in known:
        yield errors(
            '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and '
            '"output_config.effort" to control thinking behavior.'
        )
    elif kind == "disabled" and kind not in known:
        yield errors('"thinking.type.disabled" is not supported for this model.')
    elif kind not in known:
        yield errors(
            f"thinking: Input tag '{kind}' found using 'type' does not match any of the expected tags: "
            f"{', '.join(repr(one) for one in known)}"
        )


def thinking_fields(conversation: Conversation) -> Iterator[str]:
    """Beside its type, thinking has a budget, or else a display and a binding on models that have them."""
    field = thinking(conversation)
    kind = field.get("type")
    newer = ("display", "block_binding") if conversation.family.hides_thoughts else ()
    known = {"enabled": ("budget_tokens",), "adaptive": newer}.get(kind, ()) if isinstance(kind, str) else ()
    for key in field:
        if key not in ("type", *known):
            yield errors(f"thinking.{kind}.{key}: Extra inputs are not permitted")
    if field.get("display", "omitted") not in ("omitted", "summarized"):
        yield errors(f"thinking.{kind}.display: Input should be 'summarized' or 'omitted'")
    if "block_binding" in field:
        yield from _binding(field["block_binding"], conversation)


def _binding(binding: Any, conversation: Conversation) -> Iterator[str]:
    if BINDING_BETA not in conversation.extra.get("anthropic_beta", []):
        yield errors(f"thinking.block_binding: Extra inputs are not permitted without the beta {BINDING_BETA}")
    if not isinstance(binding, dict):
        yield errors("thinking.adaptive.block_binding: Input should be an object")
        return
    for key, value in binding.items():
        if key not in _BINDING or value not in _BEHAVIOURS:
            yield errors(f"thinking.adaptive.block_binding.{key}: Input should be one of {', '.join(_BEHAVIOURS)}")


def budgets(conversation: Conversation) -> Iterator[str]:
    """A budget is 1,024 tokens or more, and less than maxTokens."""
    if thinking(conversation).get("type") != "enabled":
        return
    budget = thinking(conversation).get("budget_tokens")
    if not isinstance(budget, int) or isinstance(budget, bool) or budget < _LEAST_BUDGET:
        yield errors(f"thinking.enabled.budget_tokens: Input should be greater than or equal to {_LEAST_BUDGET}")
    elif budget >= conversation.limit:
        yield errors("`max_tokens` must be greater than `thinking.budget_tokens`.")


def sampling_beside_thinking(conversation: Conversation) -> Iterator[str]:
    """Claude thinks at its own temperature, with nearly all of topP, and without top_k."""
    if thinking(conversation).get("type") not in ("enabled", "adaptive"):
        return
    if conversation.inference.get("temperature", 1) != 1:
        yield errors("`temperature` may only be set to 1 when thinking is enabled or in adaptive mode.")
    if conversation.inference.get("topP", 1) < _LEAST_TOP_P:
        yield errors("`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled.")
    if "top_k" in conversation.extra:
        yield errors("`top_k` must be unset when thinking is enabled or in adaptive mode.")


def forced_tools(conversation: Conversation) -> Iterator[str]:
    """A tool must not be required beside a budget, nor beside any reasoning on models that cannot do both."""
    if not conversation.forced or not reasons(conversation):
        return
    if thinking(conversation).get("type") == "enabled" or not conversation.family.forced_reasoning:
        yield errors("Thinking may not be enabled when tool_choice forces tool use.")


def efforts(conversation: Conversation) -> Iterator[str]:
    """An effort is one of the model's values, at the model's path."""
    family, level = conversation.family, effort(conversation)
    if "effort" in conversation.request.get("outputConfig", {}):
        if family.effort_at != ("outputConfig", "effort"):
            yield "This model doesn't support the outputConfig.effort field. Remove outputConfig.effort and try again."
        if "output_config" in conversation.extra:
            yield "The additional field output_config conflicts with an existing field outputConfig."
    if level is not None and level not in family.efforts:
        place = ".".join(family.effort_at)
        yield f"The value at {place} must be one of the following: {', '.join(family.efforts)}."
    yield from _holders(conversation)


def _holders(conversation: Conversation) -> Iterator[str]:
    """The objects around efforts contain nothing else; Nova's has type `enabled` with one and `disabled` without."""
    for root, known in (("output_config", {"effort"}), ("reasoning", {"effort"}), ("reasoningConfig", _NOVA)):
        holder = conversation.extra.get(root, {})
        if not isinstance(holder, dict) or holder.keys() - known:
            yield errors(f"{root}: Extra inputs are not permitted")
    if "reasoningConfig" in conversation.extra:
        wanted = "disabled" if effort(conversation) is None else "enabled"
        if conversation.at(("additionalModelRequestFields", "reasoningConfig", "type")) != wanted:
            yield errors(f"reasoningConfig.type: Input should be '{wanted}' here")


_NOVA = {"type", "maxReasoningEffort"}


def efforts_without_limits(conversation: Conversation) -> Iterator[str]:
    """Nova at its highest effort takes neither a length nor any sampling."""
    limits = [name for name in ("maxTokens", "temperature", "topP") if name in conversation.inference]
    level = effort(conversation)
    if limits and level is not None and level in conversation.family.unlimited_efforts:
        yield errors(f"{', '.join(limits)} must be unset when maxReasoningEffort is {level}.")


def kinds_of_history(conversation: Conversation) -> Iterator[str]:
    """A model accepts certain reasoning in the history: signed, unsigned, redacted, or none."""
    takes = {"signed": ("reasoningText", "redactedContent"), "unsigned": ("reasoningText",)}
    kinds = {**takes, "redacted": ("redactedContent",)}.get(conversation.family.history, ())
    for block in conversation.blocks("reasoningContent"):
        kind, value = next(iter(block.value.items()))
        if not kinds:
            yield unsupported("reasoningContent", block.path)
        elif kind not in kinds:
            yield unsupported(f"reasoningContent.{kind}", block.path)
        elif kind == "reasoningText" and conversation.family.history == "unsigned" and "signature" in value:
            yield unsupported("reasoningContent.reasoningText.signature", block.path)


def signatures(conversation: Conversation) -> Iterator[str]:
    """A signed block must be exactly as the model's provider signed it."""
    for block in conversation.blocks("reasoningContent"):
        text = block.value.get("reasoningText")
        if text is not None and conversation.family.history == "signed" and not text.get("signature"):
            yield errors(f"{block.path}.thinking.signature: Field required")
        elif _made_after(block, conversation) is None:
            yield errors(f"{block.path}: {_invalid(block)}")


def bound_signatures(conversation: Conversation) -> Iterator[str]:
    """Newer models reject reasoning if anything before it has changed, unless `block_binding` drops it."""
    binding = thinking(conversation).get("block_binding", {})
    if not conversation.family.bound or "drop_block" in (binding.get(key) for key in _BINDING):
        return
    for block in conversation.blocks("reasoningContent"):
        if _made_after(block, conversation) != seals.prefix(conversation.request, block.turn):
            yield errors(
                f"{block.path}: {_invalid(block)}. The block is bound to a different conversation. Remove the block, "
                'or set `thinking.block_binding.prefix_mismatch_behavior` to "drop_block". That setting requires the '
                f"`{BINDING_BETA}` value in the `anthropic-beta` header."
            )


def _made_after(block: Block, conversation: Conversation) -> bytes | None:
    """Return the prefix of a sealed block, None if its seal is invalid. A block without a seal is unbound."""
    text = block.value.get("reasoningText")
    if text is None:
        return seals.redacted_after(block.value["redactedContent"])
    if conversation.family.history != "signed":
        return b""
    return seals.signed_after(text["text"], text["signature"])


def _invalid(block: Block) -> str:
    if "reasoningText" in block.value:
        return "Invalid `signature` in `thinking` block"
    return "Invalid `data` in `redacted_thinking` block"


def thoughts_come_first(conversation: Conversation) -> Iterator[str]:
    """A turn with reasoning begins with it, and does not end with it."""
    for turn in conversation.turns():
        kinds = [block.kind for block in turn]
        if "reasoningContent" in kinds and conversation.family.history == "signed":
            if kinds[0] != "reasoningContent":
                yield errors(
                    f"{turn[0].path}: If an assistant message contains any thinking blocks, the first block must be "
                    f"`thinking` or `redacted_thinking`. Found `{kinds[0]}`."
                )
            if kinds[-1] == "reasoningContent":
                yield errors(f"messages.{turn[0].turn}: The final block in an assistant message cannot be `thinking`.")


def thoughts_before_calls(conversation: Conversation) -> Iterator[str]:
    """With a budget, the turn before tool results begins with the reasoning that led to the calls."""
    if thinking(conversation).get("type") != "enabled" or not conversation.results() or len(conversation.messages) < 2:
        return
    first = conversation.turn(-2)[0]
    if first.kind != "reasoningContent":
        kind = "tool_use" if first.kind == "toolUse" else first.kind
        yield errors(
            f"{first.path}.type: Expected `thinking` or `redacted_thinking`, but found `{kind}`. When `thinking` is "
            "enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost set of "
            "`tool_use` and `tool_result` blocks). To avoid this requirement, disable `thinking`."
        )


RULES = (
    thinking_types,
    thinking_fields,
    budgets,
    sampling_beside_thinking,
    forced_tools,
    efforts,
    efforts_without_limits,
    kinds_of_history,
    signatures,
    thoughts_come_first,
    bound_signatures,
    thoughts_before_calls,
)
