"""A Converse answer -> a `chat.completion`, or the whole stream of chunks that says the same.

What stands in Bedrock's blocks becomes one message: texts and cited texts are the content, reasoning is
`reasoning_content` and, block by block with its signatures, `thinking_blocks`: a client that gives the message back
on the next turn gives those back too. `Shape` says how the client expects its calls. What a guardrail did stands
beside the choices, as Bedrock tells it, for a client that asked: a `trace` shows what the guardrail held back.

Left out, because OpenAI's message has no place for them: images and tool results in an answer (what AWS's own tools
made), and citations of places inside of documents; only those with a URL become annotations.

Invariant: `answer` and `as_stream` say the same, and the same as `chat_stream` does of the same answer in events.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from extproc.bedrock import errors as bedrock_errors
from extproc.bedrock.converse_answer import (
    Answer,
    AnsweredBlock,
    AnsweredToolUse,
    BadAnswerError,
    Citation,
    ReasoningContent,
    ServedTier,
    TokenUsage,
    decode_answer,
)
from extproc.openai.completion import Chunks, Usage, completion, custom_call, tool_call
from extproc.openai.errors import ApiError
from extproc.openai.sse import DONE
from extproc.translate.errors import from_bedrock
from extproc.translate.shape import Shape

_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "refusal": "content_filter",
}
"""Bedrock's `stopReason`s, and Claude's own `refusal`, as OpenAI calls them; the two `malformed_*` are failures."""

_TIERS = {"reserved": "scale"}
"""Bedrock's service tiers where OpenAI has another word: capacity that was bought in advance."""


class Answered(msgspec.Struct, frozen=True):
    """An answer for the client; `body` is JSON or SSE."""

    body: bytes
    usage: Usage
    finish: str


def answer(body: bytes, *, completion_id: str, created: int, model: str, shape: Shape) -> Answered:
    """The `chat.completion`.

    Raises `BadAnswerError` where Bedrock's body is not what it should be, and `ApiError` where the model failed.
    """
    said = _Said(body, shape)
    told = completion(completion_id, created, model, said.message(), said.finish, said.usage, said.tier, said.trace)
    return Answered(told, said.usage, said.finish)


def as_stream(body: bytes, chunks: Chunks, *, shape: Shape, truncation: str = "length") -> Answered:
    """All chunks of a stream, for a client that wants one of a model that cannot. Raises as `answer` does.

    `truncation` is what to call the end of an answer that was cut short.
    """
    said = _Said(body, shape)
    finish = truncation if said.finish == "length" else said.finish
    written = [chunks.role()]
    if said.reasoning:
        written.append(chunks.delta({"reasoning_content": said.reasoning}))
    if said.content:
        written.append(chunks.content(said.content))
    written += said.call_chunks(chunks)
    if said.extras:
        written.append(chunks.delta(streamed_extras(said.extras)))
    written += [chunks.finish(finish, said.tier, said.trace), chunks.usage(said.usage, said.tier), DONE]
    return Answered(b"".join(written), said.usage, finish)


def streamed_extras(extras: dict[str, Any]) -> dict[str, Any]:
    """The delta for what goes out whole in a stream.

    LiteLLM passes over a delta with nothing in it that it knows as text, and would lose the signatures.
    """
    return {"reasoning_content": "", **extras} if "thinking_blocks" in extras else extras


# What both forms of an answer, whole and in events, are made of


def finish_reason(stop_reason: str, *, called: bool, legacy: bool = False) -> str:
    """OpenAI's word for why the model stopped. `called`: the client has a call to execute (`legacy`: a function's).

    Some models say `end_turn` although they called, and a forced answer tool says `tool_use` although the client
    asked for no tool. Raises a 502 `ApiError` for an answer that the model botched.
    """
    if stop_reason.startswith("malformed_"):
        raise ApiError(
            502,
            f"The model's output was malformed ({stop_reason}). Send the request again.",
            type="server_error",
            code=stop_reason,
        )
    reason = _FINISH_REASONS.get(stop_reason, "stop")
    if reason not in ("stop", "tool_calls"):
        return reason
    if called:
        return "function_call" if legacy else "tool_calls"
    return "stop"


