"""Completions as the openai package's own types read them."""

import json
from typing import Any

import msgspec
import pytest
from openai.types.chat import ChatCompletion

from extproc.openai.completion import Usage, completion, custom_call, tool_call

USAGE = {
    "prompt_tokens": 22,
    "completion_tokens": 20,
    "total_tokens": 42,
    "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 7},
}


def message(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "refusal": None, "tool_calls": list(calls)}


def strict(body: bytes) -> Any:
    """Return the completion, validated by the openai package's type and its schema's `required`."""
    decoded = json.loads(body)
    ChatCompletion.model_validate(decoded, strict=True)
    assert {"id", "object", "created", "model", "choices", "usage"} <= set(decoded)
    assert {"index", "message", "finish_reason", "logprobs"} <= set(decoded["choices"][0])
    assert {"role", "content", "refusal"} <= set(decoded["choices"][0]["message"])
    return decoded


def test_the_openai_package_accepts_a_completion() -> None:
    assistant_message = message(tool_call("c1", "f", "{}"), custom_call("c2", "shell", "ls"))
    usage = Usage(22, 20, cached=5, cache_written=7)
    decoded = strict(completion("chatcmpl-1", 1_790_000_000, "m", assistant_message, "tool_calls", usage))
    assert decoded["usage"] == USAGE
    assert "service_tier" not in decoded
    function, custom = ChatCompletion.model_validate(decoded, strict=True).choices[0].message.tool_calls or ()
    assert (function.type, custom.type) == ("function", "custom")


@pytest.mark.parametrize("tier", ["default", "flex", "priority", "scale"])
def test_a_completion_has_its_service_tier(tier: str) -> None:
    decoded = strict(completion("i", 1, "m", message(), "stop", Usage(), tier))
    assert decoded["service_tier"] == tier


def test_usage_has_its_details_even_where_no_cache_was_at_work() -> None:
    """Clients read `usage.prompt_tokens_details.cached_tokens` without checking that it exists."""
    assert Usage(3, 4).as_object()["prompt_tokens_details"] == {"cached_tokens": 0, "cache_write_tokens": 0}


def test_a_model_of_any_name_is_repeated_as_requested() -> None:
    name = 'arn:aws:bedrock:us-east-1:1:"x"/é'
    assert msgspec.json.decode(completion("i", 1, name, {}, "stop", Usage()))["model"] == name
