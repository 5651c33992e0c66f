"""A chat request -> a Converse request.

Each field of OpenAI's request is in exactly one of three places: applied in the code below, refused in `REFUSED`, or
accepted and not applied in `NOT_APPLIED` (and then named to the client in `x-oai-ignored-params`). A test walks
`ChatRequest` and fails for a field that is in none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from msgspec import UNSET, UnsetType

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.converse import InferenceConfig, Request, Text
from extproc.openai.chat import ChatRequest, JsonObjectFormat
from extproc.openai.errors import invalid
from extproc.translate.messages import conversation
from extproc.translate.shape import Shape
from extproc.translate.tools import tools

NOTHING: Mapping[str, bytes] = MappingProxyType({})
"""What has been fetched for a request without remote media."""

NOT_APPLIED: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "seed": (),
    "logprobs": (False,),
    "top_logprobs": (),
    "logit_bias": ({},),
    "parallel_tool_calls": (True,),
    "user": (),
    "safety_identifier": (),
    "metadata": ({},),
    "store": (False,),
    "prompt_cache_key": (),
    "prompt_cache_retention": (),
    "prompt_cache_options": (),
    "prediction": (),
    "verbosity": ("medium",),
}
"""Fields that change nothing here, with the values that would change nothing anywhere."""

REFUSED: dict[str, tuple[Any, ...]] = {
    "service_tier": ("auto", "default"),
    "reasoning_effort": ("none",),
    "modalities": (["text"],),
    "audio": (),
    "web_search_options": (),
    "moderation": (),
    "functions": ([],),
    "function_call": ("none", "auto"),
}
"""Fields whose silent loss would change the answer, with the values that lose nothing."""

_INSTEAD = {
    "functions": "Use 'tools'.",
    "function_call": "Use 'tool_choice'.",
    "modalities": "Only text can be asked for.",
}

_EVERY_CHOICE = Capabilities(tool_choices=("auto", "any", "tool"), json_schema=("tool",))

_JSON_OBJECT = "Answer with one valid JSON object and nothing else: no explanation, no code fence."


@dataclass(frozen=True, slots=True)
class ChatPlan:
    """What goes to Bedrock, and what to remember for the answer."""

    body: bytes
    stream: bool
    """How Bedrock is called."""
    streamed: bool
    """What the client wants. Where `stream` is false, its stream has to be made of the whole answer."""
    include_usage: bool
    shape: Shape
    """How the client expects the answer."""
    answer_tool: str | None
    ignored: tuple[str, ...]
    """What was asked for and changes nothing, by name."""


def plan(request: ChatRequest, capabilities: Capabilities, fetched: Mapping[str, bytes] = NOTHING) -> ChatPlan:
    """The Converse request for `request`, as the models of this family take it.

    `fetched` are the media that stand at http(s) URLs. Raises a 400 `ApiError` that names the field.
    """
    _check(request)
    offered = tools(request, _EVERY_CHOICE)
    system, turns = conversation(request.messages, tool_blocks=offered.config is not None)
    if isinstance(request.response_format, JsonObjectFormat):
        system = [*system, Text(_JSON_OBJECT)]
    converse = Request(
        messages=turns,
        system=system or UNSET,
        inference_config=_inference(request),
        tool_config=offered.config or UNSET,
    )
    options = request.stream_options
    return ChatPlan(
        body=converse.encode(),
        stream=bool(request.stream),
        streamed=bool(request.stream),
        include_usage=bool(options and options.include_usage),
        shape=Shape(answer_tool=offered.shape.answer_tool),
        answer_tool=offered.shape.answer_tool,
        ignored=ignored(request),
    )


def ignored(request: ChatRequest) -> tuple[str, ...]:
    """The names of the fields that were given and change nothing."""
    return tuple(name for name, neutral in NOT_APPLIED.items() if _stands(request, name, neutral))


def _stands(request: ChatRequest, name: str, neutral: tuple[Any, ...]) -> bool:
    value = getattr(request, name)
    return value is not None and value not in neutral


def _check(request: ChatRequest) -> None:
    """Refuse what Bedrock cannot do, before any work is done."""
    for name, neutral in REFUSED.items():
        if _stands(request, name, neutral):
            instead = _INSTEAD.get(name, "Leave it out.")
            raise invalid(f"'{name}' is not supported here. {instead}", name, "unsupported_parameter")
    if request.n is not None and request.n > 1:
        raise invalid(
            "One choice is all there is: 'n' must be 1. Send the request again for another.",
            "n",
            "unsupported_value",
        )
    if request.temperature is not None and request.temperature > 1:
        raise invalid("Bedrock's models take a temperature from 0 to 1.", "temperature", "unsupported_value")
    if request.stream_options is not None and not request.stream:
        raise invalid("'stream_options' is only for streams: set 'stream' too.", "stream_options", "invalid_value")


def _inference(request: ChatRequest) -> InferenceConfig | UnsetType:
    stops = [request.stop] if isinstance(request.stop, str) else request.stop
    config = InferenceConfig(
        max_tokens=_max_tokens(request),
        temperature=UNSET if request.temperature is None else request.temperature,
        top_p=UNSET if request.top_p is None else request.top_p,
        stop_sequences=[stop for stop in stops or () if stop] or UNSET,
    )
    return UNSET if config == InferenceConfig() else config


def _max_tokens(request: ChatRequest) -> int | UnsetType:
    older, newer = request.max_tokens, request.max_completion_tokens
    if older is not None and newer is not None and older != newer:
        raise invalid(
            "'max_tokens' and 'max_completion_tokens' say different things: send one of them.",
            "max_tokens",
            "invalid_value",
        )
    limit = newer if newer is not None else older
    return UNSET if limit is None else limit
