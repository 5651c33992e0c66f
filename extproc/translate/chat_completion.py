"""A Converse response -> a `chat.completion`.

What stands in Bedrock's blocks becomes one message: texts and cited texts are the content, reasoning is
`reasoning_content` and, block by block with its signatures, `thinking_blocks`: a client that sends the message back
on the next turn sends those back too. `ResponseShape` tells which form the client's calls have.

Left out, because OpenAI's message has no place for them: images and tool results (of AWS's own tools).

Invariant: the message is the one that `chat_stream`'s chunks of the same response make up.
"""

from typing import Any

from extproc.bedrock import errors as bedrock_errors
from extproc.bedrock.converse_response import (
    ConverseResponse,
    ConverseResponseError,
    ResponseBlock,
    ResponseReasoning,
    ResponseToolUse,
    decode_response,
)
from extproc.openai.completion import completion, custom_call, tool_call
from extproc.translate.completed import Completed
from extproc.translate.errors import bad_answer, from_bedrock
from extproc.translate.response_fields import (
    annotations,
    custom_input,
    finish_reason,
    service_tier,
    thinking_block,
    usage,
)
from extproc.translate.response_shape import ResponseShape

MAX_RESPONSE_BYTES = 8 << 20
"""Bytes of a Converse response, which the event loop translates at 3 to 6 ms a MiB: a model's longest is below one."""
MAX_RESPONSE_BLOCKS = 4_096
"""Content blocks of a Converse response: a block takes the event loop up to 4 µs."""


def translate_response(body: bytes, *, completion_id: str, created: int, model: str, shape: ResponseShape) -> Completed:
    """Return the `chat.completion`.

    Raises `ConverseResponseError` where Bedrock's body is not what it should be, and `ApiError` where the model failed.
    """
    said = _Said(decode(body), shape)
    told = completion(completion_id, created, model, said.message(), said.finish, said.usage, said.tier, said.trace)
    return Completed(told, said.usage, said.finish)


def decode(body: bytes) -> ConverseResponse:
    """Decode Converse's response.

    Raises as `translate_response` does, and a 502 `ApiError` for a response over a limit.

    AWS sends the failure of an operation that it does not know with a status of 200.
    """
    if len(body) > MAX_RESPONSE_BYTES:
        raise bad_answer(f"{len(body):,} bytes, at most {MAX_RESPONSE_BYTES:,} are accepted")
    try:
        response = decode_response(body)
        blocks = len(response.output.message.content)
        if blocks > MAX_RESPONSE_BLOCKS:
            raise bad_answer(f"{blocks:,} content blocks, at most {MAX_RESPONSE_BLOCKS:,} are accepted")
        return response
    except ConverseResponseError as error:
        failure = bedrock_errors.from_response(200, {}, body)
        if failure.kind:
            raise from_bedrock(failure) from error
        raise


class _Said:
    """What the model said, taken apart."""

    def __init__(self, converse: ConverseResponse, shape: ResponseShape) -> None:
        blocks = converse.output.message.content
        uses = [block.tool_use for block in blocks if block.tool_use and not block.tool_use.is_server_side]
        answers = [use for use in uses if use.name == shape.answer_tool]
        calls = [use for use in uses if use.name != shape.answer_tool]
        self.calls = calls[:1] if shape.legacy else calls
        """A legacy message has room for one, and a model that is asked for functions one by one asks again."""
        self.reasoning = "".join(_thought(block.reasoning_content) for block in blocks)
        self.extras: dict[str, Any] = {}
        if answers:
            self.content = answers[0].arguments
        else:
            # Text beside a call is not of the schema that was asked for, and the SDKs' `parse()` would choke on it.
            self.content = "" if calls and shape.answer_tool else self._texts(blocks)
        thoughts = filter(None, (_thinking(block.reasoning_content) for block in blocks))
        if thinking := list(thoughts):
            self.extras["thinking_blocks"] = thinking
        self.finish = finish_reason(converse.stop_reason, called=bool(calls), legacy=shape.legacy)
        self.usage = usage(converse.usage)
        self.tier = service_tier(converse.service_tier)
        self.trace = converse.trace if shape.trace else None
        self._shape = shape

    def message(self) -> dict[str, Any]:
        """The assistant's message."""
        empty = None if self.calls else ""
        message: dict[str, Any] = {"role": "assistant", "content": self.content or empty, "refusal": None}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        message |= self.extras
        if self.calls and self._shape.legacy:
            [use] = self.calls
            message["function_call"] = {"name": self._shape.client_name(use.name), "arguments": use.arguments}
        elif self.calls:
            message["tool_calls"] = [self._call(use) for use in self.calls]
        return message

    def _call(self, use: ResponseToolUse) -> dict[str, Any]:
        name = self._shape.client_name(use.name)
        if name in self._shape.custom:
            return custom_call(use.tool_use_id, name, custom_input(use.arguments))
        return tool_call(use.tool_use_id, name, use.arguments)

    def _texts(self, blocks: list[ResponseBlock]) -> str:
        """All text; what it cites goes to the annotations."""
        texts: list[str] = []
        cited: list[dict[str, Any]] = []
        length = 0
        for block in blocks:
            found = block.citations_content
            texts.append((block.text or "") + (found.text if found else ""))
            start, length = length, length + len(texts[-1])
            if found is not None:
                cited += annotations(found.citations, start, length)
        if cited:
            self.extras["annotations"] = cited
        return "".join(texts)


def _thought(reasoning: ResponseReasoning | None) -> str:
    return reasoning.reasoning_text.text if reasoning and reasoning.reasoning_text else ""


def _thinking(reasoning: ResponseReasoning | None) -> dict[str, Any] | None:
    if reasoning is None:
        return None
    signature = reasoning.reasoning_text.signature if reasoning.reasoning_text else None
    return thinking_block(_thought(reasoning), signature or "", reasoning.redacted_content or "")
