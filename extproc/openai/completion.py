"""The answers of POST /chat/completions: `chat.completion`, and the `chat.completion.chunk`s of a stream.

Every key that OpenAI's schema requires is always there, null where it is empty: strict clients insist. What OpenAI
has no word for (`reasoning_content`, `thinking_blocks`, `trace`) is called as LiteLLM calls it, which is what clients
read.

Source: `CreateChatCompletionResponse` and `CreateChatCompletionStreamResponse` in OpenAI's API description, and
`types/chat` of the openai package.
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


class Chunks:
    """Writes one stream's `chat.completion.chunk`s: the same id, time and model in all of them.

    The part that does not change is encoded once. With `include_usage` each chunk carries `"usage": null` and
    `usage()` gives the last one, without choices; without it, `usage()` gives nothing. The service tier is known only
    at the end, so it stands in `finish()` and `usage()`; a guardrail's `trace` in `finish()`, which is always sent.

    The SDKs put a list that is not `tool_calls` together from one delta only (openai-python raises at a second one,
    openai-node forgets the first): `thinking_blocks` and `annotations` have to go out whole, in one `delta()`.
    """

    def __init__(self, completion_id: str, created: int, model: str, *, include_usage: bool) -> None:
        head = {"id": completion_id, "object": "chat.completion.chunk", "created": created, "model": model}
        self._head = msgspec.json.encode(head)[:-1] + b',"choices":['
        self._include_usage = include_usage
        self._start = b"data: " + self._head + b'{"index":0,"delta":'
        self._null_usage = b',"usage":null' if include_usage else b""
        self._end = b',"logprobs":null,"finish_reason":null}]' + self._null_usage + _EVENT_END

    def role(self) -> bytes:
        """The first chunk."""
        return self.delta({"role": "assistant", "content": "", "refusal": None})

    def content(self, text: str) -> bytes:
        """A piece of the answer's text."""
        return self._start + b'{"content":' + msgspec.json.encode(text) + b"}" + self._end

    def delta(self, delta: dict[str, Any]) -> bytes:
        """Any other piece."""
        return self._start + msgspec.json.encode(delta) + self._end

    def tool_start(self, index: int, call_id: str, name: str) -> bytes:
        """A tool call begins: the only chunk with its id, type and name."""
        call = {"index": index, **tool_call(call_id, name, "")}
        return self.delta({"tool_calls": [call]})

    def tool_arguments(self, index: int, arguments: str) -> bytes:
        """A piece of a tool call's arguments."""
        return self.delta({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})

    def custom_start(self, index: int, call_id: str, name: str) -> bytes:
        """A custom tool's call begins.

        OpenAI's description of chunks knows functions only; this is what its API sends, and what its SDKs put
        together (https://github.com/openai/openai-openapi/issues/576).
        """
        call = {"index": index, **custom_call(call_id, name, "")}
        return self.delta({"tool_calls": [call]})

    def custom_input(self, index: int, text: str) -> bytes:
        """A piece of a custom call's input."""
        return self.delta({"tool_calls": [{"index": index, "custom": {"input": text}}]})

    def function_start(self, name: str) -> bytes:
        """A call in the shape from before tools begins: the only chunk with its name."""
        return self.delta({"function_call": {"name": name, "arguments": ""}})

    def function_arguments(self, arguments: str) -> bytes:
        """A piece of such a call's arguments."""
        return self.delta({"function_call": {"arguments": arguments}})

    def finish(self, reason: str, service_tier: str | None = None, trace: dict[str, Any] | None = None) -> bytes:
        """The last chunk with a choice."""
        end = b',"logprobs":null,"finish_reason":' + msgspec.json.encode(reason) + b"}]" + self._null_usage
        traced = b',"trace":' + msgspec.json.encode(trace) if trace else b""
        return self._start + b"{}" + end + _tier(service_tier) + traced + _EVENT_END

    def usage(self, usage: Usage, service_tier: str | None = None) -> bytes:
        """The chunk that only carries usage."""
        if not self._include_usage:
            return b""
        counted = msgspec.json.encode(usage.as_object())
        return b"data: " + self._head + b'],"usage":' + counted + _tier(service_tier) + _EVENT_END


_EVENT_END = b"}\n\n"


def _tier(service_tier: str | None) -> bytes:
    return b',"service_tier":' + msgspec.json.encode(service_tier) if service_tier else b""