def usage(tokens: TokenUsage) -> Usage:
    """Bedrock leaves cached tokens out of `inputTokens`, OpenAI counts them in `prompt_tokens`."""
    cached, written = tokens.cache_read_input_tokens, tokens.cache_write_input_tokens
    return Usage(tokens.input_tokens + cached + written, tokens.output_tokens, cached, written)


def service_tier(served: ServedTier | None) -> str | None:
    """The tier at which the call was served, as OpenAI calls it; None where Bedrock does not say."""
    if served is None or not served.type:
        return None
    return _TIERS.get(served.type, served.type)


def thinking_block(text: str, signature: str, redacted: str) -> dict[str, Any] | None:
    """One block of reasoning as clients give it back, or None if it is empty; `redacted` is base64."""
    if redacted:
        return {"type": "redacted_thinking", "data": redacted}
    if signature:
        return {"type": "thinking", "thinking": text, "signature": signature}
    return {"type": "thinking", "thinking": text} if text else None


def annotations(citations: Iterable[Citation], start: int, end: int) -> list[dict[str, Any]]:
    """Those of the citations that are of the web, for the content's characters from `start` to before `end`."""
    found = []
    for citation in citations:
        web = citation.location.web if citation.location else None
        if web is not None and web.url:
            title = citation.title or web.domain or web.url
            cited = {"start_index": start, "end_index": end, "title": title, "url": web.url}
            found.append({"type": "url_citation", "url_citation": cited})
    return found


class _FreeText(msgspec.Struct, forbid_unknown_fields=True):
    """What a custom tool's call looks like to the model: `Shape.custom`."""

    input: str = ""


_FREE_TEXT = msgspec.json.Decoder(_FreeText)


def custom_input(arguments: str) -> str:
    """The text that a custom tool gets; where the model did not keep to the tool's schema, all that it gave."""
    try:
        return _FREE_TEXT.decode(arguments).input
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        return arguments


# A whole answer


class _Said:
    """What the model said, taken apart."""

    def __init__(self, body: bytes, shape: Shape) -> None:
        converse = _decode(body)
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

    def call_chunks(self, chunks: Chunks) -> list[bytes]:
        """The calls, as pieces of a stream."""
        written = []
        for index, use in enumerate(self.calls):
            name = self._shape.client_name(use.name)
            if self._shape.legacy:
                written += [chunks.function_start(name), chunks.function_arguments(use.arguments)]
            elif name in self._shape.custom:
                written.append(chunks.custom_start(index, use.tool_use_id, name))
                written.append(chunks.custom_input(index, custom_input(use.arguments)))
            else:
                written.append(chunks.tool_start(index, use.tool_use_id, name))
                written.append(chunks.tool_arguments(index, use.arguments))
        return written

    def _call(self, use: AnsweredToolUse) -> dict[str, Any]:
        name = self._shape.client_name(use.name)
        if name in self._shape.custom:
            return custom_call(use.tool_use_id, name, custom_input(use.arguments))
        return tool_call(use.tool_use_id, name, use.arguments)

    def _texts(self, blocks: list[AnsweredBlock]) -> str:
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


def _decode(body: bytes) -> Answer:
    """AWS says of an operation that it does not know with a status of 200."""
    try:
        return decode_answer(body)
    except BadAnswerError as error:
        failure = bedrock_errors.from_response(200, {}, body)
        if failure.kind:
            raise from_bedrock(failure) from error
        raise


def _thought(reasoning: ReasoningContent | None) -> str:
    return reasoning.reasoning_text.text if reasoning and reasoning.reasoning_text else ""


def _thinking(reasoning: ReasoningContent | None) -> dict[str, Any] | None:
    if reasoning is None:
        return None
    signature = reasoning.reasoning_text.signature if reasoning.reasoning_text else None
    return thinking_block(_thought(reasoning), signature or "", reasoning.redacted_content or "")
