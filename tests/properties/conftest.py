"""A profile for all properties, and the rules of a conversation as a fixture.

The same examples on every run, and no limit on how long one takes. `HYPOTHESIS_PROFILE=search` tries others, and more;
`brief` fewer, for code that has passed the run of all of them before it was compiled.
"""

import os
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from extproc.bedrock.capabilities import Capabilities

settings.register_profile(
    "same", derandomize=True, deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("brief", settings.get_profile("same"), max_examples=50)
settings.register_profile("search", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture(scope="session")
def check_conversation() -> Callable[[dict[str, Any], Capabilities], None]:
    """Return a check that a Converse request keeps to the rules of a conversation for a model."""
    return _check_conversation


def _check_conversation(request: dict[str, Any], takes: Capabilities) -> None:
    _check_turns(request, takes)
    _check_tools(request)
    _check_blocks(request, takes)
    _check_reasoning(request, takes)
    _check_cache(request, takes)


def _check_turns(request: dict[str, Any], takes: Capabilities) -> None:
    """Check the rules of a conversation that the service model lacks."""
    messages = request["messages"]
    assert messages[0]["role"] == "user" or takes.opens_with_assistant
    assert all(one["role"] != other["role"] for one, other in pairwise(messages))
    assert takes.system_turns or all(message["role"] != "system" for message in messages)
    for before, message, after in zip([None, *messages], messages, [*messages[1:], None], strict=False):
        assert message["role"] != "system" or (before and before["role"] == "user")
        assert message["role"] != "system" or after is None or after["role"] == "assistant"
    assert all(message["content"] for message in messages)
    assert takes.system or "system" not in request
    blocks = [block for message in messages for block in message["content"]]
    results = [block["toolResult"] for block in blocks if "toolResult" in block]
    every_text = [*request.get("system", []), *blocks, *(part for result in results for part in result["content"])]
    assert all(block["text"].strip() for block in every_text if "text" in block)
    last = blocks[-1]
    if messages[-1]["role"] == "assistant":
        assert takes.prefill
        assert "toolConfig" not in request
        assert "text" not in last or last["text"] == last["text"].rstrip()


def _check_blocks(request: dict[str, Any], takes: Capabilities) -> None:
    """Check media, and blocks beside them and beside results, by the model's capabilities."""
    taken = {"image": takes.images, "document": takes.documents, "video": takes.video, "audio": takes.audio}
    names: list[str] = []
    for message in request["messages"]:
        kinds = [next(iter(block)) for block in message["content"]]
        inside = [part for block in message["content"] for part in block.get("toolResult", {}).get("content", [])]
        beside = {"text" if kind == "guardContent" else kind for kind in kinds}
        assert all(taken.get(kind, True) for kind in kinds)
        assert "toolResult" not in kinds or beside <= {"toolResult", "cachePoint", *takes.beside_tool_results}
        assert takes.text_beside_tool_calls or "toolUse" not in kinds or {*kinds} <= {"toolUse", "cachePoint"}
        assert takes.tool_result_images or not any("image" in part for part in inside)
        assert takes.tool_result_format == "json" or not any("json" in part for part in inside)
        for part in inside:
            assert part.get("document", {}).get("format") in (None, *takes.tool_result_documents)
        assert "document" not in kinds or "text" in kinds
        names += [part["document"]["name"] for part in (*message["content"], *inside) if "document" in part]
    assert len(set(names)) == len(names)
    assert "s3Location" not in str(request["messages"]) or takes.s3_sources


def _check_reasoning(request: dict[str, Any], takes: Capabilities) -> None:
    """Check that reasoning is of an accepted kind, begins its turn, and does not end it."""
    for message in request["messages"]:
        reasons = ["reasoningContent" in block for block in message["content"]]
        assert reasons[0] or not any(reasons)
        for block in message["content"]:
            reasoning = block.get("reasoningContent", {})
            signed = reasoning.get("reasoningText", {}).get("signature")
            kind = "signed" if signed else "unsigned" if "reasoningText" in reasoning else "redacted"
            assert (
                not reasoning
                or kind == takes.reasoning_history
                or (kind, takes.reasoning_history) == ("redacted", "signed")
            )
        assert "reasoningContent" not in message["content"][-1]


def _check_cache(request: dict[str, Any], takes: Capabilities) -> None:
    """Check that cache points are only in allowed places, not too many, never first, nor behind a document."""
    tools = request.get("toolConfig", {}).get("tools", [])
    places = {
        "system": [request.get("system", [])],
        "tools": [tools],
        "messages": [m["content"] for m in request["messages"]],
    }
    points = 0
    for place, lists in places.items():
        for blocks in lists:
            cache_points = [at for at, block in enumerate(blocks) if "cachePoint" in block]
            points += len(cache_points)
            assert not cache_points or place in takes.cache
            assert all(
                at and not {"document", "video", "audio", "cachePoint"} & set(blocks[at - 1]) for at in cache_points
            )
            assert all(blocks[at]["cachePoint"].get("ttl") in (None, *takes.cache_ttls) for at in cache_points)
    assert points <= takes.cache_points


def _check_tools(request: dict[str, Any]) -> None:
    """Check that each call has one result at the start of the next turn, tools beside it, and a unique id."""
    calls: list[str] = []
    every_id: list[str] = []
    for message in request["messages"]:
        results = [block["toolResult"]["toolUseId"] for block in message["content"] if "toolResult" in block]
        assert sorted(results) == sorted(calls)
        assert all("toolResult" in block for block in message["content"][: len(results)])
        calls = [block["toolUse"]["toolUseId"] for block in message["content"] if "toolUse" in block]
        assert all(isinstance(block["toolUse"]["input"], dict) for block in message["content"] if "toolUse" in block)
        every_id += calls
    assert calls == []
    assert len(set(every_id)) == len(every_id)
    assert "toolConfig" in request or not every_id
