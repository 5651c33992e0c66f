"""POST /chat/completions: Converse or ConverseStream."""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.catalogue import Target
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
from extproc.openai.chat import ChatRequest, decode_request
from extproc.openai.chunks import ChunkEncoder
from extproc.translate import chat_completion, chat_request
from extproc.translate.chat_sse import ChatSse, whole_stream
from extproc.translate.chat_stream import ChatStream
from extproc.translate.completed import Completed
from extproc.translate.features import check_features
from extproc.translate.media import RemoteImage, remote_images
from extproc.translate.response_shape import ResponseShape


class ChatPending(msgspec.Struct, frozen=True):
    """A chat request that has been translated."""

    ignored: tuple[str, ...]
    streams: bool
    model: str
    streamed: bool
    """Whether the client requested a stream. If Bedrock has none, it is made of the whole response."""
    include_usage: bool
    shape: ResponseShape

    @property
    def params(self) -> Mapping[str, str]:
        """The client's names of fields that Bedrock's errors call by another."""
        return self.shape.params

    def complete(self, context: ResponseContext, responses: Sequence[Response]) -> Completed:
        """Return the `chat.completion`, or all of its chunks where the client wants a stream.

        Raises `ConverseResponseError` and `ApiError`.
        """
        [(_, body)] = responses
        if self.streamed:
            return whole_stream(body, self._chunks(context), self._encoder(context), context.most_text)
        return chat_completion.translate_response(
            body,
            completion_id=_id(context),
            created=context.created,
            model=self.model,
            shape=self.shape,
            most_text=context.most_text,
        )

    def is_large(self, responses: Sequence[Response]) -> bool:
        """Return whether it is longer than a model's text, or has more parts."""
        return are_large(responses)

    def stream(self, context: ResponseContext, clock: Clock) -> ChatSse | None:
        """Return the translator of ConverseStream's events to `chat.completion.chunk`s."""
        return ChatSse(self._chunks(context), self._encoder(context)) if self.streams else None

    def _chunks(self, context: ResponseContext) -> ChatStream:
        return ChatStream(shape=self.shape, truncation=context.truncation)

    def _encoder(self, context: ResponseContext) -> ChunkEncoder:
        return ChunkEncoder(_id(context), context.created, self.model, include_usage=self.include_usage)


class DecodedChat:
    """A decoded chat request."""

    def __init__(self, request: ChatRequest) -> None:
        self.model = request.model
        self.images: Mapping[str, RemoteImage] = remote_images(request.messages)
        self._request = request

    def check_features(self, denied: int) -> None:
        """Raise a 403 `ApiError` that names the field if the request uses one of the features with these bits."""
        check_features(self._request, denied)

    def ask(self, target: Target, capabilities: Capabilities, context: AskContext) -> TranslatedRequest:
        """Translate the request. Raises `ApiError`."""
        plan = chat_request.plan(self._request, capabilities, context.images, target.project, context.rules)
        path, accept = model_path(target.model_id, "converse"), "application/json"
        if plan.stream:
            path, accept = model_path(target.model_id, "converse-stream"), "application/vnd.amazon.eventstream"
        user = self._request.safety_identifier or self._request.user
        call = BedrockCall(
            path,
            plan.body,
            accept,
            most_output=plan.most_output,
            user=user,
            priority=plan.priority,
            reasons=plan.reasons,
            page_tokens=plan.page_tokens,
        )
        pending = ChatPending(plan.ignored, plan.stream, self.model, plan.streamed, plan.include_usage, plan.shape)
        return TranslatedRequest((call,), pending)


def _id(context: ResponseContext) -> str:
    return f"chatcmpl-{context.id}"


def decode(body: bytes | bytearray, passed_over: Collection[str] = ()) -> DecodedChat:
    """Decode the body of a chat request. Raises `ApiError`."""
    return DecodedChat(decode_request(body, passed_over))


CHAT = ApiEndpoint("chat", "POST", "/chat/completions", decode, msgspec.json.Decoder(ChatPending).decode, "chat")
