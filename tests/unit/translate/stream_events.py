"""Events of ConverseStream, as tests write them."""

from collections.abc import Callable
from typing import Any

from openai import OpenAI
from openai.types.chat import ParsedChatCompletion

StreamEvent = tuple[str, dict[str, Any]]
Final = Callable[..., ParsedChatCompletion[Any]]
Client = Callable[[bytes], OpenAI]

START: StreamEvent = ("messageStart", {"role": "assistant", "p": "abcd"})
END: StreamEvent = ("messageStop", {"stopReason": "end_turn", "p": "ab"})
USAGE: StreamEvent = ("metadata", {"usage": {"inputTokens": 10, "outputTokens": 20, "totalTokens": 30}, "metrics": {}})


def text(value: str, block: int = 0) -> StreamEvent:
    return ("contentBlockDelta", {"contentBlockIndex": block, "delta": {"text": value}, "p": "abcdefgh"})


def tool(block: int, name: str = "f", call_id: str = "c1") -> StreamEvent:
    return (
        "contentBlockStart",
        {"contentBlockIndex": block, "start": {"toolUse": {"toolUseId": call_id, "name": name}}},
    )


def server_tool(block: int, name: str = "nova_grounding") -> StreamEvent:
    use = {"toolUseId": "s1", "name": name, "type": "server_tool_use"}
    return ("contentBlockStart", {"contentBlockIndex": block, "start": {"toolUse": use}})


def piece(value: str, block: int) -> StreamEvent:
    return ("contentBlockDelta", {"contentBlockIndex": block, "delta": {"toolUse": {"input": value}}})


def reasoning(block: int = 0, **delta: Any) -> StreamEvent:
    return ("contentBlockDelta", {"contentBlockIndex": block, "delta": {"reasoningContent": delta}})


def close(block: int = 0) -> StreamEvent:
    return ("contentBlockStop", {"contentBlockIndex": block})


def stop(reason: str) -> StreamEvent:
    return ("messageStop", {"stopReason": reason})


def citation(block: int, url: str | None, **fields: Any) -> StreamEvent:
    location = {"web": {"url": url, "domain": "x.org"}} if url else {"documentPage": {"documentIndex": 0}}
    return ("contentBlockDelta", {"contentBlockIndex": block, "delta": {"citation": {"location": location, **fields}}})
