"""A Converse answer -> a `chat.completion`."""

from extproc.bedrock.converse import AnsweredBlock, TokenUsage, decode_answer
from extproc.openai.chat import Usage, completion, tool_call
from extproc.openai.errors import ApiError

_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
"""Bedrock's `stopReason`s and what OpenAI calls them; the two `malformed_*` are failures, not ends."""


def finish_reason(stop_reason: str, *, called: bool) -> str:
    """OpenAI's word for why the model stopped. `called`: the client has a tool call to execute.

    Some models say `end_turn` although they called, and a forced answer tool says `tool_use` although the client
    asked for no tool. Raises a 502 `ApiError` for an answer that the model botched.
    """
    if stop_reason.startswith("malformed_"):
        raise ApiError(
            502,
            f"The model's output was malformed ({stop_reason}). Send the request again.",
            type="server_error",
            code=stop_reason,
        )
    reason = _FINISH_REASONS.get(stop_reason, "stop")
    if reason in ("stop", "tool_calls"):
        return "tool_calls" if called else "stop"
    return reason


def usage(tokens: TokenUsage) -> Usage:
    """Bedrock leaves cached tokens out of `inputTokens`, OpenAI counts them in `prompt_tokens`."""
    cached, written = tokens.cache_read_input_tokens, tokens.cache_write_input_tokens
    return Usage(tokens.input_tokens + cached + written, tokens.output_tokens, cached, written)


def answer(
    body: bytes, *, completion_id: str, created: int, model: str, answer_tool: str | None
) -> tuple[bytes, Usage, str]:
    """The completion's body, its usage and its finish reason.

    `answer_tool` is the tool whose input is the client's content, if there is one. Raises `BadAnswerError` where
    Bedrock's body is not what it should be, and `ApiError` where the model failed.
    """
    converse = decode_answer(body)
    message, called = _message(converse.output.message.content, answer_tool)
    reason = finish_reason(converse.stop_reason, called=called)
    counted = usage(converse.usage)
    return completion(completion_id, created, model, message, reason, counted), counted, reason


def _message(blocks: list[AnsweredBlock], answer_tool: str | None) -> tuple[dict[str, object], bool]:
    """The assistant's message, and whether it has tool calls."""
    uses = [block.tool_use for block in blocks if block.tool_use is not None]
    answers = [use for use in uses if use.name == answer_tool]
    calls = [tool_call(use.tool_use_id, use.name, use.arguments) for use in uses if use.name != answer_tool]
    content = answers[0].arguments if answers else "".join(_text(block) for block in blocks)
    message: dict[str, object] = {"role": "assistant", "content": content or None, "refusal": None}
    if not calls and not content:
        message["content"] = ""
    reasoning = "".join(_reasoning(block) for block in blocks)
    if reasoning:
        message["reasoning_content"] = reasoning
    if calls:
        message["tool_calls"] = calls
    return message, bool(calls)


def _text(block: AnsweredBlock) -> str:
    if block.citations_content is not None:
        return "".join(piece.text for piece in block.citations_content.content)
    return block.text or ""


def _reasoning(block: AnsweredBlock) -> str:
    reasoning = block.reasoning_content
    return reasoning.reasoning_text.text if reasoning and reasoning.reasoning_text else ""
