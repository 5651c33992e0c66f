"""POST /responses, without state: the same calls of Converse as a chat's, and events of its own.

An operator switches it on (`endpoints.responses`): the contract that this gateway implements leaves it out.

Decision: docs/decisions.md, D167.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.catalogue import Target
from extproc.bedrock.converse_response import decode_count
from extproc.bedrock.sigv4 import model_path
from extproc.exchange.endpoint import (
    ApiEndpoint,
    AskContext,
    BedrockCall,
    Clock,
    Response,
    ResponseContext,
    TranslatedRequest,
    are_large,
)
from extproc.openai.chat import WebSearchOptions
from extproc.openai.completion import Usage
from extproc.openai.errors import ApiError
from extproc.openai.response_object import response_head, tool_object
from extproc.openai.responses import JsonSchemaFormat, ResponsesRequest, TextConfig, decode_request
from extproc.translate import chat_request
from extproc.translate.chat_sse import ChatSse, whole_stream
from extproc.translate.chat_stream import ChatStream
from extproc.translate.completed import Completed
from extproc.translate.features import check_feature, check_features
from extproc.translate.media import RemoteImage, remote_images
from extproc.translate.response_shape import ResponseShape
from extproc.translate.responses_events import ResponsesEncoder
from extproc.translate.responses_request import ENCRYPTED, ChatForm, chat_form, open_reasoning
from extproc.translate.sealed_reasoning import ReasoningSeal

REPETITIONS = 3
"""Events of a response that repeat the request's members: the first two and the last."""

Plan = TypeVar("Plan", chat_request.ChatPlan, chat_request.CountPlan)


class ResponsesPending(msgspec.Struct, frozen=True):
    """A Responses request that has been translated."""

    ignored: tuple[str, ...]
    streams: bool
    model: str
    streamed: bool
    """Whether the client requested a stream. If Bedrock has none, it is made of the whole response."""
    shape: ResponseShape
    echo: Raw
    """The members of the response that repeat the request."""
    names: dict[str, dict[str, str]]
    """The `name` and `namespace` of flattened tools, by their flat names."""
    summary: bool
    sealed: bool
    model_id: str
    params: Mapping[str, str]

    def complete(self, context: ResponseContext, responses: Sequence[Response]) -> Completed:
        """Return the response, or all of its events where the client wants a stream.

        Raises `ConverseResponseError` and `ApiError`.
        """
        [(_, body)] = responses
        encoder, stream = self._encoder(context, lambda: context.now), self._stream()
        completed = whole_stream(body, stream, encoder, context.most_text)
        if self.streamed:
            return completed
        return Completed(encoder.response, completed.usage, completed.finish)

    def is_large(self, responses: Sequence[Response]) -> bool:
        """Return whether it is longer than a model's text, or has more parts."""
        return are_large(responses)

    def stream(self, context: ResponseContext, clock: Clock) -> ChatSse | None:
        """Return the translator of ConverseStream's events to those of Responses."""
        return ChatSse(self._stream(), self._encoder(context, clock)) if self.streams else None

    def _stream(self) -> ChatStream:
        return ChatStream(shape=self.shape, itemised=True)

    def _encoder(self, context: ResponseContext, clock: Clock) -> ResponsesEncoder:
        seal = partial(_sealed, ReasoningSeal(context.keys), self.model_id) if self.sealed else None
        head = response_head(f"resp_{context.id}", context.created, self.model, memoryview(self.echo))
        return ResponsesEncoder(context.id, head, self.names, clock=clock, summary=self.summary, seal=seal)


def _sealed(seal: ReasoningSeal, model_id: str, block: dict[str, Any]) -> str:
    return seal.seal(block, model_id)


class DecodedResponses:
    """A decoded Responses request."""

    def __init__(self, request: ResponsesRequest, unknown: Sequence[str]) -> None:
        self.model = request.model
        self._request = request
        self._form: ChatForm = chat_form(request, unknown)
        images = remote_images(self._form.request.messages)
        self.images: Mapping[str, RemoteImage] = {
            url: RemoteImage(self._form.paths.of(image.path), image.uses) for url, image in images.items()
        }

    def check_features(self, denied: int) -> None:
        """Raise a 403 `ApiError` that names the field if the request uses one of the features with these bits."""
        if self._form.tools.search:
            check_feature("web_search", denied, "tools")
        try:
            check_features(self._form.request, denied)
        except ApiError as error:
            raise self._form.paths.error(error) from error

    def ask(self, target: Target, capabilities: Capabilities, context: AskContext) -> TranslatedRequest:
        """Translate the request. Raises `ApiError`."""
        plan = self._planned(
            target, capabilities, context, partial(chat_request.plan, project=target.project, rules=context.rules)
        )
        path = model_path(target.model_id, "converse-stream" if plan.stream else "converse")
        accept = "application/vnd.amazon.eventstream" if plan.stream else "application/json"
        pending = self._pending(plan, target)
        request = self._form.request
        call = BedrockCall(
            path,
            plan.body,
            accept,
            response=REPETITIONS * len(bytes(pending.echo)),
            most_output=plan.most_output,
            user=request.safety_identifier or request.user,
            priority=plan.priority,
            reasons=plan.reasons,
            page_tokens=plan.page_tokens,
        )
        return TranslatedRequest((call,), pending)

    def _planned(
        self, target: Target, capabilities: Capabilities, context: AskContext, plan: Callable[..., Plan]
    ) -> Plan:
        """Return the plan of the chat form, with the client's own names in what it reports. Raises `ApiError`."""
        form = self._form
        self._search(capabilities)
        open_reasoning(form, ReasoningSeal(context.keys), target.model_id)
        try:
            planned = plan(form.request, capabilities, context.images)
        except ApiError as error:
            raise form.paths.error(error) from error
        form.ignored.add(*map(form.paths.of, planned.ignored))
        return planned

    def _params(self, own: Mapping[str, str]) -> dict[str, str]:
        """Return the client's names of the fields that Bedrock's errors call by another."""
        return {name: self._form.paths.of(param) for name, param in {**_PARAMS, **own}.items()}

    def _search(self, capabilities: Capabilities) -> None:
        """Search the web if the client offers that and the family can; else the tool is left out."""
        search = self._form.tools.search
        if not search:
            return
        if capabilities.web_search:
            self._form.request.web_search_options = WebSearchOptions()
        else:
            self._form.ignored.add_type("tools", search)

    def _pending(self, plan: chat_request.ChatPlan, target: Target) -> ResponsesPending:
        request, form = self._request, self._form
        reasoning = request.reasoning
        summary = reasoning is not None and (reasoning.summary or reasoning.generate_summary) not in (None, "none")
        return ResponsesPending(
            ignored=form.ignored.paths,
            streams=plan.stream,
            model=self.model,
            streamed=plan.streamed,
            shape=plan.shape,
            echo=Raw(_on_one_line(msgspec.json.encode(_echo(request)))),
            names={flat: {"name": name.name, "namespace": name.namespace} for flat, name in form.tools.names.items()},
            summary=summary,
            sealed=ENCRYPTED in (request.include or ()),
            model_id=target.model_id,
            params=self._params(plan.shape.params),
        )


