"""The parts of a chat completion that a whole message and a stream have in common.

A guardrail's `trace` is a member beside the choices, as Bedrock sends it, if the client requested it: it shows the
text that the guardrail withheld. That of a prompt router, which names the model that it chose, is always there.
Citations of places inside documents are left out, because OpenAI's annotations have no member for them: only those
with a URL become annotations.

Decision: docs/decisions.md, D19.
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from extproc.bedrock.converse_response import Citation, ResponseServiceTier, TokenUsage
from extproc.openai.completion import Usage
from extproc.openai.errors import ApiError
from extproc.translate.response_text import Fence

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
"""OpenAI's `finish_reason` for Bedrock's `stopReason`, and for Claude's own `refusal`; `malformed_*` are failures."""

_MALFORMED = re.compile(r"malformed_[a-z_]{1,54}")
"""Reasons that may be the code of an error, which logs and metrics have."""

_TIERS = {"default": "default", "flex": "flex", "priority": "priority", "reserved": "scale"}
"""OpenAI's names of Bedrock's service tiers; `scale` is capacity that was bought in advance."""


def finish_reason(stop_reason: str, *, called: bool, legacy: bool = False) -> str:
    """Return OpenAI's `finish_reason`. `called`: the client has a call to execute (`legacy`: a function's).

    Some models send `end_turn` although they called a tool, and a forced answer tool sends `tool_use` although the
    client has no tool. Raises a 502 `ApiError` for malformed output.
    """
    if stop_reason.startswith("malformed_"):
        code = stop_reason if _MALFORMED.fullmatch(stop_reason) else "malformed_model_output"
        message = f"The model's output was malformed ({code}). Send the request again."
        raise ApiError(502, message, type="server_error", code=code)
    reason = _FINISH_REASONS.get(stop_reason, "stop")
    if reason not in ("stop", "tool_calls"):
        return reason
    if called:
        return "function_call" if legacy else "tool_calls"
    return "stop"


def usage(tokens: TokenUsage, reasoning: int | None, text_bytes: int) -> Usage:
    """Return the tokens as OpenAI counts them: `prompt_tokens` includes the cached ones, which `inputTokens` do not.

    `reasoning` is the part of the output that is reasoning, if the model reports it; `text_bytes` are those of what the
    model has written.
    """
    if tokens.input_tokens is None or tokens.output_tokens is None:
        return Usage(uncounted=text_bytes)
    cached, written = tokens.cache_read_input_tokens, tokens.cache_write_input_tokens
    prompt, hour = tokens.input_tokens + cached + written, tokens.written_for_an_hour
    return Usage(prompt, tokens.output_tokens, cached, written, reasoning, hour)


def service_tier(served: ResponseServiceTier | None) -> str | None:
    """Return OpenAI's name of the tier at which the call was served.

    None if Bedrock sends none, or one that OpenAI does not have: strict clients reject other names.
    """
    return _TIERS.get(served.type) if served is not None and served.type else None


def visible_trace(trace: dict[str, Any] | None, *, requested: bool) -> dict[str, Any] | None:
    """Return the trace for the client: all if it requested the guardrail's, else what a prompt router did."""
    if trace is None or requested:
        return trace
    router = trace.get("promptRouter")
    return {"promptRouter": router} if router else None


def thinking_block(text: str, signature: str, redacted: str) -> dict[str, Any] | None:
    """Return one block of reasoning as clients send it back, or None if it is empty; `redacted` is base64."""
    if redacted:
        return {"type": "redacted_thinking", "data": redacted}
    if signature:
        return {"type": "thinking", "thinking": text, "signature": signature}
    return {"type": "thinking", "thinking": text} if text else None


def annotations(
    citations: Iterable[Citation], start: int, end: int, fence: Fence | None = None
) -> list[dict[str, Any]]:
    """Return the `url_citation`s of the text's characters from `start` to before `end`.

    `fence` is what was taken off the text, after its end.
    """
    if fence is not None:
        start, end = fence.place(start), fence.place(end)
    cited = []
    for citation in citations:
        web = citation.location.web if citation.location else None
        if web is not None and web.url:
            title = citation.title or web.domain or web.url
            url_citation = {"start_index": start, "end_index": end, "title": title, "url": web.url}
            cited.append({"type": "url_citation", "url_citation": url_citation})
    return cited


class _CustomArguments(msgspec.Struct, forbid_unknown_fields=True):
    """The arguments of a custom tool's call, as the model sees the tool: `ResponseShape.custom`."""

    input: str = ""


_CUSTOM_ARGUMENTS = msgspec.json.Decoder(_CustomArguments)


def custom_input(arguments: str) -> str:
    """Return a custom call's input; all of the arguments, where the model did not keep to the tool's schema."""
    try:
        return _CUSTOM_ARGUMENTS.decode(arguments).input
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        return arguments
