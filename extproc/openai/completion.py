"""The response to POST /chat/completions: `chat.completion`. The chunks of a stream are in `chunks`.

Every key that OpenAI's schema requires is always there, null where it is empty: strict clients insist. What OpenAI
has no word for (`reasoning_content`, `thinking_blocks`, `trace`) is called as LiteLLM calls it, which is what clients
read.

Source: `CreateChatCompletionResponse` in OpenAI's API description, and `types/chat` of the openai package.
"""

from typing import Any

import msgspec

from extproc.value import Value


class Usage(Value, frozen=True):
    """Tokens as OpenAI counts them: `prompt` includes what came from a cache, and what went to it."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cache_written: int = 0

    def as_object(self) -> dict[str, Any]:
        """The `usage` object; how many tokens were reasoning is not in it, since Bedrock does not say."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached, "cache_write_tokens": self.cache_written},
        }


def tool_call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    """One entry of a message's `tool_calls`."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def custom_call(call_id: str, name: str, text: str) -> dict[str, Any]:
    """One entry of a message's `tool_calls`, for a tool that takes any text."""
    return {"id": call_id, "type": "custom", "custom": {"name": name, "input": text}}


def completion(
    completion_id: str,
    created: int,
    model: str,
    message: dict[str, Any],
    finish_reason: str,
    usage: Usage,
    service_tier: str | None = None,
    trace: dict[str, Any] | None = None,
) -> bytes:
    """A whole `chat.completion`, with every key that OpenAI's schema requires; `trace` is a guardrail's."""
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    answer = {
        "id": completion_id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice],
        "usage": usage.as_object(),
    }
    if service_tier:
        answer["service_tier"] = service_tier
    if trace:
        answer["trace"] = trace
    return msgspec.json.encode(answer)
