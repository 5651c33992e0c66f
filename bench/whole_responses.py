"""Whole responses of Bedrock's whose size is all of one kind, and the requests that they are for.

They have as many blocks or citations as a response may, or one.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bench.bodies import MODEL, Json

LLAMA = "meta.llama3-3-70b-instruct-v1:0"
"""A model that cannot stream beside tools: its whole response is sent as a stream."""
MOST_BLOCKS = 4_096
MOST_CITATIONS = 8_192
FUNCTION = {"name": "look", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}


@dataclass(frozen=True, slots=True)
class Request:
    """A small request whose response is whole."""

    path: str
    body: bytes


def _request(path: str, **fields: Json) -> Request:
    return Request(path, json.dumps(fields).encode())


REQUESTS = {
    "chat": _request("/oai/v1/chat/completions", model=MODEL, messages=[{"role": "user", "content": "Hello"}]),
    "response": _request("/oai/v1/responses", model=MODEL, input="Hello"),
    "response streamed": _request(
        "/oai/v1/responses", model=LLAMA, input="Hello", stream=True, tools=[{"type": "function", **FUNCTION}]
    ),
}


def converse(blocks: Iterable[Json]) -> bytes:
    """The body of a Converse response with these content blocks."""
    usage = {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8}
    message = {"role": "assistant", "content": list(blocks)}
    whole = {"output": {"message": message}, "stopReason": "end_turn", "usage": usage}
    return json.dumps(whole, separators=(",", ":")).encode()


def _many(block: Callable[[int], Json]) -> Callable[[int], bytes]:
    """As many blocks as are accepted, all together of a size; `block` makes one with so many bytes of content."""
    frame = len(json.dumps(block(0), separators=(",", ":"))) + 1
    return lambda size: converse([block(max(size // MOST_BLOCKS - frame, 1))] * MOST_BLOCKS)


def _call(quotes: int) -> Json:
    return {"toolUse": {"toolUseId": "c", "name": "look", "input": {"a": '"' * quotes}}}


def _thought(size: int) -> Json:
    return {"reasoningContent": {"reasoningText": {"text": "x" * (size // 2), "signature": "s" * (size // 2)}}}


def _citations(size: int) -> bytes:
    one = {"title": "t" * max(size // MOST_CITATIONS - 60, 1), "location": {"web": {"url": "https://a.example/"}}}
    return converse([{"citationsContent": {"content": [{"text": "x"}], "citations": [one] * MOST_CITATIONS}}])


WHOLE_RESPONSES: dict[str, Callable[[int], bytes]] = {
    "a text": lambda size: converse([{"text": "x" * size}]),
    "quotes in a text": lambda size: converse([{"text": '"' * (size // 2)}]),
    "texts": _many(lambda size: {"text": "x" * size}),
    "quotes in a call": lambda size: converse([_call(size // 2)]),
    "calls": _many(lambda size: _call(size // 2)),
    "reasoning": _many(_thought),
    "citations": _citations,
    "an image": lambda size: converse([{"image": {"format": "png", "source": {"bytes": "QUFB" * (size // 4)}}}]),
}
"""Functions from a size in bytes to a body of about as many."""
