"""Events of ConverseStream, as tests write them."""

from collections.abc import Callable
from typing import Any

from openai import OpenAI
from openai.types.chat import ParsedChatCompletion

Say = tuple[str, dict[str, Any]]
Final = Callable[..., ParsedChatCompletion[Any]]
Client = Callable[[bytes], OpenAI]

START: Say = ("messageStart", {"role": "assistant", "p": "abcd"})
END: Say = ("messageStop", {"stopReason": "end_turn", "p": "ab"})
USAGE: Say = ("metadata", {"usage": {"inputTokens": 10, "outputTokens": 20, "totalTokens": 30}, "metrics": {}})


def text(value: str, block: int = 0) -> Say:
    return ("contentBlockDelta", {"contentBlockIndex": block, "delta": {"text": value}, "p": "abcdefgh"})


def tool(block: int, name: str = "f", call_id: str = "c1") -> Say:
    return (
        "contentBlockStart",
        {"contentBlockIndex": block, "start": {"toolUse": {"toolUseId": call_id, "name": name}}},
    )


def piece(value: str, block: int) -> Say:
    return ("contentBlockDelta", {"contentBlockIndex": block, "delta": {"toolUse": {"input": value}}})


def reasoning(block: int = 0, **delta: Any) -> Say:
    return ("contentBlockDelta", {"contentBlockIndex": block, "delta": {"reasoningContent": delta}})


def close(block: int = 0) -> Say:
    return ("contentBlockStop", {"contentBlockIndex": block})


def stop(reason: str) -> Say:
    return ("messageStop", {"stopReason": reason})