_PARAMS = {name: name for name in ("max_tokens", "messages", "response_format", "reasoning_effort")}
"""Fields that Bedrock's errors name in chat's terms."""


def _on_one_line(json: bytes) -> bytes:
    """Return JSON without line breaks, which end the lines of events: raw parts are as the client indented them."""
    return msgspec.json.format(json, indent=-1) if b"\n" in json or b"\r" in json else json


def _echo(request: ResponsesRequest) -> dict[str, Any]:
    """Return the members of the response that repeat the request, with OpenAI's defaults."""
    reasoning, text = request.reasoning, request.text
    return {
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls,
        "metadata": request.metadata or {},
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": {
            "effort": reasoning.effort if reasoning else None,
            "summary": (reasoning.summary or reasoning.generate_summary) if reasoning else None,
        },
        "safety_identifier": request.safety_identifier,
        "temperature": 1.0 if request.temperature is None else request.temperature,
        "text": {
            "format": _format(text),
            "verbosity": (text.verbosity if text else None) or "medium",
        },
        "tool_choice": request.tool_choice if request.tool_choice != Raw(b"null") else "auto",
        "tools": [tool_object(tool) for tool in request.tools or ()],
        "top_p": 1.0 if request.top_p is None else request.top_p,
        "truncation": request.truncation or "disabled",
        "user": request.user,
    }


class InputTokensPending(msgspec.Struct, frozen=True):
    """A request for the number of tokens of a Responses request."""

    ignored: tuple[str, ...]
    streams: bool
    params: Mapping[str, str]

    def complete(self, context: ResponseContext, responses: Sequence[Response]) -> Completed:
        """Return the number. Raises `ConverseResponseError`."""
        [(_, body)] = responses
        number = decode_count(body)
        return Completed(
            msgspec.json.encode({"object": "response.input_tokens", "input_tokens": number}), Usage(), "stop"
        )

    def is_large(self, responses: Sequence[Response]) -> bool:
        """Return False: it is a number."""
        return False

    def stream(self, context: ResponseContext, clock: Clock) -> None:
        """Return None: it is a number."""


class DecodedInputTokens(DecodedResponses):
    """A decoded request for a number of tokens."""

    def ask(self, target: Target, capabilities: Capabilities, context: AskContext) -> TranslatedRequest:
        """Translate the request. Raises `ApiError`."""
        if target.foundation is None:
            raise _uncounted(self.model)
        plan = self._planned(target, capabilities, context, partial(chat_request.plan_count, rules=context.rules))
        path = model_path(target.foundation, "count-tokens")
        pending = InputTokensPending(self._form.ignored.paths, False, self._params({}))
        return TranslatedRequest((BedrockCall(path, plan.body, billed=False),), pending)


def _uncounted(model: str) -> ApiError:
    message = f"Bedrock counts tokens for foundation models only: '{model}' is none that is known."
    return ApiError(404, message, param="model", code="model_not_found")


def _format(text: TextConfig | None) -> Any:
    form = text.format if text else None
    if isinstance(form, JsonSchemaFormat) and form.strict is None:
        return msgspec.structs.replace(form, strict=False)
    return form or {"type": "text"}


def decode(body: bytes | bytearray, passed_over: Collection[str] = ()) -> DecodedResponses:
    """Decode the body of a Responses request. Raises `ApiError`."""
    return DecodedResponses(*decode_request(body, passed_over))


def decode_for_count(body: bytes | bytearray, passed_over: Collection[str] = ()) -> DecodedInputTokens:
    """Decode the body of a request for a number of tokens. Raises `ApiError`."""
    return DecodedInputTokens(*decode_request(body, passed_over))


RESPONSES = ApiEndpoint(
    "responses",
    "POST",
    "/responses",
    decode,
    msgspec.json.Decoder(ResponsesPending).decode,
    scope="responses",
    switch="responses",
)
INPUT_TOKENS = ApiEndpoint(
    "input_tokens",
    "POST",
    "/responses/input_tokens",
    decode_for_count,
    msgspec.json.Decoder(InputTokensPending).decode,
    scope="responses",
    switch="responses",
)
