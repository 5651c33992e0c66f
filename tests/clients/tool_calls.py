"""Tool calls of a message, and their results."""

from typing import Any

from openai.types.chat import ChatCompletionMessageFunctionToolCall

CLAUDE = "anthropic.claude-sonnet-4-6"
NOVA = "amazon.nova-micro-v1:0"
QUESTION: Any = [{"role": "user", "content": "What is the weather in Paris?"}]


def result(call: Any, text: str) -> Any:
    return {"role": "tool", "tool_call_id": call.id, "content": text}


def calls(message: Any) -> list[ChatCompletionMessageFunctionToolCall]:
    return list(message.tool_calls or [])
