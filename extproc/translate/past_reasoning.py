"""The model's reasoning in earlier turns -> Bedrock's `reasoningContent`.

Clients send back the `thinking_blocks` (with signatures) or `reasoning_content` (text alone) that they received. The
family decides which of them a model accepts. The others would be rejected, so they are left out and reported as
ignored. Signatures and withheld reasoning are sent byte for byte: the model verifies them.
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
    """Return the blocks to send, and the field of which something was left out, if any.

    Raises a 400 `ApiError` for withheld reasoning that is not base64.
    """
    if not message.thinking_blocks and not message.reasoning_content:
        return [], None
    blocks: list[ReasoningContent] = []
    for position, thinking in enumerate(message.thinking_blocks or ()):
        body = _body(thinking, capabilities, f"{param}.thinking_blocks[{position}]")
        if body is not None:
            blocks.append(ReasoningContent(body))
    if not blocks and capabilities.reasoning_history == "unsigned" and _has_text(message.reasoning_content):
        blocks = [
            ReasoningContent(ReasoningContentBlock(reasoning_text=ReasoningTextBlock(message.reasoning_content or "")))
        ]
        return blocks, None
    if len(blocks) < len(message.thinking_blocks or ()):
        return blocks, "thinking_blocks"
    return blocks, "reasoning_content" if not blocks and _has_text(message.reasoning_content) else None


def lacks_reasoning(messages: Sequence[Message], capabilities: Capabilities) -> bool:
    """Return whether the last assistant turn calls tools without reasoning before the calls; reasoning begins a turn.

    Claude, when it thinks within a budget, rejects such a history: "Expected `thinking` or `redacted_thinking`, but
    found `tool_use`" (https://github.com/BerriAI/litellm/issues/14194).
    """
    turn: list[AssistantMessage] = []
    for message in reversed(messages):
        if isinstance(message, AssistantMessage):
            if not _disappears(message):
                turn.append(message)
        elif turn and not _disappears(message):
            break
    if not any(message.tool_calls or message.function_call for message in turn):
        return False
    return not any(past_reasoning(message, capabilities, "messages")[0] for message in turn)


def _disappears(message: Message) -> bool:
    """Return whether the message has only blank texts, so that it neither makes nor ends a turn."""
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
    """Return the part's text; for media their kind, which is not blank."""
    match part:
        case TextPart() | GuardedTextPart():
            return part.text
        case RefusalPart():
            return part.refusal
    return type(part).__name__


def _body(
    block: ThinkingBlock | RedactedThinkingBlock, capabilities: Capabilities, param: str
) -> ReasoningContentBlock | None:
    """Return one block as the model accepts it, or None if it does not."""
    history = capabilities.reasoning_history
    if isinstance(block, RedactedThinkingBlock):
        if history not in ("signed", "redacted") or not block.data:
            return None
        return ReasoningContentBlock(redacted_content=_base64(block.data, f"{param}.data"))
    if history == "signed" and block.signature:
        return ReasoningContentBlock(reasoning_text=ReasoningTextBlock(block.thinking, block.signature))
    if history == "unsigned" and _has_text(block.thinking):
        return ReasoningContentBlock(reasoning_text=ReasoningTextBlock(block.thinking, UNSET))
    return None


def _has_text(text: str | None) -> bool:
    return bool(text and text.strip())


def _base64(data: str, param: str) -> str:
    try:
        binascii.a2b_base64(data.encode("ascii"), strict_mode=True)
    except ValueError as error:  # binascii's, and that of characters outside ASCII
        raise invalid(f"This is not base64: {error}. Send the block as it came.", param, "invalid_value") from error
    return data
