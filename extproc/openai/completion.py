"""The response to POST /chat/completions: `chat.completion`. The chunks of a stream are in `chunks`.

Every key that OpenAI's schema requires is always there, null where it is empty: strict clients insist. Members that
OpenAI has no name for (`reasoning_content`, `thinking_blocks`, `images`, `trace`) have LiteLLM's names, which clients
read.

Source: `CreateChatCompletionResponse` in OpenAI's API description, and `types/chat` of the openai package.
"""

from typing import Any

import msgspec

from extproc.value import Value


class Usage(Value, frozen=True):
    """Tokens as OpenAI counts them: `prompt` includes those read from a cache, and those written to it."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    cache_written: int = 0
    reasoning: int | None = None
    """The part of `completion` that is reasoning; None where Bedrock does not report it."""
    written_for_an_hour: int = 0
    """The part of `cache_written` that is kept for an hour. Clients do not see it."""
    uncounted: int | None = None
    """Bytes of what the model has written, where Bedrock has not counted the tokens; clients do not see it."""

    def as_object(self) -> dict[str, Any]:
        """Return the `usage` object."""
        usage = {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached, "cache_write_tokens": self.cache_written},
        }
        if self.reasoning is not None:
            usage["completion_tokens_details"] = {"reasoning_tokens": self.reasoning}
        return usage


def tool_call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    """Return an entry of a message's `tool_calls`."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def image(format: str, base64: str) -> dict[str, Any]:  # noqa: A002 - Bedrock's name
    """Return an entry of a message's `images`, the form of LiteLLM and OpenRouter."""
    return {"type": "image_url", "image_url": {"url": f"data:image/{format};base64,{base64}"}}


def custom_call(call_id: str, name: str, text: str) -> dict[str, Any]:
    """Return an entry of a message's `tool_calls`, for a custom tool."""
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
    """Return a whole `chat.completion`, with every key that OpenAI's schema requires; `trace` is a guardrail's."""
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    body = {
        "id": completion_id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice],
        "usage": usage.as_object(),
    }
    if service_tier:
        body["service_tier"] = service_tier
    if trace:
        body["trace"] = trace
    return msgspec.json.encode(body)
