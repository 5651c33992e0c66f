"""A chat request -> a Converse request.

`chat_fields` has a row for every field of OpenAI's request: applied, in this package; not applied, and then named to
the client in `x-oai-ignored-params`; or rejected.
"""

from collections.abc import Callable, Mapping
from operator import attrgetter
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.converse import ConverseRequest, OutputConfig
from extproc.bedrock.converse_response import OUTPUT_TOKENS_DETAILS
from extproc.openai.chat import ChatRequest, PartlyKnown, ResponseFormatJsonSchema
from extproc.openai.errors import invalid
from extproc.payload import Payload, Segments, segments
from extproc.translate.chat_fields import NOT_APPLIED, REJECTED
from extproc.translate.fields import alternatives
from extproc.translate.ignored import Ignored
from extproc.translate.messages import Conversation, plan_conversation
from extproc.translate.model_fields import merged, with_own
from extproc.translate.parameters import Parameters, plan_parameters
from extproc.translate.reasoning import Reasoning, plan_reasoning
from extproc.translate.response_shape import ResponseShape
from extproc.translate.rules import NO_RULES, Rules
from extproc.translate.tools import Tools, plan_tools
from extproc.translate.web_search import while_searching, with_search
from extproc.value import Value

_VALUES_NOT_APPLIED: Callable[[ChatRequest], tuple[Any, ...]] = attrgetter(*NOT_APPLIED)
_VALUES_REJECTED: Callable[[ChatRequest], tuple[Any, ...]] = attrgetter(*REJECTED)

NOTHING: Mapping[str, bytes] = MappingProxyType({})
"""The fetched media of a request without remote media."""


class ChatPlan(Value, frozen=True):
    """The request to Bedrock, and the values that its response depends on."""

    body: Payload
    stream: bool
    """Whether Bedrock is called for a stream."""
    streamed: bool
    """Whether the client requested a stream. If `stream` is false, it is made of the whole response."""
    include_usage: bool
    shape: ResponseShape
    """The shape of the response that the client expects."""
    ignored: tuple[str, ...]
    """Fields of the request that change nothing, by their paths (`Ignored`)."""
    most_output: int = 0
    """Most tokens of the completion, 0 where there is no limit."""
    priority: bool = False
    """Whether the service tier `priority` is requested."""
    reasons: bool = False
    """Whether the model reasons. It may show a summary of that, or nothing."""
    page_tokens: int = 0
    """Tokens of the pages of its PDFs, beyond those that the files have by their lengths."""


class CountPlan(Value, frozen=True):
    """The request of CountTokens, and the fields that change nothing."""

    body: Payload
    ignored: tuple[str, ...]


def plan(
    request: ChatRequest,
    capabilities: Capabilities,
    fetched: Mapping[str, bytes] = NOTHING,
    project: str | None = None,
    rules: Rules = NO_RULES,
) -> ChatPlan:
    """Return the Converse request for `request`, as the models of this family take it.

    `fetched` are the media at http(s) URLs, `project` is what the call belongs to, `rules` are the organisation's.
    Raises a 400 `ApiError` that names the field.

    Each step needs those before it: what was requested of reasoning; what the family takes while it reasons so
    (`effective`, the only capabilities from there on); the tools; the conversation, whose history of calls depends on
    them; the other parameters.
    """
    planned = _plan(request, capabilities, fetched, project, rules)
    options, inference = request.stream_options, planned.converse.inference_config
    most, tier = UNSET if inference is UNSET else inference.max_tokens, planned.converse.service_tier
    return ChatPlan(
        body=planned.converse.encode(),
        stream=planned.stream,
        streamed=bool(request.stream),
        include_usage=bool(options and options.include_usage),
        shape=_shape(request, planned.effective, planned.tools),
        ignored=planned.ignored,
        most_output=0 if most is UNSET else most,
        priority=tier is not UNSET and tier.type == "priority",
        reasons=planned.reasons,
        page_tokens=planned.page_tokens,
    )


def plan_count(
    request: ChatRequest,
    capabilities: Capabilities,
    fetched: Mapping[str, bytes] = NOTHING,
    rules: Rules = NO_RULES,
) -> CountPlan:
    """Return the request of CountTokens for what `plan` would send. Raises a 400 `ApiError` that names the field."""
    planned = _plan(request, capabilities, fetched, None, rules)
    converse = planned.converse
    counted = ConverseRequest(
        messages=converse.messages,
        system=converse.system,
        tool_config=converse.tool_config,
        additional_model_request_fields=converse.additional_model_request_fields,
    )
    body = Segments([b'{"input":{"converse":', *segments(counted.encode()), b"}}"])
    return CountPlan(body=body, ignored=planned.ignored)


class _Planned(Value, frozen=True):
    """What the steps of a translation have made."""

    converse: ConverseRequest
    effective: Capabilities
    tools: Tools
    stream: bool
    ignored: tuple[str, ...]
    reasons: bool
    page_tokens: int


