"""Responses that the local Bedrock, which keeps to AWS's service model, cannot send: each byte is played."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chaos.upstream import END, RESPONSE, START, STOP, Step, Upstream, chunk, deltas, frame, head
from tests.envoy.gateway.conftest import client_for

USAGE = {"inputTokens": 1, "outputTokens": 3, "totalTokens": 4}
MODEL = "amazon.nova-micro-v1:0"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def client(start_shared: Any, upstream: Upstream) -> Any:
    return client_for(start_shared(env=upstream.environment, args=["--upstream", "aws"]))


def whole(**more: Any) -> list[Step]:
    """Return a whole response with more members."""
    body = json.dumps({**json.loads(RESPONSE), **more}).encode()
    return [head("application/json", len(body)), body]


def streamed(**more: Any) -> list[Step]:
    """Return a stream whose metadata have more members."""
    return [head(), START, *deltas(), STOP, chunk(frame("metadata", {"usage": USAGE, **more})), END]


@pytest.mark.parametrize(("tier", "named"), [("turbo", None), ("", None), ("auto", None), ("reserved", "scale")])
def test_a_tier_that_openai_does_not_have_is_left_out(
    client: Any, upstream: Upstream, tier: str, named: str | None
) -> None:
    """B18: OpenAI's tiers are a closed list, and strict clients raise for others."""
    served = {"serviceTier": {"type": tier}}
    completion = client.chat(upstream.script(*whole(**served)).prompt).json()
    assert completion["choices"][0]["message"]["content"] == "one two three"
    with client.stream(upstream.script(*streamed(**served)).prompt) as stream:
        *chunks, done = stream.rest()
    assert done == "[DONE]"
    for document in (completion, *map(json.loads, chunks)):
        assert document.get("service_tier") in (None, named)


@pytest.mark.parametrize("more", [{}, {"stream_options": {"include_usage": True}}], ids=["no usage", "include_usage"])
def test_a_stream_that_ends_before_its_metadata_is_an_error(client: Any, upstream: Upstream, more: Any) -> None:
    """B14: a clean end between messageStop and metadata, with nothing that tells what the call cost."""
    script = upstream.script(head(), START, *deltas(), STOP, END)
    with client.stream(script.prompt, **more) as stream:
        *chunks, last = map(json.loads, stream.rest())
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    assert text == "one two three"
    assert not any(choice["finish_reason"] for chunk in chunks for choice in chunk["choices"])
    assert last["error"]["code"] == "cut_off"
