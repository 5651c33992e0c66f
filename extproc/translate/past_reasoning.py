"""What the model thought in earlier turns, given back to it.

Clients send `thinking_blocks` (with signatures) or `reasoning_content` (text alone), as they were given them. Which
of it a model takes is its family's: anything else would be refused, so it is left out, and named among what was
ignored. Signatures and withheld reasoning go through byte for byte: a model takes nothing else for its own.
"""

import binascii
from collections.abc import Sequence

from msgspec import UNSET

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.converse import ReasoningContent, ReasoningContentBlock, ReasoningTextBlock
from extproc.openai.errors import invalid
from extproc.openai.messages import (
    AssistantMessage,
    FunctionMessage,
    GuardedTextPart,
    Message,
    RedactedThinkingBlock,
    RefusalPart,
    TextPart,
    ThinkingBlock,
    ToolMessage,
    UserPart,
)


def past_reasoning(
    message: AssistantMessage, capabilities: Capabilities, param: str
) -> tuple[list[ReasoningContent], str | None]:
    """The blocks that go out, and the field of which something was left out, if any.

    Raises a 400 `ApiError` for withheld reasoning that is no base64.
    """
    if not message.thinking_blocks and not message.reasoning_content:
        return [], None
    found: list[ReasoningContent] = []
    for position, thought in enumerate(message.thinking_blocks or ()):
        body = _body(thought, capabilities, f"{param}.thinking_blocks[{position}]")
        if body is not None:
            found.append(ReasoningContent(body))
    if not found and capabilities.reasoning_history == "unsigned" and _said(message.reasoning_content):
        found = [
            ReasoningContent(ReasoningContentBlock(reasoning_text=ReasoningTextBlock(message.reasoning_content or "")))
        ]
        return found, None
    if len(found) < len(message.thinking_blocks or ()):
        return found, "thinking_blocks"
    return found, "reasoning_content" if not found and _said(message.reasoning_content) else None


def lacks_reasoning(messages: Sequence[Message], capabilities: Capabilities) -> bool:
    """Whether the last assistant turn calls tools, and does not begin with what the model thought.

    Claude, told to think within a budget, refuses such a history: "Expected `thinking` or `redacted_thinking`, but
    found `tool_use`" (https://github.com/BerriAI/litellm/issues/14194).
    """
    turn: list[AssistantMessage] = []  # the last message first
    for message in reversed(messages):
        if isinstance(message, AssistantMessage):
            if not _disappears(message):
                turn.append(message)
        elif turn and not _disappears(message):
            break
    if not any(message.tool_calls or message.function_call for message in turn):
        return False
    return not past_reasoning(turn[-1], capabilities, "messages")[0]


def _disappears(message: Message) -> bool:
    """Whether there is nothing in it but blank texts, so that no turn comes of it, nor an end of one."""
    if isinstance(message, ToolMessage | FunctionMessage):
        return False
    if isinstance(message, AssistantMessage) and (message.tool_calls or message.function_call):
        return False
    content = message.content or ()
    texts = [content] if isinstance(content, str) else [_text(part) for part in content]
    if isinstance(message, AssistantMessage):
        texts.append(message.refusal or "")
    return not any(text.strip() for text in texts)


def _text(part: UserPart | RefusalPart) -> str:
    """Its text; for media their kind, which is not blank."""
    match part:
        case TextPart() | GuardedTextPart():
            return part.text
        case RefusalPart():
            return part.refusal
    return type(part).__name__


def _body(
    thought: ThinkingBlock | RedactedThinkingBlock, capabilities: Capabilities, param: str
) -> ReasoningContentBlock | None:
    """One thought as the model takes it back, or None where it does not."""
    history = capabilities.reasoning_history
    if isinstance(thought, RedactedThinkingBlock):
        if history not in ("signed", "redacted") or not thought.data:
            return None
        return ReasoningContentBlock(redacted_content=_base64(thought.data, f"{param}.data"))
    if history == "signed" and thought.signature:
        return ReasoningContentBlock(reasoning_text=ReasoningTextBlock(thought.thinking, thought.signature))
    if history == "unsigned" and _said(thought.thinking):
        return ReasoningContentBlock(reasoning_text=ReasoningTextBlock(thought.thinking, UNSET))
    return None


def _said(text: str | None) -> bool:
    return bool(text and text.strip())


def _base64(data: str, param: str) -> str:
    try:
        binascii.a2b_base64(data.encode("ascii"), strict_mode=True)
    except ValueError as error:  # binascii's, and that of characters outside ASCII
        raise invalid(f"This is no base64: {error}. Send it as it came.", param, "invalid_value") from error
    return data
