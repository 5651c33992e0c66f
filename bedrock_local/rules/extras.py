"""additionalModelRequestFields, which Converse passes on to the model, and the model rejects if it has them not.

The fields for reasoning are in `thinking`, and Claude's tool_choice in `tools`.
"""

from collections.abc import Iterator

from bedrock_local.conversation import Conversation
from bedrock_local.rules.words import errors

#: The beta that `thinking.block_binding` needs.
BINDING_BETA = "thinking-binding-controls-2026-08-01"

#: Betas of Anthropic's own API that Bedrock rejects, by the beginning of their names.
_REJECTED_BETAS = ("advanced-tool-use-", "prompt-caching-", "compact-")


def extra_fields(conversation: Conversation) -> Iterator[str]:
    """They are an object with keys of the model."""
    fields = conversation.request.get("additionalModelRequestFields", {})
    if not isinstance(fields, dict):
        yield (
            "The format of the additionalModelRequestFields field is invalid. Provide a json object for the field "
            "and try again."
        )
        return
    known = conversation.family.extra
    for key in fields:
        if key not in known and "anthropic_version" in known:
            yield errors(f"{key}: Extra inputs are not permitted")
        elif key not in known:
            yield (
                f"Malformed input request: #: extraneous key [{key}] is not permitted, please reformat your input "
                "and try again."
            )


def top_k(conversation: Conversation) -> Iterator[str]:
    """top_k is a whole number, and Nova's inferenceConfig contains nothing else."""
    path = conversation.family.top_k
    value = conversation.at(path)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        yield errors(f"{path[-1]}: Input should be a valid integer, 0 or greater")
    for root, *keys in (path[1:],) if len(path) > 2 else ():
        holder = conversation.extra.get(root, {})
        if not isinstance(holder, dict) or holder.keys() - set(keys):
            yield f"Malformed input request: #/{root}: only {keys[0]} is permitted here, please reformat your input."


def betas(conversation: Conversation) -> Iterator[str]:
    """anthropic_beta is a list of names; Bedrock has not all of Anthropic's."""
    names = conversation.extra.get("anthropic_beta", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        yield errors("anthropic_beta: Input should be a valid list of strings")
        return
    for name in names:
        if name.startswith(_REJECTED_BETAS) or (name == BINDING_BETA and not conversation.family.hides_thoughts):
            yield errors(f"invalid beta flag: {name}")


RULES = (extra_fields, top_k, betas)
