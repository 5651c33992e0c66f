"""additionalModelRequestFields: what Converse passes on to a model as it is, and the model refuses if it is strange.

What the fields for reasoning may say is in `thinking`, and Claude's tool_choice in `tools`.
"""

from collections.abc import Iterator

from bedrock_local.conversation import Conversation
from bedrock_local.rules.words import errors

#: The beta that `thinking.block_binding` needs.
BINDING_BETA = "thinking-binding-controls-2026-08-01"

#: Betas of Anthropic's own API that Bedrock refuses, by the beginning of their names.
_REFUSED_BETAS = ("advanced-tool-use-", "prompt-caching-", "compact-")


def extra_fields(conversation: Conversation) -> Iterator[str]:
    """They are an object, with keys that the model knows."""
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
    """A whole number, where the model has it, and Nova's inferenceConfig holds nothing else."""
    path = conversation.family.top_k
    said = conversation.at(path)
    if said is not None and (not isinstance(said, int) or isinstance(said, bool) or said < 0):
        yield errors(f"{path[-1]}: Input should be a valid integer, 0 or greater")
    for root, *keys in (path[1:],) if len(path) > 2 else ():
        holder = conversation.extra.get(root, {})
        if not isinstance(holder, dict) or holder.keys() - set(keys):
            yield f"Malformed input request: #/{root}: only {keys[0]} is permitted here, please reformat your input."


def betas(conversation: Conversation) -> Iterator[str]:
    """anthropic_beta is a list of names; some of Anthropic's own are none of Bedrock's."""
    said = conversation.extra.get("anthropic_beta", [])
    if not isinstance(said, list) or not all(isinstance(name, str) for name in said):
        yield errors("anthropic_beta: Input should be a valid list of strings")
        return
    for name in said:
        if name.startswith(_REFUSED_BETAS) or (name == BINDING_BETA and not conversation.family.hides_thoughts):
            yield errors(f"invalid beta flag: {name}")


RULES = (extra_fields, top_k, betas)
