"""POST /embeddings: InvokeModel, as often as the model needs for all the texts."""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.catalogue import Target
from extproc.bedrock.invoke import EMBEDDING_MODELS
from extproc.bedrock.sigv4 import model_path
from extproc.exchange.call_series import CallSeries
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
from extproc.openai import embeddings as openai_embeddings
from extproc.openai.completion import Usage
from extproc.openai.embeddings import EmbeddingsRequest, Format
from extproc.openai.errors import ApiError
from extproc.translate import embeddings
from extproc.translate.completed import Completed
from extproc.translate.media import RemoteImage


class EmbeddingsPending(msgspec.Struct, frozen=True):
    """An embeddings request that has been translated."""

    ignored: tuple[str, ...]
    streams: bool
    model: str
    foundation: str | None
    encoding_format: Format | None
    counts: tuple[int, ...]
    """Vectors that each call is to bring."""
    dimensions: int
    """Numbers of each vector."""
    params: Mapping[str, str] = {}

    def complete(self, context: ResponseContext, responses: Sequence[Response]) -> Completed:
        """Return the list of vectors. Raises `ApiError`."""
        request = EmbeddingsRequest(self.model, "", encoding_format=self.encoding_format)
        model = embeddings.embedding_model(self.model, self.foundation)
        plan = embeddings.EmbeddingsPlan(model, (), self.counts, self.dimensions)
        body, tokens = embeddings.translate_responses(request, plan, responses)
        return Completed(body, Usage(uncounted=0) if tokens is None else Usage(prompt=tokens), "stop")

    def is_large(self, responses: Sequence[Response]) -> bool:
        """Return whether they have many bytes, which are numbers."""
        return are_large(responses)

    def stream(self, context: ResponseContext, clock: Clock) -> None:
        """Return None: vectors are one document."""


class DecodedEmbeddings:
    """A decoded embeddings request."""

    def __init__(self, request: EmbeddingsRequest) -> None:
        self.model = request.model
        self.images: Mapping[str, RemoteImage] = {}
        self._request = request

    def check_features(self, denied: int) -> None:
        """Do nothing: inputs are texts."""

    def ask(self, target: Target, capabilities: Capabilities, context: AskContext) -> TranslatedRequest:
        """Translate the request. Raises `ApiError`."""
        request = self._request
        _check_model(target)
        plan = embeddings.plan(request, target.foundation, context.detokenise)
        path = model_path(target.model_id, "invoke")
        pairs = context.rules.metadata
        metadata = msgspec.json.encode(pairs).decode() if pairs else None

        def call(at: int) -> BedrockCall:
            body, count = plan.bodies[at], plan.counts[at]
            return BedrockCall(
                path,
                body,
                max_response=embeddings.max_response(plan, count, body),
                response=embeddings.expected_response(plan, count, len(body)),
                inputs=count,
                project=target.project,
                metadata=metadata,
                user=request.user,
            )

        pending = EmbeddingsPending(
            plan.ignored,
            False,
            self.model,
            target.foundation,
            request.encoding_format,
            plan.counts,
            plan.dimensions,
        )
        if len(plan.bodies) == 1:
            return TranslatedRequest((call(0),), pending)
        sizes, response = tuple(map(len, plan.bodies)), embeddings.expected_responses(plan)
        return TranslatedRequest(CallSeries(call, sizes, sum(plan.counts), response), pending)


def _check_model(target: Target) -> None:
    """Raise a 404 `ApiError` for an id that names no known model; that of a known one is the translation's to judge."""
    model_id = target.model_id
    unknown = target.foundation is None or target.guessed
    if unknown and not model_id.startswith("arn:") and (target.foundation or model_id) not in EMBEDDING_MODELS:
        raise ApiError(404, "No model of this id makes embeddings.", param="model", code="model_not_found")


def decode(body: bytes | bytearray, passed_over: Collection[str] = ()) -> DecodedEmbeddings:
    """Decode the body of an embeddings request. Raises `ApiError`."""
    return DecodedEmbeddings(openai_embeddings.decode(body, passed_over))


EMBEDDINGS = ApiEndpoint(
    "embeddings", "POST", "/embeddings", decode, msgspec.json.Decoder(EmbeddingsPending).decode, "embeddings"
)
