"""The endpoints that call Bedrock. A call knows how to ask and what to make of the answer; the exchange around it
authenticates, resolves the model, signs, sends and fails, the same way for all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.catalogue import Target
from extproc.bedrock.sigv4 import model_path
from extproc.config import Settings
from extproc.exchange.jobs import Fetch, FetchResult
from extproc.openai import embeddings as openai_embeddings
from extproc.openai.chat import ChatRequest, Chunks, Usage, decode_request
from extproc.openai.embeddings import Detokeniser
from extproc.translate import chat_answer, chat_request
from extproc.translate import embeddings as embeddings_translation
from extproc.translate.chat_stream import ChatStream


@dataclass(frozen=True, slots=True)
class Question:
    """One POST to Bedrock."""

    path: str
    body: bytes
    accept: str = "application/json"


@dataclass(frozen=True, slots=True)
class Completed:
    """A whole answer for the client."""

    body: bytes
    usage: Usage
    finish: str


class Call(Protocol):
    """One request to one endpoint."""

    model: str
    """The id that the client asked for."""
    ignored: tuple[str, ...]
    """Fields of the request that change nothing; known once it has been asked."""

    def fetch(self) -> Fetch | None:
        """What must be fetched before anything can be asked. Raises `ApiError`."""

    def fetched(self, result: FetchResult) -> None:
        """What came of it. Raises `ApiError` where it could not be had."""

    def ask(self, target: Target, capabilities: Capabilities) -> Sequence[Question]:
        """What to send: one question goes through Envoy, several go out as side calls. Raises `ApiError`."""

    def complete(self, answers: Sequence[tuple[Mapping[str, str], bytes]]) -> Completed:
        """The client's answer from Bedrock's, headers and body each, in the questions' order."""

    def stream(self) -> ChatStream | None:
        """What turns a streamed answer into chunks, if the client asked for a stream."""


class ChatCall:
    """POST /chat/completions."""

    def __init__(self, body: bytes, settings: Settings, call_id: str, now: float) -> None:
        self._request: ChatRequest = decode_request(body)
        self._plan: chat_request.ChatPlan | None = None
        self._id = f"chatcmpl-{call_id}"
        self._created = int(now)
        self._truncation = settings.compat.streaming_truncation
        self.model = self._request.model
        self.ignored: tuple[str, ...] = ()

    def fetch(self) -> Fetch | None:
        """Nothing: images come with the request."""
        return None

    def fetched(self, result: FetchResult) -> None:
        """Nothing was asked for."""

    def ask(self, target: Target, capabilities: Capabilities) -> Sequence[Question]:
        """Converse, or ConverseStream."""
        plan = self._plan = chat_request.plan(self._request, capabilities)
        self.ignored = plan.ignored
        if plan.stream:
            path = model_path(target.model_id, "converse-stream")
            return [Question(path, plan.body, "application/vnd.amazon.eventstream")]
        return [Question(model_path(target.model_id, "converse"), plan.body)]

    def complete(self, answers: Sequence[tuple[Mapping[str, str], bytes]]) -> Completed:
        """The `chat.completion`."""
        assert self._plan is not None
        [(_, body)] = answers
        completion, usage, finish = chat_answer.answer(
            body,
            completion_id=self._id,
            created=self._created,
            model=self.model,
            answer_tool=self._plan.answer_tool,
        )
        return Completed(completion, usage, finish)

    def stream(self) -> ChatStream | None:
        """The `chat.completion.chunk`s."""
        if self._plan is None or not self._plan.stream:
            return None
        chunks = Chunks(self._id, self._created, self.model, include_usage=self._plan.include_usage)
        return ChatStream(chunks, answer_tool=self._plan.answer_tool, truncation=self._truncation)


class EmbeddingsCall:
    """POST /embeddings."""

    def __init__(self, body: bytes, detokenise: Detokeniser) -> None:
        self._request = openai_embeddings.decode(body)
        self._detokenise = detokenise
        self._plan: embeddings_translation.Plan | None = None
        self.model = self._request.model
        self.ignored: tuple[str, ...] = () if self._request.user is None else ("user",)

    def fetch(self) -> Fetch | None:
        """Nothing: texts come with the request."""
        return None

    def fetched(self, result: FetchResult) -> None:
        """Nothing was asked for."""

    def ask(self, target: Target, capabilities: Capabilities) -> Sequence[Question]:
        """InvokeModel, as often as the model needs for all the texts."""
        self._plan = embeddings_translation.plan(self._request, target.foundation, self._detokenise)
        path = model_path(target.model_id, "invoke")
        return [Question(path, body) for body in self._plan.bodies]

    def complete(self, answers: Sequence[tuple[Mapping[str, str], bytes]]) -> Completed:
        """The list of vectors."""
        assert self._plan is not None
        body, tokens = embeddings_translation.answer(self._request, self._plan, answers)
        return Completed(body, Usage(prompt=tokens), "stop")

    def stream(self) -> ChatStream | None:
        """Embeddings do not stream."""
        return None
