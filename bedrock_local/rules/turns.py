"""The order of turns, and their contents."""

from collections.abc import Iterator
from itertools import pairwise

from bedrock_local.conversation import Conversation
from bedrock_local.reasoning import reasons
from bedrock_local.rules.words import errors

#: Kinds of blocks that only one side may send.
_ONLY_USER = ("image", "document", "video", "audio", "toolResult", "searchResult", "guardContent")
_ONLY_ASSISTANT = ("toolUse", "reasoningContent", "citationsContent")
_ONLY_SYSTEM = ("toolAddition", "toolRemoval")

_DIRECTIVE = "the directive-only form (content: [] with output_config) is accepted at any position"


def has_messages(conversation: Conversation) -> Iterator[str]:
    """A model id (unlike a prompt's ARN) needs messages, and takes no promptVariables."""
    if not conversation.messages:
        yield "The messages field is empty. Add a message to the messages field and try again."
    if "promptVariables" in conversation.request:
        yield "The promptVariables field is only supported when modelId is the ARN of a prompt."


def no_empty_turn(conversation: Conversation) -> Iterator[str]:
    """No turn is empty."""
    for number, message in enumerate(conversation.messages):
        if not message["content"]:
            yield (
                f"The content field in the Message object at messages.{number} is empty. Add a ContentBlock object "
                "to the content field and try again."
            )


def system_prompts(conversation: Conversation) -> Iterator[str]:
    """A few old models take no system prompt."""
    if not conversation.family.system and conversation.request.get("system"):
        yield (
            "This model doesn't support system messages. Try again without a system message or use a model that "
            "supports system messages."
        )


def system_turns(conversation: Conversation) -> Iterator[str]:
    """The role `system` inside messages is for some models, behind a user's turn and before the assistant's."""
    roles = [message["role"] for message in conversation.messages]
    for number, role in enumerate(roles):
        if role == "system" and not conversation.family.system_turns:
            yield errors("role 'system' is not supported on this model")
        elif role == "system" and number == 0:
            yield errors("messages.0: use the top-level 'system' parameter")
        elif role == "system" and roles[number - 1] != "user":
            yield errors(
                f"messages.{number}: role 'system' must follow a 'user' message or an 'assistant' message ending in a "
                f"server tool result; {_DIRECTIVE}"
            )
        elif role == "system" and roles[number + 1 : number + 2] not in ([], ["assistant"]):
            yield errors(
                f"messages.{number}: role 'system' must precede an 'assistant' message or end the array; {_DIRECTIVE}"
            )


def system_turns_are_text(conversation: Conversation) -> Iterator[str]:
    """A turn of the role `system` has texts only."""
    for block in conversation.blocks():
        if block.role == "system" and block.kind not in ("text", "cachePoint", *_ONLY_SYSTEM):
            yield errors(f"{block.path}: role 'system' accepts text content only")


def starts_with_user(conversation: Conversation) -> Iterator[str]:
    """With most models, the user has the first turn."""
    if not conversation.family.assistant_first and conversation.messages[0]["role"] == "assistant":
        yield (
            "A conversation must start with a user message. Try again with a conversation that starts with a "
            "user message."
        )


def alternates(conversation: Conversation) -> Iterator[str]:
    """User and assistant take turns."""
    roles = [message["role"] for message in conversation.messages if message["role"] != "system"]
    if any(one == other for one, other in pairwise(roles)):
        yield (
            "A conversation must alternate between user and assistant roles. Make sure the conversation alternates "
            "between user and assistant roles and try again."
        )


def no_blank_text(conversation: Conversation) -> Iterator[str]:
    """A text of white space alone is rejected everywhere."""
    for index, block in enumerate(conversation.request.get("system", [])):
        if "text" in block and not block["text"].strip():
            yield _blank("SystemContentBlock", f"system.{index}")
    for content in conversation.blocks("text"):
        if not content.value.strip():
            yield _blank("ContentBlock", content.path)
    for result in conversation.blocks("toolResult"):
        for index, part in enumerate(result.value["content"]):
            if "text" in part and not part["text"].strip():
                yield _blank("ToolResultContentBlock", f"{result.path}.toolResult.content.{index}")


def _blank(shape: str, path: str) -> str:
    return f"The text field in the {shape} object at {path} is blank. Add text to the text field, and try again."


def blocks_fit_roles(conversation: Conversation) -> Iterator[str]:
    """Images and results come from the user, tool calls and reasoning from the assistant."""
    for kinds, role in ((_ONLY_USER, "user"), (_ONLY_ASSISTANT, "assistant"), (_ONLY_SYSTEM, "system")):
        for block in conversation.blocks(*kinds):
            if block.role != role:
                yield (
                    f"The {block.kind} block at {block.path} is not supported in messages of the role "
                    f"{block.role}. Move it to a message of the role {role} and try again."
                )


def no_prefill(conversation: Conversation) -> Iterator[str]:
    """If a model takes no prefill, the user has the last turn."""
    if conversation.messages[-1]["role"] == "assistant" and not conversation.family.prefill:
        yield (
            "The model returned the following errors: This model does not support assistant message prefill. "
            "The conversation must end with a user message."
        )


def prefill_ends_in_text(conversation: Conversation) -> Iterator[str]:
    """A prefill must not end in white space."""
    last = conversation.turn(-1)[-1]
    if last.role == "assistant" and last.kind == "text" and last.value != last.value.rstrip():
        yield (
            "The model returned the following errors: messages: final assistant content cannot end with trailing "
            "whitespace"
        )


def prefill_stands_alone(conversation: Conversation) -> Iterator[str]:
    """A prefill excludes tools, reasoning and a schema."""
    if conversation.messages[-1]["role"] != "assistant" or conversation.turn(-1)[-1].kind == "toolUse":
        return
    beside = (
        ("tools are offered", "toolConfig" in conversation.request),
        ("thinking is enabled", reasons(conversation)),
        ("output_config.format is set", conversation.at(("outputConfig", "textFormat")) is not None),
    )
    for what, present in beside:
        if present:
            yield (
                "The model returned the following errors: messages: pre-filling the assistant's response is not "
                f"supported when {what}. The conversation must end with a user message."
            )


RULES = (
    has_messages,
    no_empty_turn,
    system_prompts,
    system_turns,
    system_turns_are_text,
    starts_with_user,
    alternates,
    no_blank_text,
    blocks_fit_roles,
    no_prefill,
    prefill_ends_in_text,
    prefill_stands_alone,
)