def _plan(
    request: ChatRequest, capabilities: Capabilities, fetched: Mapping[str, bytes], project: str | None, rules: Rules
) -> _Planned:
    _check(request, capabilities)
    ignored = Ignored()
    ignored.add(*_not_applied(request))
    reasoning = plan_reasoning(_limited(request, rules), capabilities, ignored)
    effective = while_searching(request, _beside_format(request, reasoning.effective(capabilities)))
    tools = plan_tools(request, effective, ignored, reasoning=reasoning.on)
    tools = with_search(request, effective, tools, ignored)
    conversation = plan_conversation(
        request.messages,
        effective,
        tools,
        fetched,
        ignored,
        instruction=tools.instruction,
        guarded=request.guardrail_config is not None and rules.guardrail is None,
        cache=request.prompt_cache_options,
    )
    stream = bool(request.stream) and _streams(effective, tools)
    parameters = plan_parameters(request, effective, reasoning, ignored, stream=stream, rules=rules)
    binding = reasoning.binding_fields(effective, conversation.turns)
    fields = merged(reasoning.fields, binding, parameters.fields, tools.model_fields)
    fields = with_own(fields, request, effective, rules)
    converse = _converse_request(effective, reasoning, tools, conversation, parameters, fields)
    converse.project_identifier = project or UNSET
    return _Planned(converse, effective, tools, stream, ignored.paths, reasoning.on, conversation.page_tokens)


def _limited(request: ChatRequest, rules: Rules) -> ChatRequest:
    """Return the request with the organisation's limit of tokens, if it has none: budgets have to fit into it."""
    if rules.max_tokens is None or request.token_limit is not None:
        return request
    return msgspec.structs.replace(request, max_completion_tokens=rules.max_tokens)


def _converse_request(
    effective: Capabilities,
    reasoning: Reasoning,
    tools: Tools,
    conversation: Conversation,
    parameters: Parameters,
    fields: dict[str, Any],
) -> ConverseRequest:
    return ConverseRequest(
        messages=conversation.turns,
        system=conversation.system or UNSET,
        inference_config=parameters.inference,
        tool_config=tools.config or UNSET,
        output_config=_output(tools, reasoning),
        guardrail_config=parameters.guardrail,
        performance_config=parameters.performance,
        service_tier=parameters.service_tier,
        request_metadata=parameters.metadata,
        additional_model_request_fields=fields or UNSET,
        additional_model_response_field_paths=_response_fields(effective, reasoning),
    )


def _beside_format(request: ChatRequest, capabilities: Capabilities) -> Capabilities:
    """Return the capabilities beside the response format: Claude rejects citations beside a schema."""
    if type(request.response_format) is ResponseFormatJsonSchema and capabilities.cited_documents:
        return msgspec.structs.replace(capabilities, cited_documents=())
    return capabilities


def _not_applied(request: ChatRequest) -> list[str]:
    """Return the fields that no family applies."""
    options = request.stream_options
    obfuscated = options is not None and options.include_obfuscation
    unknown = request.left_out if isinstance(request, PartlyKnown) else ()
    values = _VALUES_NOT_APPLIED(request)
    set_to_others: list[str] = []
    if values.count(None) < len(values):
        named = zip(NOT_APPLIED.items(), values, strict=True)
        set_to_others = [name for (name, neutral), value in named if value is not None and value not in neutral]
    return [*set_to_others, *(["stream_options.include_obfuscation"] if obfuscated else []), *unknown]


def _shape(request: ChatRequest, capabilities: Capabilities, tools: Tools) -> ResponseShape:
    """Return the shape of the tools' response, and what the rest of the request and the family add to it."""
    more: dict[str, Any] = {}
    if _traced(request):
        more["trace"] = True
    if capabilities.inline_reasoning != "none":
        more["inline_reasoning"] = capabilities.inline_reasoning
    if tools.instruction is not None:
        more["bare_json"] = True
    if params := alternatives(request):
        more["params"] = params
    return msgspec.structs.replace(tools.shape, **more) if more else tools.shape


def _traced(request: ChatRequest) -> bool:
    """Return whether the client requested the guardrail's trace."""
    guardrail = request.guardrail_config
    return guardrail is not None and guardrail.trace in ("enabled", "enabled_full")


def _streams(capabilities: Capabilities, tools: Tools) -> bool:
    """Return whether Bedrock can stream the response."""
    return capabilities.streams and (tools.config is None or capabilities.streams_with_tools)


def _output(tools: Tools, reasoning: Reasoning) -> OutputConfig | UnsetType:
    config = OutputConfig(text_format=tools.output, effort=reasoning.effort)
    return UNSET if config == OutputConfig() else config


def _response_fields(capabilities: Capabilities, reasoning: Reasoning) -> list[str] | UnsetType:
    """Return the parts of the model's own response that the client's response needs."""
    return [OUTPUT_TOKENS_DETAILS] if capabilities.reasoning_tokens and reasoning.on else UNSET


def _check(request: ChatRequest, capabilities: Capabilities) -> None:
    """Reject a request that Bedrock cannot serve. Raises a 400 `ApiError`."""
    if not capabilities.converse:
        raise invalid(
            f"Models of the family '{capabilities.family}' are not served by Bedrock's Converse: use another model.",
            "model",
            "unsupported_value",
        )
    if request.stream_options is not None and not request.stream:
        raise invalid("'stream_options' is only for streams: set 'stream' too.", "stream_options", "invalid_value")
    values = _VALUES_REJECTED(request)
    if values.count(None) == len(values):
        return
    for (name, row), value in zip(REJECTED.items(), values, strict=True):
        if value is not None and value not in row.neutral:
            message = row.message or f"'{name}' is not supported here. Leave it out."
            raise invalid(message, name, "unsupported_value" if row.neutral else "unsupported_parameter")
