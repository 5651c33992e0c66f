"""A Responses request -> the chat request that asks for the same.

Chat and Responses have the same things under different names, so that everything that concerns models, media, schemas
and turns is `chat_request`'s. `instructions` are the first message, items become messages (`responses_conversation`),
and `encrypted_content` is opened later (`open_reasoning`), when the model is known.

Items and tools of a type that is not known are left out and named, as in `input[type=mcp_call]`.

Decision: docs/decisions.md, D167.
"""

from collections.abc import Sequence

from extproc.openai import chat, messages
from extproc.openai.errors import invalid
from extproc.openai.limits import MAX_THINKING_BLOCKS
from extproc.openai.responses import JsonObjectFormat, JsonSchemaFormat, ResponsesRequest
from extproc.translate.ignored import Ignored
from extproc.translate.responses_conversation import REASONING, InputItems, PastReasoning
from extproc.translate.responses_fields import NOT_APPLIED, REJECTED
from extproc.translate.responses_paths import Paths
from extproc.translate.responses_tools import ResponsesTools, plan_choice, plan_tools
from extproc.translate.sealed_reasoning import ReasoningSeal
from extproc.value import Value

ENCRYPTED = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"


class ChatForm(Value, frozen=True):
    """A request in chat's form."""

    request: chat.ChatRequest
    paths: Paths
    tools: ResponsesTools
    reasoning: list[PastReasoning]
    ignored: Ignored


def chat_form(request: ResponsesRequest, unknown: Sequence[str] = ()) -> ChatForm:
    """Return the request in chat's form; `unknown` are the fields that decoding left out.

    Raises a 400 `ApiError` that names the field.
    """
    _check(request)
    ignored = Ignored()
    ignored.add(*_not_applied(request), *unknown)
    tools = plan_tools(request.tools or (), ignored)
    conversation = InputItems(tools, ignored)
    if request.instructions is not None:
        conversation.instruct(request.instructions)
    conversation.read(request.input)
    if not conversation.messages:
        raise invalid("'input' has no item that can be sent: send a message at least.", "input", "invalid_value")
    paths = Paths(conversation.places, tools.paths)
    form = _chat_request(request, conversation.messages, tools, ignored)
    return ChatForm(form, paths, tools, conversation.reasoning, ignored)


def open_reasoning(form: ChatForm, seal: ReasoningSeal, model: str) -> None:
    """Put the reasoning back into its messages, as far as it is this model's own; the rest is named."""
    for past in form.reasoning:
        block = seal.open(past.encrypted, model) if past.encrypted else None
        if block is None and past.encrypted:
            form.ignored.add(REASONING)
        elif block is None and past.summary:
            block = messages.ThinkingBlock(past.summary)
        if block is None:
            continue
        blocks = past.message.thinking_blocks = past.message.thinking_blocks or []
        if len(blocks) < MAX_THINKING_BLOCKS:
            blocks.append(block)
        else:
            form.ignored.add(REASONING)


def _check(request: ResponsesRequest) -> None:
    for name, row in REJECTED.items():
        value = getattr(request, name)
        if value is not None and value not in row.neutral:
            raise invalid(row.message, name, "unsupported_parameter")
    if request.stream_options is not None and not request.stream:
        raise invalid("'stream_options' is only for streams: set 'stream' too.", "stream_options", "invalid_value")


def _not_applied(request: ResponsesRequest) -> list[str]:
    """Return the fields that have no effect here, except for those that a chat request has as well."""
    values = [(name, getattr(request, name), neutral) for name, neutral in NOT_APPLIED.items()]
    names = [name for name, value, neutral in values if value is not None and value not in neutral]
    reasoning = request.reasoning
    if reasoning is not None and reasoning.context not in (None, "auto"):
        names.append("reasoning.context")
    if reasoning is not None and reasoning.mode not in (None, "standard"):
        names.append("reasoning.mode")
    if any(name not in (ENCRYPTED, LOGPROBS) for name in request.include or ()):
        names.append("include[]")
    return names


def _chat_request(
    request: ResponsesRequest, conversation: list[messages.Message], tools: ResponsesTools, ignored: Ignored
) -> chat.ChatRequest:
    options = request.stream_options
    return chat.ChatRequest(
        model=request.model,
        messages=conversation,
        stream=request.stream,
        stream_options=None if options is None else chat.StreamOptions(None, options.include_obfuscation),
        max_completion_tokens=request.max_output_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        tools=tools.tools or None,
        tool_choice=plan_choice(request.tool_choice, tools, ignored),
        parallel_tool_calls=request.parallel_tool_calls if tools.tools else None,
        response_format=_response_format(request),
        logprobs=True if LOGPROBS in (request.include or ()) else None,
        top_logprobs=request.top_logprobs or None,
        user=request.user,
        safety_identifier=request.safety_identifier,
        metadata=request.metadata,
        store=request.store,
        prompt_cache_key=request.prompt_cache_key,
        prompt_cache_retention=request.prompt_cache_retention,
        prompt_cache_options=request.prompt_cache_options,
        verbosity=request.text.verbosity if request.text else None,
        service_tier=request.service_tier,
        reasoning_effort=request.reasoning.effort if request.reasoning else None,
        moderation=request.moderation,
        thinking=request.thinking,
        top_k=request.top_k,
        guardrail_config=request.guardrail_config,
        performance_config=request.performance_config,
        additional_model_request_fields=request.additional_model_request_fields,
    )


def _response_format(request: ResponsesRequest) -> chat.ResponseFormat | None:
    match request.text.format if request.text else None:
        case JsonObjectFormat():
            return chat.ResponseFormatJsonObject()
        case JsonSchemaFormat() as form:
            return chat.ResponseFormatJsonSchema(chat.JsonSchema(form.name, form.description, form.schema, form.strict))
    return None
