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
    """The completion, once the openai package's type and its schema's `required` have nothing against it."""
    answer = json.loads(body)
    ChatCompletion.model_validate(answer, strict=True)
    assert {"id", "object", "created", "model", "choices", "usage"} <= set(answer)
    assert {"index", "message", "finish_reason", "logprobs"} <= set(answer["choices"][0])
    assert {"role", "content", "refusal"} <= set(answer["choices"][0]["message"])
    return answer


def test_a_completion_is_what_the_openai_package_takes() -> None:
    said = message(tool_call("c1", "f", "{}"), custom_call("c2", "shell", "ls"))
    usage = Usage(22, 20, cached=5, cache_written=7)
    answer = strict(completion("chatcmpl-1", 1_790_000_000, "m", said, "tool_calls", usage))
    assert answer["usage"] == USAGE
    assert "service_tier" not in answer
    function, custom = ChatCompletion.model_validate(answer, strict=True).choices[0].message.tool_calls or ()
    assert (function.type, custom.type) == ("function", "custom")


@pytest.mark.parametrize("tier", ["default", "flex", "priority", "scale"])
def test_a_completion_says_at_which_tier_it_was_served(tier: str) -> None:
    answer = strict(completion("i", 1, "m", message(), "stop", Usage(), tier))
    assert answer["service_tier"] == tier


def test_usage_has_its_details_even_where_no_cache_was_at_work() -> None:
    """Clients read `usage.prompt_tokens_details.cached_tokens` without asking whether it is there."""
    assert Usage(3, 4).as_object()["prompt_tokens_details"] == {"cached_tokens": 0, "cache_write_tokens": 0}


def test_a_model_of_any_name_is_repeated_as_it_was_asked_for() -> None:
    name = 'arn:aws:bedrock:us-east-1:1:"x"/é'
    assert msgspec.json.decode(completion("i", 1, name, {}, "stop", Usage()))["model"] == name
