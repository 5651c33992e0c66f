"""A Converse response -> a `chat.completion`.

Bedrock's content blocks become one message. Texts and cited texts are the content; reasoning is `reasoning_content`
and, block by block with its signatures, `thinking_blocks`, which a client sends back on the next turn. What a model
writes into its text that is no content is taken out (`response_text`).
Images are `images`. `ResponseShape` has the form of the client's calls.

Results of AWS's own tools are left out, because OpenAI's message has no place for them.

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
    thinking_tokens,
)
from extproc.openai.completion import completion, custom_call, image, tool_call
from extproc.openai.errors import ApiError
from extproc.translate.completed import Completed
from extproc.translate.errors import ModelError, bad_response, from_bedrock
from extproc.translate.response_fields import (
    annotations,
    custom_input,
    finish_reason,
    service_tier,
    thinking_block,
    usage,
    visible_trace,
)
from extproc.translate.response_limits import (
    MAX_RESPONSE_BLOCKS,
    MAX_RESPONSE_BYTES,
    MAX_RESPONSE_CITATIONS,
    MAX_WHOLE_TEXT,
    utf8_length,
)
from extproc.translate.response_shape import ResponseShape
from extproc.translate.response_text import Fence, InlineReasoning


def translate_response(
    body: bytes, *, completion_id: str, created: int, model: str, shape: ResponseShape, most_text: int = MAX_WHOLE_TEXT
) -> Completed:
    """Return the `chat.completion`; its model may have written `most_text` bytes.

    Raises `ConverseResponseError` if Bedrock's body is malformed, and `ApiError` if the model failed.
    """
    reply = _ModelMessage(decode(body, most_text), shape)
    encoded = completion(
        completion_id, created, model, reply.message(), reply.finish, reply.usage, reply.tier, reply.trace
    )
    return Completed(encoded, reply.usage, reply.finish)


def decode(body: bytes, most_text: int) -> ConverseResponse:
    """Decode Converse's response, with `most_text` bytes of text at most.

    Raises as `translate_response` does, and a 502 `ApiError` for a response over a limit.

    AWS sends the failure of an operation that it does not know with a status of 200.
    """
    if len(body) > MAX_RESPONSE_BYTES:
        raise bad_response(f"{len(body):,} bytes, at most {MAX_RESPONSE_BYTES:,} are accepted")
    try:
        response = decode_response(body)
    except ConverseResponseError as error:
        failure = bedrock_errors.from_response(200, {}, body)
        if failure.kind:
            raise from_bedrock(failure) from error
        raise
    blocks = response.output.message.content
    _check(blocks)
    if len(body) > most_text and sum(map(_text_bytes, blocks)) > most_text:  # JSON is never shorter than its texts
        raise bad_response(f"more than {most_text:,} bytes of text, which its limit of tokens cannot be")
    return response


def _check(blocks: list[ResponseBlock]) -> None:
    if len(blocks) > MAX_RESPONSE_BLOCKS:
        raise bad_response(f"{len(blocks):,} content blocks, at most {MAX_RESPONSE_BLOCKS:,} are accepted")
    citations = sum(len(block.citations_content.citations) for block in blocks if block.citations_content)
    if citations > MAX_RESPONSE_CITATIONS:
        raise bad_response(f"{citations:,} citations, at most {MAX_RESPONSE_CITATIONS:,} are accepted")


class _ModelMessage:
    """The model's message, split into the members of a chat completion."""

    def __init__(self, converse: ConverseResponse, shape: ResponseShape) -> None:
        self._shape = shape
        blocks = converse.output.message.content
        uses = [block.tool_use for block in blocks if block.tool_use and not block.tool_use.is_server_side]
        answer_uses = [use for use in uses if use.name == shape.answer_tool]
        calls = [use for use in uses if use.name != shape.answer_tool]
        self.calls = calls[:1] if shape.legacy else calls
        """A legacy message holds one call; the model repeats the others in later turns."""
        divided = [self._divided(block) for block in blocks]
        self.reasoning = "".join(reasoning for reasoning, _ in divided)
        self.extras: dict[str, Any] = {}
        if answer_uses:
            self.content = shape.arguments(answer_uses[0].name, answer_uses[0].arguments)
        elif calls and shape.answer_tool:
            # Text beside a call does not match the requested schema, and the SDKs' `parse()` would raise.
            self.content = ""
        else:
            self.content = self._texts(blocks, [text for _, text in divided])
        drawn = [(block.image.format, block.image.source) for block in blocks if block.image]
        if images := [image(kind, source.bytes) for kind, source in drawn if source and source.bytes]:
            self.extras["images"] = images
        thinking = filter(None, (_thinking_block(block.reasoning_content) for block in blocks))
        if thinking_blocks := list(thinking):
            self.extras["thinking_blocks"] = thinking_blocks
        reasoning_tokens = thinking_tokens(converse.additional_model_response_fields)
        self.usage = usage(converse.usage, reasoning_tokens, sum(map(_text_bytes, blocks)))
        try:
            self.finish = finish_reason(converse.stop_reason, called=bool(calls), legacy=shape.legacy)
        except ApiError as failure:
            raise ModelError(failure, self.usage) from failure
        self.tier = service_tier(converse.service_tier)
        self.trace = visible_trace(converse.trace, requested=shape.trace)

    def message(self) -> dict[str, Any]:
        """Return the assistant's message."""
        empty = None if self.calls else ""
        message: dict[str, Any] = {"role": "assistant", "content": self.content or empty, "refusal": None}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        message |= self.extras
        if self.calls and self._shape.legacy:
            [use] = self.calls
            arguments = self._shape.arguments(use.name, use.arguments)
            message["function_call"] = {"name": self._shape.client_name(use.name), "arguments": arguments}
        elif self.calls:
            message["tool_calls"] = [self._call(use) for use in self.calls]
        return message

    def _call(self, use: ResponseToolUse) -> dict[str, Any]:
        name = self._shape.client_name(use.name)
        if name in self._shape.custom:
            return custom_call(use.tool_use_id, name, custom_input(use.arguments))
        return tool_call(use.tool_use_id, name, self._shape.arguments(use.name, use.arguments))

    def _divided(self, block: ResponseBlock) -> tuple[str, str]:
        """Return the block's reasoning and its text."""
        reasoning = _reasoning_text(block.reasoning_content)
        text = (block.text or "") + (block.citations_content.text if block.citations_content else "")
        if not text or self._shape.inline_reasoning is None:
            return reasoning, text
        inline = InlineReasoning(self._shape.inline_reasoning)
        thought, text = inline.feed(text)
        rest_of_thought, rest = inline.end()
        return reasoning + thought + rest_of_thought, text + rest

    def _texts(self, blocks: list[ResponseBlock], texts: list[str]) -> str:
        """Join all texts, and keep their citations as annotations."""
        content = "".join(texts)
        fence = Fence() if self._shape.bare_json else None
        if fence is not None:
            content = fence.feed(content) + fence.end()
        cited: list[dict[str, Any]] = []
        start = length = 0
        for block, text in zip(blocks, texts, strict=True):
            if text:  # citations without a text of their own are of the text before them
                start, length = length, length + len(text)
            if block.citations_content is not None:
                cited += annotations(block.citations_content.citations, start, length, fence)
        if cited:
            self.extras["annotations"] = cited
        return content


def _text_bytes(block: ResponseBlock) -> int:
    """Return how many bytes of text a block has, as a stream of it counts them."""
    texts = [block.text or "", block.citations_content.text if block.citations_content else ""]
    if block.tool_use is not None:
        texts.append(block.tool_use.arguments)
    if (reasoning := block.reasoning_content) is not None:
        readable = reasoning.reasoning_text
        texts += (readable.text, readable.signature or "") if readable else (reasoning.redacted_content or "",)
    return sum([utf8_length(text) for text in texts])


def _reasoning_text(reasoning: ResponseReasoning | None) -> str:
    return reasoning.reasoning_text.text if reasoning and reasoning.reasoning_text else ""


def _thinking_block(reasoning: ResponseReasoning | None) -> dict[str, Any] | None:
    if reasoning is None:
        return None
    signature = reasoning.reasoning_text.signature if reasoning.reasoning_text else None
    return thinking_block(_reasoning_text(reasoning), signature or "", reasoning.redacted_content or "")
